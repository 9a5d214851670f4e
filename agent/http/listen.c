/*
 * listen.c
 *		The socket that the agent listens on.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/http/listen.h"

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
