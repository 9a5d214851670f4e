/*
 * bouncerini.h
 *		PgBouncer's configuration as text: its entries, where a database points, a line changed in its place.
 *
 * Pure functions, tested by test/unit.c. The rules are those of PgBouncer's own parser (the same from 1.18 to 1.26):
 * a value goes to the end of its line and is trimmed; comments are lines of their own, after ";" or "#"; text may go
 * on after "[section]"; of two lines for a database, and of two values for a key, the last one counts; within a value
 * only the blank separates, and '..' keeps blanks, with '' for a quote.
 *
 * Entries before the first section count as databases: an included file goes on in the section of its includer.
 */
#ifndef PINGPONG_AGENT_ROUTE_BOUNCERINI_H
#define PINGPONG_AGENT_ROUTE_BOUNCERINI_H

#include <stdbool.h>
#include <stddef.h>

#define BOUNCER_DEFAULT_PORT 5432

typedef enum BouncerToken
{
	BOUNCER_END, BOUNCER_ERROR, BOUNCER_SECTION, BOUNCER_ENTRY, BOUNCER_INCLUDE
} BouncerToken;

/* What was found; points into the text.  Begin with {.at = text}. */
typedef struct BouncerScan
{
	const char *at;				/* where to go on; at an error: where it is */
	const char *section;		/* NULL: none yet */
	size_t		section_len;
	const char *key;			/* of an entry, as it is in the file */
	size_t		key_len;
	const char *value;			/* of an entry; the path of an include */
	size_t		value_len;
} BouncerScan;

extern BouncerToken bouncer_scan(BouncerScan *scan);

/* Is the entry a database?  Its name, unquoted, malloc'd. */
extern bool bouncer_in_databases(const BouncerScan *scan);
extern char *bouncer_key(const BouncerScan *scan);

/* The number of the first line that PgBouncer cannot read; 0: there is none. */
extern int	bouncer_bad_line(const char *text);

/* What is right of "name =", malloc'd; NULL: the text has no such database.  "*" is a name like others. */
extern char *bouncer_entry(const char *text, const char *name);

/*
 * The value of a key in what is right of "name =", unquoted, malloc'd; NULL: it is not set, or this is no list of
 * keys.
 */
extern char *bouncer_value(const char *entry, const char *key);
extern bool bouncer_entry_valid(const char *entry);

/* A database that is to point to another place */
typedef struct BouncerDatabase
{
	const char *name;
	const char *extra;			/* settings of a new line */
	const char *line;			/* begin with NULL */
} BouncerDatabase;

/*
 * The text with host and port of these databases replaced, and nothing else, malloc'd.  One without a line gets one,
 * with the settings of the "*" line that served it, and with `extra` where those say nothing.  The list is sorted by
 * it.  NULL: a line (that of the database *failed), or the text, cannot be read.
 */
extern char *bouncer_repoint(const char *text, BouncerDatabase *databases, int n, const char *host, int port,
							 const char **failed);

/*
 * The text with a database without a real server, and without all such; malloc'd, NULL as above, or no database is
 * there.
 */
extern char *bouncer_with_probe(const char *text, const char *probe);
extern char *bouncer_without_probes(const char *text);

#define BOUNCER_PROBE_PREFIX "pingpong_probe_"

extern bool bouncer_name_valid(const char *name);	/* PgBouncer can read it in front of "=" */
extern bool bouncer_extra_valid(const char *text);	/* key=value, only keys that lead nowhere else */
extern bool bouncer_text_valid(const char *text);	/* nothing that would break out of a line */

#endif							/* PINGPONG_AGENT_ROUTE_BOUNCERINI_H */
