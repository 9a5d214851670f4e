/*
 * ask.c
 *		Asks the agent of this host, with the credentials of its own configuration.
 *
 * The token goes to nobody else: without TLS an agent listens on the host itself only, with TLS it has shown its key.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/status/ask.h"
#include "agent/status/wire.h"
#include "common/protocol.h"

#define CONNECT_MS 2000
#define TOTAL_MS 10000
#define ANSWER_MAX (16 * 1024 * 1024)

static AskResult
nobody(const AgentConfig *config, char *error, size_t error_size)
{
	if (errno == ECONNREFUSED || errno == ENOENT)
		snprintf(error, error_size, "the agent of \"%s\" does not run: nobody listens on \"%s\"", config->node,
				 config->listen);
	else
		snprintf(error, error_size, "the agent of \"%s\" does not answer on \"%s\": %s", config->node,
				 config->listen, strerror(errno));
	return ASK_NOBODY;
}

static int
send_request(Wire *wire, const AgentConfig *config, const char *path, char *error, size_t error_size)
{
	char	   *request = xasprintf("GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
									"Connection: close\r\n\r\n", path, config->token);
	int			rc = wire_send(wire, request, strlen(request), error, error_size);

	explicit_bzero(request, strlen(request));
	free(request);
	return rc;
}

/* The status, and where the body begins; 0: this is no answer of HTTP, or not the whole of it. */
static int
read_head(const Text *text, const char **body)
{
	const char *end = text->data ? strstr(text->data, "\r\n\r\n") : NULL;
	const char *length = text->data ? strcasestr(text->data, "\r\nContent-Length:") : NULL;
	int			status;

	if (!end || !length || length > end || sscanf(text->data, "HTTP/1.%*d %d", &status) != 1)
		return 0;
	*body = end + 4;
	if (strtoull(length + strlen("\r\nContent-Length:"), NULL, 10) != text->size - (*body - text->data))
		return 0;
	return status;
}

static AskResult
refused(const AgentConfig *config, int status, json_t *body, char *error, size_t error_size)
{
	const char *message = protocol_text(protocol_error(body), "message");

	if (status == 401)
		snprintf(error, error_size, "the agent of \"%s\" refuses the token of \"%s\": was the file changed, and the "
				 "agent not reloaded?", config->node, config->token_file);
	else if (status != 0)
		snprintf(error, error_size, "the agent of \"%s\" answers %d%s%s", config->node, status,
				 *message ? ": " : "", message);
	else
		snprintf(error, error_size, "what listens on \"%s\" gives no answer of an agent", config->listen);
	return ASK_REFUSED;
}

static AskResult
read_answer(const AgentConfig *config, const Text *text, json_t **answer, char *error, size_t error_size)
{
	const char *body = NULL;
	int			status = read_head(text, &body);
	json_t	   *json = status ? json_loads(body, 0, NULL) : NULL;
	AskResult	result = ASK_ANSWERED;

	if (status != 200 || !json)
		result = refused(config, status == 200 ? 0 : status, json, error, error_size);
	else
		*answer = json_incref(json);
	json_decref(json);
	return result;
}

/* Over a connection that stands. */
static AskResult
ask(Wire *wire, const AgentConfig *config, const char *path, json_t **answer, char *error, size_t error_size)
{
	Text		text = {0};
	AskResult	result = ASK_NOBODY;
	char		why[256];

	if (wire_secure(wire, config, why, sizeof(why)) < 0 ||
		send_request(wire, config, path, why, sizeof(why)) < 0 ||
		wire_receive(wire, &text, ANSWER_MAX, why, sizeof(why)) < 0)
		snprintf(error, error_size, "the agent of \"%s\" does not answer on \"%s\": %s", config->node,
				 config->listen, why);
	else
		result = read_answer(config, &text, answer, error, error_size);
	free(text.data);
	return result;
}

AskResult
ask_agent(const AgentConfig *config, const char *path, json_t **answer, char *error, size_t error_size)
{
	double		began = clock_monotonic_ms();
	AskResult	result;
	Wire		wire;

	if (!config->token)
	{
		snprintf(error, error_size, "the agent of \"%s\" cannot be asked: it has no \"token_file\"", config->node);
		return ASK_NOBODY;
	}
	if (wire_connect(&wire, config, began + CONNECT_MS) < 0)
		result = nobody(config, error, error_size);
	else
	{
		wire.deadline = began + TOTAL_MS;
		result = ask(&wire, config, path, answer, error, error_size);
	}
	wire_close(&wire);
	return result;
}
