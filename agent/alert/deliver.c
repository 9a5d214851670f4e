/*
 * deliver.c
 *		Delivers alerts to the receiver: those that this agent has raised, and those of its database if that is the
 *		primary.
 *
 * A message stays due until the receiver has taken it. While the receiver cannot be reached, the pause between two
 * tries grows up to a minute. One that it refuses does not hold up the others.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/alert/database.h"
#include "agent/alert/deliver.h"
#include "agent/alert/message.h"
#include "agent/alert/own.h"
#include "agent/alert/post.h"
#include "agent/core/clock.h"
#include "agent/core/log.h"

#define NAP_MS 500
#define OFF_NAP_MS 1000
#define PAUSE_FIRST_MS 1000
#define PAUSE_LONGEST_MS 60000
#define REFUSED_LONGEST_MS 5000	/* it answers: the next message may be taken */

#define DELIVERED_MAX 32

static int	pause_ms;			/* before the next try; 0: the last one succeeded */

/* What was delivered and may not be noted in the database yet: noted, it is not due any more. */
static char *delivered[DELIVERED_MAX];
static int	next_delivered;

static bool
was_delivered(const char *what)
{
	for (int i = 0; i < DELIVERED_MAX; i++)
		if (delivered[i] && strcmp(delivered[i], what) == 0)
			return true;
	return false;
}

static void
remember(char *what)
{
	free(delivered[next_delivered]);
	delivered[next_delivered] = what;
	next_delivered = (next_delivered + 1) % DELIVERED_MAX;
}

static void
forget(const char *what)
{
	for (int i = 0; i < DELIVERED_MAX; i++)
		if (delivered[i] && strcmp(delivered[i], what) == 0)
		{
			free(delivered[i]);
			delivered[i] = NULL;
		}
}

typedef enum Outcome
{
	TAKEN, REFUSED, UNREACHABLE
} Outcome;

/* A line for the first failure, and one when it works again. */
static void
note(Outcome outcome, const char *error)
{
	if (outcome == TAKEN && pause_ms > 0)
		log_info("alerts are delivered again");
	if (outcome != TAKEN && pause_ms == 0)
		log_error("alerts cannot be delivered: %s; trying again", error);
	if (outcome == TAKEN)
		pause_ms = 0;
	else
		pause_ms = pause_ms == 0 ? PAUSE_FIRST_MS : pause_ms * 2;
	if (pause_ms > (outcome == REFUSED ? REFUSED_LONGEST_MS : PAUSE_LONGEST_MS))
		pause_ms = outcome == REFUSED ? REFUSED_LONGEST_MS : PAUSE_LONGEST_MS;
}

static Outcome
deliver(const AgentConfig *config, const json_t *message, char *error, size_t error_size)
{
	char	   *body = message_body(message, config->alerts.cluster, config->node, clock_realtime_ms());
	bool		refused;
	bool		taken = post_message(&config->alerts, body, &refused, error, error_size);

	free(body);
	return taken ? TAKEN : refused ? REFUSED : UNREACHABLE;
}

/* Those of this agent. The first failure that is told ends up in `worst`. */
static Outcome
deliver_own(const AgentConfig *config, char *error, size_t error_size)
{
	double		repeat_ms = config->alerts.repeat_s * 1000.0;
	Outcome		worst = TAKEN;
	int			skip = 0;
	json_t	   *message;

	while (worst != UNREACHABLE && (message = own_due(skip, repeat_ms)) != NULL)
	{
		Outcome		outcome = deliver(config, message, error, error_size);

		if (outcome == TAKEN)
			own_sent(message);
		else
		{
			worst = outcome;
			skip++;
		}
		json_decref(message);
	}
	return worst;
}

static Outcome
deliver_database(const AgentConfig *config, char *error, size_t error_size)
{
	json_t	   *due = database_due(config, config->alerts.repeat_s * 1000.0);
	Outcome		worst = TAKEN;
	json_t	   *message;
	size_t		i;

	json_array_foreach(due, i, message)
	{
		char	   *what = json_dumps(message, JSON_COMPACT | JSON_SORT_KEYS);
		Outcome		outcome = TAKEN;

		if (worst != UNREACHABLE && !was_delivered(what))
			outcome = deliver(config, message, error, error_size);
		else if (worst == UNREACHABLE)
			outcome = UNREACHABLE;
		if (outcome != TAKEN)
			worst = outcome;
		else if (database_sent(message))
			forget(what);
		else if (!was_delivered(what))
		{
			remember(what);
			what = NULL;
		}
		free(what);
	}
	json_decref(due);
	return worst;
}

static void
deliver_all(const AgentConfig *config)
{
	char		error[256] = "";
	char		database_error[256] = "";
	Outcome		own;
	Outcome		theirs;

	own = deliver_own(config, error, sizeof(error));
	theirs = own == UNREACHABLE ? own : deliver_database(config, database_error, sizeof(database_error));
	note(own != TAKEN ? own : theirs, own != TAKEN ? error : database_error);
}

/* Gives how long to wait. Also in a pause the session is looked after: one that stays would hold up a stop. */
static int
round_of(const AgentConfig *config)
{
	static double try_at = 0;	/* clock_monotonic_ms() */

	if (!config->alerts.url)
	{
		database_leave();
		return OFF_NAP_MS;
	}
	database_read_nodes(config);
	if (clock_monotonic_ms() >= try_at)
	{
		deliver_all(config);
		try_at = clock_monotonic_ms() + pause_ms;
	}
	return NAP_MS;
}

static void *
deliver_main(void *unused)
{
	for (;;)
	{
		AgentConfig *config = config_current();
		int			nap = round_of(config);

		config_release(config);
		sleep_ms(nap);
	}
	return NULL;
}

void
deliver_start(void)
{
	pthread_t	thread;

	if (pthread_create(&thread, NULL, deliver_main, NULL) != 0)
		log_error("could not start a thread: no alerts are delivered");
	else
		pthread_detach(thread);
}
