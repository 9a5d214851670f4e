/*
 * arbiter.c
 *		A witness that is no node.
 *
 * Two keys: /pingpong/CLUSTER/epoch, and /pingpong/CLUSTER/claim, which has a lease. They are read and written
 * as one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/arbiter/arbiter.h"
#include "agent/arbiter/etcd.h"
#include "agent/core/alloc.h"

#define KIND "etcd"
#define LIMIT_MS 1200			/* "timeout_ms", where that is not set */
#define WORD_LIMIT_MS 1200		/* a guard waits for it together with a fresh look at the server */
#define TRIES 10				/* each agent of a cluster may write at the same moment */

enum
{
	EPOCH, CLAIM, PAIRS
};

const ConfigKind arbiter_kinds[] = {{.name = KIND, .single = true, .valid = etcd_valid}, {NULL}};

static const ConfigSection *
section_of(const AgentConfig *config)
{
	for (int i = 0; i < config->n_sections; i++)
		if (strcmp(config->sections[i].kind, KIND) == 0)
			return &config->sections[i];
	return NULL;
}

bool
arbiter_configured(const AgentConfig *config)
{
	return section_of(config) != NULL;
}

static int
limit_of(const ConfigSection *section)
{
	const char *value = config_value(section, "timeout_ms");

	return value ? atoi(value) : LIMIT_MS;
}

/* ---- what is stored ---- */

static bool
take_text(json_t *json, const char *name, char *to, size_t size)
{
	const char *text = json_string_value(json_object_get(json, name));

	if (!text || strlen(text) >= size)
		return false;
	snprintf(to, size, "%s", text);
	return true;
}

static bool
take_number(json_t *json, const char *name, int64_t *to)
{
	json_t	   *value = json_object_get(json, name);

	*to = json_integer_value(value);
	return json_is_integer(value) && *to >= 0;
}

static bool
take_epoch(const char *text, ArbiterMemory *memory)
{
	json_t	   *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	bool		fine = take_number(json, "epoch", &memory->epoch) &&
		take_text(json, "run", memory->run, sizeof(memory->run)) && take_number(json, "before", &memory->before) &&
		take_text(json, "run_before", memory->run_before, sizeof(memory->run_before));

	json_decref(json);
	return fine;
}

static bool
take_claim(const char *text, ArbiterMemory *memory)
{
	json_t	   *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	bool		fine = take_number(json, "epoch", &memory->claimed) &&
		take_text(json, "run", memory->claimed_by, sizeof(memory->claimed_by));

	json_decref(json);
	return fine;
}

/* What is there and cannot be understood is not "nothing". */
static EtcdEnd
read_memory(const ConfigSection *section, int limit_ms, EtcdPair *pairs, ArbiterMemory *memory, char *why,
			size_t why_size)
{
	EtcdEnd		end;

	memset(memory, 0, sizeof(*memory));
	snprintf(pairs[EPOCH].key, ETCD_KEY_MAX, "/pingpong/%s/epoch", section->name);
	snprintf(pairs[CLAIM].key, ETCD_KEY_MAX, "/pingpong/%s/claim", section->name);
	end = etcd_read(section, pairs, PAIRS, limit_ms, why, why_size);
	if (end == ETCD_DONE && ((pairs[EPOCH].value[0] && !take_epoch(pairs[EPOCH].value, memory)) ||
							 (pairs[CLAIM].value[0] && !take_claim(pairs[CLAIM].value, memory))))
	{
		snprintf(why, why_size, "what is stored below /pingpong/%s cannot be understood", section->name);
		end = ETCD_SILENT;
	}
	return end;
}

static void
put_value(EtcdChange *change, const char *present, json_t *json)
{
	char	   *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);

	snprintf(change->value, sizeof(change->value), "%s", text);
	change->changes = change->ttl_s > 0 || strcmp(change->value, present) != 0;
	free(text);
	json_decref(json);
}

/* A claim that is made again lasts longer: it is written in any case. */
static void
describe_changes(const ArbiterMemory *memory, const EtcdPair *pairs, int64_t ttl_ms, EtcdChange *changes)
{
	memset(changes, 0, PAIRS * sizeof(EtcdChange));
	if (memory->epoch > 0)
		put_value(&changes[EPOCH], pairs[EPOCH].value,
				  json_pack("{s:I, s:s, s:I, s:s}", "epoch", (json_int_t) memory->epoch, "run", memory->run, "before",
							(json_int_t) memory->before, "run_before", memory->run_before));
	else
		changes[EPOCH].changes = pairs[EPOCH].value[0] != '\0';
	if (memory->claimed > 0)
	{
		changes[CLAIM].ttl_s = ttl_ms > 0 ? (int) (ttl_ms / 1000) + 1 : 0;
		put_value(&changes[CLAIM], pairs[CLAIM].value,
				  json_pack("{s:I, s:s}", "epoch", (json_int_t) memory->claimed, "run", memory->claimed_by));
	}
	else
		changes[CLAIM].changes = pairs[CLAIM].value[0] != '\0';
}

/* ---- asking and telling ---- */

json_t *
arbiter_word(const AgentConfig *config)
{
	const ConfigSection *section = section_of(config);
	int			limit_ms = section ? limit_of(section) : 0;
	EtcdPair	pairs[PAIRS];
	ArbiterMemory memory;
	char		why[256] = "";
	bool		claimed;

	if (!section)
		return NULL;
	if (read_memory(section, limit_ms < WORD_LIMIT_MS ? limit_ms : WORD_LIMIT_MS, pairs, &memory, why,
					sizeof(why)) != ETCD_DONE)
		return json_pack("{s:s, s:b, s:s}", "name", section->name, "answered", 0, "error", why);
	claimed = memory.claimed > memory.epoch;
	return json_pack("{s:s, s:b, s:I, s:I, s:s}", "name", section->name, "answered", 1, "epoch",
					 (json_int_t) memory.epoch, "claimed", (json_int_t) (claimed ? memory.claimed : 0), "claimed_by",
					 claimed ? memory.claimed_by : "");
}

/* A write without an answer may have been done: it is read again, and then is what it should be, or is not. */
ArbiterEnd
arbiter_change(const AgentConfig *config, ArbiterRule *rule, const char *run, int64_t epoch, int64_t ttl_ms,
			   char *why, size_t why_size)
{
	const ConfigSection *section = section_of(config);

	for (int i = 0; section && i < TRIES; i++)
	{
		int			limit_ms = limit_of(section);
		EtcdPair	pairs[PAIRS];
		EtcdChange	changes[PAIRS];
		ArbiterMemory memory;
		EtcdEnd		end = read_memory(section, limit_ms, pairs, &memory, why, why_size);

		if (end == ETCD_SILENT)
			return ARBITER_SILENT;
		if (!rule(&memory, run, epoch, why, why_size))
			return ARBITER_REFUSED;
		describe_changes(&memory, pairs, ttl_ms, changes);
		if (!changes[EPOCH].changes && !changes[CLAIM].changes)
			return ARBITER_GRANTED;
		end = etcd_write(section, pairs, changes, PAIRS, limit_ms, why, why_size);
		if (end != ETCD_CHANGED)
			return end == ETCD_DONE ? ARBITER_GRANTED : ARBITER_SILENT;
		snprintf(why, why_size, "what it stores does not stop changing");
	}
	return section ? ARBITER_SILENT : ARBITER_GRANTED;
}
