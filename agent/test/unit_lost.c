/*
 * unit_lost.c
 *		What pg_waldump's words say of lost transactions.
 */
#include <stdio.h>
#include <string.h>

#include "agent/rejoin/lostlist.h"
#include "agent/test/unit.h"

#define ROW(rmgr, tx, lsn, desc) \
	"rmgr: " rmgr "        len (rec/tot):     59/    59, tx:        " tx ", lsn: " lsn ", prev 0/00000000, " \
	"desc: " desc "\n"

static const char old_words[] =
	ROW("Heap       ", "738", "0/05343838", "INSERT off 4 flags 0x00, blkref #0: rel 1663/16385/16390 blk 0")
	ROW("Btree      ", "738", "0/05343880", "INSERT_LEAF off 4, blkref #0: rel 1663/16385/16395 blk 1")
	ROW("Transaction", "738", "0/053438C0", "COMMIT 2026-11-27 00:48:22.540000 UTC")
	/* rolled back */
	ROW("Heap       ", "739", "0/053438F0", "DELETE off 4 flags 0x00 KEYS_UPDATED , "
		"blkref #0: rel 1663/16385/16390 blk 0")
	ROW("Transaction", "739", "0/05343920", "ABORT 2026-11-27 00:48:23.540000 UTC")
	/* with a subtransaction, whose row is in another relation */
	ROW("Heap       ", "740", "0/05343950", "HOT_UPDATE off 1 xmax 740 flags 0x20 ; new off 5 xmax 0, "
		"blkref #0: rel 1663/16385/16390 blk 0")
	ROW("Heap2      ", "741", "0/05343980", "MULTI_INSERT+INIT 3 tuples flags 0x02, "
		"blkref #0: rel 1663/16385/16400 blk 0")
	ROW("Transaction", "740", "0/053439C0", "COMMIT 2026-11-27 00:48:24.540000 UTC; subxacts: 741")
	/* never ended */
	ROW("Heap       ", "742", "0/053439F0", "INSERT off 9 flags 0x00, blkref #0: rel 1663/16385/16390 blk 0")
	"pg_waldump: error: error in WAL record at 0/53439F0: invalid record length at 0/5343A30: wanted 24, got 0\n";

static const char new_words[] =
	ROW("Heap2      ", "800", "0/06000028", "MULTI_INSERT+INIT ntuples: 7, flags: 0x02, "
		"blkref #0: rel 1663/5/16390 blk 0 FPW")
	ROW("Heap       ", "800", "0/06000100", "DELETE xmax: 800, off: 4, infobits: [KEYS_UPDATED], flags: 0x00, "
		"blkref #0: rel 1663/5/16390 blk 0")
	ROW("Transaction", "0", "0/06000200", "COMMIT_PREPARED 800: 2026-11-27 00:48:22.540000 UTC");

static void
check_old(void)
{
	static LostList list;

	/* in pieces, as a pipe gives them */
	for (size_t i = 0; i < strlen(old_words); i += 7)
		lost_feed(&list, old_words + i, strlen(old_words + i) < 7 ? strlen(old_words + i) : 7);
	ok(list.commits == 2, "lost: the commits are counted, and no rollback");
	ok(strcmp(list.first_lsn, "0/05343838") == 0 && strcmp(list.last_lsn, "0/053439F0") == 0, "lost: the range");
	ok(strcmp(list.first_commit, "2026-11-27 00:48:22.540000 UTC") == 0 &&
	   strcmp(list.last_commit, "2026-11-27 00:48:24.540000 UTC") == 0, "lost: the times of the commits");
	ok(list.n == 2 && list.relations[0].file == 16390 && list.relations[1].file == 16400, "lost: the relations");
	ok(list.relations[0].inserted == 1 && list.relations[0].updated == 1 && list.relations[0].deleted == 0,
	   "lost: rows of what committed, and of nothing else");
	ok(list.relations[1].inserted == 3, "lost: rows of a subtransaction, and of a COPY");
	ok(list.n_changes == 1 && !list.coarse, "lost: what never ended does not count");
	lost_free(&list);
}

static void
check_new(void)
{
	static LostList list;

	lost_feed(&list, new_words, strlen(new_words));
	ok(list.commits == 1 && list.n == 1, "lost: a prepared transaction");
	ok(list.n == 1 && list.relations[0].inserted == 7 && list.relations[0].deleted == 1,
	   "lost: its rows, in the words of later versions");
	lost_free(&list);
}

void
test_lost(void)
{
	check_old();
	check_new();
}
