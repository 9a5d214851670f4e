/*
 * instances.c
 *		Which PostgreSQL instances this agent knows: the names that an order may use, and the major of each.
 *
 * No server is asked: one that hangs would delay the facts about all others.
 */
#include "agent/facts/instances.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/version.h"

static json_t *
known_number(int number)
{
	return number ? json_integer(number) : json_null();
}

/* With a command it may run where its process cannot be seen. */
static json_t *
running(const PgInstance *pg)
{
	bool		seen = postmaster_pid(pg->data) != 0;

	return !seen && pg->control == PG_CONTROL_COMMAND ? json_null() : json_boolean(seen);
}

json_t *
facts_instances(const AgentConfig *config)
{
	json_t	   *rows = json_array();

	for (int i = 0; i < config->n_instances; i++)
	{
		const PgInstance *pg = &config->instances[i];

		json_array_append_new(rows, json_pack("{s:s, s:o, s:s, s:o, s:s, s:i, s:s, s:s, s:o}", "name", pg->name,
											  "version", known_number(version_major(pg)), "data", pg->data,
											  "data_version", known_number(version_of_data(pg)), "bin", pg->bin,
											  "port", pg->port, "socket", pg->socket,
											  "control", config_control_name(pg->control), "running", running(pg)));
	}
	return rows;
}
