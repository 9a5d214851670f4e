/*
 * stage.c
 *		The version of PgBouncer's file that a run is going to need, made before its blackout.
 *
 * All routes of a run that share a file share one version. The first commit puts it in place, and the others find
 * their lines there. It counts only while the file is the one that it was made from: if a person edits the file
 * meanwhile, the edit stays and the version is made again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/config.h"
#include "agent/core/log.h"
#include "agent/route/bouncerfile.h"
#include "agent/route/bouncerini.h"
#include "agent/route/endpoint.h"
#include "agent/route/stage.h"

char *
stage_text(json_t *databases, const char *text, const char *host, int port, char *why, size_t why_size)
{
	BouncerDatabase *list = xalloc(sizeof(BouncerDatabase) * (json_object_size(databases) + 1));
	const char *failed;
	const char *name;
	json_t	   *extra;
	char	   *next;
	int			n = 0;

	json_object_foreach(databases, name, extra)
		list[n++] = (BouncerDatabase) {name, json_string_value(extra), NULL};
	next = bouncer_repoint(text, list, n, host, port, &failed);
	if (!next && failed)
		snprintf(why, why_size, "the line of database \"%s\" cannot be read", failed);
	else if (!next)
		snprintf(why, why_size, "line %d of the file cannot be read", bouncer_bad_line(text));
	free(list);
	return next;
}

static void
forget(Stage *stage)
{
	free(stage->run);
	free(stage->host);
	free(stage->base);
	json_decref(stage->databases);
	memset(stage, 0, sizeof(*stage));
}

void
stage_drop(Endpoint *endpoint, const BouncerConfig *bouncer)
{
	forget(&endpoint->stage);
	bouncer_file_discard(bouncer->file);
}

int
stage_make(Order *order, const char *run, const char *text, const char *host, int port, char *why, size_t why_size)
{
	Stage	   *stage = &order->endpoint->stage;
	char	   *next;
	int			rc = -1;

	if (!stage->run || strcmp(stage->run, run) != 0 || strcmp(stage->host, host) != 0 || stage->port != port)
	{
		stage_drop(order->endpoint, order->bouncer);
		stage->run = xstrdup(run);
		stage->host = xstrdup(host);
		stage->port = port;
		stage->databases = json_object();
	}
	json_object_update(stage->databases, order->databases);
	free(stage->base);
	stage->base = xstrdup(text);
	next = stage_text(stage->databases, text, host, port, why, why_size);
	if (next)
		rc = bouncer_file_stage(order->bouncer->file, next, why, why_size);
	if (rc < 0)
		stage_drop(order->endpoint, order->bouncer);
	free(next);
	return rc;
}

bool
stage_use(Order *order, const char *text, const char *host, int port)
{
	Stage	   *stage = &order->endpoint->stage;
	char		why[512];
	const char *name;
	json_t	   *unused;

	if (!stage->run || strcmp(stage->host, host) != 0 || stage->port != port || strcmp(stage->base, text) != 0)
		return false;
	json_object_foreach(order->databases, name, unused)
		if (!json_object_get(stage->databases, name))
			return false;
	if (bouncer_file_swap(order->bouncer->file, why, sizeof(why)) < 0)
	{
		log_warning("PgBouncer \"%s\": the prepared file is made anew: %s", order->bouncer->name, why);
		return false;
	}
	forget(stage);
	return true;
}
