/*
 * post.c
 *		HTTP as a client, by libcurl.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/alert/message.h"
#include "agent/alert/post.h"
#include "agent/core/alloc.h"
#include "agent/core/call.h"
#include "agent/core/clock.h"

#define ANSWER_MAX (64 * 1024)	/* of the receiver; more of it ends the call */

/* ---- the receiver ---- */

static size_t
drop_answer(char *data, size_t size, size_t n, void *argument)
{
	size_t	   *total = argument;

	*total += size * n;
	return *total > ANSWER_MAX ? 0 : size * n;
}

static struct curl_slist *
headers_of(const AlertConfig *alerts, const char *body)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	char		signature[SIGNATURE_MAX];
	char	   *line;

	headers = curl_slist_append(headers, "Expect:");
	if (!alerts->secret)
		return headers;
	message_sign(alerts->secret, body, signature);
	line = xasprintf("X-Pingpong-Signature: %s", signature);
	headers = curl_slist_append(headers, line);
	free(line);
	return headers;
}

bool
post_message(const AlertConfig *alerts, const char *body, bool *refused, char *error, size_t error_size)
{
	CURL	   *easy = call_new(alerts->url, alerts->ca_file, alerts->timeout_ms);
	struct curl_slist *headers = headers_of(alerts, body);
	size_t		total = 0;
	long		status = 0;
	CURLcode	rc = CURLE_FAILED_INIT;

	*refused = false;
	if (easy)
	{
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop_answer);
		curl_easy_setopt(easy, CURLOPT_WRITEDATA, &total);
		rc = curl_easy_perform(easy);
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_cleanup(easy);
	}
	curl_slist_free_all(headers);
	if (rc != CURLE_OK)
		snprintf(error, error_size, "%s", curl_easy_strerror(rc));
	else if (status < 200 || status > 299)
	{
		*refused = true;
		snprintf(error, error_size, "it answers with status %ld", status);
	}
	return rc == CURLE_OK && status >= 200 && status <= 299;
}

bool
post_reachable(const AlertConfig *alerts, char *error, size_t error_size)
{
	CURL	   *easy = call_new(alerts->url, alerts->ca_file, alerts->timeout_ms);
	CURLcode	rc = CURLE_FAILED_INIT;

	if (easy)
	{
		curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
		rc = curl_easy_perform(easy);
		curl_easy_cleanup(easy);
	}
	snprintf(error, error_size, "%s", rc == CURLE_OK ? "" : curl_easy_strerror(rc));
	return rc == CURLE_OK;
}

/* ---- other agents ---- */

static size_t
take_text(char *data, size_t size, size_t n, void *argument)
{
	PeerCall   *call = argument;
	size_t		len = 0;

	while (len < size * n && data[len] >= 'a' && data[len] <= 'z')
		len++;
	if (!call->text[0])
		snprintf(call->text, sizeof(call->text), "%.*s", (int) len, data);
	return size * n;
}

/* unix:/PATH, or a URL as libcurl knows it */
static CURL *
peer_call(const AlertConfig *alerts, PeerCall *call, int timeout_ms)
{
	bool		local = strncmp(call->url, "unix:", 5) == 0;
	char	   *url = xasprintf("%s/health", local ? "http://localhost" : call->url);
	CURL	   *easy = call_new(url, alerts->peer_ca_file, timeout_ms);

	free(url);
	if (!easy)
		return NULL;
	if (local)
		curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, call->url + 5);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_text);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	return easy;
}

static void
perform(CURLM *multi, int timeout_ms)
{
	double		until = clock_monotonic_ms() + timeout_ms;
	int			running = 1;

	while (curl_multi_perform(multi, &running) == CURLM_OK && running > 0 && clock_monotonic_ms() < until)
		curl_multi_poll(multi, NULL, 0, 100, NULL);
}

static void
note_ends(CURLM *multi)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		PeerCall   *call;
		long		status = 0;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
		curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
		call->answered = message->data.result == CURLE_OK && status > 0;
	}
}

void
post_ask_peers(const AlertConfig *alerts, PeerCall *calls, int n, int timeout_ms)
{
	CURLM	   *multi = curl_multi_init();
	CURL	  **easies = xalloc(sizeof(CURL *) * (n + 1));

	for (int i = 0; i < n; i++)
	{
		calls[i].answered = false;
		calls[i].text[0] = '\0';
		easies[i] = peer_call(alerts, &calls[i], timeout_ms);
		if (easies[i])
			curl_multi_add_handle(multi, easies[i]);
	}
	perform(multi, timeout_ms + 500);
	note_ends(multi);
	for (int i = 0; i < n; i++)
		if (easies[i])
		{
			curl_multi_remove_handle(multi, easies[i]);
			curl_easy_cleanup(easies[i]);
		}
	curl_multi_cleanup(multi);
	free(easies);
}
