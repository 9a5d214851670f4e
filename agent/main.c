/*
 * main.c
 *		pingpong-agent: arguments, signals, start and stop.
 *
 * All signals are blocked in all threads and read here from a signalfd: SIGTERM and
 * SIGINT stop, SIGHUP reads the configuration again.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "agent/action/promote.h"
#include "agent/action/tokenfile.h"
#include "agent/actions.h"
#include "agent/alert/deliver.h"
#include "agent/alert/own.h"
#include "agent/alert/roster.h"
#include "agent/alert/watch.h"
#include "agent/arbiter/arbiter.h"
#include "agent/check/check.h"
#include "agent/core/alloc.h"
#include "agent/core/call.h"
#include "agent/core/config.h"
#include "agent/core/configread.h"
#include "agent/core/files.h"
#include "agent/core/leftovers.h"
#include "agent/core/log.h"
#include "agent/core/memory.h"
#include "agent/http/server.h"
#include "agent/init/init.h"
#include "agent/job/claim.h"
#include "agent/job/executor.h"
#include "agent/job/known.h"
#include "agent/pg/version.h"
#include "agent/pg/sampler.h"
#include "agent/pg/watcher.h"
#include "agent/rehearse/conduct.h"
#include "agent/route/drivers.h"
#include "agent/route/floating.h"
#include "agent/status/status.h"
#include "common/names.h"

#define DEFAULT_CONFIG "/etc/pingpong-agent/agent.ini"
#define STOP_LIMIT_MS 500

static void
print_help(void)
{
	printf("pingpong-agent does on a host what SQL cannot: it is ordered by pg_pingpong.\n\n"
		   "Usage:\n  pingpong-agent [--config FILE] [--check]\n"
		   "  pingpong-agent init            sets this host up (init --help)\n"
		   "  pingpong-agent status [RUN]    what it does for a run (status --help)\n\nOptions:\n"
		   "  -c, --config FILE  configuration (default %s)\n"
		   "      --check        check the configuration and what it can reach, then exit\n"
		   "  -V, --version      print the version, then exit\n"
		   "  -h, --help         print this, then exit\n\n"
		   "SIGHUP reads the configuration again, SIGTERM stops the agent.\n", DEFAULT_CONFIG);
}

static sigset_t
block_signals(void)
{
	sigset_t	signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signals;
}

/* Where we listen and keep state stays until a restart: jobs and their journal belong together. */
static void
reload(void)
{
	AgentConfig *old = config_current();
	char		error[512];
	AgentConfig *config = config_read(old->path, error, sizeof(error));

	if (!config)
		log_error("configuration not reloaded: %s", error);
	else if (strcmp(config->state_dir, old->state_dir) != 0)
	{
		log_error("configuration not reloaded: \"state_dir\" needs a restart");
		config_free(config);
	}
	else if (http_reload(old, config, error, sizeof(error)) < 0)
	{
		log_error("configuration not reloaded: %s", error);
		config_free(config);
	}
	else
	{
		log_set_level(config->log_level);
		versions_ask(config);
		config_install(config);
		log_info("configuration reloaded");
	}
	config_release(old);
}

static void
serve(sigset_t *signals)
{
	int			fd = signalfd(-1, signals, SFD_CLOEXEC);
	struct signalfd_siginfo info;

	for (;;)
	{
		ssize_t		n = read(fd, &info, sizeof(info));

		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(info))
			break;
		if (info.ssi_signo != SIGHUP)
			break;
		reload();
	}
	close(fd);
}

/* Two agents with one journal would do everything twice.  The lock ends with the process. */
static int
lock_state(const char *state_dir, char *error, size_t error_size)
{
	char	   *path = xasprintf("%s/lock", state_dir);
	char	   *jobs = xasprintf("%s/jobs", state_dir);
	int			fd = -1;

	if (make_directory(jobs, 0700) < 0)
		snprintf(error, error_size, "could not create \"%s\": %s", jobs, strerror(errno));
	else if ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
		snprintf(error, error_size, "could not open \"%s\": %s", path, strerror(errno));
	else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
	{
		snprintf(error, error_size, "another agent uses \"%s\"", state_dir);
		close(fd);
		fd = -1;
	}
	free(jobs);
	free(path);
	return fd;
}

static void
start_alerts(const AgentConfig *config)
{
	own_start(config->state_dir);
	roster_start(config->state_dir);
	watch_start();
	deliver_start();
}

/* For a rehearsal it ends with what it conducts. */
static int
run_agent(const char *path, bool rehearsal)
{
	sigset_t	signals = block_signals();
	char		error[512];
	AgentConfig *config = config_read(path, error, sizeof(error));

	if (!config)
	{
		log_error("configuration \"%s\": %s", path, error);
		return 1;
	}
	log_set_level(config->log_level);
	if (lock_state(config->state_dir, error, sizeof(error)) < 0)
	{
		log_error("%s", error);
		config_free(config);
		return 1;
	}
	versions_ask(config);
	config_install(config);
	leftovers_remove(config);
	memory_start(config);
	call_startup();
	action_know(all_actions);
	claim_count_promotions(promote_pending_epoch);
	if (jobs_start(token_promoted_epoch(config), error, sizeof(error)) < 0)
	{
		log_error("%s", error);
		return 1;
	}
	drivers_start();
	sampler_start();
	watcher_start();
	start_alerts(config);
	if (http_start(error, sizeof(error)) < 0)
	{
		log_error("%s", error);
		return 1;
	}
	log_info("pingpong-agent %s of node \"%s\" listens on %s", PINGPONG_AGENT_VERSION, config->node, config->listen);
	if (rehearsal)
		conduct_start();
	serve(&signals);
	log_info("stopping");
	jobs_shutdown(STOP_LIMIT_MS);
	http_stop();
#ifdef __SANITIZE_ADDRESS__
	__lsan_do_recoverable_leak_check(); /* _exit() would leave it out */
#endif
	/* threads of jobs that go on at the next start still use everything: free nothing */
	_exit(rehearsal ? conduct_status() : 0);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'},
		{"rehearse", no_argument, NULL, 'r'},	/* an agent starts another one so, see agent/rehearse */
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL}
	};
	const char *path = DEFAULT_CONFIG;
	bool		check = false;
	bool		rehearsal = false;
	int			c;

	while ((c = getopt_long(argc, argv, "+c:Vh", options, NULL)) != -1)
	{
		switch (c)
		{
			case 'c':
				path = optarg;
				break;
			case 'k':
				check = true;
				break;
			case 'r':
				rehearsal = true;
				break;
			case 'V':
				printf("pingpong-agent %s\n", PINGPONG_AGENT_VERSION);
				return 0;
			case 'h':
				print_help();
				return 0;
			default:
				fprintf(stderr, "Try \"pingpong-agent --help\".\n");
				return 2;
		}
	}
	config_know(driver_sections());
	config_know(arbiter_kinds);
	if (optind < argc && !check && strcmp(argv[optind], "status") == 0)
		return status_run(argc - optind, argv + optind, path);
	if (optind < argc && !check && strcmp(argv[optind], "address") == 0)
		return floating_run(argc - optind, argv + optind);
	if (optind < argc && !check && strcmp(argv[optind], "init") == 0)
		return init_run(argc - optind, argv + optind);
	if (optind < argc)
	{
		fprintf(stderr, "pingpong-agent: too many arguments\n");
		return 2;
	}
	return check ? check_run(path) : run_agent(path, rehearsal);
}
