/*
 * bouncerchain.c
 *		The files that PgBouncer reads.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/agent.h"
#include "agent/bouncerchain.h"
#include "agent/bouncerfile.h"
#include "agent/bouncerini.h"

#define INCLUDE_MAX 10			/* PgBouncer's own limit */

typedef struct Walk
{
	struct stat wanted;
	bool		have_wanted;
	BouncerChain *chain;
} Walk;

static void look_at_file(Walk *walk, const char *path, int depth);

/* The first one stays, but what PgBouncer cannot read goes before what we cannot tell. */
static void __attribute__((format(printf, 3, 4)))
trouble(BouncerChain *chain, bool broken, const char *format,...)
{
	va_list		args;

	if (chain->trouble[0] && (chain->broken || !broken))
		return;
	va_start(args, format);
	vsnprintf(chain->trouble, sizeof(chain->trouble), format, args);
	va_end(args);
	chain->broken = broken;
}

static void
follow(Walk *walk, const BouncerScan *scan, int depth)
{
	char	   *path = strndup(scan->value, scan->value_len);

	if (depth == INCLUDE_MAX)
		trouble(walk->chain, true, "\"%s\" is included too deep", path);
	else
		look_at_file(walk, path, depth + 1);
	free(path);
}

static void
look_at_text(Walk *walk, const char *path, const char *text, int depth)
{
	BouncerChain *chain = walk->chain;
	BouncerScan scan = {.at = text};
	BouncerToken token;
	char	   *star = bouncer_entry(text, "*");

	if (star)
	{
		free(chain->star);
		chain->star = star;
	}
	while ((token = bouncer_scan(&scan)) != BOUNCER_END && token != BOUNCER_ERROR)
		if (token == BOUNCER_INCLUDE)
			follow(walk, &scan, depth);
	if (token == BOUNCER_ERROR)
		trouble(chain, true, "PgBouncer cannot read \"%s\", line %d", path, bouncer_bad_line(text));
}

static void
look_at_file(Walk *walk, const char *path, int depth)
{
	BouncerChain *chain = walk->chain;
	struct stat st;
	char		why[512];
	char	   *text;

	/* a relative name is relative to wherever PgBouncer was started */
	if (path[0] != '/')
	{
		chain->complete = false;
		trouble(chain, false, "the agent cannot tell where \"%s\" is: the name is relative", path);
		return;
	}
	if (walk->have_wanted && stat(path, &st) == 0 && st.st_dev == walk->wanted.st_dev && st.st_ino == walk->wanted.st_ino)
		chain->included = true;
	if (bouncer_file_read(path, &text, why, sizeof(why)) < 0)
	{
		chain->complete = false;
		trouble(chain, false, "the agent %s", why);
		return;
	}
	look_at_text(walk, path, text, depth);
	free(text);
}

void
bouncer_chain_look(const char *main_file, const char *file, BouncerChain *chain)
{
	Walk		walk = {.chain = chain};

	memset(chain, 0, sizeof(*chain));
	chain->complete = true;
	walk.have_wanted = stat(file, &walk.wanted) == 0;
	look_at_file(&walk, main_file, 0);
	if (chain->complete && !chain->included)
		trouble(chain, false, "\"%s\" does not include \"%s\"", main_file, file);
}

void
bouncer_chain_free(BouncerChain *chain)
{
	free(chain->star);
	chain->star = NULL;
}
