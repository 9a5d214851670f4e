/*
 * tokenfile.c
 *		The promote token on disk: state_dir/token/RUN.json, and the room to change it.
 *
 * A token is armed together with the disk space for its later states. A promotion, or a burned token, must not fail
 * in the middle of a blackout because a disk is full.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/action/tokenfile.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/epoch.h"
#include "agent/job/params.h"
#include "common/protocol.h"
#include "common/sqlstate.h"

#define FILE_MAX (64 * 1024)
#define ROOM_BYTES (32 * 1024)	/* the timeline has at most as many steps as a runbook */
#define ROOMS 3					/* promoting, ordered again, and the end */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void
token_lock(void)
{
	pthread_mutex_lock(&lock);
}

void
token_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void
token_record_free(TokenRecord *record)
{
	json_decref(record->timeline);
	record->timeline = NULL;
}

static char *
token_path(ActionContext *ctx)
{
	return xasprintf("%s/token/%s.json", ctx->config->state_dir, ctx->run);
}

static char *
room_path(const AgentConfig *config, const char *run, int n)
{
	return xasprintf("%s/token/%s.room%d", config->state_dir, run, n);
}

static void
take_text(char *to, json_t *record, const char *name)
{
	snprintf(to, TOKEN_TEXT_MAX, "%s", param_string(record, name, ""));
}

static double
number(json_t *record, const char *name)
{
	return json_number_value(json_object_get(record, name));
}

static void
from_json(json_t *json, TokenRecord *record)
{
	Token	   *token = &record->token;
	const char *state = param_string(json, "state", "");

	for (TokenState i = TOKEN_ARMED; i <= TOKEN_BURNED; i++)
		if (strcmp(state, token_state_name(i)) == 0)
			token->state = i;
	record->serial = param_int(json, "serial", 1);
	record->failover = param_bool(json, "failover", false);
	record->timeline = json_incref(json_object_get(json, "timeline"));
	token->epoch = param_int(json, "epoch", 0);
	token->deadline_ms = number(json, "deadline_ms");
	token->deadline_boot_ms = number(json, "deadline_boot_ms");
	token->ordered_ms = number(json, "ordered_ms");
	token->promoted_ms = number(json, "promoted_ms");
	token->timeline = (unsigned) param_int(json, "received_timeline", 0);
	take_text(token->boot_id, json, "boot_id");
	take_text(token->system_identifier, json, "system_identifier");
	take_text(token->server_start, json, "server_start");
}

int
token_read(ActionContext *ctx, TokenRecord *record)
{
	char	   *path = token_path(ctx);
	char	   *text = file_read(path, FILE_MAX, NULL);
	int			reason = errno;
	json_t	   *json = text ? json_loads(text, 0, NULL) : NULL;
	int			rc = 0;

	memset(record, 0, sizeof(*record));
	if (json)
		from_json(json, record);
	if (record->token.state == TOKEN_NONE && (text || reason != ENOENT))
		rc = action_fail(ctx, STATE_IO_ERROR, "the promote token of run \"%s\" cannot be read: %s", ctx->run,
						 text ? "it is not a token" : strerror(reason));
	json_decref(json);
	free(text);
	free(path);
	return rc;
}

static json_t *
to_json(ActionContext *ctx, const TokenRecord *record)
{
	const Token *token = &record->token;
	json_t	   *json = json_pack("{s:s, s:s, s:I, s:b, s:I, s:f, s:f, s:s, s:f, s:f, s:i, s:s, s:s}", "run", ctx->run,
								 "state", token_state_name(token->state), "serial", (json_int_t) record->serial + 1,
								 "failover", (int) record->failover, "epoch", (json_int_t) token->epoch,
								 "deadline_ms", token->deadline_ms, "deadline_boot_ms", token->deadline_boot_ms,
								 "boot_id", token->boot_id, "ordered_ms", token->ordered_ms,
								 "promoted_ms", token->promoted_ms, "received_timeline", (int) token->timeline,
								 "system_identifier", token->system_identifier, "server_start", token->server_start);

	if (json && record->timeline)
		json_object_set(json, "timeline", record->timeline);
	return json;
}

/* With the first room that is left. */
static int
write_file(ActionContext *ctx, const char *path, const char *text)
{
	char	   *room = NULL;
	int			rc;

	for (int n = 1; n <= ROOMS; n++)
	{
		free(room);
		room = room_path(ctx->config, ctx->run, n);
		if (file_exists(room))
			break;
	}
	rc = file_write_reserved(path, room, text, strlen(text), 0600);
	free(room);
	return rc;
}

int
token_write(ActionContext *ctx, TokenRecord *record)
{
	char	   *path = token_path(ctx);
	char	   *directory = xasprintf("%s/token", ctx->config->state_dir);
	json_t	   *json = to_json(ctx, record);
	char	   *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(16)) : NULL;
	int			rc = text ? 0 : -1;

	if (rc == 0 && !file_exists(directory))
		rc = make_directory(directory, 0700) < 0 || file_fsync_path(ctx->config->state_dir) < 0 ? -1 : 0;
	if (rc == 0)
		rc = write_file(ctx, path, text);
	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not write the promote token: %s", strerror(errno));
	else
		record->serial++;
	json_decref(json);
	free(text);
	free(directory);
	free(path);
	return rc;
}

int
token_reserve(ActionContext *ctx)
{
	int			rc = 0;

	for (int n = 1; rc == 0 && n <= ROOMS; n++)
	{
		char	   *room = room_path(ctx->config, ctx->run, n);

		if (file_reserve(room, ROOM_BYTES, 0600) < 0)
			rc = action_fail(ctx, STATE_IO_ERROR, "no room for the promote token: %s", strerror(errno));
		free(room);
	}
	if (rc < 0)
		token_release(ctx);
	return rc;
}

static void
remove_rooms(const AgentConfig *config, const char *run)
{
	for (int n = 1; n <= ROOMS; n++)
	{
		char	   *room = room_path(config, run, n);

		if (unlink(room) < 0 && errno != ENOENT)
			log_warning("could not remove \"%s\": %s", room, strerror(errno));
		free(room);
	}
}

void
token_release(ActionContext *ctx)
{
	remove_rooms(ctx->config, ctx->run);
}

#define FRESH_ORDER_MS 10000	/* so long it is not asked what became of an order: it is being obeyed */
#define OLD_ORDERS 8

/* A token: its run, and its epoch. */
typedef struct TokenName
{
	int64_t		epoch;
	char		run[PINGPONG_KEY_MAX + 1];
} TokenName;

/* What is looked for, or was found. */
typedef struct TokenSearch
{
	TokenName	best;
	TokenName	old[OLD_ORDERS];	/* with an order that was not obeyed at once */
	int			nold;
} TokenSearch;

typedef void (*TokenLook) (const AgentConfig *config, const char *run, json_t *json, TokenSearch *search);

/* The tokens, one after the other: json is NULL for one that cannot be read. */
static void
each_token(const AgentConfig *config, TokenLook look, TokenSearch *search)
{
	char	   *directory = xasprintf("%s/token", config->state_dir);
	DIR		   *dir = opendir(directory);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
	{
		size_t		len = strlen(entry->d_name);
		char	   *path = xasprintf("%s/%s", directory, entry->d_name);

		if (len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0)
		{
			char	   *text = file_read(path, FILE_MAX, NULL);
			json_t	   *json = text ? json_loads(text, 0, NULL) : NULL;

			entry->d_name[len - 5] = '\0';
			look(config, entry->d_name, json, search);
			json_decref(json);
			free(text);
		}
		free(path);
	}
	if (dir)
		closedir(dir);
	free(directory);
}

/* What cannot be read stays: it might be of an epoch that counts. */
static void
remove_older(const AgentConfig *config, const char *run, json_t *json, TokenSearch *search)
{
	char	   *path = xasprintf("%s/token/%s.json", config->state_dir, run);

	if (json && param_int(json, "epoch", search->best.epoch) < search->best.epoch)
	{
		remove_rooms(config, run);	/* first: without its token nobody would find them */
		unlink(path);
	}
	free(path);
}

void
token_prune(const AgentConfig *config, int64_t epoch)
{
	TokenSearch search = {.best.epoch = epoch};

	each_token(config, remove_older, &search);
}

static void
take_name(TokenName *to, int64_t epoch, const char *run)
{
	if (epoch <= to->epoch)
		return;
	to->epoch = epoch;
	snprintf(to->run, sizeof(to->run), "%s", run);
}

static void
take_promoted(const AgentConfig *config, const char *run, json_t *json, TokenSearch *search)
{
	if (strcmp(param_string(json, "state", ""), token_state_name(TOKEN_PROMOTED)) == 0)
		take_name(&search->best, param_int(json, "epoch", 0), run);
}

int64_t
token_promoted_epoch(const AgentConfig *config)
{
	TokenSearch search = {0};

	each_token(config, take_promoted, &search);
	return search.best.epoch;
}

static void
take_pending(const AgentConfig *config, const char *run, json_t *json, TokenSearch *search)
{
	TokenRecord record = {0};
	Token	   *token = &record.token;
	TokenFacts	now = {.now_ms = clock_realtime_ms(), .now_boot_ms = clock_boottime_ms()};
	double		out_for_ms;

	if (!json)
	{
		log_warning("\"%s/token/%s.json\" cannot be read: whether it may be used is not known",
					config->state_dir, run);
		take_name(&search->best, epoch_current() + 1, "");
		return;
	}
	host_boot_id(now.boot_id, TOKEN_TEXT_MAX);
	from_json(json, &record);
	out_for_ms = now.now_ms - token->ordered_ms;
	if (token->epoch <= search->best.epoch)
		;						/* another one counts, or none */
	else if (token->state == TOKEN_PROMOTING && out_for_ms > FRESH_ORDER_MS && search->nold < OLD_ORDERS)
		take_name(&search->old[search->nold++], token->epoch, run);
	else if (token->state == TOKEN_PROMOTING ||
			 (token->state == TOKEN_ARMED && record.failover && !token_expired(token, &now)))
		take_name(&search->best, token->epoch, run);
	token_record_free(&record);
}

int64_t
token_pending_epoch(const AgentConfig *config, OrderDied *died, char *run, size_t run_size)
{
	int64_t		proved = epoch_current();	/* what is proved has happened, or never will */
	TokenSearch search = {.best.epoch = proved};

	token_lock();				/* or one that is replaced this moment might be overlooked */
	each_token(config, take_pending, &search);
	token_unlock();
	for (int i = 0; i < search.nold; i++)
		if (search.old[i].epoch > search.best.epoch && !died(config, search.old[i].run))
			search.best = search.old[i];
	snprintf(run, run_size, "%s", search.best.run);
	return search.best.epoch > proved ? search.best.epoch : 0;
}
