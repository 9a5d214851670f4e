/*
 * agents.c - the worker's HTTP client, on libcurl's multi interface.
 *
 * libcurl tells which sockets it wants watched and when it wants to be called
 * (two callbacks, which only take notes); the worker's one wait is on those
 * sockets, its latch and the postmaster. Nothing here may throw while libcurl
 * is on the stack, so callbacks use no palloc and report by return value.
 *
 * Every call has a connect and a total timeout and a size limit, follows no
 * redirect and speaks http or https only. The token never appears in a message.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "worker/agents.h"
#include "worker/clock.h"
#include "worker/settings.h"

#define ANSWER_LIMIT	(1024 * 1024)
#define MAX_SOCKETS		64

typedef struct Watched
{
	curl_socket_t fd;
	int			events;			/* WL_SOCKET_* */
} Watched;

static CURLM *multi;
static Watched watched[MAX_SOCKETS];
static int	nwatched;
static bool watched_changed = true;
static int64 curl_due;			/* now_us(); 0: no timer */
static WaitEventSet *wait_set;

static int
note_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *sockp)
{
	int			i;
	int			events = 0;

	for (i = 0; i < nwatched && watched[i].fd != fd; i++)
		;
	watched_changed = true;
	if (what == CURL_POLL_REMOVE)
	{
		if (i < nwatched)
			watched[i] = watched[--nwatched];
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= WL_SOCKET_READABLE;
	if (what & CURL_POLL_OUT)
		events |= WL_SOCKET_WRITEABLE;
	if (i == MAX_SOCKETS)
		return -1;
	if (i == nwatched)
		nwatched++;
	watched[i].fd = fd;
	watched[i].events = events;
	return 0;
}

static int
note_timer(CURLM *m, long timeout_ms, void *arg)
{
	curl_due = timeout_ms < 0 ? 0 : now_us() + timeout_ms * INT64CONST(1000);
	return 0;
}

static size_t
take_answer(char *data, size_t size, size_t n, void *arg)
{
	AgentCall  *call = arg;
	char	   *grown;

	n *= size;
	if (call->answer_len + n > ANSWER_LIMIT)
		return 0;
	grown = realloc(call->answer, call->answer_len + n + 1);
	if (grown == NULL)
		return 0;
	memcpy(grown + call->answer_len, data, n);
	call->answer = grown;
	call->answer_len += n;
	return n;
}

/* Once per worker process, before the first call. */
void
agents_startup(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (multi = curl_multi_init()) == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not initialize libcurl")));
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, note_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, note_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 32L);
}

/*
 * The bearer token, read again for each call so that it can be exchanged
 * without a restart. False, with the reason, when there is none to be had.
 */
static bool
read_token(char *token, size_t size, char *why, size_t why_size)
{
	struct stat st;
	int			fd;
	ssize_t		n;

	token[0] = '\0';
	if (worker_token_file == NULL || worker_token_file[0] == '\0')
		return true;			/* mutual TLS, perhaps */
	fd = OpenTransientFile(worker_token_file, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) != 0)
	{
		snprintf(why, why_size, "could not read the file of \"pingpong.agent_token_file\": %s", strerror(errno));
		if (fd >= 0)
			CloseTransientFile(fd);
		return false;
	}
	if (st.st_mode & 077)
	{
		snprintf(why, why_size, "the file of \"pingpong.agent_token_file\" must not be "
				 "accessible to others (mode 0600)");
		CloseTransientFile(fd);
		return false;
	}
	n = read(fd, token, size - 1);
	CloseTransientFile(fd);
	if (n < 0)
		n = 0;
	while (n > 0 && (unsigned char) token[n - 1] <= ' ')
		n--;
	token[n] = '\0';
	return true;
}

static void
set_security(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	if (worker_ca_file && worker_ca_file[0])
		curl_easy_setopt(easy, CURLOPT_CAINFO, worker_ca_file);
	if (worker_cert_file && worker_cert_file[0])
		curl_easy_setopt(easy, CURLOPT_SSLCERT, worker_cert_file);
	if (worker_key_file && worker_key_file[0])
		curl_easy_setopt(easy, CURLOPT_SSLKEY, worker_key_file);
}

static void
set_address(CURL *easy, const char *url, const char *path)
{
	char		full[1024];

	if (strncmp(url, "unix:", 5) == 0)
	{
		curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, url + 5);
		snprintf(full, sizeof(full), "http://localhost%s", path);
	}
	else
		snprintf(full, sizeof(full), "%s%s", url, path);
	curl_easy_setopt(easy, CURLOPT_URL, full);
}

static AgentCall *
call_failed_at_once(AgentCall *call, const char *why)
{
	strlcpy(call->error, why, sizeof(call->error));
	call->done = true;
	call->sent = false;
	return call;
}

static AgentCall *
start_call(const char *url, const char *path, char *body, int timeout_ms)
{
	AgentCall  *call = MemoryContextAllocZero(TopMemoryContext, sizeof(AgentCall));
	char		token[512];
	char		header[600];
	char		why[256];
	CURL	   *easy;

	call->request = body;
	call->has_token = worker_token_file && worker_token_file[0];
	if (url == NULL)
		return call_failed_at_once(call, "the node is not registered any more");
	if (!read_token(token, sizeof(token), why, sizeof(why)))
		return call_failed_at_once(call, why);
	easy = curl_easy_init();
	if (easy == NULL)
		return call_failed_at_once(call, "out of memory");
	call->easy = easy;
	call->sent = true;			/* until the contrary is proved */
	set_address(easy, url, path);
	set_security(easy);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* a name server that does not answer must not stop this process when the call is given up */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) Min(timeout_ms, worker_connect_timeout));
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) timeout_ms);
	if (token[0])
	{
		snprintf(header, sizeof(header), "Authorization: Bearer %s", token);
		call->headers = curl_slist_append(NULL, header);
	}
	if (body)
	{
		call->headers = curl_slist_append(call->headers, "Content-Type: application/json");
		call->headers = curl_slist_append(call->headers, "Expect:");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	}
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
	memset(token, 0, sizeof(token));
	memset(header, 0, sizeof(header));
	if (curl_multi_add_handle(multi, easy) != CURLM_OK)
		return call_failed_at_once(call, "could not start the request");
	return call;
}

/* GET url/path; the result is in the call when it is `done`. Release it. */
AgentCall *
agents_get(const char *url, const char *path, int timeout_ms)
{
	return start_call(url, path, NULL, timeout_ms);
}

/* POST `body` (a reference that is taken over). */
AgentCall *
agents_post(const char *url, const char *path, json_t *body, int timeout_ms)
{
	char	   *text = json_dumps(body, JSON_COMPACT);

	json_decref(body);
	if (text == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return start_call(url, path, text, timeout_ms);
}

/* Ends the call, whatever its state. */
void
agents_release(AgentCall *call)
{
	if (call == NULL)
		return;
	if (call->easy)
	{
		curl_multi_remove_handle(multi, call->easy);
		curl_easy_cleanup(call->easy);
	}
	curl_slist_free_all(call->headers);
	json_decref(call->body);
	free(call->request);
	free(call->answer);
	pfree(call);
}

/* The time was over before there was a connection: libcurl says so in its message only. */
static bool
timed_out_connecting(const char *message)
{
	static const char *const before[] = {"Resolving timed out", "Connection time", "Failed to connect",
										 "SSL connection timeout"};

	for (int i = 0; i < lengthof(before); i++)
		if (strncmp(message, before[i], strlen(before[i])) == 0)
			return true;
	return false;
}

/*
 * Has the request certainly not left? libcurl counts what it has written, also
 * over an attempt on a connection that turned out to be dead. What is not known
 * to end before the request is written counts as sent.
 */
static bool
certainly_unsent(const AgentCall *call, CURLcode code)
{
	long		written = 1;

	curl_easy_getinfo((CURL *) call->easy, CURLINFO_REQUEST_SIZE, &written);
	if (written != 0)
		return false;
	switch (code)
	{
		case CURLE_URL_MALFORMAT:
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_PEER_FAILED_VERIFICATION:
			return true;
		case CURLE_OPERATION_TIMEDOUT:
			return timed_out_connecting(call->curl_error);
		default:
			return false;
	}
}

/* Why the agent's certificate was not accepted; the numbers are OpenSSL's. */
static const char *
certificate_fault(CURL *easy)
{
	long		result = 0;

	curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &result);
	switch (result)
	{
		case 9:
			return "the agent's certificate is not valid yet";
		case 10:
			return "the agent's certificate has expired";
		case 2:
		case 18:
		case 19:
		case 20:
		case 21:
			return "the agent's certificate is not signed by a CA of \"pingpong.agent_ca_file\"";
		case 26:
			return "the agent's certificate is not for a server";
		default:
			return "the agent's certificate is not accepted";
	}
}

static void
describe_failure(AgentCall *call, CURLcode code)
{
	const char *detail = call->curl_error[0] ? call->curl_error : curl_easy_strerror(code);
	const char *what = NULL;

	switch (code)
	{
		case CURLE_WRITE_ERROR:
			strlcpy(call->error, "the answer is too long", sizeof(call->error));
			return;
		case CURLE_PEER_FAILED_VERIFICATION:
			what = strstr(detail, "subject name") ?
				"the agent's certificate is for another name than that in its URL" :
				certificate_fault(call->easy);
			break;
		case CURLE_SSL_CACERT_BADFILE:
			what = "the CA of \"pingpong.agent_ca_file\" cannot be used";
			break;
		case CURLE_SSL_CERTPROBLEM:
			what = "the certificate of \"pingpong.agent_cert_file\" or its key cannot be used";
			break;
		case CURLE_SSL_CONNECT_ERROR:
			what = "no TLS connection to the agent";
			break;
		case CURLE_UNSUPPORTED_PROTOCOL:
		case CURLE_GOT_NOTHING:
			what = "the agent does not answer in HTTP; does it want https?";
			break;
		default:
			break;
	}
	if (what)
		snprintf(call->error, sizeof(call->error), "%s: %s", what, detail);
	else
		strlcpy(call->error, detail, sizeof(call->error));
}

/* An answer that is not the expected one: who refused, and in which words. */
static void
describe_refusal(AgentCall *call)
{
	json_t	   *error = json_object_get(call->body, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *hint = json_string_value(json_object_get(error, "hint"));

	if (message == NULL)
		message = "without a reason";
	if (call->status == 401)
		snprintf(call->error, sizeof(call->error), "the agent refuses our %s (401): %s",
				 strstr(message, "the certificate") ? "certificate" : call->has_token ? "token" : "call", message);
	else if (call->status == 409)
		snprintf(call->error, sizeof(call->error), "the agent refuses the order (409): %s%s%s", message,
				 hint ? ". " : "", hint ? hint : "");
	else
		snprintf(call->error, sizeof(call->error), "the agent answers %d: %s", call->status, message);
	for (char *p = call->error; *p; p++)
		if ((unsigned char) *p < ' ')
			*p = ' ';			/* it goes into one line of a log */
}

/* Without the connection, which an order in the blackout finds open. */
static double
time_of(CURL *easy)
{
	curl_off_t	total = 0;
	curl_off_t	opened = 0;

	curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total);
	curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &opened);
	return (total - opened) / 1000.0;
}

static void
finish_call(AgentCall *call, CURLcode code)
{
	long		status = 0;
	json_error_t err;

	call->done = true;
	if (code != CURLE_OK)
	{
		call->sent = !certainly_unsent(call, code);
		describe_failure(call, code);
		return;
	}
	curl_easy_getinfo((CURL *) call->easy, CURLINFO_RESPONSE_CODE, &status);
	call->status = (int) status;
	call->ms = time_of((CURL *) call->easy);
	call->body = json_loadb(call->answer ? call->answer : "", call->answer_len, 0, &err);
	if (call->body == NULL || !json_is_object(call->body))
	{
		json_decref(call->body);
		call->body = NULL;
		snprintf(call->error, sizeof(call->error), "the answer (status %ld) is not a JSON object", status);
	}
	else if (status != 200)
		describe_refusal(call);
}

/* Moves every transfer that can move. Never waits. */
void
agents_advance(void)
{
	int			running;
	int			left;
	CURLMsg    *msg;

	if (curl_due != 0 && now_us() >= curl_due)
	{
		curl_due = 0;
		curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	while ((msg = curl_multi_info_read(multi, &left)) != NULL)
	{
		AgentCall  *call = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **) &call);
		finish_call(call, msg->data.result);
	}
}

static void
rebuild_wait_set(void)
{
	int			i;

	if (wait_set != NULL)
		FreeWaitEventSet(wait_set);
	wait_set = compat_create_wait_event_set(MAX_SOCKETS + 2);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (i = 0; i < nwatched; i++)
		AddWaitEventToSet(wait_set, watched[i].events, watched[i].fd, NULL, NULL);
	watched_changed = false;
}

/* The worker's only wait: latch, postmaster, agents' sockets, at most nap_ms. */
void
agents_wait(long nap_ms)
{
	WaitEvent	events[8];
	int			n;
	int			i;
	int			running;

	if (curl_due != 0)
	{
		long		until = (long) ((curl_due - now_us() + 999) / 1000);

		nap_ms = Max(0, Min(nap_ms, until));
	}
	if (watched_changed || wait_set == NULL)
		rebuild_wait_set();
	n = WaitEventSetWait(wait_set, nap_ms, events, lengthof(events), worker_wait_event());
	for (i = 0; i < n; i++)
	{
		int			flags = 0;

		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (events[i].fd == PGINVALID_SOCKET || !(events[i].events & WL_SOCKET_MASK))
			continue;
		if (events[i].events & WL_SOCKET_READABLE)
			flags |= CURL_CSELECT_IN;
		if (events[i].events & WL_SOCKET_WRITEABLE)
			flags |= CURL_CSELECT_OUT;
		curl_multi_socket_action(multi, events[i].fd, flags, &running);
	}
}
