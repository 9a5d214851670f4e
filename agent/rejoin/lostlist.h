/*
 * lostlist.h
 *		What WAL says of transactions: the words of pg_waldump, counted.  No I/O.
 */
#ifndef PINGPONG_AGENT_REJOIN_LOSTLIST_H
#define PINGPONG_AGENT_REJOIN_LOSTLIST_H

#include <stdbool.h>
#include <stddef.h>

#define LOST_RELATIONS 200		/* of more than that the rest is counted, and not told apart */

/* Of one relation: its number, and its rows in transactions that committed */
typedef struct LostRelation
{
	unsigned	space;
	unsigned	database;
	unsigned	file;
	long		inserted;
	long		updated;
	long		deleted;
} LostRelation;

typedef struct LostList
{
	long		records;
	long		commits;		/* of transactions that have written */
	char		first_lsn[24];	/* of a record; "": there is none */
	char		last_lsn[24];
	char		first_commit[48];	/* time as pg_waldump tells it; "": none */
	char		last_commit[48];
	int			n;
	LostRelation relations[LOST_RELATIONS];
	bool		more;			/* there are relations that are not among them */
	bool		coarse;			/* so many rows were open at a time that some are counted without their commit */

	/* private */
	struct LostChange *changes;
	size_t		n_changes;
	size_t		room;
	char		line[4096];
	size_t		len;
} LostList;

/* A list that is all zeros is empty. Pieces of the output, of any size; lost_free() lets go of what it has. */
extern void lost_feed(LostList *list, const char *data, size_t size);
extern void lost_free(LostList *list);

#endif							/* PINGPONG_AGENT_REJOIN_LOSTLIST_H */
