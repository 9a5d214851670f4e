/*
 * answer.c
 *		What a request is answered: JSON with a status.
 */
#include <jansson.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/http/answer.h"
#include "agent/http/door.h"

unsigned int
answer_error(json_t **answer, unsigned int status, const char *code, const char *hint, const char *format,...)
{
	va_list		args;
	char		message[512];
	json_t	   *text;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	text = json_string(message);
	*answer = json_pack("{s:{s:s, s:o, s:n, s:o}}", "error", "code", code,
						"message", text ? text : json_string("bad request"), "detail",
						"hint", hint ? json_string(hint) : json_null());
	return status;
}

enum MHD_Result
answer_send(struct MHD_Connection *connection, unsigned int status, json_t *answer)
{
	char	   *text = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(16));
	struct MHD_Response *response;
	enum MHD_Result rc;

	json_decref(answer);
	if (!text)
	{
		status = MHD_HTTP_INTERNAL_SERVER_ERROR;
		text = xstrdup("{\"error\":{\"code\":\"XX000\",\"message\":\"no answer\",\"detail\":null,\"hint\":null}}");
	}
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	if (status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
	if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	if (status == MHD_HTTP_UNAUTHORIZED || status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	door_answering(connection);
	rc = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return rc;
}
