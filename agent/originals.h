/*
 * originals.h
 *		What settings were before we changed them; state_dir/settings/NAME.json, on disk before the change.
 */
#ifndef PINGPONG_AGENT_ORIGINALS_H
#define PINGPONG_AGENT_ORIGINALS_H

#include "agent/pg.h"

typedef struct Original
{
	char	   *value;			/* as the server told it */
	char	   *line;			/* postgresql.auto.conf's own, NULL: it had none */
} Original;

/* What is remembered: 1; 0: nothing; -1 with errno: not known, since its file cannot be read. */
extern int	original_read(const AgentConfig *config, const char *name, Original *original);
extern void original_free(Original *original);

/* Remembers `value` and the line; what is remembered already stays.  0, or -1 with errno. */
extern int	original_keep(const AgentConfig *config, const char *name, const char *value);
extern void original_forget(const AgentConfig *config, const char *name);

/* settings.c: puts back all that are remembered; what cannot be is logged, and stays remembered */
extern void settings_put_back(ActionContext *ctx);

#endif							/* PINGPONG_AGENT_ORIGINALS_H */
