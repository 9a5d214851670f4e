/*
 * far.c - a library for LD_PRELOAD that makes a process see servers of this host as far away: what connects to a port
 * of FAR_PORTS (",PORT=OTHER,PORT=OTHER,") on 127.0.0.1 reaches the other one, where a forwarder takes its time.
 */
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef int (*ConnectFunction) (int socket, const struct sockaddr *address, socklen_t length);

/* 0: this port is near. */
static int
far_port(int port)
{
	const char *ports = getenv("FAR_PORTS");
	char		entry[16];
	const char *found;

	snprintf(entry, sizeof(entry), ",%d=", port);
	found = ports ? strstr(ports, entry) : NULL;
	return found ? atoi(found + strlen(entry)) : 0;
}

int
connect(int socket, const struct sockaddr *address, socklen_t length)
{
	ConnectFunction real = (ConnectFunction) dlsym(RTLD_NEXT, "connect");
	struct sockaddr_in there;
	int			port;

	if (address->sa_family != AF_INET || length < sizeof(there))
		return real(socket, address, length);
	memcpy(&there, address, sizeof(there));
	port = far_port(ntohs(there.sin_port));
	if (port)
		there.sin_port = htons(port);
	return real(socket, (struct sockaddr *) &there, sizeof(there));
}
