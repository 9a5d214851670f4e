/*
 * plain.h
 *		A second socket, "health_listen": answers the paths of health.h and nothing else, without TLS.
 *
 * Load balancers look often, and most of them with a new connection each time and without credentials. Here such a
 * look costs a few system calls: one thread serves all, and a connection may be kept.
 */
#ifndef PINGPONG_AGENT_HTTP_PLAIN_H
#define PINGPONG_AGENT_HTTP_PLAIN_H

#include <stdbool.h>
#include <stddef.h>

#define PLAIN_HEAD_MAX 2048
#define PLAIN_ANSWER_MAX 512

/*
 * The answer to a head of a request that is complete (at most PLAIN_HEAD_MAX bytes; it is cut into pieces). True: the
 * connection may be kept.
 */
extern bool plain_answer(char *head, char *answer, size_t answer_size);

/* Serves the address; 0, or -1 with a message in error. */
extern int	plain_start(const char *listen, char *error, size_t error_size);

#endif							/* PINGPONG_AGENT_HTTP_PLAIN_H */
