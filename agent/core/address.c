/*
 * address.c
 *		The address to listen on, as the configuration writes it.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/address.h"

static int
parse_unix(const char *path, ListenAddress *address)
{
	struct sockaddr_un *sun = &address->address.unix_;

	if (path[0] != '/' || strlen(path) >= sizeof(sun->sun_path))
		return -1;
	sun->sun_family = AF_UNIX;
	strcpy(sun->sun_path, path);
	address->size = sizeof(*sun);
	address->local = true;
	return 0;
}

static int
parse_ip(const char *host, int port, ListenAddress *address)
{
	struct sockaddr_in *ip4 = &address->address.ip4;
	struct sockaddr_in6 *ip6 = &address->address.ip6;

	if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &ip4->sin_addr) == 1)
	{
		ip4->sin_family = AF_INET;
		ip4->sin_port = htons(port);
		address->size = sizeof(*ip4);
		address->local = (ntohl(ip4->sin_addr.s_addr) >> 24) == 127;
		return 0;
	}
	if (inet_pton(AF_INET6, host, &ip6->sin6_addr) == 1)
	{
		ip6->sin6_family = AF_INET6;
		ip6->sin6_port = htons(port);
		address->size = sizeof(*ip6);
		address->local = IN6_IS_ADDR_LOOPBACK(&ip6->sin6_addr);
		return 0;
	}
	return -1;
}

int
listen_parse(const char *text, ListenAddress *address)
{
	char		host[64];
	const char *colon = strrchr(text, ':');
	char	   *end;
	long		port;
	size_t		len;

	memset(address, 0, sizeof(*address));
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, address);
	if (!colon)
		return -1;
	port = strtol(colon + 1, &end, 10);
	if (end == colon + 1 || *end || port < 1 || port > 65535)
		return -1;
	len = colon - text;
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']')
		text++, len -= 2;
	if (len >= sizeof(host))
		return -1;
	memcpy(host, text, len);
	host[len] = '\0';
	return parse_ip(host, (int) port, address);
}
