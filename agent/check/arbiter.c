/*
 * arbiter.c
 *		--check: the arbiter.
 */
#include "agent/arbiter/arbiter.h"
#include "agent/check/arbiter.h"
#include "agent/check/say.h"

void
check_arbiter(const AgentConfig *config)
{
	json_t	   *word = arbiter_word(config);
	const char *name = json_string_value(json_object_get(word, "name"));
	const char *error = json_string_value(json_object_get(word, "error"));

	if (!word)
		return;
	check_about("etcd");
	if (error)
		check_say(false, "etcd gives no answer about \"%s\": %s", name, error);
	else
		check_say(true, "etcd answers about \"%s\": epoch %lld", name,
				  (long long) json_integer_value(json_object_get(word, "epoch")));
	check_about(NULL);
	json_decref(word);
}
