/*
 * message.c
 *		What is sent of an alert: its body and its signature.
 */
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/alert/message.h"
#include "agent/core/alloc.h"

json_t *
message_moment(double ms)
{
	time_t		seconds = (time_t) (ms / 1000);
	struct tm	tm;
	char		day[32];
	char		text[48];

	gmtime_r(&seconds, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03d+00:00", day, (int) (ms - (double) seconds * 1000));
	return json_string(text);
}

json_t *
message_new(const char *rule, const char *severity, const char *node, const char *subject, double since_ms,
			double raised_ms)
{
	char	   *id = xasprintf("%s/%s/%lld", rule, subject, (long long) raised_ms);
	char	   *key = xasprintf("%s/%s", rule, subject);
	json_t	   *message = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:n, s:s}", "id", id, "key", key,
									"node", node, "alert", rule, "severity", severity, "subject", subject,
									"since", message_moment(since_ms), "cleared_at", "state", "raised");

	free(key);
	free(id);
	return message;
}

char *
message_body(const json_t *message, const char *cluster, const char *sender, double now_ms)
{
	json_t	   *body = json_copy((json_t *) message);
	char	   *text;

	json_object_set_new(body, "cluster", json_string(cluster));
	json_object_set_new(body, "sent_by", json_string(sender));
	json_object_set_new(body, "sent_at", message_moment(now_ms));
	text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(body);
	return text;
}

void
message_sign(const char *secret, const char *body, char *to)
{
	unsigned char digest[32];

	gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret, strlen(secret), body, strlen(body), digest);
	to += sprintf(to, "sha256=");
	for (size_t i = 0; i < sizeof(digest); i++)
		to += sprintf(to, "%02x", digest[i]);
}
