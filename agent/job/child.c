/*
 * child.c
 *		Starting programs: argv lists, no shell, no inherited descriptors, no zombies.
 *
 * A child dies with the agent (PR_SET_PDEATHSIG): a job that is resumed must not meet the pg_rewind that it started
 * before the restart. A server that the child started does not die, because the setting is not inherited.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/job/child.h"
#include "common/sqlstate.h"

#define TICK_MS 100				/* how often a cancelled job is noticed */
#define KILL_AFTER_MS 5000		/* from SIGTERM to SIGKILL */
#define TAIL_MAX 600			/* what is kept of the output's end for an error */

extern char **environ;

typedef struct Child
{
	pid_t		pid;
	int			pidfd;			/* -1: none to be had; then we look each tick */
	int			output;			/* our end of the pipe, or the file */
	char		tail[TAIL_MAX + 1];
	size_t		tail_size;
} Child;

/* In the child, after fork() of a process with threads: only async-signal-safe calls. */
static void
child_exec(char *const *argv, char *const *environment, const char *directory, int input, int output, pid_t parent)
{
	sigset_t	none;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127);				/* it died before the line above */
	setpgid(0, 0);
	/* what the agent itself may do to the network (route/floating.c), no program of a site may, nor a server */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	dup2(input, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	close_range(3, ~0U, 0);
	if (chdir(directory) < 0)
		_exit(126);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(argv[0], argv, environment);
	_exit(127);
}

/* The environment without what would lead libpq or pg_ctl elsewhere, and with messages we can read. */
static char **
child_environment(char *password)
{
	size_t		n = 0;
	size_t		kept = 0;
	char	  **environment;

	while (environ[n])
		n++;
	environment = xalloc(sizeof(char *) * (n + 3));
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "PG", 2) != 0 && strncmp(environ[i], "LC_", 3) != 0)
			environment[kept++] = environ[i];
	environment[kept++] = "LC_ALL=C";
	environment[kept] = password;
	return environment;
}

static int
open_output(bool server, int ends[2])
{
	int			fd;

	if (!server)
		return pipe2(ends, O_CLOEXEC);
	fd = memfd_create("output", MFD_CLOEXEC);
	ends[0] = fd;
	ends[1] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return ends[1] < 0 ? -1 : 0;
}

/* In a file, so that nobody waits for a program that does not read it. */
static int
open_input(const char *text)
{
	int			fd = text ? memfd_create("input", MFD_CLOEXEC) : open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && text && (file_write_all(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) < 0))
	{
		close(fd);
		return -1;
	}
	return fd;
}

static int
child_start(Child *child, char *const *argv, const ChildOptions *options)
{
	pid_t		parent = getpid();
	int			input = open_input(options->input);
	char	   *password;
	char	  **environment;
	int			ends[2];

	if (input < 0)
		return -1;
	if (open_output(options->server, ends) < 0)
	{
		close(input);
		return -1;
	}
	password = options->password ? xasprintf("PGPASSWORD=%s", options->password) : NULL;
	environment = child_environment(password);
	child->pid = fork();
	if (child->pid == 0)
		child_exec(argv, environment, options->directory ? options->directory : "/", input, ends[1], parent);
	free(environment);
	free(password);
	close(input);
	close(ends[1]);
	if (child->pid < 0)
	{
		close(ends[0]);
		return -1;
	}
	child->output = ends[0];
	if (!options->server)
		fcntl(child->output, F_SETFL, O_NONBLOCK);
	child->pidfd = pidfd_open(child->pid, 0);
	return 0;
}

static void
keep_tail(Child *child, const char *data, size_t size)
{
	if (size >= TAIL_MAX)
	{
		memcpy(child->tail, data + size - TAIL_MAX, TAIL_MAX);
		child->tail_size = TAIL_MAX;
		return;
	}
	if (child->tail_size + size > TAIL_MAX)
	{
		size_t		drop = child->tail_size + size - TAIL_MAX;

		memmove(child->tail, child->tail + drop, child->tail_size - drop);
		child->tail_size -= drop;
	}
	memcpy(child->tail + child->tail_size, data, size);
	child->tail_size += size;
}

/* The last two lines that say something, as one; progress lines are overwritten by their successors. */
static void
last_words(const Child *child, char *words, size_t size)
{
	char		text[TAIL_MAX + 1];
	char	   *rest = text;
	char	   *line;
	const char *last[2] = {NULL, NULL};

	snprintf(text, sizeof(text), "%.*s", (int) child->tail_size, child->tail);
	while ((line = strsep(&rest, "\r\n")) != NULL)
	{
		line += strspn(line, " \t");
		if (!*line)
			continue;
		last[0] = last[1];
		last[1] = line;
	}
	snprintf(words, size, "%s%s%s%s", last[1] ? ": " : "", last[0] ? last[0] : "", last[0] ? "; " : "",
			 last[1] ? last[1] : "");
	for (char *p = words; *p; p++)
		if ((unsigned char) *p < ' ')
			*p = ' ';
}

static void
read_output(ActionContext *ctx, Child *child, const ChildOptions *options)
{
	char		buffer[4096];
	ssize_t		n;

	while ((n = read(child->output, buffer, sizeof(buffer))) > 0)
	{
		keep_tail(child, buffer, n);
		if (ctx)
			action_output(ctx, buffer, n);
		if (options->on_output)
			options->on_output(options->argument, buffer, n);
	}
}

static int
child_reap(ActionContext *ctx, Child *child, const ChildOptions *options)
{
	int			status = 0;

	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (options->server)
		lseek(child->output, 0, SEEK_SET);	/* shared with the child, which wrote to its end */
	read_output(ctx, child, options);
	close(child->output);
	if (child->pidfd >= 0)
		close(child->pidfd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Its end is only looked at: the status is for child_reap(). */
static bool
child_ended(const Child *child, const struct pollfd *told)
{
	siginfo_t	info = {0};

	if (child->pidfd >= 0)
		return told->revents != 0;
	return waitid(P_PID, child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child->pid;
}

/* Until it ended, or was told to end: then returns the reason. */
static const char *
child_watch(ActionContext *ctx, Child *child, const ChildOptions *options)
{
	double		start = clock_monotonic_ms();
	double		told_at = 0;
	const char *reason = NULL;

	for (;;)
	{
		struct pollfd fds[2] = {{child->pidfd, POLLIN, 0}, {options->server ? -1 : child->output, POLLIN, 0}};
		double		now;

		poll(fds, 2, TICK_MS);
		if (fds[1].revents)
			read_output(ctx, child, options);
		if (child_ended(child, &fds[0]))
			return reason;
		if (fds[1].revents & POLLHUP)
			sleep_ms(1);		/* it closed its output but goes on */
		now = clock_monotonic_ms();
		if (!reason && options->timeout_ms > 0 && now - start > options->timeout_ms)
			reason = "timed out";
		else if (!reason && ctx && action_cancelled(ctx))
			reason = "was cancelled";
		else if (!reason && options->stop)
			reason = options->stop(options->argument);
		if (reason && !told_at)
		{
			kill(-child->pid, SIGTERM);
			told_at = now;
		}
		else if (reason && now - told_at > KILL_AFTER_MS)
			kill(-child->pid, SIGKILL);
	}
}

static int
run(ActionContext *ctx, char *const *argv, const ChildOptions *options, char *words, size_t words_size)
{
	Child		child = {0};
	const char *reason;
	int			status;

	if (child_start(&child, argv, options) < 0)
		return action_fail(ctx, STATE_SYSTEM_ERROR, "could not start \"%s\": %s", argv[0], strerror(errno));
	reason = child_watch(ctx, &child, options);
	status = child_reap(ctx, &child, options);
	last_words(&child, words, words_size);
	if (reason)
		return action_fail(ctx, STATE_CANCELED, "\"%s\" %s", argv[0], reason);
	return status;
}

int
child_run(ActionContext *ctx, char *const *argv, const ChildOptions *options)
{
	char		words[TAIL_MAX + 16];

	return run(ctx, argv, options, words, sizeof(words));
}

int
child_run_or_fail(ActionContext *ctx, char *const *argv, const ChildOptions *options)
{
	char		words[TAIL_MAX + 16];
	int			rc = run(ctx, argv, options, words, sizeof(words));

	if (rc > 0)
		return action_fail(ctx, STATE_EXTERNAL_ROUTINE, "\"%s\" ended with status %d%s", argv[0], rc, words);
	return rc;
}

typedef struct Capture
{
	char	   *text;
	size_t		size;
	size_t		len;
} Capture;

static void
capture(void *argument, const char *data, size_t size)
{
	Capture    *capture = argument;
	size_t		room = capture->size - 1 - capture->len;

	size = size < room ? size : room;
	memcpy(capture->text + capture->len, data, size);
	capture->len += size;
	capture->text[capture->len] = '\0';
}

int
child_run_told(char *const *argv, int timeout_ms, void (*on_output) (void *argument, const char *data, size_t size),
			   void *argument)
{
	ChildOptions options = {.timeout_ms = timeout_ms, .on_output = on_output, .argument = argument};
	Child		child = {0};
	const char *reason;
	int			status;

	if (child_start(&child, argv, &options) < 0)
		return -1;
	reason = child_watch(NULL, &child, &options);
	status = child_reap(NULL, &child, &options);
	return reason ? -1 : status;
}

int
child_run_text(char *const *argv, int timeout_ms, char *text, size_t size)
{
	Capture		argument = {text, size, 0};

	if (text)
		text[0] = '\0';
	return child_run_told(argv, timeout_ms, text ? capture : NULL, &argument);
}

int
child_run_quietly(char *const *argv, int timeout_ms)
{
	return child_run_text(argv, timeout_ms, NULL, 0);
}
