/*
 * answer.c
 *		The answer to a request: a status, and JSON or a text of any type.
 */
#include <jansson.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/tally.h"
#include "agent/http/answer.h"
#include "agent/http/door.h"

void
answer_json(Answer *answer, unsigned int status, json_t *json)
{
	answer->status = status;
	answer->json = json;
}

void
answer_text(Answer *answer, unsigned int status, const char *type, char *text)
{
	answer->status = status;
	answer->type = type;
	answer->text = text;
}

void
answer_fixed(Answer *answer, const char *type, const char *text, size_t size, const char *policy)
{
	answer->status = MHD_HTTP_OK;
	answer->type = type;
	answer->fixed = text;
	answer->fixed_size = size;
	answer->policy = policy;
}

void
answer_error(Answer *answer, unsigned int status, const char *code, const char *hint, const char *format,...)
{
	va_list		args;
	char		message[512];
	json_t	   *text;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	text = json_string(message);
	answer_json(answer, status, json_pack("{s:{s:s, s:o, s:n, s:o}}", "error", "code", code,
										  "message", text ? text : json_string("bad request"), "detail",
										  "hint", hint ? json_string(hint) : json_null()));
}

/* As text. If it cannot be written as JSON, that is an error of ours. */
static void
dump_json(Answer *answer)
{
	answer->type = "application/json";
	answer->text = json_dumps(answer->json, JSON_COMPACT | JSON_REAL_PRECISION(16));
	json_decref(answer->json);
	answer->json = NULL;
	if (answer->text)
		return;
	answer->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
	answer->text =
		xstrdup("{\"error\":{\"code\":\"XX000\",\"message\":\"no answer\",\"detail\":null,\"hint\":null}}");
}

/* All of it is of this moment, and for the one who asked. */
static void
add_headers(struct MHD_Response *response, const Answer *answer)
{
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (answer->policy)
	{
		MHD_add_response_header(response, "Content-Security-Policy", answer->policy);
		MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
		MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
		MHD_add_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
	}
	if (answer->status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
								answer->password ? "Basic realm=\"pingpong-agent\", charset=\"UTF-8\"" : "Bearer");
	if (answer->status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	if (answer->last || answer->status == MHD_HTTP_UNAUTHORIZED || answer->status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}

enum MHD_Result
answer_send(struct MHD_Connection *connection, Answer *answer)
{
	struct MHD_Response *response;
	enum MHD_Result rc;

	if (!answer->text && !answer->fixed)
		dump_json(answer);
	response = answer->fixed ?
		MHD_create_response_from_buffer(answer->fixed_size, (void *) answer->fixed, MHD_RESPMEM_PERSISTENT) :
		MHD_create_response_from_buffer(strlen(answer->text), answer->text, MHD_RESPMEM_MUST_FREE);
	if (!response)
	{
		free(answer->text);
		return MHD_NO;
	}
	tally_add(answer->status < 400 ? TALLY_ANSWERED : answer->status < 500 ? TALLY_REFUSED : TALLY_FAILED);
	add_headers(response, answer);
	door_answering(connection);
	rc = MHD_queue_response(connection, answer->status, response);
	MHD_destroy_response(response);
	return rc;
}
