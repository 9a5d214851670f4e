/*
 * message.h
 *		What is sent of an alert: its body and its signature. Pure functions, tested by test/unit_alerts.c.
 */
#ifndef PINGPONG_AGENT_ALERT_MESSAGE_H
#define PINGPONG_AGENT_ALERT_MESSAGE_H

#include <jansson.h>

#define SIGNATURE_MAX 72		/* "sha256=", 64 digits, NUL */

/* A moment (CLOCK_REALTIME, ms) as ISO 8601 in UTC, as PostgreSQL writes it in JSON. */
extern json_t *message_moment(double ms);

/*
 * The message of an alert that an agent has raised itself. "key" is the same for all agents and all times that this
 * happens to that subject, "id" is of this time.
 */
extern json_t *message_new(const char *rule, const char *severity, const char *node, const char *subject,
						   double since_ms, double raised_ms);

/* What is sent of it, malloc'd: with the cluster and the sender. `message` is not changed. */
extern char *message_body(const json_t *message, const char *cluster, const char *sender, double now_ms);

/* HMAC-SHA256 of the body as "sha256=HEX". */
extern void message_sign(const char *secret, const char *body, char *to);

#endif							/* PINGPONG_AGENT_ALERT_MESSAGE_H */
