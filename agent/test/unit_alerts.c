/*
 * unit_alerts.c
 *		Tests of alerts: the message, its signature, and the list that outlives the agent.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/alert/message.h"
#include "agent/alert/own.h"
#include "agent/core/alloc.h"
#include "agent/test/unit.h"

static void
test_message(void)
{
	json_t	   *message = message_new("server_down", "critical", "chicago", "chicago", 0, 1700000000123.9);
	char		signature[SIGNATURE_MAX];

	message_sign("key", "The quick brown fox jumps over the lazy dog", signature);
	is(xstrdup(signature), "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
	   "alert: the signature of a known text");
	is(message_body(message, "lab", "dallas", 1700000000123.0),
	   "{\"alert\":\"server_down\",\"cleared_at\":null,\"cluster\":\"lab\","
	   "\"id\":\"server_down/chicago/1700000000123\","
	   "\"key\":\"server_down/chicago\",\"node\":\"chicago\",\"sent_at\":\"2023-11-14T22:13:20.123+00:00\","
	   "\"sent_by\":\"dallas\",\"severity\":\"critical\",\"since\":\"1970-01-01T00:00:00.000+00:00\","
	   "\"state\":\"raised\",\"subject\":\"chicago\"}", "alert: the body");
	json_decref(message);
}

static void
raise_one(const char *subject)
{
	own_raise(message_new("server_down", "critical", "chicago", subject, 1, 2));
}

/* "STATE KEY" of what is due, and delivered if it is to be. */
static char *
due(int skip, double repeat_ms, bool deliver)
{
	json_t	   *message = own_due(skip, repeat_ms);
	char	   *text;

	if (!message)
		return xstrdup("nothing");
	text = xasprintf("%s %s", json_string_value(json_object_get(message, "state")),
					 json_string_value(json_object_get(message, "key")));
	if (deliver)
		own_sent(message);
	json_decref(message);
	return text;
}

static void
test_own(const char *directory)
{
	own_start(directory);
	is(due(0, 0, false), "nothing", "alerts: none at first");
	raise_one("chicago");
	raise_one("chicago");
	is(due(0, 0, false), "raised server_down/chicago", "alerts: raised");
	is(due(1, 0, false), "nothing", "alerts: once");
	own_start(directory);
	is(due(0, 0, true), "raised server_down/chicago", "alerts: an undelivered one outlives the agent");
	own_start(directory);
	is(due(0, 0, false), "nothing", "alerts: a delivered one is not delivered again by the next agent");
	raise_one("chicago");
	is(due(0, 0, false), "nothing", "alerts: nor when it is raised while it is open");
	is(due(0, 0.001, false), "raised server_down/chicago", "alerts: it is repeated where that is wanted");
	own_clear("server_down", "chicago");
	ok(!own_is_open("server_down", "chicago"), "alerts: cleared");
	own_start(directory);
	is(due(0, 0, true), "cleared server_down/chicago", "alerts: its end is told, too");
	is(due(0, 0.001, false), "nothing", "alerts: once");
	raise_one("dallas");
	own_clear("server_down", "dallas");
	is(due(0, 0, false), "nothing", "alerts: one that was over before it was told is not told");
}

void
test_alerts(const char *directory)
{
	test_message();
	test_own(directory);
}
