/*
 * originals.h
 *		The values that settings of an instance had before the agent changed them: state_dir/settings/SETTING.json, of
 *		a named instance state_dir/settings.NAME/SETTING.json, on disk before the change.
 */
#ifndef PINGPONG_AGENT_PG_ORIGINALS_H
#define PINGPONG_AGENT_PG_ORIGINALS_H

#include <jansson.h>

#include "agent/core/config.h"

typedef struct Original
{
	char	   *value;			/* as the server told it */
	char	   *line;			/* postgresql.auto.conf's own, NULL: it had none */
	json_t	   *ours;			/* what we have set since, as we wrote it; NULL: not known */
	char	   *system;			/* whose setting it is: system identifier, NULL: not known */
	char	   *run;			/* that changed it first, NULL: not known */
	json_int_t	serial;			/* of this version of the file; 0 where nothing is remembered */
} Original;

/* What is remembered: 1; 0: nothing; -1 with errno: not known, since its file cannot be read. */
extern int	original_read(const PgInstance *pg, const char *name, Original *original);
extern void original_free(Original *original);

/*
 * Is the present value still one that we have set, in the same cluster? 1; 0: a person has set it since, and that
 * outranks what is remembered; -1 with errno: not known.
 */
extern int	original_is_ours(const PgInstance *pg, const char *name, const Original *original);

/*
 * Before `ours` is set: remembers it, and `now` and the line, if nothing is remembered yet. `seen` is what was read
 * before `now` was asked for. 0; -1 with errno; 1: another job has changed it meanwhile, look again.
 */
extern int	original_keep(const PgInstance *pg, const char *name, const Original *seen, const char *now,
						  const char *run, const char *ours);

/* Not if another job has changed it since it was seen. */
extern void original_forget(const PgInstance *pg, const char *name, const Original *seen);

#endif							/* PINGPONG_AGENT_PG_ORIGINALS_H */
