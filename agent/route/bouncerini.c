/*
 * bouncerini.c
 *		PgBouncer's configuration as text.  No I/O.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/text.h"
#include "agent/route/bouncerini.h"

#define SPACE " \t\n\v\f\r"
#define BARE_NAME "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-*"
#define NOWHERE "host=127.0.0.1 port=1"

/* ---- the parser of PgBouncer's files ---- */

/* The rest of the line without the blanks at its end. */
static void
take_value(BouncerScan *scan, const char *p)
{
	scan->value = p;
	scan->value_len = strcspn(p, "\n");
	scan->at = p + scan->value_len;
	while (scan->value_len > 0 && strchr(SPACE, p[scan->value_len - 1]))
		scan->value_len--;
}

static const char *
skip_key(const char *p)
{
	if (*p != '"')
		return p + strspn(p, BARE_NAME);
	for (p++; *p && *p != '\n'; p++)
		if (*p == '"' && *++p != '"')
			return p;
	return NULL;
}

static BouncerToken
take_entry(BouncerScan *scan)
{
	const char *p = skip_key(scan->at);

	if (!p)
		return BOUNCER_ERROR;
	scan->key = scan->at;
	scan->key_len = p - scan->key;
	p += strspn(p, " \t");
	if (*p != '=')
		return BOUNCER_ERROR;
	p++;
	take_value(scan, p + strspn(p, " \t"));
	return BOUNCER_ENTRY;
}

static BouncerToken
take_section(BouncerScan *scan)
{
	size_t		len = strcspn(scan->at + 1, "]\n");

	if (scan->at[1 + len] != ']')
		return BOUNCER_ERROR;
	scan->section = scan->at + 1;
	scan->section_len = len;
	scan->at += len + 2;
	return BOUNCER_SECTION;
}

BouncerToken
bouncer_scan(BouncerScan *scan)
{
	for (;;)
	{
		scan->at += strspn(scan->at, SPACE);
		if (*scan->at == '#' || *scan->at == ';')
			scan->at += strcspn(scan->at, "\n");
		else if (!*scan->at)
			return BOUNCER_END;
		else if (*scan->at == '[')
			return take_section(scan);
		else if (strncmp(scan->at, "%include", 8) == 0 && (scan->at[8] == ' ' || scan->at[8] == '\t'))
		{
			take_value(scan, scan->at + 8 + strspn(scan->at + 8, " \t"));
			return BOUNCER_INCLUDE;
		}
		else
			return take_entry(scan);
	}
}

int
bouncer_bad_line(const char *text)
{
	BouncerScan scan = {.at = text};
	BouncerToken token;
	int			line = 1;

	while ((token = bouncer_scan(&scan)) != BOUNCER_END)
		if (token == BOUNCER_ERROR)
		{
			for (const char *p = text; p < scan.at; p++)
				line += *p == '\n';
			return line;
		}
	return 0;
}

bool
bouncer_in_databases(const BouncerScan *scan)
{
	return !scan->section || (scan->section_len == 9 && strncmp(scan->section, "databases", 9) == 0);
}

char *
bouncer_key(const BouncerScan *scan)
{
	bool		quoted = *scan->key == '"';
	const char *end = scan->key + scan->key_len - quoted;
	Text		out = {0};

	text_add(&out, "", 0);
	for (const char *p = scan->key + quoted; p < end; p++)
	{
		text_add(&out, p, 1);
		p += quoted && *p == '"';	/* doubled */
	}
	return out.data;
}

static bool
key_is(const BouncerScan *scan, const char *name)
{
	char	   *key;
	bool		same;

	if (*scan->key != '"')
		return scan->key_len == strlen(name) && strncmp(scan->key, name, scan->key_len) == 0;
	key = bouncer_key(scan);
	same = strcmp(key, name) == 0;
	free(key);
	return same;
}

/* The line that counts: the last one.  False: there is none, or the text cannot be read (*bad). */
static bool
find_entry(const char *text, const char *name, BouncerScan *found, bool *bad)
{
	BouncerScan scan = {.at = text};
	BouncerToken token;
	bool		any = false;

	while ((token = bouncer_scan(&scan)) == BOUNCER_ENTRY || token == BOUNCER_SECTION || token == BOUNCER_INCLUDE)
		if (token == BOUNCER_ENTRY && bouncer_in_databases(&scan) && (!name || key_is(&scan, name)))
		{
			*found = scan;
			any = true;
		}
	*bad = token == BOUNCER_ERROR;
	return any && !*bad;
}

char *
bouncer_entry(const char *text, const char *name)
{
	BouncerScan found;
	bool		bad;

	return find_entry(text, name, &found, &bad) ? strndup(found.value, found.value_len) : NULL;
}

/* ---- key=value lists ---- */

typedef struct Pair
{
	const char *key;			/* NULL: the list is over */
	size_t		key_len;
	const char *value;			/* without its quotes, otherwise as in the file */
	size_t		value_len;
	bool		quoted;
} Pair;

static const char *
skip_blanks(const char *p, const char *end)
{
	while (p < end && *p == ' ')
		p++;
	return p;
}

/* The quote that ends the value, '' aside; NULL: there is none. */
static const char *
closing_quote(const char *p, const char *end)
{
	for (; p < end; p++)
		if (*p == '\'')
		{
			if (p + 1 == end || p[1] != '\'')
				return p;
			p++;
		}
	return NULL;
}

/* The pair at p, and what is after it; NULL: PgBouncer would not understand it. */
static const char *
next_pair(const char *p, const char *end, Pair *pair)
{
	memset(pair, 0, sizeof(*pair));
	p = skip_blanks(p, end);
	if (p == end)
		return p;
	pair->key = p;
	while (p < end && *p != '=' && *p != ' ')
		p++;
	pair->key_len = p - pair->key;
	p = skip_blanks(p, end);
	if (p == end || *p != '=' || pair->key_len == 0)
		return NULL;
	p = skip_blanks(p + 1, end);
	pair->quoted = p < end && *p == '\'';
	pair->value = pair->quoted ? ++p : p;
	if (pair->quoted)
		p = closing_quote(p, end);
	else
		while (p < end && *p != ' ')
			p++;
	if (!p || p == pair->value)
		return NULL;			/* PgBouncer takes no empty value */
	pair->value_len = p - pair->value;
	p += pair->quoted;
	return p < end ? p + 1 : p; /* it skips the next character whatever that is */
}

/* The last pair of that key; key == NULL in *found: there is none.  False: not a list of keys. */
static bool
find_pair(const char *entry, size_t len, const char *key, Pair *found)
{
	const char *p = entry;
	Pair		pair;

	memset(found, 0, sizeof(*found));
	while ((p = next_pair(p, entry + len, &pair)) && pair.key)
		if (key && pair.key_len == strlen(key) && strncmp(pair.key, key, pair.key_len) == 0)
			*found = pair;
	return p != NULL;
}

bool
bouncer_entry_valid(const char *entry)
{
	Pair		unused;

	return find_pair(entry, strlen(entry), NULL, &unused);
}

char *
bouncer_value(const char *entry, const char *key)
{
	Text		out = {0};
	Pair		pair;

	if (!find_pair(entry, strlen(entry), key, &pair) || !pair.key)
		return NULL;
	for (const char *p = pair.value; p < pair.value + pair.value_len; p++)
	{
		text_add(&out, p, 1);
		p += pair.quoted && *p == '\'';
	}
	return out.data;
}

/* ---- a line changed in its place ---- */

typedef struct Edit
{
	const char *from;			/* what is replaced, up to `to`; both the same: an insertion */
	const char *to;
	char		text[320];
} Edit;

static void
set_edit(Edit *edit, const char *from, size_t len, const char *before, const char *value, const char *after)
{
	edit->from = from;
	edit->to = from + len;
	snprintf(edit->text, sizeof(edit->text), "%s%s%s", before, value, after);
}

/* What is right of "=", with another host and port; false: it cannot be read. */
static bool
add_repointed(Text *out, const char *entry, size_t len, const char *host, int port)
{
	Pair		old_host;
	Pair		old_port;
	Edit		edits[2];		/* host, port */
	int			first;
	char		number[16];

	if (!find_pair(entry, len, "host", &old_host) || !find_pair(entry, len, "port", &old_port))
		return false;
	snprintf(number, sizeof(number), "%d", port);
	if (old_host.key)
		set_edit(&edits[0], old_host.value, old_host.value_len, "", host, "");
	else
		set_edit(&edits[0], entry, 0, "host=", host, len > 0 || port != BOUNCER_DEFAULT_PORT ? " " : "");
	if (old_port.key)
		set_edit(&edits[1], old_port.value, old_port.value_len, "", number, "");
	else if (port == BOUNCER_DEFAULT_PORT)
		set_edit(&edits[1], edits[0].to, 0, "", "", "");
	else if (old_host.key)
		set_edit(&edits[1], edits[0].to + old_host.quoted, 0, " port=", number, "");
	else
		set_edit(&edits[1], entry, 0, "port=", number, len > 0 ? " " : "");
	first = edits[1].from < edits[0].from;
	text_add(out, entry, edits[first].from - entry);
	text_addf(out, "%s", edits[first].text);
	text_add(out, edits[first].to, edits[!first].from - edits[first].to);
	text_addf(out, "%s", edits[!first].text);
	text_add(out, edits[!first].to, entry + len - edits[!first].to);
	return true;
}

/* The settings that a new line begins with: those of "*", completed by the route's own. */
static char *
new_settings(const char *text, const char *extra)
{
	char	   *star = bouncer_entry(text, "*");
	Text		out = {0};
	const char *p = extra;
	const char *end = extra + strlen(extra);
	Pair		pair;
	Pair		known;

	text_add(&out, star ? star : "", star ? strlen(star) : 0);
	for (;;)
	{
		const char *from = p = skip_blanks(p, end);
		char	   *key;

		p = next_pair(p, end, &pair);
		if (!p || !pair.key)
			break;
		key = strndup(pair.key, pair.key_len);
		if (!star || (find_pair(star, strlen(star), key, &known) && !known.key))
			text_addf(&out, "%s%.*s", out.size ? " " : "", (int) (pair.value + pair.value_len + pair.quoted - from),
					  from);
		free(key);
	}
	free(star);
	if (p)
		return out.data;
	free(out.data);
	return NULL;
}

/*
 * A line after the last database.  It takes the end of line before it along, not the one after it, so that it
 * can be taken out again whether or not the file ends with one.
 */
static char *
with_line(const char *text, const char *line)
{
	BouncerScan last;
	bool		bad;
	const char *at;
	const char *eol = strstr(text, "\r\n") ? "\r\n" : "\n";
	Text		out = {0};

	if (!find_entry(text, NULL, &last, &bad))
	{
		if (bad)
			return NULL;
		at = text + strlen(text);
		text_addf(&out, "%s%s[databases]%s%s%s", text, at > text && at[-1] != '\n' ? eol : "", eol, line, eol);
		return out.data;
	}
	at = last.value + strcspn(last.value, "\n");
	if (at > last.value && at[-1] == '\r')
		at--;
	text_add(&out, text, at - text);
	text_addf(&out, "%s%s%s", eol, line, at);
	return out.data;
}

static char *
with_database(const char *text, const char *name, const char *host, int port, const char *extra)
{
	char	   *settings = new_settings(text, extra);
	Text		line = {0};
	char	   *changed = NULL;

	text_addf(&line, "%s = ", name);
	if (settings && bouncer_name_valid(name) && add_repointed(&line, settings, strlen(settings), host, port))
		changed = with_line(text, line.data);
	free(line.data);
	free(settings);
	return changed;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const BouncerDatabase *) a)->name, ((const BouncerDatabase *) b)->name);
}

/* The database of our list that an entry is for, or NULL. */
static BouncerDatabase *
wanted(const BouncerScan *scan, BouncerDatabase *databases, int n)
{
	BouncerDatabase sought = {0};
	BouncerDatabase *found;
	char	   *key;

	if (!bouncer_in_databases(scan))
		return NULL;
	sought.name = key = bouncer_key(scan);
	found = bsearch(&sought, databases, n, sizeof(BouncerDatabase), by_name);
	free(key);
	return found;
}

/* The line that counts of each, the last one; false: the text cannot be read. */
static bool
find_lines(const char *text, BouncerDatabase *databases, int n)
{
	BouncerScan scan = {.at = text};
	BouncerToken token;

	while ((token = bouncer_scan(&scan)) != BOUNCER_END && token != BOUNCER_ERROR)
	{
		BouncerDatabase *database = token == BOUNCER_ENTRY ? wanted(&scan, databases, n) : NULL;

		if (database)
			database->line = scan.value;
	}
	return token == BOUNCER_END;
}

/* Once through the text, whatever the number of databases; *failed as in bouncer_repoint(). */
static char *
repoint_lines(const char *text, BouncerDatabase *databases, int n, const char *host, int port, const char **failed)
{
	BouncerScan scan = {.at = text};
	const char *from = text;
	Text		out = {0};

	text_add(&out, "", 0);
	for (BouncerToken token = bouncer_scan(&scan); token != BOUNCER_END; token = bouncer_scan(&scan))
	{
		BouncerDatabase *database = token == BOUNCER_ENTRY ? wanted(&scan, databases, n) : NULL;

		if (!database || database->line != scan.value)
			continue;
		text_add(&out, from, scan.value - from);
		if (!add_repointed(&out, scan.value, scan.value_len, host, port))
		{
			*failed = database->name;
			free(out.data);
			return NULL;
		}
		from = scan.value + scan.value_len;
	}
	text_addf(&out, "%s", from);
	return out.data;
}

char *
bouncer_repoint(const char *text, BouncerDatabase *databases, int n, const char *host, int port, const char **failed)
{
	char	   *changed = NULL;

	*failed = NULL;
	qsort(databases, n, sizeof(BouncerDatabase), by_name);
	if (find_lines(text, databases, n))
		changed = repoint_lines(text, databases, n, host, port, failed);
	for (int i = 0; changed && i < n; i++)
		if (!databases[i].line)
		{
			char	   *longer = with_database(changed, databases[i].name, host, port, databases[i].extra);

			if (!longer)
				*failed = databases[i].name;
			free(changed);
			changed = longer;
		}
	return changed;
}

/* ---- the probe ---- */

char *
bouncer_with_probe(const char *text, const char *probe)
{
	char	   *line = xasprintf("%s = " NOWHERE, probe);
	BouncerScan any;
	bool		bad;
	char	   *changed = find_entry(text, NULL, &any, &bad) ? with_line(text, line) : NULL;

	free(line);
	return changed;
}

static bool
is_probe(const BouncerScan *scan)
{
	size_t		len = strlen(BOUNCER_PROBE_PREFIX);

	return scan->key_len > len && strncmp(scan->key, BOUNCER_PROBE_PREFIX, len) == 0 &&
		scan->value_len == strlen(NOWHERE) && strncmp(scan->value, NOWHERE, scan->value_len) == 0;
}

char *
bouncer_without_probes(const char *text)
{
	BouncerScan scan = {.at = text};
	BouncerToken token;
	const char *from = text;
	Text		out = {0};

	text_add(&out, "", 0);
	while ((token = bouncer_scan(&scan)) != BOUNCER_END && token != BOUNCER_ERROR)
		if (token == BOUNCER_ENTRY && is_probe(&scan))
		{
			const char *to = scan.key;

			if (to > from && to[-1] == '\n')
				to--;
			if (to > from && to[-1] == '\r')
				to--;
			text_add(&out, from, to - from);
			from = scan.value + strcspn(scan.value, "\r\n");
		}
	text_addf(&out, "%s", from);
	return out.data;
}

/* ---- what may come from a route ---- */

bool
bouncer_name_valid(const char *name)
{
	return *name && !name[strspn(name, BARE_NAME)] && strcmp(name, "*") != 0;
}

/* After a value (in quotes, doubled inside of it, or up to a blank); NULL: it is not one. */
static const char *
value_end(const char *text)
{
	if (*text != '\'')
	{
		size_t		len = strcspn(text, " \t'");

		return len > 0 && text[len] != '\'' ? text + len : NULL;
	}
	for (text++; *text; text++)
		if (*text == '\'' && *++text != '\'')
			return !*text || *text == ' ' || *text == '\t' ? text : NULL;
	return NULL;
}

/* Not host, port, user, password, auth_...: a route must not point to another place, or as another role. */
bool
bouncer_extra_valid(const char *text)
{
	static const char *const keys[] = {"dbname", "pool_size", "min_pool_size", "reserve_pool", "pool_mode",
	"max_db_connections", "client_encoding", "datestyle", "timezone", "application_name", NULL};

	for (text += strspn(text, " \t"); *text; text += strspn(text, " \t"))
	{
		size_t		len = strspn(text, "abcdefghijklmnopqrstuvwxyz_");
		bool		known = false;

		for (int i = 0; keys[i]; i++)
			known |= strlen(keys[i]) == len && strncmp(text, keys[i], len) == 0;
		text += len;
		text += strspn(text, " \t");
		if (!known || *text != '=')
			return false;
		text++;
		text = value_end(text + strspn(text, " \t"));
		if (!text)
			return false;
	}
	return true;
}

bool
bouncer_text_valid(const char *text)
{
	for (; *text; text++)
		if ((unsigned char) *text < ' ' || *text == '"')
			return false;
	return true;
}
