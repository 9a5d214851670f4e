/*
 * own.h
 *		The alerts that this agent raises itself: a short list, kept in state_dir/alerts.json.
 *
 * It is written before anything is sent, and again when that was delivered: a restart of the agent loses none. Only
 * one that was delivered and not noted yet is delivered again, under the same id. Any thread may call these.
 */
#ifndef PINGPONG_AGENT_ALERT_OWN_H
#define PINGPONG_AGENT_ALERT_OWN_H

#include <jansson.h>
#include <stdbool.h>

#define OWN_MAX 64				/* alerts; a further one is not raised, and logged */

/* Reads the list of an earlier life. */
extern void own_start(const char *state_dir);

/* Raises an alert, unless it is open. Takes `message` (message_new) over. */
extern void own_raise(json_t *message);

/* Clears it, if it is open. One that was never delivered is forgotten: nobody has to be told of its end. */
extern void own_clear(const char *rule, const char *subject);

extern bool own_is_open(const char *rule, const char *subject);

/*
 * A message that is to be delivered, a new reference; NULL: none. skip: so many of them are passed over. One that is
 * open is due again repeat_ms after it was sent (0: never).
 */
extern json_t *own_due(int skip, double repeat_ms);

/* It was delivered, in the state that it has. */
extern void own_sent(const json_t *message);

#endif							/* PINGPONG_AGENT_ALERT_OWN_H */
