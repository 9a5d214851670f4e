/*
 * datadir.h
 *		What a data directory tells without its server.
 */
#ifndef PINGPONG_AGENT_PG_DATADIR_H
#define PINGPONG_AGENT_PG_DATADIR_H

#include <stdbool.h>
#include <stdint.h>

/* pg_control's state of the database, of all majors */
typedef enum DataState
{
	DATA_STARTUP, DATA_SHUTDOWNED, DATA_SHUTDOWNED_IN_RECOVERY, DATA_SHUTDOWNING, DATA_IN_CRASH_RECOVERY,
	DATA_IN_ARCHIVE_RECOVERY, DATA_IN_PRODUCTION
} DataState;

/* Without pg_control (a folder that is empty, or emptied by hand) only the last three mean something. */
typedef struct DataDir
{
	bool		known;			/* pg_control can be read */
	uint64_t	system;
	DataState	state;
	uint64_t	checkpoint;		/* LSN of the last checkpoint's record */
	unsigned	checkpoint_timeline;
	unsigned	timeline;		/* the one it is on: a primary that was just promoted has no checkpoint there yet */
	bool		wal_known;		/* pg_wal can be read; if not, newest_history is not known */
	unsigned	newest_history; /* the highest timeline with a history file in pg_wal; 0: none */
	bool		was_primary;	/* its last life was no standby's */
	bool		standby;		/* standby.signal */
	bool		startable;		/* PG_VERSION: no server starts without it */
} DataDir;

extern DataDir datadir_look(const char *path);

/*
 * The folder that this cluster has in the location of each of its tablespaces, PG_18_202506291: by its major and the
 * catalog version in pg_control, also where pg_upgrade has put that aside. False: it is not known.
 */
#define DATADIR_SPACE_MAX 48
extern bool datadir_space_name(const char *path, char name[DATADIR_SPACE_MAX]);

/* A standby's for certain, of that system (text), that was not promoted past that timeline (0: not known). */
extern bool datadir_is_standby_of(const char *path, const char *system, unsigned timeline);

#endif							/* PINGPONG_AGENT_PG_DATADIR_H */
