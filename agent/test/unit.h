/*
 * unit.h
 *		What the files of unit tests share.
 */
#ifndef PINGPONG_AGENT_TEST_UNIT_H
#define PINGPONG_AGENT_TEST_UNIT_H

#include <stdbool.h>

extern void ok(bool passed, const char *name);
extern void is(char *got, const char *expected, const char *name);	/* compares, and frees got */

/* unit_alerts.c; files may be made in the directory */
extern void test_alerts(const char *directory);

/* unit_bouncer.c; files may be made in the directory */
extern void test_bouncer(const char *directory);

/* unit_files.c; the same */
extern void test_files(const char *directory);

/* unit_health.c */
extern void test_health(void);

/* unit_instances.c; the same */
extern void test_instances(const char *directory);

/* unit_lost.c */
extern void test_lost(void);

/* unit_metrics.c */
extern void test_metrics(void);

/* unit_protocol.c */
extern void test_protocol(void);

/* unit_arbiter.c */
extern void test_arbiter(void);

/* unit_guard.c */
extern void test_guard(void);

/* unit_status.c */
extern void test_status(void);

/* worker/test/unit_transition.c; in the top folder of the tree */
extern void test_transitions(void);

#endif							/* PINGPONG_AGENT_TEST_UNIT_H */
