/*
 * names.c
 *		The addresses of hosts, kept for some minutes.
 */
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/route/names.h"

#define NAMES_MAX 32
#define RESOLVED_FOR_MS 600000	/* what prepare has resolved need not be resolved while writes wait */

static pthread_mutex_t resolved_lock = PTHREAD_MUTEX_INITIALIZER;
static Resolved resolved[NAMES_MAX];

/* The lock is held. */
static Resolved *
resolved_entry(const char *host)
{
	Resolved   *oldest = &resolved[0];

	for (int i = 0; i < NAMES_MAX; i++)
	{
		if (resolved[i].host && strcmp(resolved[i].host, host) == 0)
			return &resolved[i];
		if (resolved[i].at < oldest->at)
			oldest = &resolved[i];
	}
	return oldest;
}

Resolved
addresses_of(const char *host, bool fresh)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	Resolved	found = {.at = clock_monotonic_ms()};
	Resolved   *kept;

	pthread_mutex_lock(&resolved_lock);
	kept = resolved_entry(host);
	if (!fresh && kept->host && strcmp(kept->host, host) == 0 && found.at - kept->at < RESOLVED_FOR_MS)
		found = *kept;
	pthread_mutex_unlock(&resolved_lock);
	if (found.n > 0 || getaddrinfo(host, NULL, &hints, &list) != 0)
		return found;
	for (struct addrinfo *one = list; one && found.n < RESOLVED_MAX; one = one->ai_next)
		if (getnameinfo(one->ai_addr, one->ai_addrlen, found.addresses[found.n], INET6_ADDRSTRLEN, NULL, 0,
						NI_NUMERICHOST) == 0)
			found.n++;
	freeaddrinfo(list);
	pthread_mutex_lock(&resolved_lock);
	kept = resolved_entry(host);
	free(kept->host);
	*kept = found;
	kept->host = xstrdup(host);
	pthread_mutex_unlock(&resolved_lock);
	return found;
}

bool
has_address(const Resolved *host, const char *address)
{
	for (int i = 0; i < host->n; i++)
		if (strcmp(host->addresses[i], address) == 0)
			return true;
	return false;
}
