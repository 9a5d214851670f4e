/*
 * page.h
 *		The status page: one document, made of the files of this folder when the agent was built.
 */
#ifndef PINGPONG_AGENT_PAGE_PAGE_H
#define PINGPONG_AGENT_PAGE_PAGE_H

#include <stddef.h>

/* The document, and its Content-Security-Policy, which allows only the style and the script that are in it. */
extern const char *page_text(size_t *size);
extern const char *page_policy(void);

#endif							/* PINGPONG_AGENT_PAGE_PAGE_H */
