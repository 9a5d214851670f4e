/*
 * drivers.h
 *		The route drivers that there are.
 */
#ifndef PINGPONG_AGENT_ROUTE_DRIVERS_H
#define PINGPONG_AGENT_ROUTE_DRIVERS_H

#include "agent/route/driver.h"

/* The n-th, from 0; NULL after the last one. */
extern const RouteDriver *driver_at(int n);

/* NULL: there is none of that name. */
extern const RouteDriver *driver_find(const char *name);

/* The kinds of sections that drivers read; ends with one without a name. */
extern const ConfigKind *driver_sections(void);

/* Each of them starts. */
extern void drivers_start(void);

/* What the endpoints of all drivers say: a list of what observe gives, with "driver" and "endpoint". */
extern json_t *drivers_observe(ActionContext *ctx);

#endif							/* PINGPONG_AGENT_ROUTE_DRIVERS_H */
