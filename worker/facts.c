/*
 * facts.c - what an agent tells of its host: asked for, and stored.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "worker/facts.h"
#include "worker/job.h"
#include "worker/journal.h"

AgentCall *
facts_ask(Run *run, const char *node, json_t *params, int limit_ms)
{
	char		key[64];

	protocol_question_key(key, sizeof(key), QUESTION_FACTS, MyProcPid, GetCurrentTimestamp());
	strlcpy(run->key, FACTS_RUN, sizeof(run->key));
	return job_post(run, node, key, ACTION_FACTS, params, limit_ms, limit_ms + 1000);
}

void
facts_store(const char *node, AgentCall *call)
{
	const char *state = json_string_value(json_object_get(call->body, "state"));
	json_t	   *error = protocol_error(call->body);
	json_t	   *facts = protocol_result(call->body, 0);
	char	   *text = facts && state && strcmp(state, JOB_STATE_SUCCEEDED) == 0 ? json_dumps(facts, JSON_COMPACT) :
		NULL;
	const char *why = call->status == 200 ? json_string_value(json_object_get(error, "message")) : call->error;

	if (text == NULL && why == NULL)
		why = call->body == NULL ? call->error : "the agent did not finish in time";
	journal_store_fact(node, text != NULL, text ? NULL : why, text);
	free(text);
}
