/*
 * fresh.c
 *		A node that had no settings of its own: what of the source's settings cannot be its own.
 *
 * A base backup into an empty folder brings postgresql.auto.conf of the source, and, where no package has them
 * elsewhere, postgresql.conf. With them the server would come up under the source's name and at its port, where the
 * agent does not look for it; on one host it would not come up at all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/job/action.h"
#include "agent/pg/formats.h"
#include "agent/pg/layout.h"
#include "agent/pg/paths.h"
#include "agent/rejoin/fresh.h"
#include "common/sqlstate.h"

#define CONF_MAX (4 * 1024 * 1024)
#define SETTINGS_MAX 8

static char *
text_of(const char *data, const char *name)
{
	char	   *path = xasprintf("%s/%s", data, name);
	char	   *text = file_read(path, CONF_MAX, NULL);

	free(path);
	return text ? text : xstrdup("");
}

/* Set by the source, to whatever. */
static bool
is_set(const char *text, const char *name)
{
	char	   *value = conf_value(text, name);
	bool		set = value && *value;

	free(value);
	return set;
}

/* `brought`: postgresql.conf is the source's. A setting of a file of its own is left to that file. */
static char *
own_settings(Rejoin *rejoin, const char *data, const char *autoconf, bool brought)
{
	const PgInstance *pg = rejoin->pg;
	const AgentConfig *config = rejoin->ctx->config;
	char	   *conf = brought ? text_of(data, "postgresql.conf") : xstrdup("");
	char	   *port = xasprintf("%d", pg->port);
	char	   *changed;
	ConfSetting settings[SETTINGS_MAX] = {{"primary_conninfo", NULL}, {"pingpong.node_name", config->node}};
	int			n = 2;

	if (brought || is_set(autoconf, "port"))
		settings[n++] = (ConfSetting) {"port", port};
	if (brought || is_set(autoconf, "unix_socket_directories"))
		settings[n++] = (ConfSetting) {"unix_socket_directories", pg->socket};
	if (is_set(conf, "cluster_name") || is_set(autoconf, "cluster_name"))
		settings[n++] = (ConfSetting) {"cluster_name", config->node};
	if (config->token_file)
		settings[n++] = (ConfSetting) {"pingpong.agent_token_file", config->token_file};
	changed = conf_rewrite(autoconf, settings, n);
	free(port);
	free(conf);
	return changed;
}

int
fresh_settings(Rejoin *rejoin, const char *data)
{
	char	   *saved = layout_work(rejoin->pg, "saved");
	bool		had = file_exists_in(saved, "postgresql.auto.conf");
	bool		brought = !config_is_elsewhere(rejoin->pg) && !file_exists_in(saved, "postgresql.conf");
	char	   *path = xasprintf("%s/postgresql.auto.conf", data);
	char	   *text = text_of(data, "postgresql.auto.conf");
	char	   *changed = own_settings(rejoin, data, text, brought);
	int			rc = had ? 0 : file_write_atomic(path, changed, strlen(changed), 0600, true);

	if (rc < 0)
		rc = action_fail(rejoin->ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	free(changed);
	free(text);
	free(path);
	free(saved);
	return rc;
}
