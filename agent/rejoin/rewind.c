/*
 * rewind.c
 *		The method for a server that has written past the fork: pg_rewind.
 *
 * While pg_rewind works, the directory is neither the old server nor the new one. If somebody started it then, it
 * could come up as a primary. So it is hidden for that time (layout_move.c). pg_rewind needs a server that was shut
 * down. It would run one for that, but not with a configuration that is elsewhere and names another data directory.
 * So that is done here.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/conninfo.h"
#include "agent/core/files.h"
#include "agent/job/action.h"
#include "agent/pg/datadir.h"
#include "agent/pg/layout.h"
#include "agent/pg/layout_mark.h"
#include "agent/pg/layout_move.h"
#include "agent/pg/paths.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/standby.h"
#include "agent/rejoin/rewind.h"
#include "agent/rejoin/saved.h"
#include "agent/rejoin/source.h"
#include "agent/rejoin/tool.h"
#include "common/sqlstate.h"

static void
remove_file(const char *directory, const char *name)
{
	char	   *path = xasprintf("%s/%s", directory, name);

	remove_tree(path);
	free(path);
}

/* Recovers and stops: what pg_rewind calls a clean shutdown. Nobody can connect to a single-user server. */
static int
recover_alone(Rejoin *rejoin, char *place)
{
	char	   *program = bin_path(rejoin->pg, "postgres");
	/* the configuration file of the server's last start, if it was not the one in the data directory */
	const char *elsewhere = postmaster_option(rejoin->options, "config_file");
	char	   *config = elsewhere ? xasprintf("config_file=%s", elsewhere) : NULL;
	char	   *data = xasprintf("data_directory=%s", place);
	char	   *plain[] = {program, "--single", "-F", "-D", place, "template1", NULL};
	char	   *with_config[] = {program, "--single", "-F", "-D", place, "-c", config, "-c", data, "-c",
	"external_pid_file=", "template1", NULL};
	int			rc;

	action_progress(rejoin->ctx, -1, "recovery before pg_rewind");
	rc = run_tool(rejoin, config ? with_config : plain, NULL);
	free(data);
	free(config);
	free(program);
	return rc;
}

static int
run_rewind(Rejoin *rejoin, char *place)
{
	char	   *password = conninfo_get(rejoin->pg->rewind, "password");
	char	   *conninfo = conninfo_merge(rejoin->pg->rewind, NULL, rejoin->upstream.host,
										  rejoin->upstream.port, "pingpong-agent");
	char	   *bare = conninfo_without(conninfo, "password");
	char	   *source = xasprintf("--source-server=%s", bare);
	char	   *program = bin_path(rejoin->pg, "pg_rewind");
	char	   *argv[] = {program, "--no-ensure-shutdown", "-D", place, source, "--progress", NULL};
	int			rc;

	action_progress(rejoin->ctx, 0, "pg_rewind");
	rc = run_tool(rejoin, argv, password);
	free(program);
	free(source);
	free(bare);
	free(conninfo);
	free(password);
	return rc;
}

static bool
was_shut_down(const char *place)
{
	DataDir		found = datadir_look(place);

	return found.known && (found.state == DATA_SHUTDOWNED || found.state == DATA_SHUTDOWNED_IN_RECOVERY);
}

static int
sync_all(Rejoin *rejoin, char *place)
{
	char	   *program = bin_path(rejoin->pg, "initdb");
	char	   *argv[] = {program, "--sync-only", "-D", place, NULL};
	int			rc = run_tool(rejoin, argv, NULL);

	free(program);
	return rc;
}

static int
prepare_rewind(Rejoin *rejoin, char *place)
{
	/* recovery in single-user mode cannot be that of a standby */
	remove_file(place, "standby.signal");
	remove_file(place, "recovery.signal");
	remove_file(place, "postmaster.pid");
	return was_shut_down(place) ? 0 : recover_alone(rejoin, place);
}

/*
 * pg_rewind was killed. It writes pg_control last: as long as that tells of the server that was shut down here, it
 * can be run again (and fails if it lacks WAL that it has removed itself). Afterwards the directory is a copy that
 * has to recover from the source's WAL; a recovery of its own would end in records that the source does not have.
 */
static int
rewind_again(Rejoin *rejoin, char *place)
{
	int			rc;

	if (was_shut_down(place))
		rc = run_rewind(rejoin, place);
	else if (layout_same_boot(rejoin->pg))
		rc = sync_all(rejoin, place);
	else
		rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						 "the host was restarted before what pg_rewind had written was safe on disk");
	return rc;
}

static int
rewind_in(Rejoin *rejoin, char *place)
{
	LayoutPhase phase = layout_phase(rejoin->ctx);
	int			rc = 0;

	if (phase == LAYOUT_HIDDEN)
		rc = prepare_rewind(rejoin, place);
	else if (layout_rewind_timeline(rejoin->pg) != rejoin->source.timeline)
		rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						 "pg_rewind was begun for timeline %u, and the source is on %u",
						 layout_rewind_timeline(rejoin->pg), rejoin->source.timeline);
	if (rc == 0 && phase == LAYOUT_HIDDEN)
		rc = layout_note(rejoin->ctx, LAYOUT_REWINDING, rejoin->source.timeline);
	if (rc == 0 && phase != LAYOUT_REWOUND)
		rc = phase == LAYOUT_REWINDING ? rewind_again(rejoin, place) : run_rewind(rejoin, place);
	if (rc == 0 && phase != LAYOUT_REWOUND)
		rc = layout_note(rejoin->ctx, LAYOUT_REWOUND, rejoin->source.timeline);
	if (rc < 0 && phase != LAYOUT_HIDDEN)
		action_hint(rejoin->ctx, "Use the method \"basebackup\".");
	if (rc == 0)
		rc = saved_put_back(rejoin, place);
	if (rc == 0)
		rc = standby_configure_offline(rejoin->ctx, place, &rejoin->upstream);
	return rc;
}

int
rewind_feasible(Rejoin *rejoin)
{
	char	   *problem = layout_rewind_problem(rejoin->pg);
	int			rc = 0;

	if (problem)
		rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "a rewind is not possible: %s", problem);
	else
		rc = saved_check(rejoin);
	free(problem);
	return rc;
}

int
rejoin_by_rewind(Rejoin *rejoin)
{
	char	   *hidden = layout_work(rejoin->pg, "hidden");
	int			rc = source_checkpoint(rejoin->ctx, &rejoin->source);

	if (rc == 0 && layout_phase(rejoin->ctx) == LAYOUT_WHOLE)
	{
		rc = saved_take(rejoin);
		if (rc == 0)
			rc = layout_hide(rejoin->ctx);
	}
	if (rc == 0)
		rc = rewind_in(rejoin, hidden);
	if (rc == 0)				/* else it stays hidden: what is half rewound must not be started */
		rc = layout_show(rejoin->ctx);
	free(hidden);
	return rc;
}
