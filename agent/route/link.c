/*
 * link.c
 *		A floating address on the network that a device is attached to: ARP, and neighbour discovery of IPv6.
 *
 * A question has no sender's address (0.0.0.0 or ::), as duplicate address detection has it (RFC 5227, RFC 4862): it
 * changes no neighbour's table. Who has the address answers it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/core/clock.h"
#include "agent/route/link.h"

/* What is behind the frame's head, in both protocols */
typedef struct Packet
{
	size_t		size;
	unsigned char bytes[128];
} Packet;

bool
link_parse(const char *device, const char *cidr, LinkAddress *address)
{
	const char *slash = strchr(cidr, '/');
	size_t		len = slash ? (size_t) (slash - cidr) : 0;
	char	   *end = NULL;
	unsigned long prefix = slash ? strtoul(slash + 1, &end, 10) : 0;

	memset(address, 0, sizeof(*address));
	if (!slash || len == 0 || len >= sizeof(address->text) || slash[1] < '1' || slash[1] > '9' || !end || *end)
		return false;
	memcpy(address->text, cidr, len);
	address->family = strchr(address->text, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(address->family, address->text, address->family == AF_INET ? (void *) &address->ip4 :
				  (void *) &address->ip6) != 1 || prefix > (address->family == AF_INET ? 32 : 128))
		return false;
	/* as the kernel has it */
	if (strlen(device) == 0 || strlen(device) >= sizeof(address->device) || strpbrk(device, " \t/:") != NULL ||
		strcmp(device, ".") == 0 || strcmp(device, "..") == 0 || strcmp(device, LINK_LOOPBACK) == 0)
		return false;
	strcpy(address->device, device);
	address->prefix = (int) prefix;
	return true;
}

int
link_has(const LinkAddress *address)
{
	struct ifaddrs *list;
	bool		found = false;

	if (getifaddrs(&list) < 0)
		return -1;
	for (struct ifaddrs *one = list; one; one = one->ifa_next)
	{
		if (!one->ifa_addr || one->ifa_addr->sa_family != address->family ||
			strcmp(one->ifa_name, address->device) != 0)
			continue;
		if (address->family == AF_INET)
			found = found || ((struct sockaddr_in *) one->ifa_addr)->sin_addr.s_addr == address->ip4.s_addr;
		else
			found = found || memcmp(&((struct sockaddr_in6 *) one->ifa_addr)->sin6_addr, &address->ip6, 16) == 0;
	}
	freeifaddrs(list);
	return found;
}

/* ---- sockets ---- */

typedef struct Wire
{
	int			fd;
	int			index;			/* of the device */
	unsigned char mac[ETH_ALEN];
} Wire;

static int
wire_open(const LinkAddress *address, Wire *wire)
{
	int			protocol = htons(address->family == AF_INET ? ETH_P_ARP : ETH_P_IPV6);
	struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = protocol};
	struct ifreq request = {0};

	wire->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (wire->fd < 0)
		return -1;
	strcpy(request.ifr_name, address->device);
	wire->index = if_nametoindex(address->device);
	here.sll_ifindex = wire->index;
	if (wire->index == 0 || ioctl(wire->fd, SIOCGIFHWADDR, &request) < 0 ||
		bind(wire->fd, (struct sockaddr *) &here, sizeof(here)) < 0)
	{
		int			save = errno;

		close(wire->fd);
		errno = save;
		return -1;
	}
	memcpy(wire->mac, request.ifr_hwaddr.sa_data, ETH_ALEN);
	return 0;
}

static int
wire_send(const Wire *wire, const LinkAddress *address, const Packet *packet, const unsigned char *to)
{
	struct sockaddr_ll there = {.sll_family = AF_PACKET, .sll_ifindex = wire->index, .sll_halen = ETH_ALEN,
	.sll_protocol = htons(address->family == AF_INET ? ETH_P_ARP : ETH_P_IPV6)};

	memcpy(there.sll_addr, to, ETH_ALEN);
	return sendto(wire->fd, packet->bytes, packet->size, 0, (struct sockaddr *) &there, sizeof(there)) ==
		(ssize_t) packet->size ? 0 : -1;
}

/* ---- IPv4 ---- */

static const unsigned char everybody[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static Packet
arp_packet(const LinkAddress *address, const Wire *wire, int operation, bool is_question)
{
	Packet		packet = {.size = sizeof(struct ether_arp)};
	struct ether_arp arp = {0};

	arp.arp_hrd = htons(ARPHRD_ETHER);
	arp.arp_pro = htons(ETH_P_IP);
	arp.arp_hln = ETH_ALEN;
	arp.arp_pln = 4;
	arp.arp_op = htons(operation);
	memcpy(arp.arp_sha, wire->mac, ETH_ALEN);
	if (!is_question)
		memcpy(arp.arp_spa, &address->ip4, 4);
	memcpy(arp.arp_tpa, &address->ip4, 4);
	memcpy(packet.bytes, &arp, sizeof(arp));
	return packet;
}

/* The sender of an ARP packet that says it has the address; NULL: it is something else. */
static const unsigned char *
arp_owner(const LinkAddress *address, const Packet *packet)
{
	const struct ether_arp *arp = (const struct ether_arp *) packet->bytes;

	if (packet->size < sizeof(*arp) || memcmp(arp->arp_spa, &address->ip4, 4) != 0)
		return NULL;
	return arp->arp_sha;
}

/* ---- IPv6 ---- */

static unsigned
sum_of(const void *data, size_t size)
{
	const unsigned char *bytes = data;
	unsigned	sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += i % 2 ? bytes[i] : (unsigned) bytes[i] << 8;
	return sum;
}

/* The head of IPv6 in front of an ICMP message, with the message's checksum. */
static Packet
icmp_packet(const struct in6_addr *from, const struct in6_addr *to, const void *message, size_t size)
{
	Packet		packet = {.size = sizeof(struct ip6_hdr) + size};
	struct ip6_hdr head = {0};
	unsigned	sum = sum_of(from, 16) + sum_of(to, 16) + (unsigned) size + IPPROTO_ICMPV6 + sum_of(message, size);
	unsigned short check;

	head.ip6_flow = htonl(6u << 28);
	head.ip6_plen = htons(size);
	head.ip6_nxt = IPPROTO_ICMPV6;
	head.ip6_hlim = 255;
	head.ip6_src = *from;
	head.ip6_dst = *to;
	memcpy(packet.bytes, &head, sizeof(head));
	memcpy(packet.bytes + sizeof(head), message, size);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	check = htons(~sum & 0xffff);
	memcpy(packet.bytes + sizeof(head) + 2, &check, 2); /* type, code, checksum */
	return packet;
}

static Packet
nd_question(const LinkAddress *address, unsigned char *mac)
{
	struct nd_neighbor_solicit message = {0};
	struct in6_addr group;

	inet_pton(AF_INET6, "ff02::1:ff00:0", &group);
	memcpy(group.s6_addr + 13, address->ip6.s6_addr + 13, 3);
	memcpy(mac, (unsigned char[]) {0x33, 0x33, 0xff}, 3);
	memcpy(mac + 3, address->ip6.s6_addr + 13, 3);
	message.nd_ns_type = ND_NEIGHBOR_SOLICIT;
	message.nd_ns_target = address->ip6;
	return icmp_packet(&in6addr_any, &group, &message, sizeof(message));
}

static Packet
nd_announcement(const LinkAddress *address, const Wire *wire, unsigned char *mac)
{
	struct
	{
		struct nd_neighbor_advert advert;
		unsigned char option[2 + ETH_ALEN];
	}			message = {0};
	struct in6_addr all;

	inet_pton(AF_INET6, "ff02::1", &all);
	memcpy(mac, (unsigned char[]) {0x33, 0x33, 0, 0, 0, 1}, ETH_ALEN);
	message.advert.nd_na_type = ND_NEIGHBOR_ADVERT;
	message.advert.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
	message.advert.nd_na_target = address->ip6;
	message.option[0] = ND_OPT_TARGET_LINKADDR;
	message.option[1] = 1;		/* in units of 8 bytes */
	memcpy(message.option + 2, wire->mac, ETH_ALEN);
	return icmp_packet(&address->ip6, &all, &message, sizeof(message));
}

/* The same for an advertisement; from is where its frame came from. */
static const unsigned char *
nd_owner(const LinkAddress *address, const Packet *packet, const unsigned char *from)
{
	const struct ip6_hdr *head = (const struct ip6_hdr *) packet->bytes;
	const struct nd_neighbor_advert *advert = (const struct nd_neighbor_advert *) (packet->bytes + sizeof(*head));

	if (packet->size < sizeof(*head) + sizeof(*advert) || head->ip6_nxt != IPPROTO_ICMPV6 ||
		advert->nd_na_type != ND_NEIGHBOR_ADVERT || memcmp(&advert->nd_na_target, &address->ip6, 16) != 0)
		return NULL;
	return from;
}

/* ---- both ---- */

static int
send_question(const Wire *wire, const LinkAddress *address)
{
	unsigned char mac[ETH_ALEN];
	Packet		packet = address->family == AF_INET ? arp_packet(address, wire, ARPOP_REQUEST, true) :
		nd_question(address, mac);

	return wire_send(wire, address, &packet, address->family == AF_INET ? everybody : mac);
}

/* 1: a packet of somebody else who has the address; 0: what came was none; -1: nothing is there, or an error. */
static int
receive_owner(const Wire *wire, const LinkAddress *address, char *who)
{
	Packet		packet;
	struct sockaddr_ll from;
	socklen_t	from_size = sizeof(from);
	ssize_t		n = recvfrom(wire->fd, packet.bytes, sizeof(packet.bytes), 0, (struct sockaddr *) &from, &from_size);
	const unsigned char *owner;

	if (n < 0)
		return -1;
	packet.size = n;
	if (from.sll_pkttype == PACKET_OUTGOING)
		return 0;
	owner = address->family == AF_INET ? arp_owner(address, &packet) : nd_owner(address, &packet, from.sll_addr);
	if (!owner || memcmp(owner, wire->mac, ETH_ALEN) == 0)
		return 0;
	snprintf(who, 18, "%02x:%02x:%02x:%02x:%02x:%02x", owner[0], owner[1], owner[2], owner[3], owner[4], owner[5]);
	return 1;
}

int
link_ask(const LinkAddress *address, int silence_ms, char *who)
{
	double		until = clock_monotonic_ms() + silence_ms;
	Wire		wire;
	int			rc;

	if (wire_open(address, &wire) < 0)
		return -1;
	rc = send_question(&wire, address);
	while (rc == 0 && clock_monotonic_ms() < until)
	{
		struct pollfd poll_fd = {wire.fd, POLLIN, 0};

		poll(&poll_fd, 1, (int) (until - clock_monotonic_ms()) + 1);
		rc = receive_owner(&wire, address, who);
		if (rc < 0)
			rc = errno == EAGAIN || errno == EINTR ? 0 : -1;
	}
	close(wire.fd);
	return rc;
}

int
link_announce(const LinkAddress *address)
{
	unsigned char mac[ETH_ALEN];
	Wire		wire;
	Packet		packet;
	int			rc;

	if (wire_open(address, &wire) < 0)
		return -1;
	if (address->family == AF_INET)
	{
		/* some hosts listen to the one, some to the other */
		packet = arp_packet(address, &wire, ARPOP_REQUEST, false);
		rc = wire_send(&wire, address, &packet, everybody);
		packet = arp_packet(address, &wire, ARPOP_REPLY, false);
		rc = rc < 0 ? rc : wire_send(&wire, address, &packet, everybody);
	}
	else
	{
		packet = nd_announcement(address, &wire, mac);
		rc = wire_send(&wire, address, &packet, mac);
	}
	close(wire.fd);
	return rc;
}
