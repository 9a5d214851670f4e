/*
 * folder.h
 *		A data directory that is emptied and filled, and may be the root of a file system.
 */
#ifndef PINGPONG_AGENT_UPGRADE_FOLDER_H
#define PINGPONG_AGENT_UPGRADE_FOLDER_H

#include <stdbool.h>

#include "agent/job/action.h"

/* Nothing is in it, or it does not exist. False also where it cannot be read. */
extern bool folder_is_empty(const char *path);

/* Is the path that folder, or in it? Both are without links. */
extern bool folder_is_inside(const char *path, const char *folder);

/*
 * Removes what is in it, not itself; before that the folders of its version in the locations of its tablespaces, and
 * nothing else there. `serves` is the data directory of the server that goes on. Repeated, it goes on where it was
 * broken off: a link to a location is removed behind the folder there, and the links before all else.
 *
 * Fails the job. 55000: a tablespace of the one that serves lies in it, or it is not known which folders are its own:
 * nothing is removed. 58030: something is left.
 */
extern int	folder_clear(ActionContext *ctx, const char *data, const char *serves);

#endif							/* PINGPONG_AGENT_UPGRADE_FOLDER_H */
