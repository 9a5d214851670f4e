/*
 * protocol.c
 *		What worker and agents say to each other.
 */
#include "common/protocol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- keys ---- */

void
protocol_step_key(char *to, size_t size, const StepKey *key)
{
	if (key->round > 1)
		snprintf(to, size, "%d.%s.%s:%d", key->ordinal, key->action, key->node, key->round);
	else
		snprintf(to, size, "%d.%s.%s", key->ordinal, key->action, key->node);
}

/* A part of the key up to the separator; false if it is empty or too long. */
static bool
take_part(const char **at, const char *separators, char *to, size_t size)
{
	size_t		length = strcspn(*at, separators);

	if (length == 0 || length >= size)
		return false;
	memcpy(to, *at, length);
	to[length] = '\0';
	*at += length;
	return true;
}

static bool
take_number(const char **at, int *to)
{
	size_t		digits = strspn(*at, "0123456789");

	if (digits == 0 || digits > 9)
		return false;
	*to = atoi(*at);
	*at += digits;
	return true;
}

bool
protocol_read_step_key(const char *text, StepKey *key)
{
	memset(key, 0, sizeof(*key));
	key->round = 1;
	if (!take_number(&text, &key->ordinal) || *text++ != '.' ||
		!take_part(&text, ".:", key->action, sizeof(key->action)) || *text++ != '.' ||
		!take_part(&text, ".:", key->node, sizeof(key->node)))
		return false;
	if (*text == ':')
	{
		text++;
		if (!take_number(&text, &key->round) || key->round < 2)
			return false;
	}
	return *text == '\0';
}

/* How the keys of each kind begin. That of the takeover is older than its word. */
static const char *const question_prefixes[QUESTIONS] = {
	[QUESTION_FACTS] = "f",
	[QUESTION_VERDICT] = "verdict:",
	[QUESTION_TAKEOVER] = "baton:",
	[QUESTION_ROUTE] = "route:",
};

void
protocol_question_key(char *to, size_t size, Question question, int64_t asker, int64_t n)
{
	if (question == QUESTION_FACTS)
		snprintf(to, size, "%s%" PRId64, question_prefixes[question], n);
	else
		snprintf(to, size, "%s%" PRId64 ":%" PRId64, question_prefixes[question], asker, n);
}

Question
protocol_question(const char *run, const char *step)
{
	if (strcmp(run, FACTS_RUN) == 0)
		return QUESTION_FACTS;
	for (Question q = QUESTION_VERDICT; q < QUESTIONS; q++)
		if (strncmp(step, question_prefixes[q], strlen(question_prefixes[q])) == 0)
			return q;
	return QUESTION_NONE;
}

/* ---- orders ---- */

json_t *
protocol_action(const char *name, json_t *params)
{
	return json_pack("{s:s, s:o}", "action", name, "params", params);
}

json_t *
protocol_part(const char *step, const char *name, json_t *params)
{
	return json_pack("{s:s, s:s, s:o}", "step", step, "action", name, "params", params);
}

void
protocol_undo(json_t *action, const char *name, json_t *params, json_t *take)
{
	json_object_set_new(action, "undo", json_pack("{s:s, s:o, s:o}", "action", name, "params", params, "take", take));
}

json_t *
protocol_job(const char *run, const char *step, int64_t epoch, int wait_ms, json_t *actions)
{
	return json_pack("{s:i, s:s, s:s, s:I, s:i, s:o}", "protocol", PINGPONG_PROTOCOL, "run", run, "step", step,
					 "epoch", (json_int_t) epoch, "wait_ms", wait_ms, "actions", actions);
}

void
protocol_undoes(json_t *job, const char *step)
{
	json_t	   *undoes = json_object_get(job, "undoes");

	if (!undoes)
	{
		undoes = json_array();
		json_object_set_new(job, "undoes", undoes);
	}
	json_array_append_new(undoes, json_string(step));
}

void
protocol_number(json_t *job, int64_t number)
{
	json_object_set_new(job, "number", json_integer((json_int_t) number));
}

static bool
is_object_or_nothing(json_t *value)
{
	return !value || json_is_object(value) || json_is_null(value);
}

static bool
read_action(json_t *action, size_t i, char *error, size_t error_size)
{
	json_t	   *undo = json_object_get(action, "undo");

	if (!json_is_string(json_object_get(action, "action")) ||
		(undo && !json_is_string(json_object_get(undo, "action"))))
		snprintf(error, error_size, "action %zu, or its undo, has no name", i + 1);
	else if (!is_object_or_nothing(json_object_get(action, "params")) ||
			 !is_object_or_nothing(json_object_get(undo, "params")) ||
			 !is_object_or_nothing(json_object_get(undo, "take")))
		snprintf(error, error_size, "\"params\" of action %zu is not an object", i + 1);
	else
		return true;
	return false;
}

static bool
read_actions(json_t *actions, char *error, size_t error_size)
{
	size_t		i;
	json_t	   *action;

	if (!json_is_array(actions) || json_array_size(actions) == 0 || json_array_size(actions) > PROTOCOL_ACTIONS_MAX)
	{
		snprintf(error, error_size, "\"actions\" must be a list of 1 to %d actions", PROTOCOL_ACTIONS_MAX);
		return false;
	}
	json_array_foreach(actions, i, action)
		if (!read_action(action, i, error, error_size))
			return false;
	return true;
}

static bool
read_undoes(json_t *undoes, char *error, size_t error_size)
{
	bool		fine = !undoes || (json_is_array(undoes) && json_array_size(undoes) <= PROTOCOL_ACTIONS_MAX);
	size_t		i;
	json_t	   *key;

	json_array_foreach(undoes, i, key)
		fine = fine && json_is_string(key) && pingpong_key_valid(json_string_value(key));
	if (!fine)
		snprintf(error, error_size, "\"undoes\" must be a list of at most %d steps", PROTOCOL_ACTIONS_MAX);
	return fine;
}

bool
protocol_read_job(json_t *body, JobOrder *order, char *error, size_t error_size)
{
	json_t	   *protocol = json_object_get(body, "protocol");
	json_t	   *epoch = json_object_get(body, "epoch");

	if (!json_is_object(body))
	{
		snprintf(error, error_size, "the request is not a JSON object");
		return false;
	}
	order->protocol = json_is_integer(protocol) ? (int) json_integer_value(protocol) : 1;
	order->run = protocol_text(body, "run");
	order->step = protocol_text(body, "step");
	order->epoch = json_integer_value(epoch);
	order->wait_ms = json_integer_value(json_object_get(body, "wait_ms"));
	order->number = json_integer_value(json_object_get(body, "number"));
	order->actions = json_object_get(body, "actions");
	order->undoes = json_object_get(body, "undoes");
	if (!pingpong_key_valid(order->run) || !pingpong_key_valid(order->step))
		snprintf(error, error_size, "\"run\" and \"step\" must be 1 to %d characters of [A-Za-z0-9._#:-], "
				 "no leading dot", PINGPONG_KEY_MAX);
	else if (!json_is_integer(epoch) || order->epoch < 0)
		snprintf(error, error_size, "\"epoch\" must be a number");
	else
		return read_actions(order->actions, error, error_size) && read_undoes(order->undoes, error, error_size);
	return false;
}

void
protocol_job_path(char *to, size_t size, const char *run, const char *step, int wait_ms)
{
	if (wait_ms > 0)
		snprintf(to, size, "%s/%s/%s?wait_ms=%d", PROTOCOL_JOBS_PATH, run, step, wait_ms);
	else
		snprintf(to, size, "%s/%s/%s", PROTOCOL_JOBS_PATH, run, step);
}

void
protocol_jobs_path(char *to, size_t size, const char *run)
{
	snprintf(to, size, "%s?brief=1%s%s", PROTOCOL_JOBS_PATH, run ? "&run=" : "", run ? run : "");
}

void
protocol_cancel_path(char *to, size_t size, const char *run, const char *step)
{
	snprintf(to, size, "%s/%s/%s/cancel", PROTOCOL_JOBS_PATH, run, step);
}

/* ---- answers ---- */

json_t *
protocol_result(json_t *job, size_t i)
{
	return json_array_get(json_object_get(job, "results"), i);
}

json_t *
protocol_error(json_t *job)
{
	json_t	   *error = json_object_get(job, "error");

	return json_is_object(error) ? error : NULL;
}

const char *
protocol_text(json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}
