/*
 * driver.h
 *		What a router is to a run: the interface of route drivers.
 *
 * A driver is one file and one word below.  The worker speaks of routes, endpoints
 * and databases, and knows no router.  Every function but start, check and valid is that of
 * an action (action.h): repeatable, and with the parameters "endpoint" and "databases"
 * ({"name": "settings of a new line"}).  One that is NULL has nothing to do.
 *
 *		observe		where does each database point, and who is connected?  Changes nothing.
 *					{"version", "databases": [{"name", "host", "port"}], ...}, or {"error"}.  One that
 *					points nowhere has no host.  A driver that can point to several says "several": true,
 *					and of each database "places": [{"host", "port"}]
 *		prepare		before writes stop: whatever stands against the move ends the run here.  Also
 *					"host", "port": where it will point, "smoke": a statement that must give true.
 *					{"databases": {"name": {"held_by": "router" or "gate"}}}
 *		hold		clients wait, and their transactions end.  Also "resume_after_ms": it ends by
 *					itself then, whatever dies; "patience_ms", "ignore": processes that are not waited
 *					for.  {"complete": are all through?}
 *		commit		the databases point to "host", "port", and clients that were held go on there.  That
 *					it is so was looked at.  Also without prepare and hold.  "places" may name several
 *					([{"host", "port"}], the first is "host" and "port").  "kind" is the route's, rw or ro
 *		release		clients that were held go on where they were; removes what prepare has left
 *		smoke		the statement "smoke" through the router must give true
 */
#ifndef PINGPONG_AGENT_ROUTE_DRIVER_H
#define PINGPONG_AGENT_ROUTE_DRIVER_H

#include <stdbool.h>

#include "agent/core/config.h"
#include "agent/job/action.h"

typedef struct RouteDriver
{
	const char *name;			/* in pingpong.route, and of its sections: [NAME.ENDPOINT] */
	void		(*start) (void);	/* once, when the agent starts: what an earlier run of the agent has left */
	/* NULL: config.c knows its sections */
	bool		(*valid) (const ConfigSection *section, char *error, size_t error_size);
	void		(*check) (const ConfigSection *section, CheckSay say);	/* for --check */
	ActionFunction observe;
	ActionFunction prepare;
	ActionFunction hold;
	ActionFunction commit;
	ActionFunction release;
	ActionFunction smoke;
} RouteDriver;

/* All of them, each of its file. */
#define ROUTE_DRIVERS(driver) \
	driver(pgbouncer_driver) driver(haproxy_driver) driver(address_driver) \
	driver(tailscale_driver) driver(command_driver)

#define DECLARE_DRIVER(name) extern const RouteDriver name;
ROUTE_DRIVERS(DECLARE_DRIVER)

#endif							/* PINGPONG_AGENT_ROUTE_DRIVER_H */
