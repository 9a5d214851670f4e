/*
 * bouncerorder.h
 *		What the orders to a PgBouncer have in common: pgbouncer.c and bouncerprepare.c.
 */
#ifndef PINGPONG_AGENT_BOUNCERORDER_H
#define PINGPONG_AGENT_BOUNCERORDER_H

#include "agent/endpoint.h"

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

/* smoke.c: a statement through the pooler that must give true; -1: the job has failed. */
extern int	smoke_test(ActionContext *ctx, const BouncerConfig *bouncer, const char *sql, int timeout_ms);

/* A statement on the control connection; NULL: the job has failed.  The lock is held. */
extern PGresult *order_control(ActionContext *ctx, Order *order, const char *sql);

/*
 * The staged version of the file.  stage_make(): for this order and all earlier ones of its run; stage_use(): was it
 * put in place (else it is not for what is asked, or not for this text).  The lock is held.
 */
extern int	stage_make(Order *order, const char *run, const char *text, const char *host, int port, char *why,
					   size_t why_size);
extern bool stage_use(Order *order, const char *text, const char *host, int port);
extern void stage_drop(Endpoint *endpoint, const BouncerConfig *bouncer);

/*
 * The text with all databases of the order leading to the place, malloc'd; NULL: one of its lines cannot be read
 * (why).
 */
extern char *stage_text(json_t *databases, const char *text, const char *host, int port, char *why, size_t why_size);

#endif							/* PINGPONG_AGENT_BOUNCERORDER_H */
