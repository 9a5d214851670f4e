/*
 * failure.h - why something failed, in a form that is shown to another process.
 */
#ifndef PINGPONG_FAILURE_H
#define PINGPONG_FAILURE_H

#define PP_NAME_LEN		64
#define PP_TEXT_LEN		512

/* As ereport() would tell it: fixed size, no pointers, so that it can be in shared memory. */
typedef struct Failure
{
	char		sqlstate[6];	/* empty: nothing failed */
	char		message[PP_TEXT_LEN];
	char		detail[4 * PP_TEXT_LEN];
	char		hint[PP_TEXT_LEN];
} Failure;

/* Without detail and hint; longer texts are cut. */
extern void failure_set(Failure *failure, const char *sqlstate, const char *message);

#endif
