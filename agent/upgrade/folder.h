/*
 * folder.h
 *		The folder that is to be the new data directory.
 */
#ifndef PINGPONG_AGENT_UPGRADE_FOLDER_H
#define PINGPONG_AGENT_UPGRADE_FOLDER_H

#include <stdbool.h>

/* It does not exist, or has nothing in it but what a file system has in its root. */
extern bool folder_is_empty(const char *path);

/* Removes what is in it, and leaves the folder. 0; -1 with errno. */
extern int	folder_clear(const char *path);

#endif							/* PINGPONG_AGENT_UPGRADE_FOLDER_H */
