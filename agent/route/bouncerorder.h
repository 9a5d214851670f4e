/*
 * bouncerorder.h
 *		What the orders to a PgBouncer have in common: what they begin with, and how they let clients go on.
 */
#ifndef PINGPONG_AGENT_ROUTE_BOUNCERORDER_H
#define PINGPONG_AGENT_ROUTE_BOUNCERORDER_H

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/job/action.h"
#include "agent/route/endpoint.h"

/* What each of the four actions begins with */
typedef struct Order
{
	const BouncerConfig *bouncer;
	Endpoint   *endpoint;
	json_t	   *databases;		/* names, each with the settings of a new line; borrowed from the parameters */
	int64_t		timeout_ms;
	double		deadline;		/* monotonic; counts from the moment that the endpoint is ours */
} Order;

/* 0, or the job has failed. */
extern int	order_read(ActionContext *ctx, json_t *params, Order *order);

/* Takes the endpoint's lock, which another order may hold for its whole time. */
extern void order_lock(Order *order);

/* Host and port of the parameters, where they are well formed; false: they are not, or are missing. */
extern bool order_place(json_t *params, const char **host, int *port);

/* A statement on the control connection; NULL: the job has failed.  The lock is held. */
extern PGresult *order_control(ActionContext *ctx, Order *order, const char *sql);

/* RESUME of its databases. What fails stays marked: the guard tries again at the deadline. The lock is held. */
extern int	order_release(const AgentConfig *config, Order *order, char *error, size_t error_size);

/* Its databases go on: they are not paused any more. The lock is held. */
extern void order_end_databases(const AgentConfig *config, Order *order);

#endif							/* PINGPONG_AGENT_ROUTE_BOUNCERORDER_H */
