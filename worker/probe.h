/*
 * probe.h - could this worker take a run over?
 */
#ifndef PINGPONG_PROBE_H
#define PINGPONG_PROBE_H

extern bool probe_wanted(void);

/* One step of it; gives the longest nap in ms. `ready`: the extension is there. */
extern long probe_advance(bool ready);

/* It raised an error. */
extern void probe_failed(const char *problem);

#endif
