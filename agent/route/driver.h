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
 *					points nowhere has no host.
 *					"brief": true asks for no more than that: it comes every few seconds, and
 *					must be cheap and end soon, also where the router hangs.  A driver that can
 *					lead a database to several servers adds "several": true, and to a database
 *					that points to several "places": [{"host", "port"}, ...], in any order
 *		prepare		before writes stop: whatever stands against the move ends the run here.  Also
 *					"host", "port": where it will point, "smoke": a statement that must give true.
 *					{"databases": {"name": {"held_by": "router" or "gate"}}}.  Where one endpoint of
 *					the route is the place and the others are not, "here": is it this one?  A run
 *					does not begin where none says so, or two
 *		hold		clients wait, and their transactions end.  Also "resume_after_ms": it ends by
 *					itself then, whatever dies; "patience_ms", "ignore": processes that are not waited
 *					for.  {"complete": are all through?}
 *		commit		the databases point to "host", "port", and clients that were held go on there.  That
 *					it is so was looked at.  Also without prepare and hold.  "kind" is the
 *					route's, rw or ro.  "serves": false where clients do not reach the new place
 *					by this endpoint now.  Those of one endpoint come one after the other, and none
 *					behind one of a newer epoch
 *
 *					prepare and commit of a route that is spread also carry "places":
 *					[{"host", "port"}, ...], two or more, of which "host" and "port" are the first.
 *					The databases then point to these and to no other server.  Where there is no
 *					"places", they point to "host" and "port" alone: what commit named before is
 *					forgotten.  Only a driver with `several` is given such an order
 *					"careful" comes with a commit that nobody has asked for: where it would also
 *					carry out what a person has begun and not ended at the router, it fails (55000)
 *					and changes nothing.  {"name": {"host", "port"}}: where databases of other
 *					routes there belong, which may be carried out
 *		release		clients that were held go on where they were; removes what prepare has left
 *		smoke		the statement "smoke" through the router must give true; "database": in that
 *					database, not in that of the login which the agent knows.  42704: it knows none
 */
#ifndef PINGPONG_AGENT_ROUTE_DRIVER_H
#define PINGPONG_AGENT_ROUTE_DRIVER_H

#include <stdbool.h>

#include "agent/core/config.h"
#include "agent/job/action.h"

typedef struct RouteDriver
{
	const char *name;			/* in pingpong.route, and of its sections: [NAME.ENDPOINT] */
	bool		several;		/* it can lead a database to several servers: takes "places" */
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
