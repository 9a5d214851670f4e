/*
 * rights.h
 *		May this process stop and start the server, as it is managed here?
 */
#ifndef PINGPONG_AGENT_PG_RIGHTS_H
#define PINGPONG_AGENT_PG_RIGHTS_H

#include "agent/core/config.h"

typedef enum RightsVerdict
{
	RIGHTS_YES,					/* tried by the manager's own means */
	RIGHTS_NO,
	RIGHTS_UNKNOWN				/* it cannot be tried without stopping the server */
} RightsVerdict;

/* Nothing is stopped or started.  The reason is one line, for all three. */
extern RightsVerdict rights_of_control(const PgInstance *pg, char *why, size_t size);

/* The service of systemd that a process belongs to, malloc'd; NULL: none, or it is not known. */
extern char *rights_unit_of(int pid);

#endif							/* PINGPONG_AGENT_PG_RIGHTS_H */
