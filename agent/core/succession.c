/*
 * succession.c
 *		The successor of a host's main instance.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/succession.h"

#define NAME_MAX_BYTES 256

static void
take(char **field, const char *value)
{
	if (!*field && value)
		*field = xstrdup(value);
}

void
succession_inherit(AgentConfig *config)
{
	const PgInstance *old = config_instance(config, "");

	for (int i = 0; old && i < config->n_instances; i++)
	{
		PgInstance *pg = &config->instances[i];

		if (!pg->successor || pg == old)
			continue;
		if (pg->port == 0)
			pg->port = old->port;
		take(&pg->socket, old->socket);
		take(&pg->superuser, old->superuser);
		take(&pg->database, old->database);
		take(&pg->replication, old->replication);
		take(&pg->rewind, old->rewind);
		take(&pg->max_rate, old->max_rate);
	}
}

static char *
path_of_main(const AgentConfig *config)
{
	return xasprintf("%s/main", config->state_dir);
}

/* The folder of its settings stays with each: they are remembered by the section of the file. */
static void
exchange(AgentConfig *config, PgInstance *chosen)
{
	PgInstance	moved = *chosen;
	PgInstance *old = (PgInstance *) config_instance(config, "");

	free(moved.name);
	free(old->name);
	moved.name = xstrdup("");
	old->name = xstrdup(FORMER_NAME);
	moved.successor = NULL;
	old->successor = chosen->successor;
	*chosen = *old;
	*old = moved;
}

bool
succession_apply(AgentConfig *config)
{
	char	   *path = path_of_main(config);
	char	   *name = file_read(path, NAME_MAX_BYTES, NULL);
	bool		known = name || errno == ENOENT || errno == ENOTDIR;	/* state_dir itself is looked at elsewhere */
	PgInstance *chosen;

	if (name)
		name[strcspn(name, "\n")] = '\0';
	chosen = name ? (PgInstance *) config_instance(config, name) : NULL;
	if (chosen && chosen->successor)
		exchange(config, chosen);
	else if (name)
		known = false;
	free(name);
	free(path);
	return known;
}

const PgInstance *
succession_find(const AgentConfig *config, int major, int (*major_of) (const PgInstance *pg))
{
	for (int i = 1; i < config->n_instances; i++)
		if (config->instances[i].successor && major_of(&config->instances[i]) == major)
			return &config->instances[i];
	return NULL;
}

static char *
path_of_room(const AgentConfig *config)
{
	return xasprintf("%s/main.room", config->state_dir);
}

int
succession_reserve(const AgentConfig *config)
{
	char	   *room = path_of_room(config);
	int			rc = file_exists(room) ? 0 : file_reserve(room, NAME_MAX_BYTES, 0600);

	free(room);
	return rc;
}

int
succession_write(const AgentConfig *config, const char *name)
{
	char	   *path = path_of_main(config);
	char	   *room = path_of_room(config);
	char	   *line = name ? xasprintf("%s\n", name) : NULL;
	int			rc;

	if (line)
		rc = file_write_reserved(path, room, line, strlen(line), 0600);
	else if (unlink(path) < 0 && errno != ENOENT)
		rc = -1;
	else
		rc = file_fsync_path(config->state_dir);
	free(line);
	free(room);
	free(path);
	return rc;
}
