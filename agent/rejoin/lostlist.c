/*
 * lostlist.c
 *		What WAL says of transactions: the words of pg_waldump, counted.  No I/O.
 *
 * A line is "rmgr: Heap  len (rec/tot): ..., tx: 738, lsn: 0/05343838, prev ..., desc: INSERT off 4 ..., blkref #0:
 * rel 1663/16385/16390 blk 0". The rows of a transaction count when its commit comes, which also names its
 * subtransactions. What has not committed is no loss.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/rejoin/lostlist.h"

#define CHANGES_MAX 200000		/* rows of open transactions that are remembered at a time */

typedef struct LostChange
{
	unsigned	tx;
	LostRelation relation;		/* one of its counters is not 0 */
} LostChange;

static LostRelation *
relation_of(LostList *list, const LostRelation *wanted)
{
	for (int i = 0; i < list->n; i++)
		if (list->relations[i].file == wanted->file && list->relations[i].database == wanted->database &&
			list->relations[i].space == wanted->space)
			return &list->relations[i];
	if (list->n == LOST_RELATIONS)
	{
		list->more = true;
		return NULL;
	}
	list->relations[list->n] = (LostRelation) {wanted->space, wanted->database, wanted->file, 0, 0, 0};
	return &list->relations[list->n++];
}

static void
count(LostList *list, const LostRelation *change)
{
	LostRelation *relation = relation_of(list, change);

	if (!relation)
		return;
	relation->inserted += change->inserted;
	relation->updated += change->updated;
	relation->deleted += change->deleted;
}

/* Its rows count, or, where it was rolled back, do not. */
static void
end_transaction(LostList *list, unsigned tx, bool committed)
{
	size_t		kept = 0;

	for (size_t i = 0; i < list->n_changes; i++)
		if (list->changes[i].tx != tx)
			list->changes[kept++] = list->changes[i];
		else if (committed)
			count(list, &list->changes[i].relation);
	list->n_changes = kept;
}

static void
remember(LostList *list, unsigned tx, const LostRelation *change)
{
	LostChange *last = list->n_changes ? &list->changes[list->n_changes - 1] : NULL;

	if (last && last->tx == tx && last->relation.file == change->file &&
		last->relation.database == change->database)
	{
		last->relation.inserted += change->inserted;
		last->relation.updated += change->updated;
		last->relation.deleted += change->deleted;
		return;
	}
	if (list->n_changes == CHANGES_MAX)
	{
		list->coarse = true;
		count(list, change);
		return;
	}
	if (list->n_changes == list->room)
	{
		list->room = list->room ? 2 * list->room : 256;
		list->changes = xrealloc(list->changes, list->room * sizeof(LostChange));
	}
	list->changes[list->n_changes++] = (LostChange) {tx, *change};
}

/* The number behind a word; 0: it is not there. */
static unsigned
number_behind(const char *text, const char *word)
{
	const char *at = strstr(text, word);

	return at ? (unsigned) strtoul(at + strlen(word), NULL, 10) : 0;
}

/* INSERT, UPDATE, HOT_UPDATE, DELETE, MULTI_INSERT, each perhaps with +INIT. */
static void
take_row(LostList *list, unsigned tx, const char *desc)
{
	LostRelation change = {0};
	const char *rel = strstr(desc, "rel ");

	if (!rel || sscanf(rel, "rel %u/%u/%u", &change.space, &change.database, &change.file) != 3)
		return;
	if (strncmp(desc, "INSERT", 6) == 0)
		change.inserted = 1;
	else if (strncmp(desc, "MULTI_INSERT", 12) == 0)
	{
		/* "ntuples: 5" since 16; before that "5 tuples" */
		const char *tuples = strstr(desc, " tuples");

		change.inserted = number_behind(desc, "ntuples: ");
		while (tuples && tuples > desc && tuples[-1] >= '0' && tuples[-1] <= '9')
			tuples--;
		if (change.inserted == 0)
			change.inserted = tuples ? strtol(tuples, NULL, 10) : 1;
		if (change.inserted == 0)
			change.inserted = 1;
	}
	else if (strncmp(desc, "UPDATE", 6) == 0 || strncmp(desc, "HOT_UPDATE", 10) == 0)
		change.updated = 1;
	else if (strncmp(desc, "DELETE", 6) == 0)
		change.deleted = 1;
	else
		return;
	remember(list, tx, &change);
}

/* "COMMIT 2026-01-02 03:04:05.678901 UTC; subxacts: 740 741; ..." */
static void
take_commit(LostList *list, unsigned tx, const char *desc)
{
	const char *time = desc + strcspn(desc, " ");
	const char *subxacts = strstr(desc, "subxacts: ");
	size_t		length;

	time += strspn(time, " ");
	/* that of a prepared transaction names it first: "COMMIT_PREPARED 740: 2026-..." */
	if (strncmp(desc, "COMMIT_PREPARED", 15) == 0)
	{
		tx = (unsigned) strtoul(time, NULL, 10);
		time += strcspn(time, " ");
		time += strspn(time, " ");
	}
	length = strcspn(time, ";");
	list->commits++;
	snprintf(list->last_commit, sizeof(list->last_commit), "%.*s", (int) length, time);
	if (!list->first_commit[0])
		memcpy(list->first_commit, list->last_commit, sizeof(list->first_commit));
	end_transaction(list, tx, true);
	for (char *end = subxacts ? (char *) subxacts + strlen("subxacts: ") : NULL; end && *end >= '0' && *end <= '9';)
	{
		end_transaction(list, (unsigned) strtoul(end, &end, 10), true);
		end += strspn(end, " ");
	}
}

static void
take_line(LostList *list, const char *line)
{
	const char *lsn = strstr(line, "lsn: ");
	const char *desc = strstr(line, "desc: ");
	unsigned	tx = number_behind(line, "tx: ");

	if (strncmp(line, "rmgr: ", 6) != 0 || !lsn || !desc)
		return;
	list->records++;
	desc += 6;
	snprintf(list->last_lsn, sizeof(list->last_lsn), "%.*s", (int) strcspn(lsn + 5, ","), lsn + 5);
	if (!list->first_lsn[0])
		memcpy(list->first_lsn, list->last_lsn, sizeof(list->first_lsn));
	if (strncmp(line + 6, "Heap", 4) == 0)
		take_row(list, tx, desc);
	else if (strncmp(line + 6, "Transaction", 11) == 0 && strncmp(desc, "COMMIT", 6) == 0)
		take_commit(list, tx, desc);
	else if (strncmp(line + 6, "Transaction", 11) == 0 && strncmp(desc, "ABORT", 5) == 0)
		end_transaction(list, tx, false);
}

/* What is longer than a line may be is cut: only its end (very many subtransactions) is not looked at. */
void
lost_feed(LostList *list, const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
	{
		if (data[i] != '\n' && list->len < sizeof(list->line) - 1)
			list->line[list->len++] = data[i];
		if (data[i] != '\n')
			continue;
		list->line[list->len] = '\0';
		take_line(list, list->line);
		list->len = 0;
	}
}

void
lost_free(LostList *list)
{
	free(list->changes);
	list->changes = NULL;
	list->n_changes = list->room = 0;
}
