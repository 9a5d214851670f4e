/*
 * conninfo.h
 *		Connection strings as text; nothing connects.  All results are malloc'd, NULL: cannot be parsed.
 */
#ifndef PINGPONG_AGENT_CORE_CONNINFO_H
#define PINGPONG_AGENT_CORE_CONNINFO_H

/* base with host and port replaced; application_name set if given; then what base lacks from defaults. */
extern char *conninfo_merge(const char *base, const char *defaults, const char *host, const char *port,
							const char *application_name);
extern char *conninfo_without(const char *conninfo, const char *keyword);
extern char *conninfo_get(const char *conninfo, const char *keyword);

#endif							/* PINGPONG_AGENT_CORE_CONNINFO_H */
