/*
 * call.c
 *		HTTP as a client, by libcurl: what every call has.
 */
#include "agent/core/call.h"
#include "common/protocol.h"

void
call_startup(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Debian 12's libcurl knows the option for protocols as text. */
CURL *
call_new(const char *url, const char *ca_file, int timeout_ms)
{
	CURL	   *easy = curl_easy_init();

	if (!easy)
		return NULL;
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) timeout_ms);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) timeout_ms);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "pingpong-agent/" PINGPONG_AGENT_VERSION);
	if (ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
	return easy;
}

static size_t
take(char *data, size_t size, size_t n, void *argument)
{
	CallBody   *body = argument;

	if (body->text.size + size * n > body->limit)
		return 0;
	text_add(&body->text, data, size * n);
	return size * n;
}

void
call_take_body(CURL *easy, CallBody *body)
{
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
}
