/*
 * roster.h
 *		The nodes of the cluster as this host's database has told them last: kept in state_dir/nodes.json, because
 *		they are needed when the database is down.
 */
#ifndef PINGPONG_AGENT_ALERT_ROSTER_H
#define PINGPONG_AGENT_ALERT_ROSTER_H

#include <jansson.h>

/* Reads what an earlier life has known. */
extern void roster_start(const char *state_dir);

/* The rows [{"name", "agent_url", "host", "port", "away"}], by name; stored if they have changed. Takes them over. */
extern void roster_set(json_t *rows);

/* A copy of the rows; a new reference. Empty: not known. */
extern json_t *roster_get(void);

#endif							/* PINGPONG_AGENT_ALERT_ROSTER_H */
