/*
 * place.h
 *		Where an upgrade is rehearsed: a folder of our own name in the one that the successor's section names.
 */
#ifndef PINGPONG_AGENT_REHEARSE_PLACE_H
#define PINGPONG_AGENT_REHEARSE_PLACE_H

#include "agent/upgrade/upgrade.h"

/* The clone and what it becomes. Both are reached by a socket in the folder, which is closed to other users. */
typedef struct Rehearsal
{
	Upgrade		upgrade;		/* of the real servers */
	char	   *folder;			/* ours, and removed as a whole */
	PgInstance	old;
	PgInstance	new;
	bool		claimed;		/* no other job works there */
	bool		full;			/* its disk was nearly full: rehearsal_spares() has ended a program */
} Rehearsal;

/*
 * From params as upgrade_open() takes them; to be freed by rehearsal_close(), until which no other job has it. Fails
 * the job: as that one, and 55000: no folder is configured; 55006: another job works there, for long.
 */
extern int	rehearsal_open(ActionContext *ctx, json_t *params, Rehearsal *rehearsal);
/* What the last rehearsal has left, whatever is configured now; its folder is NULL: nothing. */
extern int	rehearsal_open_left(ActionContext *ctx, Rehearsal *rehearsal);
extern void rehearsal_close(Rehearsal *rehearsal);

/* Fails the job (55006) when the folder is another agent's. */
extern int	rehearsal_check_own(const Rehearsal *rehearsal);

/*
 * For ChildOptions: the real server may be on the same disk, so a program that has nearly filled it is ended. Behind
 * that rehearsal_check_full() fails the job (53100) instead of what it has failed with.
 */
extern const char *rehearsal_spares(Rehearsal *rehearsal);
extern int	rehearsal_check_full(Rehearsal *rehearsal);

/* A file in the folder; malloc'd. */
extern char *rehearsal_path(const Rehearsal *rehearsal, const char *name);

/*
 * Makes the folder, empty and closed to others; what an earlier rehearsal has left is removed first. Fails the job:
 * 55006, it is another agent's; 55000, it is a link, or others can open it.
 */
extern int	rehearsal_make(Rehearsal *rehearsal);

/*
 * Ends all processes that work there, keeps the logs in state_dir/rehearsal, and removes the folder. Repeated, it
 * does no harm, and that of another agent is left alone. Fails the job when something is left.
 */
extern int	rehearsal_remove(Rehearsal *rehearsal);

/* The context for orders to the clone (or what it has become): the same job, other `pg`. */
extern ActionContext rehearsal_on(const Rehearsal *rehearsal, const PgInstance *pg);

#endif							/* PINGPONG_AGENT_REHEARSE_PLACE_H */
