/*
 * place.h
 *		Files of the set-up: written whole, with their owner and mode, and never over another one.
 */
#ifndef PINGPONG_AGENT_INIT_PLACE_H
#define PINGPONG_AGENT_INIT_PLACE_H

#include "agent/init/host.h"

/* Whose a file is, and who may read it. */
typedef enum PlaceKind
{
	PLACE_SECRET,				/* the agent's user alone */
	PLACE_ROOT_SECRET,			/* root alone, or the present user */
	PLACE_SHARED,				/* the agent's user may read it, and not change it */
	PLACE_PUBLIC
} PlaceKind;

/*
 * Makes the file, and says so; one with these contents is right, its owner and mode are corrected. Another one stays,
 * and is told as a "todo"; with `replace` it is copied to PATH.before-init first (the first of these copies stays).
 * 0, or -1 after a line with "FAIL".
 */
extern int	place_file(const InitHost *host, const char *path, const char *text, PlaceKind kind, bool replace,
					   bool dry_run);

/* A folder: `own`: of the agent's user alone; else root's (or ours), readable by the agent's group. */
extern int	place_folder(const InitHost *host, const char *path, bool own, bool dry_run);

/* Replaces a file of others by a longer version of itself: same owner and mode, a copy beside it; 0 or -1, said. */
extern int	place_edit(const InitHost *host, const char *path, const char *text);

#endif							/* PINGPONG_AGENT_INIT_PLACE_H */
