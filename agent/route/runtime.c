/*
 * runtime.c
 *		The runtime API of HAProxy: lines of commands, and its tables.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/core/address.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/text.h"
#include "agent/job/params.h"
#include "agent/route/names.h"
#include "agent/route/runtime.h"

#define ANSWER_MAX (16 * 1024 * 1024)

static double
timeout_of(const ConfigSection *section)
{
	const char *value = config_value(section, "timeout_ms");

	return value ? atoi(value) : RUNTIME_TIMEOUT_MS;
}

static int
remaining(double deadline)
{
	double		ms = deadline - clock_monotonic_ms();

	return ms > 0 ? (int) ms + 1 : 0;
}

/* 0; -1 with errno */
static int
connect_within(int fd, const ListenAddress *address, double deadline)
{
	struct pollfd poll_fd = {fd, POLLOUT, 0};
	int			status = 0;
	socklen_t	size = sizeof(status);

	if (connect(fd, &address->address.any, address->size) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -1;
	if (poll(&poll_fd, 1, remaining(deadline)) != 1)
		status = ETIMEDOUT;
	else
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &status, &size);
	errno = status;
	return status == 0 ? 0 : -1;
}

/* What is written to it fits into the socket's buffer. */
static int
read_all(int fd, Text *answer, double deadline)
{
	char		buffer[16384];

	for (;;)
	{
		struct pollfd poll_fd = {fd, POLLIN, 0};
		ssize_t		n;

		if (poll(&poll_fd, 1, remaining(deadline)) != 1)
			return errno = ETIMEDOUT, -1;
		n = read(fd, buffer, sizeof(buffer));
		if (n == 0)
			return 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -1;
		if (answer->size + (n > 0 ? n : 0) > ANSWER_MAX)
			return errno = EFBIG, -1;
		if (n > 0)
			text_add(answer, buffer, n);
	}
}

char *
runtime_ask(const ConfigSection *section, const char *line, char *why, size_t why_size)
{
	double		deadline = clock_monotonic_ms() + timeout_of(section);
	Text		answer = {0};
	ListenAddress address;
	size_t		size = strlen(line);
	int			fd;
	int			rc = -1;

	listen_parse(config_value(section, "socket"), &address);
	fd = socket(address.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect_within(fd, &address, deadline) == 0)
		rc = send(fd, line, size, MSG_NOSIGNAL) == (ssize_t) size ? read_all(fd, &answer, deadline) : -1;
	if (rc < 0)
	{
		snprintf(why, why_size, "HAProxy does not answer at %s: %s", config_value(section, "socket"),
				 strerror(errno));
		free(answer.data);
		answer.data = NULL;
	}
	else if (!answer.data)
		answer.data = xstrdup("");
	if (fd >= 0)
		close(fd);
	return answer.data;
}

void
runtime_words(const char *answer, char *to, size_t size)
{
	answer += strspn(answer, "\r\n ");
	snprintf(to, size, "%.*s", (int) strcspn(answer, "\r\n"), answer);
}

/*
 * A table of HAProxy's as a list of objects: a line "# name name ..." and rows of words that blanks separate. What
 * has other lines is no such table, and gives NULL.
 */
static json_t *
table_of(char *text)
{
	char	  **names = NULL;
	json_t	   *rows = json_array();
	char	   *line;

	while ((line = strsep(&text, "\n")) != NULL)
	{
		char	  **words;
		json_t	   *row;

		if (line[0] == '#' && line[1] == ' ' && !names)
		{
			names = text_split_words(line + 2);
			continue;
		}
		if (line[0] == '\0' || line[0] == '#' || strcmp(line, "1") == 0 || !names)
			continue;
		words = text_split_words(line);
		row = json_object();
		for (int i = 0; names[i] && words && words[i]; i++)
			json_object_set_new(row, names[i], json_string(words[i]));
		json_array_append_new(rows, row);
		text_free_list(words);
	}
	if (names)
	{
		text_free_list(names);
		return rows;
	}
	json_decref(rows);
	return NULL;
}

json_t *
runtime_table(const ConfigSection *section, const char *line, char *why, size_t why_size)
{
	char	   *answer = runtime_ask(section, line, why, why_size);
	char		words[128] = "";
	json_t	   *table;

	if (!answer)
		return NULL;
	runtime_words(answer, words, sizeof(words));
	table = table_of(answer);
	if (!table)
		snprintf(why, why_size, "HAProxy says \"%s\" to \"%.*s\"", words, (int) strcspn(line, "\n"), line);
	free(answer);
	return table;
}

const char *
runtime_cell(json_t *row, const char *name)
{
	return param_string(row, name, "");
}

bool
runtime_name_valid(const char *name)
{
	return name[0] && strlen(name) <= 100 &&
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-") == strlen(name);
}

/* ---- servers ---- */

json_t *
runtime_servers(const ConfigSection *section, char *why, size_t why_size)
{
	return runtime_table(section, "show servers state\n", why, why_size);
}

bool
runtime_leads_to(json_t *server, json_t *place)
{
	Resolved	host = addresses_of(param_string(place, "host", ""), false);

	return atoll(runtime_cell(server, "srv_port")) == param_int(place, "port", 0) &&
		has_address(&host, runtime_cell(server, "srv_addr"));
}

bool
runtime_leads_to_one_of(json_t *server, json_t *places)
{
	json_t	   *place;
	size_t		i;

	json_array_foreach(places, i, place)
		if (runtime_leads_to(server, place))
			return true;
	return false;
}

/* ---- orders ---- */

void
runtime_next_command(Text *line)
{
	if (line->size > 0)
		text_addf(line, "; ");
}
