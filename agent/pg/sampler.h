/*
 * sampler.h
 *		Looks at the main instance again and again, so that others need not ask it.
 */
#ifndef PINGPONG_AGENT_PG_SAMPLER_H
#define PINGPONG_AGENT_PG_SAMPLER_H

/* A thread of its own, for good.  The interval is "sample_interval_ms" of [agent]. */
extern void sampler_start(void);

#endif							/* PINGPONG_AGENT_PG_SAMPLER_H */
