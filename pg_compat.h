/*
 * pg_compat.h - the only place that asks which PostgreSQL this is.
 *
 * 15 is the oldest major; each block says what changed and when.
 */
#ifndef PINGPONG_COMPAT_H
#define PINGPONG_COMPAT_H

#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "utils/backend_status.h"
#include "utils/fmgroids.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "pg_pingpong needs PostgreSQL 15 or newer"
#endif

/* 16 renamed the access to the local copy of the backend status array. */
#if PG_VERSION_NUM >= 160000
#define compat_local_beentry(idx) pgstat_get_local_beentry_by_index(idx)
#else
#define compat_local_beentry(idx) pgstat_fetch_stat_local_beentry(idx)
#endif

/* 17 made the process types macros and lets extensions name their waits. */
#if PG_VERSION_NUM >= 170000
#define compat_am_autovacuum() AmAutoVacuumWorkerProcess()
#define compat_wait_event(name) WaitEventExtensionNew(name)
#else
#define compat_am_autovacuum() IsAutoVacuumWorkerProcess()
#define compat_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 17 lets a wait event set belong to a resource owner, and moved the local xid. */
#if PG_VERSION_NUM >= 170000
#define compat_create_wait_event_set(n) CreateWaitEventSet(NULL, n)
#define compat_proc_lxid(proc) ((proc)->vxid.lxid)
#else
#define compat_create_wait_event_set(n) CreateWaitEventSet(TopMemoryContext, n)
#define compat_proc_lxid(proc) ((proc)->lxid)
#endif

/* 18 moved the wait event sets out of latch.h. */
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#else
#include "storage/latch.h"
#endif

/* 18 knows the WAL writer by its process number instead of its latch. Needs storage/proc.h. */
#if PG_VERSION_NUM >= 180000
#define compat_walwriter_latch() \
	(ProcGlobal->walwriterProc == INVALID_PROC_NUMBER ? NULL : \
	 &GetPGProcByNumber(ProcGlobal->walwriterProc)->procLatch)
#else
#define compat_walwriter_latch() (ProcGlobal->walwriterLatch)
#endif

/*
 * 17 limits whole transactions, also those of a worker; 15 has a limit of each statement, which a worker does not
 * meet.
 */
#if PG_VERSION_NUM >= 170000
#define COMPAT_TRANSACTION_TIMEOUT "transaction_timeout"
#else
#define COMPAT_TRANSACTION_TIMEOUT "statement_timeout"
#endif

/* 16 tells why a slot is of no use any more; before, only the loss of its WAL makes it so, and takes restart_lsn. */
#if PG_VERSION_NUM >= 160000
#define compat_slot_is_invalid(slot) ((slot)->data.invalidated != RS_INVAL_NONE)
#else
#define compat_slot_is_invalid(slot) false
#endif

/* 17 gave pg_logical_emit_message a fourth argument; the OIDs stayed. */
#define COMPAT_F_EMIT_MESSAGE_TEXT	3577
#define COMPAT_F_EMIT_MESSAGE_BYTEA 3578

/* Built-in functions that write and that 15 does not have, as case labels. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_CASES_OF_NEW_WRITERS \
	case F_PG_LOG_STANDBY_SNAPSHOT: \
	case F_PG_RESTORE_RELATION_STATS: \
	case F_PG_CLEAR_RELATION_STATS: \
	case F_PG_RESTORE_ATTRIBUTE_STATS: \
	case F_PG_CLEAR_ATTRIBUTE_STATS:
#elif PG_VERSION_NUM >= 160000
#define COMPAT_CASES_OF_NEW_WRITERS \
	case F_PG_LOG_STANDBY_SNAPSHOT:
#else
#define COMPAT_CASES_OF_NEW_WRITERS
#endif

#endif
