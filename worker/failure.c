/*
 * failure.c - why something failed, in a form that is shown to another process.
 */
#include "postgres.h"

#include "worker/failure.h"

void
failure_set(Failure *v, const char *sqlstate, const char *message)
{
	memset(v, 0, sizeof(*v));
	strlcpy(v->sqlstate, sqlstate, sizeof(v->sqlstate));
	strlcpy(v->message, message, sizeof(v->message));
}
