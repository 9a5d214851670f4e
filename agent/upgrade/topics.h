/*
 * topics.h
 *		What has to be the same in a cluster before and after pg_upgrade, as questions of any of the versions.
 *
 * The answer to each is {"count", "digest"}: how many there are, and a sum of hashes over what identifies each. The
 * hash functions do not change between versions (pg_upgrade carries over partitions by hash, and indexes).
 *
 * Not asked is what an upgrade may change: oids, objects of the system, definitions as text (each version deparses in
 * its own way), names that the server made, and what pg_dump leaves out (indexes that are not valid, operators
 * without a function, settings of ALTER ROLE ALL).
 */
#ifndef PINGPONG_AGENT_UPGRADE_TOPICS_H
#define PINGPONG_AGENT_UPGRADE_TOPICS_H

#include "agent/upgrade/visit.h"

extern const Question topics_of_cluster[];	/* in any database */
extern const Question topics_of_database[];

#endif							/* PINGPONG_AGENT_UPGRADE_TOPICS_H */
