/*
 * options.c
 *		What pingpong-agent init was told: its arguments, and the file that the first host made for this one.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/init/options.h"

#define JOIN_FILE_MAX (256 * 1024)
#define HOST_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-"
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789_"
#define NAME_MAX_LENGTH 41

enum
{
	OPT_NODE = 256, OPT_HOST, OPT_PEER, OPT_ROUTER, OPT_RW, OPT_RO, OPT_DIR, OPT_STATE_DIR, OPT_AGENT_PORT, OPT_DATA,
	OPT_BIN, OPT_SOCKET, OPT_PORT, OPT_DATABASE, OPT_SUPERUSER, OPT_OWNER, OPT_BOUNCER, OPT_MAKE_CA, OPT_CA,
	OPT_CA_KEY, OPT_REQUEST, OPT_JOIN, OPT_NO_POSTGRES, OPT_SET_ASIDE, OPT_APPLY, OPT_START, OPT_FORCE, OPT_DRY_RUN
};

static const struct option long_options[] = {
	{"node", required_argument, NULL, OPT_NODE},
	{"host", required_argument, NULL, OPT_HOST},
	{"peer", required_argument, NULL, OPT_PEER},
	{"router", required_argument, NULL, OPT_ROUTER},
	{"rw", required_argument, NULL, OPT_RW},
	{"ro", required_argument, NULL, OPT_RO},
	{"dir", required_argument, NULL, OPT_DIR},
	{"state-dir", required_argument, NULL, OPT_STATE_DIR},
	{"agent-port", required_argument, NULL, OPT_AGENT_PORT},
	{"data", required_argument, NULL, OPT_DATA},
	{"bin", required_argument, NULL, OPT_BIN},
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"port", required_argument, NULL, OPT_PORT},
	{"database", required_argument, NULL, OPT_DATABASE},
	{"superuser", required_argument, NULL, OPT_SUPERUSER},
	{"owner", required_argument, NULL, OPT_OWNER},
	{"pgbouncer", required_argument, NULL, OPT_BOUNCER},
	{"make-ca", no_argument, NULL, OPT_MAKE_CA},
	{"ca", required_argument, NULL, OPT_CA},
	{"ca-key", required_argument, NULL, OPT_CA_KEY},
	{"request", no_argument, NULL, OPT_REQUEST},
	{"join", required_argument, NULL, OPT_JOIN},
	{"no-postgres", no_argument, NULL, OPT_NO_POSTGRES},
	{"set-aside", no_argument, NULL, OPT_SET_ASIDE},
	{"apply", no_argument, NULL, OPT_APPLY},
	{"start", no_argument, NULL, OPT_START},
	{"force", no_argument, NULL, OPT_FORCE},
	{"dry-run", no_argument, NULL, OPT_DRY_RUN},
	{"help", no_argument, NULL, 'h'},
	{NULL}
};

static void
print_help(void)
{
	printf("pingpong-agent init sets up the agent of this host, and shows what PostgreSQL and PgBouncer lack.\n\n"
		   "Usage:\n"
		   "  pingpong-agent init [OPTION]...               on the first host, the primary\n"
		   "  pingpong-agent init --join FILE [OPTION]...   on the others, with a file that the first one made\n\n"
		   "It writes only files of the agent, and none that exists. Called again it tells what is right already.\n\n"
		   "What is to be set up:\n"
		   "  --peer NAME[=HOST[:PORT[:AGENT_PORT]]]   another database host; may be repeated\n"
		   "  --router NAME[=HOST[:AGENT_PORT]]        a host with PgBouncer; may be repeated\n"
		   "  --rw DATABASE[=NAME]       a database of PgBouncer for writers; NAME: on the server, if another\n"
		   "  --ro DATABASE[=NAME]       the same for readers\n"
		   "  --node NAME, --host HOST   this node, and its address for the others (default: the host's name)\n"
		   "Certificates:\n"
		   "  --make-ca                  make an authority for the agents, and certificates for all of them\n"
		   "  --ca FILE --ca-key FILE    use this authority\n"
		   "  --request                  write a certificate request for the site's own authority\n"
		   "What may be changed:\n"
		   "  --apply                    make settings, roles, lines of pg_hba.conf, the file of PgBouncer\n"
		   "  --start                    restart PostgreSQL where it must be, enable and start the agent\n"
		   "  --set-aside                rename the data directory of a cluster that nobody has used yet, so that a\n"
		   "                             standby can be built there\n"
		   "  --force                    replace an agent.ini that differs (a copy is kept)\n"
		   "  --dry-run                  only tell what would be done\n"
		   "Where things are, if they are not found:\n"
		   "  --data DIR, --bin DIR, --socket DIR, --port N, --superuser ROLE, --database NAME, --no-postgres,\n"
		   "  --pgbouncer FILE|none, --owner USER, --dir DIR (/etc/pingpong-agent),\n"
		   "  --state-dir DIR (/var/lib/pingpong-agent), --agent-port N (8700)\n");
}

static int
refuse(const char *format, const char *a)
{
	fprintf(stderr, "pingpong-agent init: ");
	fprintf(stderr, format, a);
	fprintf(stderr, "\n");
	return -1;
}

static bool
is_name(const char *name)
{
	return *name >= 'a' && *name <= 'z' && strspn(name, NAME_CHARS) == strlen(name) &&
		strlen(name) <= NAME_MAX_LENGTH;
}

static bool
is_host(const char *host)
{
	return *host && strspn(host, HOST_CHARS) == strlen(host);
}

static int
read_port(const char *text, int *port)
{
	char	   *end;
	long		number = strtol(text, &end, 10);

	if (*end || end == text || number < 1 || number > 65535)
		return refuse("not a port: \"%s\"", text);
	*port = (int) number;
	return 0;
}

/* Takes name and host over. */
static int
add_peer(InitOptions *options, char *name, char *host, int port, int agent_port)
{
	if (!is_name(name))
		return refuse("not a name for a node (lower-case letters, digits and underscores): \"%s\"", name);
	if (!is_host(host))
		return refuse("not a host: \"%s\"", host);
	if (options->n_peers == INIT_PEERS_MAX)
		return refuse("%s", "too many hosts");
	options->peers[options->n_peers++] = (InitPeer) {name, host, port, agent_port};
	return 0;
}

/* Takes ":PORT" off the end; an address of IPv6 has none here. 0 or -1. */
static int
take_port(char *host, int *port)
{
	char	   *colon = strrchr(host, ':');

	if (!colon || strspn(host, "0123456789abcdefABCDEF:") == strlen(host))
		return 0;
	*colon = '\0';
	return read_port(colon + 1, port);
}

/* Of a database host NAME[=HOST[:PORT[:AGENT_PORT]]], of a router NAME[=HOST[:AGENT_PORT]]; 0: the same as here */
static int
read_peer(InitOptions *options, const char *text, bool router)
{
	char	   *name = xstrdup(text);
	char	   *host = strchr(name, '=');
	int			port = router ? 0 : INIT_PG_PORT;
	int			agent_port = 0;
	bool		two;

	if (host)
		*host++ = '\0';
	else
		host = name;
	two = strchr(host, ':') != strrchr(host, ':');
	if (((router || two) && take_port(host, &agent_port) < 0) || (!router && take_port(host, &port) < 0))
		return -1;
	return add_peer(options, name, xstrdup(host), port, agent_port);
}

static int
read_option(InitOptions *options, int c)
{
	struct
	{
		int			option;
		char	  **value;
	}			strings[] = {
		{OPT_NODE, &options->node}, {OPT_HOST, &options->host}, {OPT_DIR, &options->dir},
		{OPT_STATE_DIR, &options->state_dir}, {OPT_DATA, &options->data}, {OPT_BIN, &options->bin},
		{OPT_SOCKET, &options->socket}, {OPT_DATABASE, &options->database},
		{OPT_SUPERUSER, &options->superuser}, {OPT_OWNER, &options->owner}, {OPT_BOUNCER, &options->bouncer},
		{OPT_CA, &options->ca}, {OPT_CA_KEY, &options->ca_key}, {OPT_JOIN, &options->join},
	};
	struct
	{
		int			option;
		bool	   *value;
	}			flags[] = {
		{OPT_MAKE_CA, &options->make_ca}, {OPT_REQUEST, &options->request},
		{OPT_NO_POSTGRES, &options->no_postgres}, {OPT_SET_ASIDE, &options->set_aside},
		{OPT_APPLY, &options->apply}, {OPT_START, &options->start}, {OPT_FORCE, &options->force},
		{OPT_DRY_RUN, &options->dry_run},
	};

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		if (strings[i].option == c)
			*strings[i].value = optarg;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (flags[i].option == c)
			*flags[i].value = true;
	switch (c)
	{
		case OPT_PEER:
		case OPT_ROUTER:
			return read_peer(options, optarg, c == OPT_ROUTER);
		case OPT_RW:
			text_append(&options->rw, xstrdup(optarg));
			return 0;
		case OPT_RO:
			text_append(&options->ro, xstrdup(optarg));
			return 0;
		case OPT_AGENT_PORT:
			return read_port(optarg, &options->agent_port);
		case OPT_PORT:
			return read_port(optarg, &options->port);
		case '?':
			return -1;
	}
	return 0;
}

/* ---- the file of the first host ---- */

static char *
joined_string(const InitOptions *options, const char *key)
{
	const char *value = json_string_value(json_object_get(options->joined, key));

	return value ? xstrdup(value) : NULL;
}

static void
joined_list(const InitOptions *options, const char *key, char ***list)
{
	size_t		i;
	json_t	   *value;

	json_array_foreach(json_object_get(options->joined, key), i, value)
		if (json_is_string(value))
			text_append(list, xstrdup(json_string_value(value)));
}

/* What was given as an argument counts more. */
static int
read_join(InitOptions *options)
{
	char	   *text = file_read(options->join, JOIN_FILE_MAX, NULL);
	size_t		i;
	json_t	   *peer;

	if (!text)
		return refuse("the file of --join cannot be read: %s", strerror(errno));
	options->joined = json_loads(text, 0, NULL);
	free(text);
	if (!json_is_object(options->joined) || !json_is_string(json_object_get(options->joined, "token")))
		return refuse("\"%s\" was not made by pingpong-agent init on another host", options->join);
	if (!options->node)
		options->node = joined_string(options, "node");
	if (!options->host)
		options->host = joined_string(options, "host");
	if (!options->database)
		options->database = joined_string(options, "database");
	if (!options->agent_port)
		options->agent_port = (int) json_integer_value(json_object_get(options->joined, "agent_port"));
	json_array_foreach(json_object_get(options->joined, "peers"), i, peer)
	{
		const char *name = json_string_value(json_object_get(peer, "name"));
		const char *host = json_string_value(json_object_get(peer, "host"));

		if (!name || !host ||
			add_peer(options, xstrdup(name), xstrdup(host),
					 (int) json_integer_value(json_object_get(peer, "port")),
					 (int) json_integer_value(json_object_get(peer, "agent_port"))) < 0)
			return -1;
	}
	joined_list(options, "rw", &options->rw);
	joined_list(options, "ro", &options->ro);
	return 0;
}

/* ---- together ---- */

static char *
name_of_host(void)
{
	char		name[256] = "";

	gethostname(name, sizeof(name) - 1);
	return xstrdup(name);
}

static int
check_words(char *const *list)
{
	for (int i = 0; list && list[i]; i++)
		if (!is_host(list[i] + (strchr(list[i], '=') ? strcspn(list[i], "=") + 1 : 0)) ||
			strcspn(list[i], "=") == 0 || strspn(list[i], HOST_CHARS "=") != strlen(list[i]))
			return refuse("not a database: \"%s\"", list[i]);
	return 0;
}

static int
set_defaults(InitOptions *options)
{
	char	   *host = name_of_host();

	if (!options->node)
	{
		options->node = xstrdup(host);
		options->node[strcspn(options->node, ".")] = '\0';
	}
	if (!is_name(options->node))
		return refuse("\"%s\" cannot be the name of a node (lower-case letters, digits and underscores): give --node",
					  options->node);
	if (!options->host)
		options->host = options->node;
	if (!is_host(options->host))
		return refuse("not a host: \"%s\"", options->host);
	options->dir = options->dir ? options->dir : "/etc/pingpong-agent";
	options->state_dir = options->state_dir ? options->state_dir : "/var/lib/pingpong-agent";
	options->database = options->database ? options->database : "postgres";
	options->superuser = options->superuser ? options->superuser : "postgres";
	options->agent_port = options->agent_port ? options->agent_port : 8700;
	free(host);
	for (int i = 0; i < options->n_peers; i++)
		if (!options->peers[i].agent_port)
			options->peers[i].agent_port = options->agent_port;
	if (options->dir[0] != '/' || options->state_dir[0] != '/' || (options->data && options->data[0] != '/'))
		return refuse("%s", "--dir, --state-dir and --data must be absolute paths");
	if ((options->ca == NULL) != (options->ca_key == NULL) && !options->request)
		return refuse("%s", "--ca and --ca-key need each other");
	return check_words(options->rw) < 0 || check_words(options->ro) < 0 ? -1 : 0;
}

int
options_read(InitOptions *options, int argc, char **argv)
{
	int			c;

	memset(options, 0, sizeof(*options));
	optind = 1;
	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1)
	{
		if (c == 'h')
		{
			print_help();
			return 1;
		}
		if (read_option(options, c) < 0)
		{
			fprintf(stderr, "Try \"pingpong-agent init --help\".\n");
			return -1;
		}
	}
	if (optind < argc)
		return refuse("too many arguments: \"%s\"", argv[optind]);
	if (options->join && read_join(options) < 0)
		return -1;
	return set_defaults(options);
}
