/*
 * bouncerfile.h
 *		The file of PgBouncer that the agent changes: read, replaced as a whole, prepared beforehand.
 *
 * A new version is written under a hidden name beside the file, complete, with the file's owner, mode and access
 * list, and renamed over it. So a reader sees the old one or the new one. A symbolic link stays, its target is
 * replaced. All functions return 0, or -1 with the reason in one line.
 */
#ifndef PINGPONG_AGENT_ROUTE_BOUNCERFILE_H
#define PINGPONG_AGENT_ROUTE_BOUNCERFILE_H

#include <stddef.h>

/* The whole text, malloc'd.  What is no text (a NUL in it), too large or not there is an error. */
extern int	bouncer_file_read(const char *path, char **text, char *why, size_t why_size);

/* Could it be replaced?  A look only; a full disk is found by staging. */
extern int	bouncer_file_check(const char *path, char *why, size_t why_size);

/* The next version on disk, fsynced: what could stand against it is found here. */
extern int	bouncer_file_stage(const char *path, const char *text, char *why, size_t why_size);

/*
 * The staged version becomes the file. Whether the host's crash finds it or the old one is open until
 * bouncer_file_sync().
 */
extern int	bouncer_file_swap(const char *path, char *why, size_t why_size);
extern void bouncer_file_discard(const char *path);
extern int	bouncer_file_sync(const char *path, char *why, size_t why_size);

/* All of it at once, without touching what is staged; durable as above. */
extern int	bouncer_file_replace(const char *path, const char *text, char *why, size_t why_size);

#endif							/* PINGPONG_AGENT_ROUTE_BOUNCERFILE_H */
