/*
 * runtime.h
 *		The runtime API of HAProxy: lines of commands, and its tables.
 *
 * A section has "socket", which listen_parse() takes, and may have "timeout_ms". Each question is a connection of its
 * own: HAProxy closes it behind its answer.
 */
#ifndef PINGPONG_AGENT_ROUTE_RUNTIME_H
#define PINGPONG_AGENT_ROUTE_RUNTIME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/core/config.h"
#include "agent/core/text.h"

#define RUNTIME_TIMEOUT_MS 2000 /* where that is not set */

/*
 * Sends a line of commands (";" separates them, "\n" ends it) and gives what HAProxy says, malloc'd; NULL with why.
 * It says nothing where all is well, and something in words where it is not, or where it changed an address.
 */
extern char *runtime_ask(const ConfigSection *section, const char *line, char *why, size_t why_size);

/* The first line of an answer that is not empty. */
extern void runtime_words(const char *answer, char *to, size_t size);

/* The answer to a question as a list of objects, by the names of its columns; NULL with why. */
extern json_t *runtime_table(const ConfigSection *section, const char *line, char *why, size_t why_size);
extern const char *runtime_cell(json_t *row, const char *name); /* "": there is none */

/* A row for each server of each backend, "show servers state"; NULL with why. */
extern json_t *runtime_servers(const ConfigSection *section, char *why, size_t why_size);

/* Does such a server lead to the place {"host", "port"}, or to one of a list? */
extern bool runtime_leads_to(json_t *server, json_t *place);
extern bool runtime_leads_to_one_of(json_t *server, json_t *places);

/* Begins one more command of a line. */
extern void runtime_next_command(Text *line);

/* May it go into a command line?  Nothing in it ends a word or a command. */
extern bool runtime_name_valid(const char *name);

#endif							/* PINGPONG_AGENT_ROUTE_RUNTIME_H */
