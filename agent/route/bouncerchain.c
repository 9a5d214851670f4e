/*
 * bouncerchain.c
 *		The files that PgBouncer reads.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/route/bouncerchain.h"
#include "agent/route/bouncerfile.h"
#include "agent/route/bouncerini.h"

#define INCLUDE_MAX 10			/* PgBouncer's own limit */

typedef struct Walk
{
	struct stat wanted;
	bool		have_wanted;
	json_t	   *ours;			/* databases of the file, read so far */
	char		section[64];	/* PgBouncer goes on in it, into an included file and out of it */
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
note_entry(Walk *walk, const BouncerScan *scan, const char *path, bool ours)
{
	BouncerChain *chain = walk->chain;
	char	   *name = bouncer_key(scan);

	if (strcmp(name, "*") == 0)
	{
		free(chain->star);
		chain->star = strndup(scan->value, scan->value_len);
	}
	if (ours)
	{
		json_object_set_new(walk->ours, name, json_true());
		json_object_del(chain->shadowed, name);
	}
	else if (json_object_get(walk->ours, name))
		json_object_set_new(chain->shadowed, name, json_string(path));
	free(name);
}

static void
look_at_text(Walk *walk, const char *path, const char *text, bool ours, int depth)
{
	BouncerScan scan = {.at = text};
	BouncerToken token;

	for (;;)
	{
		scan.section = walk->section[0] ? walk->section : NULL;
		scan.section_len = strlen(walk->section);
		token = bouncer_scan(&scan);
		if (token == BOUNCER_SECTION)
			snprintf(walk->section, sizeof(walk->section), "%.*s", (int) scan.section_len, scan.section);
		else if (token == BOUNCER_INCLUDE)
			follow(walk, &scan, depth);
		else if (token == BOUNCER_ENTRY)
		{
			if (bouncer_in_databases(&scan))
				note_entry(walk, &scan, path, ours);
		}
		else
			break;
	}
	if (token == BOUNCER_ERROR)
		trouble(walk->chain, true, "PgBouncer cannot read \"%s\", line %d", path, bouncer_bad_line(text));
}

static void
look_at_file(Walk *walk, const char *path, int depth)
{
	BouncerChain *chain = walk->chain;
	struct stat st;
	char		why[512];
	char	   *text;
	bool		ours;

	/* a relative name is relative to wherever PgBouncer was started */
	if (path[0] != '/')
	{
		chain->complete = false;
		trouble(chain, false, "the agent cannot tell where \"%s\" is: the name is relative", path);
		return;
	}
	ours = walk->have_wanted && stat(path, &st) == 0 &&
		st.st_dev == walk->wanted.st_dev && st.st_ino == walk->wanted.st_ino;
	chain->included |= ours;
	if (bouncer_file_read(path, &text, why, sizeof(why)) < 0)
	{
		chain->complete = false;
		trouble(chain, false, "the agent %s", why);
		return;
	}
	look_at_text(walk, path, text, ours, depth);
	free(text);
}

void
bouncer_chain_look(const char *main_file, const char *file, BouncerChain *chain)
{
	Walk		walk = {.chain = chain};

	memset(chain, 0, sizeof(*chain));
	walk.ours = json_object();
	chain->shadowed = json_object();
	chain->complete = true;
	walk.have_wanted = stat(file, &walk.wanted) == 0;
	look_at_file(&walk, main_file, 0);
	json_decref(walk.ours);
	if (chain->complete && !chain->included)
		trouble(chain, false, "\"%s\" does not include \"%s\"", main_file, file);
}

void
bouncer_chain_free(BouncerChain *chain)
{
	free(chain->star);
	json_decref(chain->shadowed);
	memset(chain, 0, sizeof(*chain));
}
