/*
 * unit_protocol.c
 *		Keys, orders and answers, as worker and agents make and read them.
 */
#include <stdio.h>
#include <string.h>

#include "agent/test/unit.h"
#include "common/protocol.h"

static void
test_step_keys(void)
{
	static const char *const bad[] = {"", "80", "80.repoint", "80.repoint.", ".repoint.rw1", "x.repoint.rw1",
		"80.repoint.rw1:", "80.repoint.rw1:1", "80.repoint.rw1:x", "80.repoint.rw1.x", "80..rw1", "verdict:1:2",
	"f123", "blackout", "9999999999.a.b", "80.repoint.rw1:2:3"};
	StepKey		key = {.ordinal = 80, .action = "repoint", .node = "rw1", .round = 1};
	StepKey		read;
	char		text[64];
	bool		refused = true;

	protocol_step_key(text, sizeof(text), &key);
	ok(strcmp(text, "80.repoint.rw1") == 0, "the key of a step");
	key.round = 3;
	protocol_step_key(text, sizeof(text), &key);
	ok(strcmp(text, "80.repoint.rw1:3") == 0, "and of a later round");
	ok(pingpong_key_valid(text), "is a valid key");
	ok(protocol_read_step_key(text, &read) && read.ordinal == 80 && strcmp(read.action, "repoint") == 0 &&
	   strcmp(read.node, "rw1") == 0 && read.round == 3, "and is read as it was made");
	ok(protocol_read_step_key("7.hook.dallas", &read) && read.round == 1, "a key without a round is of the first");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused &= !protocol_read_step_key(bad[i], &read);
	ok(refused, "what is not the key of a step is not read as one");
}

static void
test_questions(void)
{
	char		text[64];

	for (Question q = QUESTION_FACTS; q < QUESTIONS; q++)
	{
		protocol_question_key(text, sizeof(text), q, 4711, 12);
		ok(pingpong_key_valid(text) && protocol_question(q == QUESTION_FACTS ? FACTS_RUN : "a-run", text) == q,
		   "a question is known by its key");
	}
	ok(protocol_question("a-run", "80.repoint.rw1") == QUESTION_NONE, "a step is no question");
	ok(protocol_question("a-run", NOTE_STEP) == QUESTION_NONE, "nor is a note");
}

static bool
is_read(const char *text, JobOrder *order, char *error, size_t size)
{
	static json_t *body;

	json_decref(body);
	body = json_loads(text, 0, NULL);
	error[0] = '\0';
	return protocol_read_job(body, order, error, size);
}

static void
test_orders(void)
{
	static const char *const bad[] = {"[]", "{}", "{\"run\": \"r\", \"step\": \"s\", \"epoch\": 1}",
		"{\"run\": \"r\", \"step\": \"s\", \"epoch\": 1, \"actions\": []}",
		"{\"run\": \"r\", \"step\": \"s\", \"epoch\": 1, \"actions\": [{}]}",
		"{\"run\": \"r\", \"step\": \"s\", \"epoch\": 1, \"actions\": [{\"action\": \"a\", \"params\": []}]}",
		"{\"run\": \"r\", \"step\": \"s\", \"epoch\": -1, \"actions\": [{\"action\": \"a\"}]}",
		"{\"run\": \"r\", \"step\": \"s\", \"epoch\": \"1\", \"actions\": [{\"action\": \"a\"}]}",
		"{\"run\": \".r\", \"step\": \"s\", \"epoch\": 1, \"actions\": [{\"action\": \"a\"}]}",
	"{\"run\": \"r\", \"step\": \"a/b\", \"epoch\": 1, \"actions\": [{\"action\": \"a\"}]}"};
	json_t	   *actions = json_array();
	json_t	   *body;
	JobOrder	order;
	char		error[256];
	bool		refused = true;

	json_array_append_new(actions, protocol_action("hook", json_pack("{s:s}", "name", "page")));
	body = protocol_job("a-run", "7.hook.dallas", 12, 2000, actions);
	protocol_undoes(body, "6.hook.dallas");
	ok(protocol_read_job(body, &order, error, sizeof(error)) && order.protocol == PINGPONG_PROTOCOL &&
	   order.epoch == 12 &&
	   order.wait_ms == 2000 && strcmp(order.run, "a-run") == 0 && strcmp(order.step, "7.hook.dallas") == 0 &&
	   strcmp(protocol_text(json_array_get(order.actions, 0), "action"), "hook") == 0 &&
	   strcmp(json_string_value(json_array_get(order.undoes, 0)), "6.hook.dallas") == 0,
	   "an order is read as it was made");
	json_decref(body);
	ok(is_read("{\"run\": \"r\", \"step\": \"s\", \"epoch\": 1, \"actions\": [{\"action\": \"a\"}], \"new\": 1}",
			   &order, error, sizeof(error)) && order.protocol == 1,
			   "an order without a protocol is of the first one");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused &= !is_read(bad[i], &order, error, sizeof(error)) && error[0];
	ok(refused, "what is no order is refused, with a sentence");
}

static void
test_answers(void)
{
	json_t	   *job = json_loads("{\"results\": [{\"a\": \"1\"}, {\"a\": \"2\"}], \"error\": null}", 0, NULL);
	char		path[128];

	ok(strcmp(protocol_text(protocol_result(job, 1), "a"), "2") == 0, "the result of the second action");
	ok(protocol_result(job, 2) == NULL && protocol_result(NULL, 0) == NULL, "there is no third one");
	ok(protocol_error(job) == NULL && protocol_text(NULL, "a")[0] == '\0',
	   "null is no error, and nothing has no text");
	json_decref(job);
	protocol_job_path(path, sizeof(path), "r", "s", 0);
	ok(strcmp(path, "/v1/jobs/r/s") == 0, "the path of a job");
	protocol_job_path(path, sizeof(path), "r", "s", 500);
	ok(strcmp(path, "/v1/jobs/r/s?wait_ms=500") == 0, "with a wait");
	protocol_cancel_path(path, sizeof(path), "r", "s");
	ok(strcmp(path, "/v1/jobs/r/s/cancel") == 0, "and of its cancelling");
}

void
test_protocol(void)
{
	test_step_keys();
	test_questions();
	test_orders();
	test_answers();
}
