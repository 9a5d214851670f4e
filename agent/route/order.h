/*
 * order.h
 *		What orders to all drivers have in common.
 */
#ifndef PINGPONG_AGENT_ROUTE_ORDER_H
#define PINGPONG_AGENT_ROUTE_ORDER_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/core/config.h"
#include "agent/job/action.h"

/* The section of the order's endpoint.  NULL: none is configured, the job has failed (42704). */
extern const ConfigSection *order_section(ActionContext *ctx, json_t *params, const char *driver);

/* Does it name a place, by "host" and "port"? */
extern bool order_has_place(json_t *params);

/* It does not: the job has failed (22023).  -1 */
extern int	order_no_place(ActionContext *ctx);

#endif							/* PINGPONG_AGENT_ROUTE_ORDER_H */
