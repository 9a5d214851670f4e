/*
 * etcd.c
 *		etcd's key-value store, by its JSON gateway.
 *
 * Keys and values travel in base64, 64-bit numbers as strings; what is zero or empty may be missing.
 */
#include <gnutls/gnutls.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/arbiter/etcd.h"
#include "agent/core/alloc.h"
#include "agent/core/call.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/text.h"

#define ANSWER_MAX (64 * 1024)
#define PASSWORD_MAX 1024
#define MEMBERS_MAX 16

static const char *const options[] = {"url", "user", "password_file", "ca_file", "timeout_ms", NULL};

/* A question, to one member after the other. */
typedef struct Question
{
	const ConfigSection *section;
	double		deadline;		/* clock_monotonic_ms() */
	char	   *token;			/* of a session with a user; NULL: none */
	char	   *error;
	size_t		error_size;
} Question;

/* ---- configuration ---- */

static bool
option_valid(const char *key, const char *value, char *error, size_t error_size)
{
	int			i = 0;

	while (options[i] && strcmp(options[i], key) != 0)
		i++;
	if (!options[i])
		snprintf(error, error_size, "has the unknown option \"%s\"", key);
	else if (strcmp(key, "timeout_ms") == 0 && !config_number(value, 100, 5000))
		snprintf(error, error_size, "needs a number from 100 to 5000 as \"timeout_ms\"");
	else if (strstr(key, "_file") && value[0] != '/')
		snprintf(error, error_size, "needs the absolute path of a file as \"%s\"", key);
	else
		return true;
	return false;
}

static bool
urls_valid(char *const *urls)
{
	int			n = text_list_length(urls);

	for (int i = 0; i < n; i++)
		if ((strncmp(urls[i], "http://", 7) != 0 && strncmp(urls[i], "https://", 8) != 0) || strchr(urls[i], '@'))
			return false;
	return n > 0 && n <= MEMBERS_MAX;
}

bool
etcd_valid(const ConfigSection *section, char *error, size_t error_size)
{
	char	  **urls = text_split_list(config_value(section, "url") ? config_value(section, "url") : "", ',');
	bool		valid = urls_valid(urls);

	text_free_list(urls);
	if (!valid)
		snprintf(error, error_size, "needs \"url\": http:// or https:// addresses of members, separated by commas");
	else if (!config_value(section, "user") != !config_value(section, "password_file"))
		snprintf(error, error_size, "needs \"user\" and \"password_file\" together");
	else
	{
		for (int i = 0; i < section->n; i++)
			if (!option_valid(section->keys[i], section->values[i], error, error_size))
				return false;
		return true;
	}
	return false;
}

/* ---- one call ---- */

static char *
encode(const char *text)
{
	gnutls_datum_t raw = {(unsigned char *) text, (unsigned int) strlen(text)};
	gnutls_datum_t coded = {NULL, 0};
	char	   *result;

	if (gnutls_base64_encode2(&raw, &coded) < 0)
		abort();				/* no memory */
	result = xasprintf("%.*s", (int) coded.size, coded.data);
	gnutls_free(coded.data);
	return result;
}

/* False: it is no base64, or too long. */
static bool
decode(const char *text, char *to, size_t size)
{
	gnutls_datum_t coded = {(unsigned char *) text, (unsigned int) strlen(text)};
	gnutls_datum_t raw = {NULL, 0};
	bool		fine = gnutls_base64_decode2(&coded, &raw) == 0 && raw.size < size;

	if (fine)
		snprintf(to, size, "%.*s", (int) raw.size, (const char *) raw.data);
	gnutls_free(raw.data);
	return fine;
}

static struct curl_slist *
headers_of(const Question *q)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	char	   *line;

	headers = curl_slist_append(headers, "Expect:");
	if (!q->token)
		return headers;
	line = xasprintf("Authorization: %s", q->token);
	headers = curl_slist_append(headers, line);
	free(line);
	return headers;
}

/* What an answer says about its failure never holds what was sent. */
static json_t *
parse_answer(Question *q, CURLcode rc, long status, const char *text)
{
	json_t	   *json = rc == CURLE_OK && text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const char *said = json_string_value(json_object_get(json, "error"));

	if (json_is_object(json) && status == 200)
		return json;
	if (rc != CURLE_OK)
		snprintf(q->error, q->error_size, "%s", curl_easy_strerror(rc));
	else
		snprintf(q->error, q->error_size, "it answers with status %ld%s%.200s", status, said ? ": " : "",
				 said ? said : "");
	json_decref(json);
	return NULL;
}

static json_t *
call_member(Question *q, const char *member, const char *path, const char *body, int limit_ms)
{
	size_t		len = strlen(member);
	char	   *url = xasprintf("%.*s%s", (int) (len > 0 && member[len - 1] == '/' ? len - 1 : len), member, path);
	CURL	   *easy = call_new(url, config_value(q->section, "ca_file"), limit_ms);
	struct curl_slist *headers = headers_of(q);
	CallBody	answer = {.limit = ANSWER_MAX};
	long		status = 0;
	CURLcode	rc = CURLE_FAILED_INIT;
	json_t	   *json;

	if (easy)
	{
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
		call_take_body(easy, &answer);
		rc = curl_easy_perform(easy);
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_cleanup(easy);
	}
	json = parse_answer(q, rc, status, answer.text.data);
	free(answer.text.data);
	curl_slist_free_all(headers);
	free(url);
	return json;
}

/* The body is taken over. NULL: none of the members has answered. */
static json_t *
ask(Question *q, const char *path, json_t *body)
{
	char	  **members = text_split_list(config_value(q->section, "url"), ',');
	int			n = text_list_length(members);
	char	   *text = json_dumps(body, JSON_COMPACT);
	json_t	   *answer = NULL;

	for (int i = 0; i < n && !answer; i++)
	{
		int			left = (int) (q->deadline - clock_monotonic_ms());

		if (left < 1)
			snprintf(q->error, q->error_size, "no answer in time");
		else
			answer = call_member(q, members[i], path, text, left / (n - i) + 1);
	}
	free(text);
	json_decref(body);
	text_free_list(members);
	return answer;
}

/* NULL, with a reason. */
static char *
read_password(Question *q)
{
	const char *path = config_value(q->section, "password_file");
	char	   *password = file_read(path, PASSWORD_MAX, NULL);
	struct stat st;

	if (password && stat(path, &st) == 0 && (st.st_mode & 077) == 0)
	{
		password[strcspn(password, "\r\n")] = '\0';
		return password;
	}
	snprintf(q->error, q->error_size, "its password_file %s",
			 password ? "may be read by others: its mode must be 0600" : "cannot be read");
	free(password);
	return NULL;
}

/* A session of the user; true where none is needed. */
static bool
log_in(Question *q)
{
	const char *user = config_value(q->section, "user");
	char	   *password = user ? read_password(q) : NULL;
	json_t	   *answer;
	const char *token;

	if (!user || !password)
		return !user;
	answer = ask(q, "/v3/auth/authenticate", json_pack("{s:s, s:s}", "name", user, "password", password));
	free(password);
	token = json_string_value(json_object_get(answer, "token"));
	q->token = token ? xstrdup(token) : NULL;
	json_decref(answer);
	return q->token != NULL;
}

static bool
begin(Question *q, const ConfigSection *section, int limit_ms, char *error, size_t error_size)
{
	*q = (Question) {
		.section = section, .deadline = clock_monotonic_ms() + limit_ms, .error = error, .error_size = error_size
	};
	snprintf(error, error_size, "it gives no session to its user");
	return log_in(q);
}

/* ---- reading ---- */

static json_t *
key_of(const EtcdPair *pair)
{
	char	   *coded = encode(pair->key);
	json_t	   *key = json_string(coded);

	free(coded);
	return key;
}

static int64_t
number(json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? strtoll(text, NULL, 10) : 0;
}

static bool
take_pair(json_t *response, EtcdPair *pair)
{
	json_t	   *kv = json_array_get(json_object_get(json_object_get(response, "response_range"), "kvs"), 0);
	const char *value = json_string_value(json_object_get(kv, "value"));

	pair->value[0] = '\0';
	pair->revision = number(kv, "mod_revision");
	return !kv || (pair->revision > 0 && value && decode(value, pair->value, sizeof(pair->value)) && pair->value[0]);
}

EtcdEnd
etcd_read(const ConfigSection *section, EtcdPair *pairs, int n, int limit_ms, char *error, size_t error_size)
{
	Question	q;
	json_t	   *ranges = json_array();
	json_t	   *answer = NULL;
	json_t	   *responses;
	bool		fine;

	for (int i = 0; i < n; i++)
		json_array_append_new(ranges, json_pack("{s:{s:o}}", "request_range", "key", key_of(&pairs[i])));
	if (begin(&q, section, limit_ms, error, error_size))
		answer = ask(&q, "/v3/kv/txn", json_pack("{s:O}", "success", ranges));
	responses = json_object_get(answer, "responses");
	fine = json_array_size(responses) == (size_t) n;
	for (int i = 0; fine && i < n; i++)
		fine = take_pair(json_array_get(responses, i), &pairs[i]);
	if (answer && !fine)
		snprintf(error, error_size, "its answer cannot be understood");
	json_decref(answer);
	json_decref(ranges);
	free(q.token);
	return fine ? ETCD_DONE : ETCD_SILENT;
}

/* ---- writing ---- */

/* NULL: no answer. */
static char *
grant(Question *q, int ttl_s)
{
	char		text[16];
	json_t	   *answer;
	const char *lease;
	char	   *result;

	snprintf(text, sizeof(text), "%d", ttl_s);
	answer = ask(q, "/v3/lease/grant", json_pack("{s:s}", "TTL", text));
	lease = json_string_value(json_object_get(answer, "ID"));
	result = lease ? xstrdup(lease) : NULL;
	json_decref(answer);
	return result;
}

/* NULL: its lease could not be had. */
static json_t *
request_of(Question *q, const EtcdPair *pair, const EtcdChange *change)
{
	char	   *lease = NULL;
	char	   *coded;
	json_t	   *put;

	if (!change->value[0])
		return json_pack("{s:{s:o}}", "request_delete_range", "key", key_of(pair));
	if (change->ttl_s > 0 && !(lease = grant(q, change->ttl_s)))
		return NULL;
	coded = encode(change->value);
	put = json_pack("{s:o, s:s}", "key", key_of(pair), "value", coded);
	if (lease)
		json_object_set_new(put, "lease", json_string(lease));
	free(coded);
	free(lease);
	return json_pack("{s:o}", "request_put", put);
}

static json_t *
unchanged(const EtcdPair *pair)
{
	char		revision[32];

	snprintf(revision, sizeof(revision), "%lld", (long long) pair->revision);
	return json_pack("{s:o, s:s, s:s, s:s}", "key", key_of(pair), "target", "MOD", "result", "EQUAL",
					 "mod_revision", revision);
}

EtcdEnd
etcd_write(const ConfigSection *section, const EtcdPair *pairs, const EtcdChange *changes, int n, int limit_ms,
		   char *error, size_t error_size)
{
	Question	q;
	json_t	   *compare = json_array();
	json_t	   *requests = json_array();
	json_t	   *answer = NULL;
	bool		fine = begin(&q, section, limit_ms, error, error_size);
	EtcdEnd		end;

	for (int i = 0; fine && i < n; i++)
	{
		json_t	   *request = changes[i].changes ? request_of(&q, &pairs[i], &changes[i]) : NULL;

		fine = request || !changes[i].changes;
		json_array_append_new(compare, unchanged(&pairs[i]));
		if (request)
			json_array_append_new(requests, request);
	}
	if (fine)
		answer = ask(&q, "/v3/kv/txn", json_pack("{s:O, s:O}", "compare", compare, "success", requests));
	end = !answer ? ETCD_SILENT : json_is_true(json_object_get(answer, "succeeded")) ? ETCD_DONE : ETCD_CHANGED;
	json_decref(answer);
	json_decref(requests);
	json_decref(compare);
	free(q.token);
	return end;
}
