/*
 * etcd.h
 *		etcd's key-value store, by the JSON gateway of its version 3 (3.4 and later): read, and write if unchanged.
 *
 * Every answer is of a majority of its members: a member that is cut off from them gives none.
 */
#ifndef PINGPONG_AGENT_ARBITER_ETCD_H
#define PINGPONG_AGENT_ARBITER_ETCD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/config.h"

#define ETCD_KEY_MAX 160
#define ETCD_VALUE_MAX 1024
#define ETCD_PAIRS_MAX 4

typedef struct EtcdPair
{
	char		key[ETCD_KEY_MAX];
	char		value[ETCD_VALUE_MAX];	/* "": there is no such key */
	int64_t		revision;		/* of its last change; 0: there is no such key */
} EtcdPair;

/* A new value of a pair; of "" the key goes. ttl_s > 0: it goes by itself after so many seconds. */
typedef struct EtcdChange
{
	bool		changes;
	char		value[ETCD_VALUE_MAX];
	int			ttl_s;
} EtcdChange;

typedef enum EtcdEnd
{
	ETCD_DONE,
	ETCD_CHANGED,				/* somebody else was faster: read again */
	ETCD_SILENT					/* no answer, with an error: what was written may be there */
} EtcdEnd;

/* Is the section one of an etcd? False, with a sentence. */
extern bool etcd_valid(const ConfigSection *section, char *error, size_t error_size);

/*
 * Both end after limit_ms. Of several members each is tried for its part of that. The pairs come with their keys; all
 * are read at one moment, and written together if none was changed since.
 */
extern EtcdEnd etcd_read(const ConfigSection *section, EtcdPair *pairs, int n, int limit_ms, char *error,
						 size_t error_size);
extern EtcdEnd etcd_write(const ConfigSection *section, const EtcdPair *pairs, const EtcdChange *changes, int n,
						  int limit_ms, char *error, size_t error_size);

#endif							/* PINGPONG_AGENT_ARBITER_ETCD_H */
