/*
 * db.c - statements of the worker. Each access is one short transaction, so the worker holds no snapshot or lock
 * while it talks to an agent.
 *
 * All parameters are sent as text and cast in the statement.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "worker/db.h"

static MemoryContext caller_context;
static int	nested;				/* begun within the one that is open */

void
db_begin(void)
{
	if (IsTransactionState())
	{
		nested++;
		return;
	}
	nested = 0;					/* an error may have left it */
	caller_context = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "pg_pingpong worker");
}

void
db_end(void)
{
	if (nested > 0)
	{
		nested--;
		return;
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(caller_context);
}

/* One statement with `n` text parameters (NULL allowed); gives the number of rows. */
uint64
db_exec(const char *sql, int n,...)
{
	Oid			types[16];
	Datum		values[16];
	char		nulls[16];
	va_list		args;
	int			rc;

	Assert(n <= 16);
	va_start(args, n);
	for (int i = 0; i < n; i++)
	{
		const char *value = va_arg(args, const char *);

		types[i] = TEXTOID;
		nulls[i] = value ? ' ' : 'n';
		values[i] = value ? CStringGetTextDatum(value) : (Datum) 0;
	}
	va_end(args);
	rc = SPI_execute_with_args(sql, n, types, values, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	return SPI_processed;
}

/* A column (from 1) of a row (from 0) of the last result, as text; NULL if null. */
char *
db_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

void
db_copy(char *to, size_t size, uint64 row, int column)
{
	char	   *value = db_text(row, column);

	strlcpy(to, value ? value : "", size);
}
