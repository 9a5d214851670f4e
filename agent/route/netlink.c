/*
 * netlink.c
 *		Addresses of devices and TCP connections, by the kernel's own messages (rtnetlink, sock_diag).
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/route/netlink.h"

#define ANSWER_SIZE 32768
#define TCP_LISTENING 10		/* a state of the kernel's: what listens is no connection */

static int
open_netlink(int protocol)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
}

/* Sends a message and reads its acknowledgement. */
static int
talk(int fd, struct nlmsghdr *message)
{
	char		answer[1024];
	struct nlmsghdr *head = (struct nlmsghdr *) answer;
	ssize_t		n;

	if (send(fd, message, message->nlmsg_len, 0) < 0)
		return -1;
	n = recv(fd, answer, sizeof(answer), 0);
	if (n < (ssize_t) NLMSG_LENGTH(sizeof(struct nlmsgerr)) || head->nlmsg_type != NLMSG_ERROR)
		return errno = n < 0 ? errno : EPROTO, -1;
	errno = -((struct nlmsgerr *) NLMSG_DATA(head))->error;
	return errno == 0 ? 0 : -1;
}

/* ---- addresses ---- */

typedef struct AddressMessage
{
	struct nlmsghdr head;
	struct ifaddrmsg body;
	char		attributes[128];
} AddressMessage;

static void
add_attribute(struct nlmsghdr *head, int type, const void *data, size_t size)
{
	struct rtattr *attribute = (struct rtattr *) ((char *) head + NLMSG_ALIGN(head->nlmsg_len));

	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(attribute), data, size);
	head->nlmsg_len = NLMSG_ALIGN(head->nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

static int
change_address(int type, int flags, const LinkAddress *address, const char *device, int prefix)
{
	bool		is_ip4 = address->family == AF_INET;
	const void *bytes = is_ip4 ? (const void *) &address->ip4 : (const void *) &address->ip6;
	AddressMessage message = {0};
	int			fd = open_netlink(NETLINK_ROUTE);
	int			rc;
	int			save;

	if (fd < 0)
		return -1;
	message.head.nlmsg_len = NLMSG_LENGTH(sizeof(message.body));
	message.head.nlmsg_type = type;
	message.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	message.body.ifa_family = address->family;
	message.body.ifa_prefixlen = prefix;
	message.body.ifa_index = if_nametoindex(device);
	message.body.ifa_scope = strcmp(device, LINK_LOOPBACK) == 0 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
	message.body.ifa_flags = is_ip4 ? 0 : IFA_F_NODAD;	/* it was asked for already */
	add_attribute(&message.head, IFA_LOCAL, bytes, is_ip4 ? 4 : 16);
	add_attribute(&message.head, IFA_ADDRESS, bytes, is_ip4 ? 4 : 16);
	rc = talk(fd, &message.head);
	save = errno;
	close(fd);
	errno = save;
	return rc;
}

int
netlink_add(const LinkAddress *address, const char *device, int prefix)
{
	int			rc = change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address, device, prefix);

	return rc < 0 && errno == EEXIST ? 0 : rc;
}

int
netlink_delete(const LinkAddress *address, const char *device, int prefix)
{
	int			rc = change_address(RTM_DELADDR, 0, address, device, prefix);

	return rc < 0 && errno == EADDRNOTAVAIL ? 0 : rc;
}

/* ---- connections ---- */

typedef struct Connections
{
	struct inet_diag_msg *list;
	int			n;
} Connections;

/* A socket that listens on both families has addresses of IPv4 as ::ffff:A.B.C.D. */
static bool
is_from(const struct inet_diag_msg *connection, const LinkAddress *address)
{
	const unsigned char *source = (const unsigned char *) connection->id.idiag_src;
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (address->family == AF_INET6)
		return connection->idiag_family == AF_INET6 && memcmp(source, &address->ip6, 16) == 0;
	if (connection->idiag_family == AF_INET)
		return memcmp(source, &address->ip4, 4) == 0;
	return memcmp(source, mapped, 12) == 0 && memcmp(source + 12, &address->ip4, 4) == 0;
}

/* What one answer of the kernel's has of them; 1: that was the end; -1 with errno */
static int
collect(const LinkAddress *address, struct nlmsghdr *head, size_t size, Connections *found)
{
	for (; NLMSG_OK(head, size); head = NLMSG_NEXT(head, size))
	{
		if (head->nlmsg_type == NLMSG_DONE)
			return 1;
		if (head->nlmsg_type == NLMSG_ERROR)
			return errno = -((struct nlmsgerr *) NLMSG_DATA(head))->error, -1;
		if (!is_from(NLMSG_DATA(head), address))
			continue;
		found->list = xrealloc(found->list, sizeof(*found->list) * (found->n + 1));
		memcpy(&found->list[found->n++], NLMSG_DATA(head), sizeof(*found->list));
	}
	return 0;
}

static int
list_connections(int fd, const LinkAddress *address, int family, Connections *found)
{
	struct
	{
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	}			message = {0};
	char	   *answer = xalloc(ANSWER_SIZE);
	int			rc;

	message.head.nlmsg_len = sizeof(message);
	message.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
	message.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message.body.sdiag_family = family;
	message.body.sdiag_protocol = IPPROTO_TCP;
	message.body.idiag_states = ~(1u << TCP_LISTENING);
	rc = send(fd, &message, sizeof(message), 0) < 0 ? -1 : 0;
	while (rc == 0)
	{
		ssize_t		n = recv(fd, answer, ANSWER_SIZE, 0);

		rc = n < 0 ? -1 : collect(address, (struct nlmsghdr *) answer, n, found);
	}
	free(answer);
	return rc < 0 ? -1 : 0;
}

/* One that has ended meanwhile is fine. */
static int
end_connection(int fd, const struct inet_diag_msg *connection)
{
	struct
	{
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	}			message = {0};

	message.head.nlmsg_len = sizeof(message);
	message.head.nlmsg_type = SOCK_DESTROY;
	message.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	message.body.sdiag_family = connection->idiag_family;
	message.body.sdiag_protocol = IPPROTO_TCP;
	message.body.idiag_states = ~0u;
	message.body.id = connection->id;
	return talk(fd, &message.head) < 0 && errno != ENOENT ? -1 : 0;
}

int
netlink_end_connections(const LinkAddress *address)
{
	Connections found = {0};
	int			fd = open_netlink(NETLINK_SOCK_DIAG);
	int			rc = fd < 0 ? -1 : list_connections(fd, address, AF_INET6, &found);
	int			save;

	if (rc == 0 && address->family == AF_INET)
		rc = list_connections(fd, address, AF_INET, &found);
	for (int i = 0; i < found.n; i++)
		if (end_connection(fd, &found.list[i]) < 0)
			rc = -1;
	save = errno;
	free(found.list);
	if (fd >= 0)
		close(fd);
	errno = save;
	return rc;
}
