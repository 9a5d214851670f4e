/*
 * floating.c
 *		What the driver "address" does to a host.
 *
 * A host that drops the address keeps it for itself for a moment, on the loopback device: nobody on the network is
 * told of it there, but the server's last words still reach its clients, and a client that connects before the new
 * host has it is refused by a server instead of waiting a second for its next try. What is left of its connections
 * when somebody else has the address is reset: without the address the kernel sends nothing, and clients would wait
 * for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/route/floating.h"
#include "agent/route/netlink.h"

#define SILENCE_MS 30
#define SILENCE_MAX_MS 10000
#define TAKE_LIMIT_MS 15000		/* so long somebody else may still have it */
#define ANNOUNCEMENTS 5
#define ANNOUNCE_EACH_MS 200
#define ASK_EACH_MS 100
#define NEW_OWNER_MS 10000		/* so long connections wait for somebody else to have the address */
#define GOODBYE_MS 1000			/* and so long after that for their server to end them */

static int
fail(const char *what, char *said, size_t size)
{
	snprintf(said, size, "%s: %s", what, strerror(errno));
	return -1;
}

/* Without it nothing would be noticed before the address has to move. */
static bool
may_administer(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	return syscall(SYS_capget, &head, data) == 0 && (data[0].effective & (1u << CAP_NET_ADMIN)) != 0;
}

static int
host_prefix(const LinkAddress *address)
{
	return address->family == AF_INET ? 32 : 128;
}

/*
 * 0: the loopback device can keep the address (do_it: from now on; else nothing is changed).
 *
 * A device that is asked for an address of the loopback device must not answer for it. That is the rule of IPv6, and
 * of IPv4 by this setting, which does no harm to other addresses; it stays.
 */
static int
keep_loopback_quiet(const LinkAddress *address, bool do_it)
{
	char	   *path = xasprintf("/proc/sys/net/ipv4/conf/%s/arp_ignore", address->device);
	char	   *now = address->family == AF_INET ? file_tail(path, 0, 16) : NULL;	/* its size is told as 0 */
	bool		quiet = address->family == AF_INET6 || (now && now[0] != '0');
	int			fd = quiet ? -1 : open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
	{
		quiet = !do_it || write(fd, "1", 1) == 1;
		close(fd);
	}
	free(now);
	free(path);
	return quiet ? 0 : -1;
}

static int
look(const LinkAddress *address, int silence_ms, char *said, size_t size)
{
	char		who[18] = "";
	int			own = link_has(address);
	int			other = own < 0 ? -1 : link_ask(address, silence_ms, who);

	if (other < 0)
		return fail(address->device, said, size);
	if (!may_administer())
	{
		snprintf(said, size, "no right to change addresses (CAP_NET_ADMIN)");
		return -1;
	}
	if (keep_loopback_quiet(address, false) < 0)
	{
		snprintf(said, size, "arp_ignore of %s is 0, and cannot be set to 1", address->device);
		return -1;
	}
	snprintf(said, size, "%s%s%s%s", own ? "own" : "", own && other ? " " : "", other ? "other " : own ? "" : "free",
			 who);
	return 0;
}

/* Never two owners: as long as somebody else answers, it is not taken. */
static int
take(const LinkAddress *address, int silence_ms, char *said, size_t size)
{
	double		limit = clock_monotonic_ms() + TAKE_LIMIT_MS;
	char		who[18];
	int			other = link_has(address) == 1 ? 0 : 1;

	while (other == 1 && (other = link_ask(address, silence_ms, who)) == 1)
	{
		if (clock_monotonic_ms() > limit)
		{
			snprintf(said, size, "%s is still at %s", address->text, who);
			return -1;
		}
		sleep_ms(1);
	}
	if (other < 0 || netlink_add(address, address->device, address->prefix) < 0)
		return fail(address->device, said, size);
	if (link_has(address) != 1)
	{
		snprintf(said, size, "%s/%d is not there after it was added", address->text, address->prefix);
		return -1;
	}
	netlink_delete(address, LINK_LOOPBACK, host_prefix(address));
	return link_announce(address) < 0 ? fail(address->device, said, size) : 0;
}

static int
drop(const LinkAddress *address, char *said, size_t size)
{
	if (link_has(address) == 0)
		return 0;
	/* if it cannot be kept, its clients are told by a reset now: later they could not be */
	if (keep_loopback_quiet(address, true) < 0 || netlink_add(address, LINK_LOOPBACK, host_prefix(address)) < 0)
		netlink_end_connections(address);
	if (netlink_delete(address, address->device, address->prefix) < 0)
	{
		fail(address->device, said, size);
		netlink_delete(address, LINK_LOOPBACK, host_prefix(address));
		return -1;
	}
	if (link_has(address) == 0)
		return 0;
	snprintf(said, size, "%s is still there after it was removed", address->text);
	return -1;
}

/* Neighbours may have lost the first announcement. */
static int
announce_again(const LinkAddress *address, char *said, size_t size)
{
	for (int i = 1; i < ANNOUNCEMENTS && link_has(address) == 1; i++)
	{
		sleep_ms(ANNOUNCE_EACH_MS);
		if (link_has(address) == 1 && link_announce(address) < 0)
			return fail(address->device, said, size);
	}
	return 0;
}

/* It may come back meanwhile: then its connections are new ones. */
static int
farewell(const LinkAddress *address, int silence_ms, char *said, size_t size)
{
	double		limit = clock_monotonic_ms() + NEW_OWNER_MS;
	char		who[18];

	if (link_has(address) == 1)
		return announce_again(address, said, size);
	while (link_has(address) == 0 && clock_monotonic_ms() < limit && link_ask(address, silence_ms, who) == 0)
		sleep_ms(ASK_EACH_MS);
	for (double end = clock_monotonic_ms() + GOODBYE_MS; link_has(address) == 0 && clock_monotonic_ms() < end;)
		sleep_ms(ASK_EACH_MS);
	if (link_has(address) == 0)
		netlink_end_connections(address);
	return netlink_delete(address, LINK_LOOPBACK, host_prefix(address)) < 0 ? fail(LINK_LOOPBACK, said, size) : 0;
}

int
floating_do(const char *verb, const LinkAddress *address, int silence_ms, char *said, size_t size)
{
	said[0] = '\0';
	if (strcmp(verb, "look") == 0)
		return look(address, silence_ms, said, size);
	if (strcmp(verb, "take") == 0)
		return take(address, silence_ms, said, size);
	if (strcmp(verb, "drop") == 0)
		return drop(address, said, size);
	if (strcmp(verb, "farewell") == 0)
		return farewell(address, silence_ms, said, size);
	snprintf(said, size, "unknown word \"%s\"", verb);
	return -1;
}

int
floating_run(int argc, char **argv)
{
	LinkAddress address;
	char		said[256];
	int			silence_ms = argc > 4 ? atoi(argv[4]) : SILENCE_MS;
	int			rc;

	if (argc < 4 || argc > 5 || !link_parse(argv[2], argv[3], &address) || silence_ms < 1 ||
		silence_ms > SILENCE_MAX_MS)
	{
		fprintf(stderr, "usage: pingpong-agent address look|take|drop|farewell DEVICE ADDRESS/PREFIX [MS]\n");
		return 2;
	}
	rc = floating_do(argv[1], &address, silence_ms, said, sizeof(said));
	if (said[0])
		fprintf(rc == 0 ? stdout : stderr, "%s\n", said);
	return rc == 0 ? 0 : 1;
}
