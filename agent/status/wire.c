/*
 * wire.c
 *		A connection to the agent of this host, plain or with TLS; every step ends with its deadline.
 *
 * An agent's certificate is of whatever CA the site has. We need none: the agent's own configuration names the
 * certificate that it shows.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/core/address.h"
#include "agent/core/clock.h"
#include "agent/http/certificate.h"
#include "agent/status/wire.h"

/* 0, or -1 with errno: ETIMEDOUT behind the deadline. */
static int
await(const Wire *wire, short events)
{
	struct pollfd fd = {wire->fd, events, 0};

	for (;;)
	{
		double		left = wire->deadline - clock_monotonic_ms();
		int			rc = left > 0 ? poll(&fd, 1, (int) left + 1) : 0;

		if (rc > 0)
			return 0;
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc == 0)
			errno = ETIMEDOUT;
		return -1;
	}
}

static int
failed(char *error, size_t error_size, const char *what, const char *why)
{
	snprintf(error, error_size, "%s: %s", what, why);
	return -1;
}

/* An address that stands for all of the host is, as a peer, the host itself. */
int
wire_connect(Wire *wire, const AgentConfig *config, double deadline)
{
	ListenAddress address;
	int			reason = 0;
	socklen_t	size = sizeof(reason);

	memset(wire, 0, sizeof(*wire));
	wire->deadline = deadline;
	wire->fd = -1;
	if (listen_parse(config->listen, &address) < 0)
	{
		errno = EINVAL;
		return -1;
	}
	wire->fd = socket(address.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (wire->fd < 0)
		return -1;
	if (connect(wire->fd, &address.address.any, address.size) == 0)
		return 0;
	if (errno != EINPROGRESS || await(wire, POLLOUT) < 0 ||
		getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &reason, &size) < 0)
		return -1;
	errno = reason;
	return reason == 0 ? 0 : -1;
}

/* After a call of GnuTLS that could not go on: waits until it can. */
static int
await_tls(const Wire *wire)
{
	return await(wire, gnutls_record_get_direction(wire->tls) ? POLLOUT : POLLIN);
}

static bool
begin_tls(Wire *wire)
{
	return gnutls_certificate_allocate_credentials(&wire->credentials) >= 0 &&
		gnutls_init(&wire->tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) >= 0 &&
		gnutls_set_default_priority(wire->tls) >= 0 &&
		gnutls_credentials_set(wire->tls, GNUTLS_CRD_CERTIFICATE, wire->credentials) >= 0;
}

int
wire_secure(Wire *wire, const AgentConfig *config, char *error, size_t error_size)
{
	int			rc;

	if (!config->tls_cert)
		return 0;
	if (!begin_tls(wire))
		return failed(error, error_size, "TLS", "could not begin");
	gnutls_transport_set_int(wire->tls, wire->fd);
	while ((rc = gnutls_handshake(wire->tls)) < 0 && !gnutls_error_is_fatal(rc))
		if (rc == GNUTLS_E_AGAIN && await_tls(wire) < 0)
			return failed(error, error_size, "TLS", strerror(errno));
	if (rc < 0)
		return failed(error, error_size, "TLS", gnutls_strerror(rc));
	if (certificate_peer_is(wire->tls, config->tls_cert))
		return 0;
	snprintf(error, error_size, "who listens there does not have the key of \"%s\"", config->tls_cert);
	return -1;
}

/* Bytes, 0: the end, -1 with errno; -1 with EAGAIN: wait first. */
static ssize_t
step(Wire *wire, char *data, size_t size, bool sends)
{
	ssize_t		n;

	if (!wire->tls)
		return sends ? send(wire->fd, data, size, MSG_NOSIGNAL) : recv(wire->fd, data, size, 0);
	n = sends ? gnutls_record_send(wire->tls, data, size) : gnutls_record_recv(wire->tls, data, size);
	if (n >= 0)
		return n;
	errno = n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED || !gnutls_error_is_fatal((int) n) ? EAGAIN : EPROTO;
	return -1;
}

/* The same, and waits for it. */
static ssize_t
step_in_time(Wire *wire, char *data, size_t size, bool sends)
{
	for (;;)
	{
		ssize_t		n = step(wire, data, size, sends);

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -1;
		if ((wire->tls ? await_tls(wire) : await(wire, sends ? POLLOUT : POLLIN)) < 0)
			return -1;
	}
}

int
wire_send(Wire *wire, const char *data, size_t size, char *error, size_t error_size)
{
	while (size > 0)
	{
		ssize_t		n = step_in_time(wire, (char *) data, size, true);

		if (n < 0)
			return failed(error, error_size, "could not ask", strerror(errno));
		data += n;
		size -= n;
	}
	return 0;
}

int
wire_receive(Wire *wire, Text *text, size_t limit, char *error, size_t error_size)
{
	char		buffer[16384];
	ssize_t		n;

	while ((n = step_in_time(wire, buffer, sizeof(buffer), false)) > 0)
	{
		if (text->size + n > limit)
			return failed(error, error_size, "could not read the answer", "it is too large");
		text_add(text, buffer, n);
	}
	return n < 0 ? failed(error, error_size, "could not read the answer", strerror(errno)) : 0;
}

void
wire_close(Wire *wire)
{
	if (wire->tls)
		gnutls_deinit(wire->tls);
	if (wire->credentials)
		gnutls_certificate_free_credentials(wire->credentials);
	if (wire->fd >= 0)
		close(wire->fd);
	wire->fd = -1;
	wire->tls = NULL;
	wire->credentials = NULL;
}
