/*
 * folder.h
 *		A data directory that is emptied and filled, and may be the root of a file system.
 */
#ifndef PINGPONG_AGENT_UPGRADE_FOLDER_H
#define PINGPONG_AGENT_UPGRADE_FOLDER_H

#include <stdbool.h>

/* Nothing is in it, or it does not exist. False also where it cannot be read. */
extern bool folder_is_empty(const char *path);

/* Removes what is in it, not itself. 0; -1 with errno: something is left. */
extern int	folder_clear(const char *path);

#endif							/* PINGPONG_AGENT_UPGRADE_FOLDER_H */
