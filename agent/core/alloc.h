/*
 * alloc.h
 *		Memory that is never NULL: out of memory ends the process.
 */
#ifndef PINGPONG_AGENT_CORE_ALLOC_H
#define PINGPONG_AGENT_CORE_ALLOC_H

#include <stddef.h>

extern void *xalloc(size_t size);	/* zeroed */
extern void *xrealloc(void *memory, size_t size);
extern char *xstrdup(const char *s);
extern char *xasprintf(const char *format,...) __attribute__((format(printf, 1, 2)));

#endif							/* PINGPONG_AGENT_CORE_ALLOC_H */
