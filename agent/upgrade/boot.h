/*
 * boot.h
 *		Which of two servers starts with the host: start.conf of clusters of Debian's.
 *
 * Both have one port. The one that is not the main server is set to "manual", and its file keeps what it said before
 * in comments. Servers that are under another control have no such file: nothing is done for them.
 */
#ifndef PINGPONG_AGENT_UPGRADE_BOOT_H
#define PINGPONG_AGENT_UPGRADE_BOOT_H

#include <stdbool.h>

#include "agent/job/action.h"

/* The text of a start.conf that is set to "manual" by us; of one that is so already: as it is. malloc'd */
extern char *boot_text_left(const char *text, const char *run);

/* The text as it was before; without our mark, as somebody has rewritten it: as it is. malloc'd */
extern char *boot_text_taken(const char *text);

/* Is the server's file set to "manual" by us? */
extern bool boot_is_left(const PgInstance *pg);

/* A new cluster's file: that of `old`, but "manual" until it is the main one. 0, or -1 with errno. */
extern int	boot_prepare(const PgInstance *old, const PgInstance *new, const char *run);

/*
 * One server gives its place up, and another one has it. What cannot be written is logged: a server that is to serve
 * again does not wait for it.
 */
extern void boot_leave(const PgInstance *from, const char *run);
extern void boot_take(const PgInstance *to);

/* Both, and it is so. Fails the job (58030). */
extern int	boot_move(ActionContext *ctx, const PgInstance *from, const PgInstance *to);

#endif							/* PINGPONG_AGENT_UPGRADE_BOOT_H */
