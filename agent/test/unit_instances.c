/*
 * unit_instances.c
 *		Several PostgreSQL instances of one agent: what the configuration may say, and that nothing of one is taken
 *		for that of another.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/config.h"
#include "agent/core/configread.h"
#include "agent/core/files.h"
#include "agent/core/leftovers.h"
#include "agent/core/succession.h"
#include "agent/pg/layout.h"
#include "agent/pg/originals.h"
#include "agent/pg/paths.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/serverlog.h"
#include "agent/pg/stop.h"
#include "agent/pg/version.h"
#include "agent/test/unit.h"
#include "agent/upgrade/boot.h"

#define MAIN "[postgresql]\ndata = %s/one/\nbin = /b\nport = 5432\n"
#define NEXT "[postgresql.next]\nbin = /b\ndata = %s/two\n"
#define NEXT_ON_5433 NEXT "port = 5433\n"
#define NEXT_IN(data) "[postgresql.next]\nbin = /b\nport = 5433\ndata = " data "\n"
#define NAMED(name) MAIN "[postgresql." name "]\nport = 5433\n"

static const char *where;		/* a folder of our own */

static void
write_text(const char *name, const char *text)
{
	char	   *path = xasprintf("%s/%s", where, name);

	file_write_atomic(path, text, strlen(text), 0600, false);
	free(path);
}

/* Each %s of the text is the folder. */
static AgentConfig *
config_of(const char *text, char *error, size_t error_size)
{
	char	   *path = xasprintf("%s/instances.ini", where);
	char	   *head = xasprintf("[agent]\nnode = dallas\nlisten = 127.0.0.1:8700\nstate_dir = %s\n"
								 "token_file = %s/secret\n", where, where);
	char	   *body = xasprintf(text, where, where, where, where);
	char	   *full = xasprintf("%s%s", head, body);
	AgentConfig *config;

	write_text("secret", "0123456789abcdef\n");
	file_write_atomic(path, full, strlen(full), 0600, false);
	config = config_read(path, error, error_size);
	if (!config)
		printf("# %s\n", error);
	free(full);
	free(body);
	free(head);
	free(path);
	return config;
}

/* ---- a successor takes the place of the main one ---- */

#define SUCCESSOR "[postgresql.v18]\ndata = %s/two\nbin = /b18\nsuccessor = yes\n"

static int
major_18(const PgInstance *pg)
{
	return strcmp(pg->bin, "/b18") == 0 ? 18 : 15;
}

static void
test_successor(void)
{
	char		error[512] = "";
	AgentConfig *config = config_of(SUCCESSOR MAIN "socket = /s\nsuperuser = admin\n", error, sizeof(error));
	const PgInstance *next = config ? succession_find(config, 18, major_18) : NULL;

	ok(next && next->port == 5432 && strcmp(next->socket, "/s") == 0 && strcmp(next->superuser, "admin") == 0,
	   "successor: in the place of the main one, which another may not have");
	ok(config && !succession_find(config, 17, major_18) && !succession_find(config, 15, major_18),
	   "successor: of another major there is none");
	ok(config && succession_write(config, "v18") == 0, "successor: becomes the main one");
	if (config)
		config_free(config);
	config = config_of(SUCCESSOR MAIN, error, sizeof(error));
	ok(config && strcmp(config->instances[0].bin, "/b18") == 0 && !*config->instances[0].name &&
	   !config->instances[0].successor, "successor: it is, from the next reading on");
	next = config ? config_instance(config, FORMER_NAME) : NULL;
	ok(next && strcmp(next->bin, "/b") == 0 && next->successor,
	   "successor: and the old one is the former, for no order");
	if (config)
		config_free(config);
	config = config_of(MAIN, error, sizeof(error));
	ok(!config && strstr(error, "names no section"), "successor: one that the file does not name any more");
	if (config)
		config_free(config);
	config = config_of(SUCCESSOR MAIN, error, sizeof(error));
	ok(config && succession_write(config, NULL) == 0 && succession_write(config, NULL) == 0, "successor: and back");
	if (config)
		config_free(config);
}

static bool
same_path(const char *path, const char *name)
{
	size_t		len = strlen(where);

	return strncmp(path, where, len) == 0 && strcmp(path + len, name) == 0;
}

/* The main one has what it had before there were others, wherever it is in the file. */
static void
test_config_good(void)
{
	char		error[512] = "";
	AgentConfig *config = config_of(NEXT_ON_5433 MAIN
									"[postgresql.z9_]\nbin = /b9\ndata = %s/three\nport = 5434\nsuperuser = admin\n"
									"[postgresql.next]\ncontrol = command\nstart_command = /x\nstop_command = /y\n",
									error, sizeof(error));
	const PgInstance *main_one = config ? config_instance(config, "") : NULL;
	const PgInstance *next = config ? config_instance(config, "next") : NULL;
	const PgInstance *third = config ? config_instance(config, "z9_") : NULL;

	ok(main_one && next && third && config->n_instances == 3, "instances: a good configuration");
	if (!main_one || !next || !third)
		return;
	ok(main_one == config->instances && main_one->port == 5432, "instances: the main one is the first");
	ok(same_path(main_one->settings_dir, "/settings") && same_path(main_one->log, "/postgresql.log"),
	   "instances: the main one's files are where they were");
	ok(same_path(next->settings_dir, "/settings.next") && same_path(next->log, "/postgresql.next.log"),
	   "instances: a further one has its own");
	ok(strcmp(next->superuser, "postgres") == 0 && strcmp(third->superuser, "admin") == 0,
	   "instances: each with defaults of its own");
	ok(next->control == PG_CONTROL_COMMAND && main_one->control == PG_CONTROL_PG_CTL,
	   "instances: and with its control");
	ok(strcmp(main_one->section, "postgresql") == 0 && strcmp(next->section, "postgresql.next") == 0,
	   "instances: named for people");
	ok(!config_instance(config, "none"), "instances: one that there is not");
	config_free(config);
}

typedef struct BadConfig
{
	const char *name;
	const char *text;
	const char *expected;		/* in the error */
} BadConfig;

#define NO_NAME "does not name an instance"
#define NAME_36 "aaaaaaaaaabbbbbbbbbbccccccccccdddddd"

static const BadConfig bad_configs[] = {
	{"a successor that is none", NEXT_ON_5433 "successor = no\n" MAIN, "cannot be \"no\""},
	{"the main one as a successor", MAIN "successor = yes\n", "it is the main instance"},
	{"a rehearsal of none", MAIN "rehearsal = /room\n", "it is no successor"},
	{"a rehearsal in no folder", NEXT_ON_5433 "successor = yes\nrehearsal = room\n" MAIN, "must be an absolute path"},
	{"a rehearsal in its own data", NEXT_ON_5433 "successor = yes\nrehearsal = %s/two/x\n" MAIN,
	"in the data directory"},
	{"a rehearsal in the data of another", NEXT_ON_5433 "successor = yes\nrehearsal = %s/one/x\n" MAIN,
	"in a data directory"},
	{"a rate without a number", MAIN "max_rate = fast\n", "must be 32k to 1024M"},
	{"a rate that is too low", MAIN "max_rate = 31\n", "must be 32k to 1024M"},
	{"a rate that is too high", MAIN "max_rate = 1025M\n", "must be 32k to 1024M"},
	{"a rate of another unit", MAIN "max_rate = 1G\n", "must be 32k to 1024M"},
	{"the name of the former one", NAMED("former") "data = %s/two\nbin = /b\n", "before an upgrade"},
	{"an empty name is not the main one's", NAMED(""), "[postgresql.] " NO_NAME},
	{"a name in upper case", NAMED("Next"), "all lower case"},
	{"a name with a digit first", NAMED("9"), NO_NAME},
	{"a name with a dash", NAMED("a-b"), NO_NAME},
	{"a name that is a path", NAMED("../x"), NO_NAME},
	{"a name of 37 characters", NAMED(NAME_36 "d"), "needs the option \"data\""},
	{"a name of 38", NAMED(NAME_36 "dd"), NO_NAME},
	{"a name of 39", NAMED(NAME_36 "ddd"), NO_NAME},
	{"without a main one", NEXT_ON_5433, "[postgresql.next] needs a main instance"},

	{"data is needed", NAMED("next") "bin = /b\n", "[postgresql.next] needs the option \"data\""},
	{"a port is needed", MAIN NEXT, "[postgresql.next] needs the option \"port\""},
	{"a unit is needed", MAIN NEXT_ON_5433 "control = systemctl\n", "[postgresql.next] needs the option \"unit\""},
	{"not a conninfo", MAIN NEXT_ON_5433 "replication = password\n", "replication"},
	{"a misspelt option", MAIN NEXT_ON_5433 "dat = x\n", "unknown option"},

	{"one data directory for two", MAIN NEXT_IN("%s/one"), "[postgresql] and [postgresql.next] have the same data"},
	{"one with slashes behind it", MAIN NEXT_IN("%s/one//"), "the same data directory"},
	{"one by a link", MAIN NEXT_IN("%s/link"), "the same data directory"},
	{"one in the other", MAIN NEXT_IN("%s/one/two"), "one lies in the other"},
	{"one for two of the further ones", MAIN NEXT_ON_5433 "[postgresql.more]\nbin = /b\ndata = %s/two\nport = 5434\n",
	"[postgresql.next] and [postgresql.more]"},
	{"one port for two", MAIN NEXT "port = 5432\n", "the same \"port\" and the same \"socket\""},
	{"one port and one folder by two names", MAIN "socket = %s/one\n" NEXT "port = 5432\nsocket = %s/link\n",
	"the same \"port\""},
	{"one log for two", MAIN "log = %s/log\n" NEXT_ON_5433 "log = %s/log\n", "the same \"log\""},
	{"one unit for two", MAIN "control = systemctl\nunit = u\n" NEXT_ON_5433 "control = systemctl\nunit = u\n",
	"the same \"unit\""},
	{"one cluster for two", MAIN "control = pg_ctlcluster\ncluster = 15/x\n"
	NEXT_ON_5433 "control = pg_ctlcluster\ncluster = 15/x\n", "the same \"cluster\""},
};

static void
test_config_bad(void)
{
	for (size_t i = 0; i < sizeof(bad_configs) / sizeof(bad_configs[0]); i++)
	{
		char		error[512];
		AgentConfig *config = config_of(bad_configs[i].text, error, sizeof(error));
		char	   *name = xasprintf("instances refused: %s", bad_configs[i].name);

		ok(!config && strstr(error, bad_configs[i].expected), name);
		if (config)
			config_free(config);
		free(name);
	}
}

/* One port in two socket folders, one folder whose name begins like another's, logs that nobody reads. */
static void
test_config_shared(void)
{
	char		error[512] = "";
	AgentConfig *config = config_of(MAIN "socket = %s/one\nlog = /dev/null\n" "[postgresql.next]\nbin = /b\n"
									"data = %s/one2\nport = 5432\nsocket = %s\nlog = /dev/null\n",
									error, sizeof(error));

	ok(config != NULL, "instances: what two may have in common");
	if (config)
		config_free(config);
}

/* ---- what is remembered ---- */

static void
test_settings(AgentConfig *config)
{
	const PgInstance *main_one = config_instance(config, "");
	const PgInstance *next = config_instance(config, "next");
	Original	nothing = {0};
	Original	original;

	ok(original_keep(next, "wal_writer_delay", &nothing, "200ms", "7", "10s") == 0,
	   "instances: a setting of one is noted");
	ok(original_read(next, "wal_writer_delay", &original) == 1, "instances: it is remembered");
	original_free(&original);
	ok(original_read(main_one, "wal_writer_delay", &original) == 0, "instances: and not of the other");
	original_free(&original);
	ok(original_keep(main_one, "wal_writer_delay", &nothing, "300ms", "8", "9s") == 0, "instances: that has its own");
	original_read(main_one, "wal_writer_delay", &original);
	original_forget(main_one, "wal_writer_delay", &original);
	original_free(&original);
	ok(original_read(next, "wal_writer_delay", &original) == 1 && strcmp(original.value, "200ms") == 0,
	   "instances: what is forgotten of one is still known of the other");
	original_free(&original);
}

static void
test_leftovers(AgentConfig *config)
{
	static const char *const names[] = {"settings/a.json.tmp1.2", "settings.next/a.json.tmp1.2",
		"one/standby.signal.tmp1.2", "two/postgresql.auto.conf.tmp1.2", NULL};
	bool		gone = true;

	for (int i = 0; names[i]; i++)
		write_text(names[i], "x");
	write_text("settings.next/kept.json", "{}");
	leftovers_remove(config);
	for (int i = 0; names[i]; i++)
		gone &= !file_exists_in(where, names[i]);
	ok(gone && file_exists_in(where, "settings.next/kept.json"),
	   "instances: what is half written is removed of each, and nothing else");
}

static void
test_logs(AgentConfig *config)
{
	const PgInstance *main_one = config_instance(config, "");
	const PgInstance *next = config_instance(config, "next");

	write_text("postgresql.log", "LOG:  starting PostgreSQL 15\nFATAL:  of the main one\n");
	write_text("postgresql.next.log", "LOG:  starting PostgreSQL 17\nFATAL:  of the next one\n");
	serverlog_mark(main_one);
	is(serverlog_last_words(main_one), NULL, "instances: what one said before its start is no word");
	is(serverlog_last_words(next), "FATAL:  of the next one", "instances: which says nothing of the other's");
	serverlog_mark(next);
	write_text("postgresql.log", "FATAL:  again\n");
	is(serverlog_last_words(main_one), "FATAL:  again", "instances: nor does the other's start");
	is(serverlog_last_words(next), NULL, "instances: each by its own start");
}

static void
test_claims(AgentConfig *config)
{
	const PgInstance *main_one = config_instance(config, "");
	const PgInstance *next = config_instance(config, "next");
	PgInstance	later = {.name = "other", .data = main_one->data};	/* the same, after a reload */

	ok(server_claim(main_one->data) && !server_claim(main_one->data), "instances: a data directory is one job's");
	ok(server_claim(next->data), "instances: that of another instance is free");
	ok(!server_claim(later.data), "instances: by whatever name");
	server_release(main_one->data);
	ok(server_claim(later.data) && !server_claim(next->data), "instances: until it is released");
	server_release(later.data);
	server_release(next->data);
}

static void
test_versions(AgentConfig *config)
{
	const PgInstance *next = config_instance(config, "next");
	char	   *program = xasprintf("%s/bin/postgres", where);

	ok(version_parse("postgres (PostgreSQL) 15.5 (Debian 15.5-1)\n") == 15 &&
	   version_parse("postgres (PostgreSQL) 18beta1\n") == 18 &&
	   version_parse("postgres (PostgreSQL) 9.6.24\n") == 9, "instances: the major of programs");
	ok(version_parse("") == 0 && version_parse("15") == 0 && version_parse("postgres (x) y") == 0 &&
	   version_parse("postgres (PostgreSQL) -1") == 0, "instances: what tells none");
	versions_ask(config);
	ok(next->major == 0 && version_major(next) == 0, "instances: programs that are not there tell none");
	write_text("bin/postgres", "#!/bin/sh\necho 'postgres (PostgreSQL) 17.2'\n");
	chmod(program, 0700);
	ok(version_major(next) == 17, "instances: and are asked again when they were installed since");
	versions_ask(config);
	unlink(program);
	ok(next->major == 17 && version_major(next) == 17, "instances: but not once they have told it");
	free(program);
	ok(version_of_data(next) == 0, "instances: a data directory without a version");
	write_text("two/PG_VERSION", "17\n");
	ok(version_of_data(next) == 17, "instances: the major of a data directory");
}

/* What a rewind of one would throw away of the other. */
static void
test_spaces(AgentConfig *config)
{
	const PgInstance *next = config_instance(config, "next");	/* of 17 by now */
	char	   *space = xasprintf("%s/space", where);
	char	   *spaces = xasprintf("%s/two/pg_tblspc", where);
	char	   *link = xasprintf("%s/16400", spaces);
	char	   *own = xasprintf("%s/PG_17_202406281", space);
	char	   *others = xasprintf("%s/PG_15_202209061", space);
	char	   *problem;

	make_directory(own, 0700);
	make_directory(spaces, 0700);
	if (symlink(space, link) < 0)
		ok(false, "a link");
	is(layout_rewind_problem(next), NULL, "instances: a tablespace of one major");
	make_directory(others, 0700);
	is(layout_problem(next), NULL, "instances: a base backup exchanges its own folder there");
	problem = layout_rewind_problem(next);
	ok(problem && strstr(problem, "\"PG_15_202209061\" of another server"),
	   "instances: but a rewind would take what is of another one");
	free(problem);
	free(others);
	free(own);
	free(link);
	free(spaces);
	free(space);
}

/* Whichever the file is: what was taken back is as it was, and what a person has written since stays. */
static void
test_boot(void)
{
	static const char *const files[] = {
		"auto\n", "# a comment\n\nauto\n", "  manual # not at boot", "", "# nothing\n", "disabled\n# auto\n", NULL
	};

	for (int i = 0; files[i]; i++)
	{
		char	   *left = boot_text_left(files[i], "run");
		char	   *again = boot_text_left(left, "another");
		bool		whole = !*files[i] || files[i][strlen(files[i]) - 1] == '\n';
		char	   *before = xasprintf("%s%s", files[i], whole ? "" : "\n");

		is(again, left, "start.conf: set aside once");
		is(boot_text_taken(left), before, "start.conf: as it was");
		free(before);
		free(left);
	}
	is(boot_text_left("# c\nauto\n", "7"), "# c\n#pg_pingpong# auto\n"
	   "manual # pg_pingpong: by run 7 another server has its place, and its port\n", "start.conf: its text");
	is(boot_text_taken("#pg_pingpong# auto\nmanual\n"), "#pg_pingpong# auto\nmanual\n",
	   "start.conf: rewritten by a person");
}

/* Of one server both spellings, and the last one counts. */
static void
test_options(void)
{
	char	   *const options[] = {"-p", "5432", "-c", "config_file=/a", "--config-file=/b", "-chba_file=/c",
	"-c", "hba_file_else=/d", NULL};
	const char *config = postmaster_option(options, "config_file");
	const char *hba = postmaster_option(options, "hba_file");

	ok(config && strcmp(config, "/b") == 0, "options of a server: the last one counts");
	ok(hba && strcmp(hba, "/c") == 0, "options of a server: without a blank");
	ok(!postmaster_option(options, "ident_file") && !postmaster_option(NULL, "port"), "options of a server: none");
}

/* Where its configuration is. */
static void
test_configuration(void)
{
	PgInstance	pg = {.data = "/d", .cluster = "15/main", .control = PG_CONTROL_PG_CTLCLUSTER};

	is(config_path(&pg, "pg_hba.conf"), "/etc/postgresql/15/main/pg_hba.conf", "configuration: of a cluster");
	pg.cluster = "15";
	is(config_folder(&pg), "/etc/postgresql/15/main", "configuration: of a cluster without a name");
	pg.control = PG_CONTROL_PG_CTL;
	is(config_folder(&pg), "/d", "configuration: of others");
	pg.control = PG_CONTROL_SYSTEMCTL;
	pg.cluster = "15/one";
	pg.unit = "postgresql@15-one";
	is(config_folder(&pg), "/etc/postgresql/15/one", "configuration: of Debian's unit");
	pg.unit = "site";
	is(config_folder(&pg), "/d", "configuration: of a unit of the site's own");
}

/* Whose cluster a unit is. */
static void
test_units(void)
{
	static const char *const others[] = {
		"postgresql", "postgresql@15", "postgresql@15-", "postgresql@-main", "postgresql@x-main", "postgresql@15-a-b",
		"postgresql@15-a\\x2db", "postgresql@15-main.socket", "postgresql@15-main.service2", "postgresql@15-../x",
		"site-postgresql@15-main", ""
	};

	is(config_cluster_of_unit("postgresql@15-main"), "15/main", "units: one of Debian's");
	is(config_cluster_of_unit("postgresql@18-db_2.service"), "18/db_2", "units: by its full name");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ok(!config_cluster_of_unit(others[i]), others[i][0] ? others[i] : "units: none");
}

void
test_instances(const char *directory)
{
	static const char *const folders[] = {"one", "two", "bin", "settings", "settings.next", NULL};
	char	   *path = xasprintf("%s/instances", directory);
	char	   *one = xasprintf("%s/one", path);
	char	   *link = xasprintf("%s/link", path);
	char		error[512];
	AgentConfig *config;

	where = path;
	for (int i = 0; folders[i]; i++)
	{
		char	   *folder = xasprintf("%s/%s", path, folders[i]);

		make_directory(folder, 0700);
		free(folder);
	}
	if (symlink(one, link) < 0)
		ok(false, "a link");
	test_config_good();
	test_config_bad();
	test_config_shared();
	test_successor();
	test_boot();
	test_options();
	test_configuration();
	test_units();
	config = config_of("[postgresql]\ndata = %s/one\nbin = %s/none\nport = 5432\n"
					   "[postgresql.next]\nbin = %s/bin\ndata = %s/two\nport = 5433\n", error, sizeof(error));
	test_settings(config);
	test_leftovers(config);
	test_logs(config);
	test_claims(config);
	test_versions(config);
	test_spaces(config);
	config_free(config);
	free(link);
	free(one);
	free(path);
}
