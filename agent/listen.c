/*
 * listen.c
 *		The address that the agent listens on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/http.h"

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

/* A socket file left behind by a killed agent refuses connections: then it may go. */
static void
remove_stale_socket(const ListenAddress *address)
{
	struct stat st;
	int			fd;

	if (lstat(address->address.unix_.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, &address->address.any, address->size) < 0 && errno == ECONNREFUSED)
		unlink(address->address.unix_.sun_path);
	close(fd);
}

int
listen_open(const ListenAddress *address)
{
	int			family = address->address.any.sa_family;
	int			one = 1;
	int			fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t		mask;
	int			rc;

	if (fd < 0)
		return -1;
	if (family == AF_UNIX)
		remove_stale_socket(address);
	else
	{
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		/* inherited by what is accepted: no answer may wait for an acknowledgement */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	mask = umask(0117);			/* a unix socket: owner and group */
	rc = bind(fd, &address->address.any, address->size);
	umask(mask);
	if (rc < 0 || listen(fd, SOMAXCONN) < 0)
	{
		int			save = errno;

		close(fd);
		errno = save;
		return -1;
	}
	return fd;
}
