/*
 * sampler.h - looks at this server once in pingpong.sample_interval, beside the runner in the worker's loop.
 */
#ifndef PINGPONG_SAMPLER_H
#define PINGPONG_SAMPLER_H

/*
 * Takes a sample if one is due; gives the ms until the next is. It reads shared memory and asks the file system for
 * its free space: no transaction, no snapshot, no error.
 */
extern long sampler_advance(void);

#endif
