/*
 * clock.h
 *		Clocks, and a name for the present boot of the host.
 */
#ifndef PINGPONG_AGENT_CORE_CLOCK_H
#define PINGPONG_AGENT_CORE_CLOCK_H

#include <stddef.h>

extern double clock_realtime_ms(void);	/* a moment, to tell others */
extern double clock_monotonic_ms(void); /* for durations and deadlines */
extern double clock_boottime_ms(void);	/* for deadlines that outlast this process: one life of the host */
extern void host_boot_id(char *to, size_t size);	/* another one after each start of the host; "" if not known */
extern double clock_earlier(double a, double b);	/* the earlier of two moments */
extern void sleep_ms(int ms);

#endif							/* PINGPONG_AGENT_CORE_CLOCK_H */
