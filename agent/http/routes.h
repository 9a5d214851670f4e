/*
 * routes.h
 *		The table of routes: method, path, who may call, handler.
 *
 * The credentials that a route needs are part of the table, and the default is to refuse. What anyone or a monitor
 * may see is answered from the state of the node that a sampler refreshes (core/nodestate.h), so a request costs no
 * query.
 */
#ifndef PINGPONG_AGENT_HTTP_ROUTES_H
#define PINGPONG_AGENT_HTTP_ROUTES_H

#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>

#include "agent/core/text.h"
#include "agent/http/access.h"
#include "agent/http/answer.h"
#include "common/names.h"

typedef struct Request
{
	struct MHD_Connection *connection;
	const struct Route *route;
	char		run[PINGPONG_KEY_MAX + 1];	/* of a path with a key */
	char		step[PINGPONG_KEY_MAX + 1];
	Text		body;
	bool		too_large;
	bool		stranger;		/* needs no credentials, and has shown none */
} Request;

typedef void (*RouteHandler) (Request *request, Answer *answer);

typedef struct Route
{
	const char *methods;		/* a blank separates them */
	const char *path;			/* "*" stands for one part */
	RouteAccess access;
	RouteHandler handler;
} Route;

/* Puts run and step of the path into the request; NULL: there is no such route, or only with another method. */
extern const Route *route_find(const char *method, const char *path, Request *request, bool *other_method);

#endif							/* PINGPONG_AGENT_HTTP_ROUTES_H */
