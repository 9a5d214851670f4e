/*
 * tokenfile.h
 *		The promote token on disk: state_dir/token/RUN.json, and the room to change it.
 */
#ifndef PINGPONG_AGENT_ACTION_TOKENFILE_H
#define PINGPONG_AGENT_ACTION_TOKENFILE_H

#include "agent/job/action.h"
#include "agent/action/token.h"

/*
 * The token with the other contents of its file: what the old primary measured, for the new one's worker. Each
 * change of the file has another serial.
 */
typedef struct TokenRecord
{
	Token		token;
	int64_t		serial;			/* 0: there is no file */
	json_t	   *timeline;		/* as pg.promote got it, or NULL */
	bool		failover;		/* no sealed primary gives the order: nobody else holds the old one closed */
} TokenRecord;

extern void token_record_free(TokenRecord *record);

/*
 * Reads the token of the job's run. A file that is there and cannot be read fails the job: it is not "never armed". A
 * file that is not there is TOKEN_NONE.
 */
extern int	token_read(ActionContext *ctx, TokenRecord *record);

/*
 * Makes the record durable, as the next serial; fails the job, and changes nothing, when that is not possible. When
 * it was armed with room (token_reserve), a full disk does not matter.
 */
extern int	token_write(ActionContext *ctx, TokenRecord *record);

/* Room for the changes that are still to come; fails the job when there is none. */
extern int	token_reserve(ActionContext *ctx);

/* The token has its end: the room is given back. */
extern void token_release(ActionContext *ctx);

/* Removes the tokens of epochs below: nobody can ask for them, an older epoch is refused. */
extern void token_prune(const AgentConfig *config, int64_t epoch);

/* The highest epoch of the promotions that are on record here, 0: none. */
extern int64_t token_promoted_epoch(const AgentConfig *config);

/*
 * The highest epoch of the promotions that may still happen here, and its run; 0: none. One that was ordered may be
 * obeyed at any time, until it is known that it was not: about an order that has been out for a while `died` is
 * asked, with no lock held. One that is armed for a switchover does not count: its order comes from a primary that
 * has sealed itself first. A token that cannot be read counts as one of the next epoch, of no run.
 */
typedef bool OrderDied(const AgentConfig *config, const char *run);

extern int64_t token_pending_epoch(const AgentConfig *config, OrderDied *died, char *run, size_t run_size);

/* Reading, deciding and writing are one: held for that, never while a server is asked. */
extern void token_lock(void);
extern void token_unlock(void);

#endif							/* PINGPONG_AGENT_ACTION_TOKENFILE_H */
