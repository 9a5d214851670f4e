/*
 * reflink.c
 *		A snapshot by copies that share their blocks, in the data directory itself: needs no rights but the server's.
 *
 * The time that it takes goes by the number of files. The mark says that the copy is whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/pg/paths.h"
#include "agent/snapshot/tree.h"
#include "common/sqlstate.h"

#define MARK "pingpong.whole"

static int
drop(const Snapshot *snapshot)
{
	char	   *store = data_path(snapshot->pg, TREE_STORE);
	char	   *mark = xasprintf("%s/" MARK, store);
	/* the mark first: what is half removed is no snapshot */
	int			rc = file_exists(mark) ? remove_tree(mark) : 0;

	if (rc == 0 && file_exists(store))
		rc = remove_tree(store);
	if (rc < 0)
		action_fail(snapshot->ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", store, strerror(errno));
	free(mark);
	free(store);
	return rc;
}

static int
take(const Snapshot *snapshot)
{
	char	   *store = data_path(snapshot->pg, TREE_STORE);
	char	   *mark = xasprintf("%s/" MARK, store);
	int			rc = drop(snapshot);

	if (rc == 0 && make_directory(store, 0700) < 0)
		rc = action_fail(snapshot->ctx, STATE_IO_ERROR, "could not make \"%s\": %s", store, strerror(errno));
	if (rc == 0)
		rc = tree_copy(snapshot, snapshot->pg->data, store);
	if (rc == 0 && file_write_atomic(mark, snapshot->name, strlen(snapshot->name), 0600, true) < 0)
		rc = action_fail(snapshot->ctx, STATE_IO_ERROR, "could not write \"%s\": %s", mark, strerror(errno));
	free(mark);
	free(store);
	return rc;
}

static int
ready(const Snapshot *snapshot)
{
	char	   *mark = xasprintf("%s/" TREE_STORE "/" MARK, snapshot->pg->data);
	char	   *name = file_read(mark, 256, NULL);
	int			rc = name && strcmp(name, snapshot->name) == 0 ? 0 :
		action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "there is no whole snapshot \"%s\" in \"%s\"",
					snapshot->name, snapshot->pg->data);

	free(name);
	free(mark);
	return rc;
}

/* The mark comes along, and is taken away again. */
static int
restore(const Snapshot *snapshot)
{
	char	   *store = data_path(snapshot->pg, TREE_STORE);
	char	   *copied = data_path(snapshot->pg, MARK);
	int			rc = ready(snapshot) < 0 ? -1 : tree_restore(snapshot, store);

	if (rc == 0 && remove_tree(copied) < 0)
		rc = action_fail(snapshot->ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", copied, strerror(errno));
	free(copied);
	free(store);
	return rc;
}

const SnapshotDriver snapshot_reflink = {"reflink", 0, tree_can_share, take, ready, restore, drop};
