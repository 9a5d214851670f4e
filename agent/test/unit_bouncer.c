/*
 * unit_bouncer.c
 *		Tests of PgBouncer's files: as text, on disk, and how one includes another.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/route/bouncerchain.h"
#include "agent/route/bouncerfile.h"
#include "agent/route/bouncerini.h"
#include "agent/test/unit.h"

/* ---- as text ---- */

#define H "10.1.1.2"

/*
 * What becomes of a file when "app" leads to 10.1.1.2:6000, and whether the way back to 10.1.1.1:6001 gives the file
 * as it was (host and port were written there, that is).
 */
static const struct
{
	const char *name;
	const char *before;
	const char *after;			/* NULL: cannot be read */
	bool		returns;
}			repointed[] = {
	{"only host and port change",
	"[databases]\napp = host=10.1.1.1 port=6001 dbname=x auth_user=looker pool_size=7\n",
	"[databases]\napp = host=" H " port=6000 dbname=x auth_user=looker pool_size=7\n", true},
	{"order, blanks, quotes and keys stay",
		"[databases]\n  app=pool_mode = session   port= '6001'  connect_query='SELECT ''host=evil "
		"port=1'' ' host =10.1.1.1  \n",
	"[databases]\n  app=pool_mode = session   port= '6000'  connect_query='SELECT ''host=evil port=1'' ' host ="
	H "  \n", true},
	{"a quoted host", "[databases]\napp = host='10.1.1.1' port=6001", "[databases]\napp = host='" H "' port=6000",
	 true},
	{"other lines, comments and sections stay",
		"; app = host=c\n#app = host=c\n[databases]\napp2 = host=a\napp = host=10.1.1.1 "
		"port=6001\n* = host=z auth_user=u\n"
		"[users]\napp = pool_mode=session\n[pgbouncer]\nlisten_port = 6432\napp = x\n%include /etc/more.ini\n",
		"; app = host=c\n#app = host=c\n[databases]\napp2 = host=a\napp = host="
	H " port=6000\n* = host=z auth_user=u\n"
	"[users]\napp = pool_mode=session\n[pgbouncer]\nlisten_port = 6432\napp = x\n%include /etc/more.ini\n", true},
	{"line ends of Windows", "[databases]\r\napp = host=10.1.1.1 port=6001\r\nb = host=c\r\n",
	"[databases]\r\napp = host=" H " port=6000\r\nb = host=c\r\n", true},
	{"behind the section, in its line", "[databases] app = host=10.1.1.1 port=6001\n",
	 "[databases] app = host=" H " port=6000\n", true},
	{"without a section: that of the includer", "app = host=10.1.1.1 port=6001\n", "app = host=" H " port=6000\n",
	 true},
	{"of two lines the last one counts", "[databases]\napp = host=a port=1\n[databases]\napp = "
	"host=10.1.1.1 port=6001\n", "[databases]\napp = host=a port=1\n[databases]\napp = host=" H " port=6000\n", true},
	{"of two values the last one counts", "[databases]\napp = host=a port=1 host=10.1.1.1 port=6001\n",
	"[databases]\napp = host=a port=1 host=" H " port=6000\n", true},
	{"a tab is no separator", "[databases]\napp\t=\thost=10.1.1.1 dbname=a\tb port=6001\n",
	"[databases]\napp\t=\thost=" H " dbname=a\tb port=6000\n", true},
	{"a comment behind a value is part of it", "[databases]\napp = host=10.1.1.1 port=6001 application_name=a;b#c\n",
	"[databases]\napp = host=" H " port=6000 application_name=a;b#c\n", true},
	{"a port is added where it is not the usual one", "[databases]\napp = host='10.1.1.1' dbname=x\n",
	"[databases]\napp = host='" H "' port=6000 dbname=x\n", false},
	{"a unix socket becomes a host", "[databases]\napp = dbname=x\n",
	 "[databases]\napp = host=" H " port=6000 dbname=x\n", false},
	{"a port without a host", "[databases]\napp = dbname=x port=6001 user=u\n",
	 "[databases]\napp = host=" H " dbname=x port=6000 user=u\n", false},
	{"nothing on the right", "[databases]\napp =\nb = host=c\n",
	 "[databases]\napp =host=" H " port=6000\nb = host=c\n", false},
	{"a host that looks like a key", "[databases]\napp = host= port=6001\n",
	 "[databases]\napp = host= " H " port=6000\n", false},
	{"a line that cannot be read", "[databases]\napp = host=a port\n", NULL, false},
	{"an empty value", "[databases]\napp = host='' port=1\n", NULL, false},
	{"a quote that does not end", "[databases]\napp = host='a port=1\n", NULL, false},
	{"a section that does not end", "[databases]\napp = host=a port=1\n[users\n", NULL, false},
	{"a line that is none", "[databases]\napp = host=a port=1\nnonsense\n", NULL, false},
	{"a new line takes the settings of \"*\"",
	"[databases]\n* = host=10.1.1.1 port=6001 auth_user=u pool_size=3\n[pgbouncer]\n",
	"[databases]\n* = host=10.1.1.1 port=6001 auth_user=u pool_size=3\napp = host="
	H " port=6000 auth_user=u pool_size=3 dbname='a b'\n[pgbouncer]\n", false},
	{"a new line, no line end", "[databases]\nb = host=c", "[databases]\nb = host=c\napp = host="
	 H " port=6000 pool_size=9 dbname='a b'", false},
	{"a new line, line ends of Windows", "[databases]\r\nb = host=c\r\n",
	 "[databases]\r\nb = host=c\r\napp = host=" H " port=6000 pool_size=9 dbname='a b'\r\n", false},
	{"a new file", "", "[databases]\napp = host=" H " port=6000 pool_size=9 dbname='a b'\n", false},
};

static char *
repoint(const char *text, const char *name, const char *host, int port, const char *extra)
{
	BouncerDatabase database = {name, extra, NULL};
	const char *failed;

	return bouncer_repoint(text, &database, 1, host, port, &failed);
}

static void
test_repoint_many(void)
{
	BouncerDatabase databases[] = {{"c", "pool_size=1", NULL}, {"a", "", NULL}, {"b", "", NULL}, {"d", "", NULL}};
	BouncerDatabase broken[] = {{"b", "", NULL}, {"a", "", NULL}};
	const char *failed;

	is(bouncer_repoint("[databases]\nb = host=x\na = host=y port=1\nz = host=z\n\"b\" = host=w\n[users]\na = u\n",
					   databases, 4, "h", 5432, &failed),
	   "[databases]\nb = host=x\na = host=h port=5432\nz = host=z\n\"b\" = host=h\nc = host=h pool_size=1\nd = "
	   "host=h\n[users]\na = u\n", "pgbouncer: several databases at once, in any order");
	ok(!bouncer_repoint("[databases]\na = host=y\nb = host\n", broken, 2, "h", 1, &failed) && failed &&
	   strcmp(failed, "b") == 0, "pgbouncer: and which of them cannot be read");
}

static void
test_repoint(void)
{
	for (size_t i = 0; i < sizeof(repointed) / sizeof(repointed[0]); i++)
	{
		char	   *after = repoint(repointed[i].before, "app", H, 6000, "pool_size=9 dbname='a b'");
		char	   *name = xasprintf("pgbouncer: %s", repointed[i].name);

		if (after)
		{
			char	   *again = repoint(after, "app", H, 6000, "");
			char	   *back = repoint(after, "app", "10.1.1.1", 6001, "");

			ok(again && strcmp(again, after) == 0, "pgbouncer: repointed once more, nothing changes");
			ok((back && strcmp(back, repointed[i].before) == 0) == repointed[i].returns, "pgbouncer: there and back");
			free(again);
			free(back);
		}
		is(after, repointed[i].after, name);
		free(name);
	}
	is(repoint("[databases]\napp = host=a\n", "app", "b", 5432, ""), "[databases]\napp = host=b\n",
	   "pgbouncer: the usual port is not written where it was not");
	is(repoint("[databases]\n\"odd \"\"name\" = host=a port=1\n", "odd \"name", "b", 2, ""),
	   "[databases]\n\"odd \"\"name\" = host=b port=2\n", "pgbouncer: a quoted name");
	is(repoint("", "odd name", "b", 2, ""), NULL, "pgbouncer: no new line that PgBouncer could not read");
}

static void
test_bouncer_probe(void)
{
	static const char *const texts[] = {
		"[databases]\na = host=b\n", "[databases]\na = host=b", "a = host=b\r\n\r\n; end\r\n",
		"[databases] a = host=b  \n[users]\nx = y\n",
		"[pgbouncer]\nlisten_port = 1\n[databases]\n\n  a = host=b\n\n# c\n"
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		char	   *with = bouncer_with_probe(texts[i], BOUNCER_PROBE_PREFIX "1");
		char	   *two = with ? bouncer_with_probe(with, BOUNCER_PROBE_PREFIX "2") : NULL;
		char	   *entry = two ? bouncer_entry(two, BOUNCER_PROBE_PREFIX "1") : NULL;

		is(entry, "host=127.0.0.1 port=1", "pgbouncer: a probe is a database");
		is(two ? bouncer_without_probes(two) : NULL, texts[i], "pgbouncer: probes leave nothing behind");
		is(bouncer_without_probes(texts[i]), texts[i], "pgbouncer: without probes nothing changes");
		free(with);
		free(two);
	}
	is(bouncer_with_probe("[users]\na = b\n", BOUNCER_PROBE_PREFIX "1"), NULL,
	   "pgbouncer: no probe where no databases are");
	is(bouncer_without_probes("[databases]\npingpong_probe_x = host=real\n"),
	   "[databases]\npingpong_probe_x = host=real\n",
	   "pgbouncer: a database of that name which leads somewhere stays");
}

static void
test_bouncer_entries(void)
{
	static const char text[] = "[databases]\na = host=h port=7 dbname='it''s' "
		"auth_user=u\n[users]\na = pool_mode=session\n";
	char	   *entry = bouncer_entry(text, "a");

	is(bouncer_value(entry, "dbname"), "it's", "pgbouncer: a quoted value");
	is(bouncer_value(entry, "host"), "h", "pgbouncer: beside keys that libpq does not know");
	is(bouncer_value(entry, "pool_size"), NULL, "pgbouncer: a key that is not there");
	is(bouncer_entry(text, "b"), NULL, "pgbouncer: a database that is not there");
	ok(bouncer_bad_line(text) == 0 && bouncer_bad_line("[a]\n; x\n\nb\n") == 4 &&
	   bouncer_bad_line("[a\nb = c\n") == 1, "pgbouncer: the line that cannot be read");
	ok(bouncer_entry_valid("host=a port=1") && !bouncer_entry_valid("host") && !bouncer_entry_valid("host='a"),
	   "pgbouncer: lists of keys");
	ok(bouncer_name_valid("a.b-c_1") && !bouncer_name_valid("") && !bouncer_name_valid("*") &&
	   !bouncer_name_valid("a b"), "pgbouncer: names that it can read");
	free(entry);
}

static void
test_bouncer_extra(void)
{
	ok(!bouncer_text_valid("a\nb"), "pgbouncer: a line break is refused");
	ok(bouncer_extra_valid("") && bouncer_extra_valid(" dbname=x pool_size = 3  application_name='it''s' "),
	   "pgbouncer: settings that a route may have");
	ok(!bouncer_extra_valid("pool_size=3 host=evil"), "pgbouncer: no host");
	ok(!bouncer_extra_valid("user=postgres"), "pgbouncer: no user");
	ok(!bouncer_extra_valid("connect_query='DROP TABLE x'"), "pgbouncer: no query");
	ok(!bouncer_extra_valid("pool_size=3' host=evil"), "pgbouncer: no quote in the middle");
	ok(!bouncer_extra_valid("dbname='x'host=evil"), "pgbouncer: nothing hides behind a quote");
	ok(!bouncer_extra_valid("dbname='x") && !bouncer_extra_valid("dbname") && !bouncer_extra_valid("dbname="),
	   "pgbouncer: half a setting");
	ok(bouncer_text_valid("pool_mode=session"), "pgbouncer: settings are fine");
}

/* ---- on disk ---- */

static char *
in(const char *directory, const char *name)
{
	return xasprintf("%s/%s", directory, name);
}

static void
put(const char *path, const char *text)
{
	file_write_atomic(path, text, strlen(text), 0600, false);
}

static void
test_file(const char *directory)
{
	char	   *path = in(directory, "dbs.ini");
	char	   *link = in(directory, "link.ini");
	char	   *staged = in(directory, ".dbs.ini.pingpong-next");
	char	   *text;
	char		why[512] = "";
	struct stat st;

	put(path, "old");
	chmod(path, 0640);
	ok(symlink("dbs.ini", link) == 0, "a link to a file");
	ok(bouncer_file_check(link, why, sizeof(why)) == 0, "a file that can be replaced");
	ok(bouncer_file_stage(link, "new", why, sizeof(why)) == 0 && stat(staged, &st) == 0 &&
	   (st.st_mode & 07777) == 0640, "staged beside the target of the link, with its mode");
	is(file_read(path, 100, NULL), "old", "the file is still the old one");
	ok(bouncer_file_swap(link, why, sizeof(why)) == 0 && !file_exists(staged), "put in place");
	is(file_read(path, 100, NULL), "new", "it is the new one");
	ok(lstat(link, &st) == 0 && S_ISLNK(st.st_mode), "the link is one");
	ok(bouncer_file_replace(link, "newer", why, sizeof(why)) == 0 && stat(path, &st) == 0 &&
	   (st.st_mode & 07777) == 0640, "replaced at once, with its mode");
	ok(bouncer_file_swap(link, why, sizeof(why)) < 0 && strstr(why, "replace"), "nothing to put in place");
	ok(bouncer_file_stage(link, "x", why, sizeof(why)) == 0, "staged again");
	bouncer_file_discard(link);
	ok(!file_exists(staged), "and given up");
	file_write_atomic(path, "a\0b", 3, 0600, false);
	ok(bouncer_file_read(path, &text, why, sizeof(why)) < 0 && strstr(why, "zero byte"), "a file that is no text");
	ok(bouncer_file_read(directory, &text, why, sizeof(why)) < 0 && !text, "a folder");
	unlink(path);
	ok(bouncer_file_check(link, why, sizeof(why)) < 0 && bouncer_file_replace(link, "x", why, sizeof(why)) < 0,
	   "a file that is not there");
	unlink(link);
	free(staged);
	free(link);
	free(path);
}

/* An agent that cannot keep the owner must not change the file. */
static void
test_file_owner(const char *directory)
{
	char	   *path = in(directory, "owned.ini");
	char		why[512] = "";
	struct stat st;

	put(path, "old");
	if (geteuid() != 0)
		ok(bouncer_file_check("/etc/passwd", why, sizeof(why)) < 0 &&
		   bouncer_file_stage("/etc/passwd", "x", why, sizeof(why)) < 0,
		   "somebody else's file is not replaced");
	else
	{
		ok(chown(path, 12345, 54321) == 0 && bouncer_file_replace(path, "new", why, sizeof(why)) == 0 &&
		   stat(path, &st) == 0 &&
		   st.st_uid == 12345 && st.st_gid == 54321, "root keeps the owner");
	}
	unlink(path);
	free(path);
}

/* ---- how one includes another ---- */

static void
look(const char *directory, const char *main_text, BouncerChain *chain)
{
	char	   *main_file = in(directory, "main.ini");
	char	   *file = in(directory, "ours.ini");

	put(main_file, main_text);
	bouncer_chain_look(main_file, file, chain);
	free(file);
	free(main_file);
}

static void
is_chain(const char *directory, const char *main_text, bool included, bool complete, bool broken, const char *trouble,
		 const char *name)
{
	BouncerChain chain;

	look(directory, main_text, &chain);
	ok(chain.included == included && chain.complete == complete && chain.broken == broken &&
	   (trouble ? strstr(chain.trouble, trouble) != NULL : !chain.trouble[0]), name);
	bouncer_chain_free(&chain);
}

static void
is_shadowed(const char *directory, const char *main_text, bool shadowed, const char *name)
{
	BouncerChain chain;

	look(directory, main_text, &chain);
	ok((json_object_get(chain.shadowed, "a") != NULL) == shadowed, name);
	bouncer_chain_free(&chain);
}

static void
test_chain(const char *directory)
{
	char	   *ours = in(directory, "ours.ini");
	char	   *second = in(directory, "second.ini");
	char	   *include = xasprintf("%%include %s/ours.ini\n", directory);
	char	   *include_second = xasprintf("%%include %s/second.ini\n", directory);
	char	   *text;

	put(ours, "[databases]\na = host=b\n* = host=s port=7\n[users]\n");
	put(second, include);
	is_chain(directory, include, true, true, false, NULL, "includes: ours");
	is_chain(directory, include_second, true, true, false, NULL, "includes: through another file");
	is_chain(directory, "[pgbouncer]\n", false, true, false, "does not include", "includes: not ours");
	is_chain(directory, "%include ours.ini\n", false, false, false, "relative",
			 "includes: a relative name tells nothing");
	is_chain(directory, "[pgbouncer\n%include x\n", false, true, true, "line 1",
			 "includes: a line that cannot be read");
	text = xasprintf("%s[x]\ny\n", include);
	is_chain(directory, text, true, true, true, "line 3", "includes: a line behind ours that cannot be read");
	free(text);
	is_chain(directory, "%include /nonexistent/x.ini\n", false, false, false, "could not read",
			 "includes: a file that is not there");
	put(second, include_second);
	is_chain(directory, include_second, false, true, true, "too deep", "includes: a circle");

	text = xasprintf("[databases]\na = host=c\n%s", include);
	is_shadowed(directory, text, false, "includes: a line in front of ours does not count");
	free(text);
	text = xasprintf("%s[databases]\na = host=c\n", include);
	is_shadowed(directory, text, true, "includes: a line behind ours counts");
	free(text);
	text = xasprintf("%sa = pool_mode=session\n", include);
	is_shadowed(directory, text, false, "includes: it goes on in the section where ours ended");
	free(text);
	put(second, "a = host=d\n");
	text = xasprintf("%s[databases]\n%s", include, include_second);
	is_shadowed(directory, text, true, "includes: a file without a section is in that of its includer");
	free(text);
	unlink(second);
	unlink(ours);
	free(include_second);
	free(include);
	free(second);
	free(ours);
}

void
test_bouncer(const char *directory)
{
	test_repoint();
	test_repoint_many();
	test_bouncer_probe();
	test_bouncer_entries();
	test_bouncer_extra();
	test_file(directory);
	test_file_owner(directory);
	test_chain(directory);
}
