/*
 * site.c
 *		What all hosts of an installation share, and what this one has of its own: token, passwords, certificates.
 *
 * A secret that is there is the one that counts: it is never made anew, because the other hosts have it already.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/init/authority.h"
#include "agent/init/place.h"
#include "agent/init/say.h"
#include "agent/init/site.h"

#define SECRET_MAX (64 * 1024)

char *
site_path(const InitOptions *options, const char *name)
{
	return xasprintf("%s/%s", options->dir, name);
}

static char *
present(const InitOptions *options, const char *name)
{
	char	   *path = site_path(options, name);
	char	   *text = file_read(path, SECRET_MAX, NULL);

	if (!text && errno != ENOENT)
		init_say(INIT_FAIL, "cannot read %s: %s", path, strerror(errno));
	free(path);
	return text;
}

static char *
joined(const InitOptions *options, const char *key)
{
	const char *value = json_string_value(json_object_get(options->joined, key));

	return value ? xstrdup(value) : NULL;
}

static int
write_file(const InitHost *host, const InitOptions *options, const char *name, const char *text, PlaceKind kind)
{
	char	   *path = site_path(options, name);
	int			rc = place_file(host, path, text, kind, false, options->dry_run);

	free(path);
	return rc;
}

/* ---- token and passwords ---- */

static int
make_token(InitSite *site, const InitHost *host, const InitOptions *options)
{
	char	   *text = present(options, "token");
	char	   *given = joined(options, "token");

	if (text)
		text[strcspn(text, "\r\n")] = '\0';
	if (text && given && strcmp(text, given) != 0)
	{
		init_say(INIT_FAIL, "the token of %s is not that of the host that made %s: agents share one token",
				 options->dir, options->join);
		return -1;
	}
	site->token = text ? text : given ? given : authority_secret();
	text = xasprintf("%s\n", site->token);
	return write_file(host, options, "token", text, PLACE_SECRET);
}

/* The password of a role in a line of the password file; malloc'd, NULL: none. */
static char *
password_of(const char *pgpass, const char *role)
{
	char	   *pattern = xasprintf("*:*:*:%s:", role);
	const char *found = pgpass ? strstr(pgpass, pattern) : NULL;
	char	   *password = NULL;

	if (found)
	{
		found += strlen(pattern);
		password = xasprintf("%.*s", (int) strcspn(found, "\r\n"), found);
	}
	free(pattern);
	return password;
}

static char *
password(const InitOptions *options, const char *pgpass, const char *role, const char *key)
{
	char	   *known = password_of(pgpass, role);

	if (!known)
		known = joined(options, key);
	return known ? known : authority_secret();
}

static int
make_passwords(InitSite *site, const InitHost *host, const InitOptions *options)
{
	char	   *pgpass = present(options, "pgpass");
	char	   *text;
	int			rc;

	site->replication_password = password(options, pgpass, REPLICATION_ROLE, "replication_password");
	site->rewind_password = password(options, pgpass, REWIND_ROLE, "rewind_password");
	text = xasprintf("*:*:*:" REPLICATION_ROLE ":%s\n*:*:*:" REWIND_ROLE ":%s\n", site->replication_password,
					 site->rewind_password);
	rc = host->pg ? write_file(host, options, "pgpass", text, PLACE_SECRET) : 0;
	free(text);
	free(pgpass);
	return rc;
}

/* ---- certificates ---- */

/* The site's own, that of the join file, that of the folder; or a new one. */
static int
make_authority(InitSite *site, const InitHost *host, const InitOptions *options)
{
	char		error[256];

	site->ca = options->ca ? file_read(options->ca, SECRET_MAX, NULL) : present(options, "ca.crt");
	site->ca_key = options->ca_key ? file_read(options->ca_key, SECRET_MAX, NULL) : present(options, "ca.key");
	if ((options->ca && !site->ca) || (options->ca_key && !site->ca_key))
	{
		init_say(INIT_FAIL, "the files of --ca and --ca-key cannot be read");
		return -1;
	}
	if (!site->ca)
		site->ca = joined(options, "ca");
	if (!site->ca && options->make_ca)
	{
		if (authority_make(&site->ca, &site->ca_key, error, sizeof(error)) < 0)
		{
			init_say(INIT_FAIL, "no authority could be made: %s", error);
			return -1;
		}
		if (write_file(host, options, "ca.key", site->ca_key, PLACE_ROOT_SECRET) < 0)
			return -1;
	}
	if (!site->ca)
	{
		init_say(INIT_TODO, "no authority for certificates: give --make-ca, or --ca FILE with --ca-key FILE or "
				 "--request");
		return 0;
	}
	return write_file(host, options, "ca.crt", site->ca, PLACE_PUBLIC);
}

static int
write_certificate(InitSite *site, const InitHost *host, const InitOptions *options, const char *cert, const char *key)
{
	if (write_file(host, options, "server.key", key, PLACE_SECRET) < 0 ||
		write_file(host, options, "server.crt", cert, PLACE_PUBLIC) < 0)
		return -1;
	site->has_certificate = true;
	return 0;
}

static int
write_request(const InitHost *host, const InitOptions *options, const CertificateName *name)
{
	char	   *request = NULL;
	char	   *key = NULL;
	char		error[256];

	if (authority_request(name, &request, &key, error, sizeof(error)) < 0)
	{
		init_say(INIT_FAIL, "no certificate request could be made: %s", error);
		return -1;
	}
	if (write_file(host, options, "server.key", key, PLACE_SECRET) < 0 ||
		write_file(host, options, "server.csr", request, PLACE_PUBLIC) < 0)
		return -1;
	return 0;
}

/* A key that is there belongs to a certificate, or to a request that somebody signs at this moment. */
static int
make_certificate(InitSite *site, const InitHost *host, const InitOptions *options)
{
	char	   *cert = present(options, "server.crt");
	char	   *key = present(options, "server.key");
	CertificateName name = {options->node, options->host};
	char		error[256];

	if (cert && key)
		return write_certificate(site, host, options, cert, key);
	if (!key && joined(options, "certificate") && joined(options, "key"))
		return write_certificate(site, host, options, joined(options, "certificate"), joined(options, "key"));
	if (!key && site->ca && site->ca_key)
	{
		if (authority_sign(site->ca, site->ca_key, &name, &cert, &key, error, sizeof(error)) == 0)
			return write_certificate(site, host, options, cert, key);
		init_say(INIT_FAIL, "no certificate could be made: %s", error);
		return -1;
	}
	if (!key && options->request && write_request(host, options, &name) < 0)
		return -1;
	if (key || options->request)
		init_say(INIT_TODO, "have %s/server.csr signed (for servers, with its names) and put the certificate into "
				 "server.crt there, that of the authority into ca.crt", options->dir);
	else
		init_say(INIT_TODO, "no certificate for this host");
	return 0;
}

int
site_make(InitSite *site, const InitHost *host, const InitOptions *options)
{
	memset(site, 0, sizeof(*site));
	if (place_folder(host, options->dir, false, options->dry_run) < 0 ||
		place_folder(host, options->state_dir, true, options->dry_run) < 0 ||
		make_token(site, host, options) < 0 || make_passwords(site, host, options) < 0 ||
		make_authority(site, host, options) < 0 || make_certificate(site, host, options) < 0)
		return -1;
	return init_failures ? -1 : 0;
}

/* ---- for the other hosts ---- */

static json_t *
peer_json(const char *name, const char *host, int port, int agent_port)
{
	return json_pack("{s:s,s:s,s:i,s:i}", "name", name, "host", host, "port", port, "agent_port", agent_port);
}

static json_t *
list_json(char *const *list)
{
	json_t	   *array = json_array();

	for (int i = 0; list && list[i]; i++)
		json_array_append_new(array, json_string(list[i]));
	return array;
}

/* This host first: it is the primary. */
static json_t *
peers_json(const InitHost *host, const InitOptions *options, const InitPeer *but)
{
	json_t	   *peers = json_array();

	json_array_append_new(peers, peer_json(options->node, options->host, host->pg ? host->pg->port : 0,
												   options->agent_port));
	for (int i = 0; i < options->n_peers; i++)
		if (&options->peers[i] != but)
			json_array_append_new(peers, peer_json(options->peers[i].name, options->peers[i].host,
												   options->peers[i].port, options->peers[i].agent_port));
	return peers;
}

static int
write_join(const InitSite *site, const InitHost *host, const InitOptions *options, const InitPeer *peer)
{
	CertificateName name = {peer->name, peer->host};
	char	   *cert = NULL;
	char	   *key = NULL;
	char		error[256];
	json_t	   *json = json_object();
	char	   *text;
	char	   *file = xasprintf("join/%s.json", peer->name);
	int			rc;

	json_object_set_new(json, "node", json_string(peer->name));
	json_object_set_new(json, "host", json_string(peer->host));
	json_object_set_new(json, "agent_port", json_integer(peer->agent_port));
	json_object_set_new(json, "database", json_string(options->database));
	json_object_set_new(json, "token", json_string(site->token));
	json_object_set_new(json, "peers", peers_json(host, options, peer));
	json_object_set_new(json, "rw", list_json(options->rw));
	json_object_set_new(json, "ro", list_json(options->ro));
	if (peer->port)
	{
		json_object_set_new(json, "replication_password", json_string(site->replication_password));
		json_object_set_new(json, "rewind_password", json_string(site->rewind_password));
	}
	if (site->ca)
		json_object_set_new(json, "ca", json_string(site->ca));
	if (site->ca_key && authority_sign(site->ca, site->ca_key, &name, &cert, &key, error, sizeof(error)) < 0)
		init_say(INIT_FAIL, "no certificate for %s could be made: %s", peer->name, error);
	if (cert && key)
	{
		json_object_set_new(json, "certificate", json_string(cert));
		json_object_set_new(json, "key", json_string(key));
	}
	text = json_dumps(json, JSON_INDENT(2));
	rc = write_file(host, options, file, text, PLACE_ROOT_SECRET);
	free(text);
	json_decref(json);
	free(file);
	return rc;
}

/* One that is there was made with the same token; its certificate may be in use already. */
int
site_write_joins(const InitSite *site, const InitHost *host, const InitOptions *options)
{
	char	   *folder = site_path(options, "join");
	int			rc = options->joined || options->n_peers == 0 ? 0 :
		place_folder(host, folder, false, options->dry_run);

	for (int i = 0; rc == 0 && !options->joined && i < options->n_peers; i++)
	{
		char	   *path = xasprintf("%s/%s.json", folder, options->peers[i].name);

		if (file_exists(path))
			init_say(INIT_OK, "%s", path);
		else
			rc = write_join(site, host, options, &options->peers[i]);
		free(path);
	}
	free(folder);
	return rc;
}
