/*
 * succession.h
 *		The successor of a host's main instance: the server that takes its place by an upgrade.
 *
 * [postgresql.NAME] with "successor = yes" names the folders of the new major's server before there is one. It has
 * the port, the socket folder, the logins and the control of [postgresql], since clients must find it where the old
 * one was. The file state_dir/main holds its name from the moment on in which it is the main one, so that the agent
 * needs no new configuration in the middle of an upgrade. The old one is called "former" then.
 */
#ifndef PINGPONG_AGENT_CORE_SUCCESSION_H
#define PINGPONG_AGENT_CORE_SUCCESSION_H

#include "agent/core/config.h"

/* While the configuration is read: gives each successor what it does not say itself. */
extern void succession_inherit(AgentConfig *config);

/*
 * The same, at the end: the instance that state_dir/main names becomes the main one. False: that file cannot be read,
 * or names none; to take the old server for the main one then would be a guess.
 */
extern bool succession_apply(AgentConfig *config);

/* The successor for that major of PostgreSQL; `major_of` asks its programs. NULL: none is configured. */
extern const PgInstance *succession_find(const AgentConfig *config, int major,
										 int (*major_of) (const PgInstance *pg));

/*
 * Writes the name of the successor, durably; NULL: the main one is [postgresql] again. 0, or -1 with errno. It counts
 * when the configuration is read the next time. The room that was reserved before is there on a full disk.
 */
extern int	succession_reserve(const AgentConfig *config);
extern int	succession_write(const AgentConfig *config, const char *name);

#endif							/* PINGPONG_AGENT_CORE_SUCCESSION_H */
