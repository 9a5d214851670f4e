/*
 * door.c
 *		Accepts connections, and limits the room and the time of each.
 *
 * A connection is a stranger until a request on it has shown credentials. All strangers, and those of one address,
 * have few places. A newcomer always gets one, and the oldest stranger is closed for it. So no client without
 * credentials can keep out one that has them, because that one needs a place for a few milliseconds only. Connections
 * with credentials have places of their own, with a limit of their own.
 *
 * A connection that waits for us is not closed to make room: what it sent is not read yet, or its handshake is being
 * computed, which costs milliseconds. Otherwise, on a busy machine, a flood would make us begin all handshakes and
 * complete none. When all strangers are like that, and when many handshakes are being computed, the next newcomer
 * waits in the queue of the kernel. Connections that have completed a handshake are closed last.
 *
 * Deadlines are absolute: a byte a second does not move them. One thread accepts, and closes what is late. Closing is
 * shutdown(2): the connection's own thread wakes and ends it. The server tells us before it closes the descriptor, so
 * a descriptor in our list never belongs to another connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/log.h"
#include "agent/http/door.h"

#define STRANGERS_MAX 256
#define STRANGERS_PER_ADDRESS_MAX 128
#define KNOWN_MAX 64
#define GREETED_MIN 2			/* handshakes computed at a time: as many as there are processors, at least these */

#define HEAD_MS 5000			/* accepted, TLS, the first head with credentials */
#define BODY_MS 10000			/* at most 64 kB */
#define ANSWER_MS 30000			/* a client that does not read */
#define IDLE_MS 300000
#define TICK_MS 1000
#define CROWDED_MS 5
#define NO_DESCRIPTORS_MS 100	/* pause after accept() has failed */
#define LOG_EACH_MS 10000

typedef enum VisitorState
{
	VISITOR_ARRIVING,			/* handed to the server, which has not said that it has it */
	VISITOR_STRANGER,
	VISITOR_GREETED,			/* a stranger whose handshake we compute */
	/* showed credentials; it is the client's turn: a body, an answer to take, a new request */
	VISITOR_KNOWN,
	VISITOR_SERVED,				/* showed credentials, and its request is being worked on */
	VISITOR_LEAVING				/* shut down by us */
} VisitorState;

/* Where it comes from: an address of IPv4, a network of IPv6 (/64, what one host commonly has), a local user */
typedef struct Origin
{
	int			family;
	unsigned char bytes[8];
} Origin;

typedef struct Visitor
{
	struct Visitor *next;
	int			fd;
	VisitorState state;
	bool		shook_hands;	/* TLS: it has completed its part */
	Origin		origin;
	double		deadline;		/* monotonic; 0: none */
} Visitor;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Visitor *visitors;		/* oldest first; those with credentials by their last step */
static int	n_visitors;
static unsigned closed_for_room,
			closed_late;		/* strangers, not yet logged */
static double logged_ms;

static struct MHD_Daemon *server;
static int	listener = -1;
static int	wake_fd = -1;
static pthread_t thread;
static bool stopping;
static bool speaks_tls;
static int	greeted_max;

/* ---- where they come from ---- */

static Origin
origin_of(int fd, const struct sockaddr_storage *address)
{
	Origin		origin = {.family = address->ss_family};
	const struct sockaddr_in *ip4 = (const struct sockaddr_in *) address;
	const struct sockaddr_in6 *ip6 = (const struct sockaddr_in6 *) address;
	struct ucred peer;
	socklen_t	size = sizeof(peer);

	if (address->ss_family == AF_INET)
		memcpy(origin.bytes, &ip4->sin_addr, 4);
	else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&ip6->sin6_addr))
	{
		origin.family = AF_INET;
		memcpy(origin.bytes, ip6->sin6_addr.s6_addr + 12, 4);
	}
	else if (address->ss_family == AF_INET6)
		memcpy(origin.bytes, ip6->sin6_addr.s6_addr, 8);
	else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
		memcpy(origin.bytes, &peer.uid, sizeof(peer.uid));
	return origin;
}

static void
origin_text(const Origin *origin, char *text, size_t size)
{
	struct in6_addr ip6 = IN6ADDR_ANY_INIT;
	uid_t		uid;

	memcpy(&uid, origin->bytes, sizeof(uid));
	memcpy(&ip6, origin->bytes, sizeof(origin->bytes));
	if (origin->family == AF_INET)
		inet_ntop(AF_INET, origin->bytes, text, size);
	else if (origin->family == AF_INET6)
		inet_ntop(AF_INET6, &ip6, text, size);
	else
		snprintf(text, size, "user %u", (unsigned) uid);
}

static bool
same_origin(const Visitor *a, const Visitor *b)
{
	return memcmp(&a->origin, &b->origin, sizeof(Origin)) == 0;
}

/* ---- the list; the lock is held ---- */

static bool
is_stranger(const Visitor *visitor)
{
	return visitor->state == VISITOR_ARRIVING || visitor->state == VISITOR_STRANGER ||
		visitor->state == VISITOR_GREETED;
}

static void
append(Visitor *visitor)
{
	Visitor   **place = &visitors;

	while (*place)
		place = &(*place)->next;
	visitor->next = NULL;
	*place = visitor;
}

static void
unlink_visitor(Visitor *visitor)
{
	Visitor   **place = &visitors;

	while (*place && *place != visitor)
		place = &(*place)->next;
	if (*place)
		*place = visitor->next;
}

static void
forget(Visitor *visitor)
{
	unlink_visitor(visitor);
	n_visitors--;
	free(visitor);
}

/* How many strangers there are, or (of is set) how many from the same place. */
static int
count_strangers(const Visitor *of)
{
	int			n = 0;

	for (const Visitor *visitor = visitors; visitor; visitor = visitor->next)
		n += is_stranger(visitor) && (!of || same_origin(visitor, of));
	return n;
}

static int
count(VisitorState state)
{
	int			n = 0;

	for (const Visitor *visitor = visitors; visitor; visitor = visitor->next)
		n += visitor->state == state;
	return n;
}

static void
show_out(Visitor *visitor)
{
	shutdown(visitor->fd, SHUT_RDWR);
	visitor->state = VISITOR_LEAVING;
	visitor->deadline = 0;
}

/* The first stranger of the place that most strangers come from, and how many these are. */
static Visitor *
largest_crowd(int *size)
{
	Visitor    *largest = NULL;

	*size = 0;
	for (Visitor *visitor = visitors; visitor; visitor = visitor->next)
	{
		int			n = is_stranger(visitor) ? count_strangers(visitor) : 0;

		if (n > *size)
		{
			*size = n;
			largest = visitor;
		}
	}
	return largest;
}

/*
 * Closes one or more of a crowd: with TLS those that have hung up (plain HTTP may be asked for with the other
 * direction closed), else the oldest that keeps us waiting. False: all wait for us.
 */
static bool
thin_out(const Visitor *crowd)
{
	struct pollfd fds[STRANGERS_MAX + 1];
	Visitor    *who[STRANGERS_MAX + 1];
	Visitor    *one = NULL;
	int			n = 0;
	bool		some = false;

	for (Visitor *visitor = visitors; visitor && n <= STRANGERS_MAX; visitor = visitor->next)
		if (visitor->state == VISITOR_STRANGER && same_origin(visitor, crowd))
		{
			fds[n] = (struct pollfd) {visitor->fd, POLLIN | POLLRDHUP, 0};
			who[n++] = visitor;
		}
	poll(fds, n, 0);
	for (int i = 0; i < n; i++)
	{
		if (speaks_tls && (fds[i].revents & (POLLRDHUP | POLLHUP | POLLERR)))
		{
			show_out(who[i]);
			some = true;
		}
		else if (!(fds[i].revents & POLLIN) && (!one || (one->shook_hands && !who[i]->shook_hands)))
			one = who[i];
	}
	if (some || !one)
		return some;
	show_out(one);
	closed_for_room++;
	return true;
}

/* Is the number of strangers within its limit? Some are closed for that, if possible. */
static bool
make_room(void)
{
	int			size;
	Visitor    *crowd;

	if (count_strangers(NULL) <= STRANGERS_PER_ADDRESS_MAX)
		return true;
	while ((crowd = largest_crowd(&size)) &&
		   (size > STRANGERS_PER_ADDRESS_MAX || count_strangers(NULL) > STRANGERS_MAX))
		if (!thin_out(crowd))
			return false;
	return true;
}

/* ---- what the thread at the door does ---- */

static void
close_late(double now)
{
	Visitor    *next;

	for (Visitor *visitor = visitors; visitor; visitor = next)
	{
		next = visitor->next;
		if (visitor->deadline == 0 || visitor->deadline > now)
			continue;
		if (visitor->state == VISITOR_ARRIVING)
		{
			forget(visitor);	/* the server has dropped it without a call: its descriptor is not ours */
			continue;
		}
		closed_late += is_stranger(visitor);
		show_out(visitor);
	}
}

/* A client that connects again and again must not fill the log. */
static void
log_closed(double now)
{
	char		from[INET6_ADDRSTRLEN] = "nobody";
	Visitor    *crowd;
	int			size;

	if (closed_for_room + closed_late == 0 || (logged_ms != 0 && now - logged_ms < LOG_EACH_MS))
		return;
	crowd = largest_crowd(&size);
	if (crowd)
		origin_text(&crowd->origin, from, sizeof(from));
	log_warning("closed %u connections without credentials: %u to make room, %u after %d s; most are now from %s",
				closed_for_room + closed_late, closed_for_room, closed_late, HEAD_MS / 1000, from);
	closed_for_room = closed_late = 0;
	logged_ms = now;
}

/* A client that has hung up already needs no handshake. */
static bool
has_gone(int fd)
{
	struct pollfd poll_fd = {fd, POLLRDHUP, 0};

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* Handed over outside of the lock, which the server's thread takes when it calls door_notify(). */
static void
let_in(int fd, const struct sockaddr_storage *address, socklen_t size)
{
	Visitor    *visitor = xalloc(sizeof(Visitor));

	visitor->fd = fd;
	visitor->state = VISITOR_ARRIVING;
	visitor->origin = origin_of(fd, address);
	visitor->deadline = clock_monotonic_ms() + HEAD_MS;
	pthread_mutex_lock(&lock);
	for (Visitor *other = visitors, *next; other; other = next)
	{
		next = other->next;
		if (other->fd == fd)
			forget(other);		/* its descriptor was closed, so the server did not take it */
	}
	append(visitor);
	n_visitors++;
	pthread_mutex_unlock(&lock);
	MHD_add_connection(server, fd, (const struct sockaddr *) address, size);
}

/* False: there are no descriptors, or no memory. */
static bool
accept_one(void)
{
	struct sockaddr_storage address = {0};
	socklen_t	size = sizeof(address);
	int			fd = accept4(listener, (struct sockaddr *) &address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int			n;
	Visitor    *crowd;

	if (fd >= 0 && speaks_tls && has_gone(fd))
	{
		close(fd);
		return true;
	}
	if (fd >= 0)
	{
		let_in(fd, &address, size);
		return true;
	}
	if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
		return true;
	pthread_mutex_lock(&lock);
	crowd = largest_crowd(&n);
	if (crowd)
		thin_out(crowd);
	pthread_mutex_unlock(&lock);
	return false;
}

static void *
door_main(void *unused)
{
	double		accept_again = 0;

	while (!__atomic_load_n(&stopping, __ATOMIC_ACQUIRE))
	{
		struct pollfd fds[] = {{wake_fd, POLLIN, 0}, {listener, POLLIN, 0}};
		double		now = clock_monotonic_ms();
		eventfd_t	woken;
		bool		may_enter;
		int			wait_ms;

		pthread_mutex_lock(&lock);
		close_late(now);
		log_closed(now);
		may_enter = make_room() && n_visitors < DOOR_CONNECTIONS_MAX && count(VISITOR_GREETED) < greeted_max &&
			now >= accept_again;
		wait_ms = !may_enter ? CROWDED_MS : n_visitors + closed_for_room + closed_late > 0 ? TICK_MS : -1;
		pthread_mutex_unlock(&lock);
		poll(fds, may_enter ? 2 : 1, wait_ms);
		if (fds[0].revents)
			eventfd_read(wake_fd, &woken);
		if (may_enter && fds[1].revents && !accept_one())
			accept_again = clock_monotonic_ms() + NO_DESCRIPTORS_MS;
	}
	return NULL;
}

int
door_open(struct MHD_Daemon *for_server, int listen_fd, bool tls)
{
	int			rc;

	server = for_server;
	speaks_tls = tls;
	greeted_max = (int) sysconf(_SC_NPROCESSORS_ONLN);
	if (greeted_max < GREETED_MIN)
		greeted_max = GREETED_MIN;
	listener = listen_fd;
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = wake_fd < 0 ? errno : pthread_create(&thread, NULL, door_main, NULL);
	if (rc == 0)
		return 0;
	close(listen_fd);
	errno = rc;
	return -1;
}

void
door_close(void)
{
	__atomic_store_n(&stopping, true, __ATOMIC_RELEASE);
	eventfd_write(wake_fd, 1);
	pthread_join(thread, NULL);
	close(listener);
}

/* ---- what the server and its connections tell ---- */

/* In the server's own thread: first and last word about a connection. */
void
door_notify(void *unused, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	pthread_mutex_lock(&lock);
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
	{
		for (Visitor *visitor = visitors; visitor && info; visitor = visitor->next)
			if (visitor->fd == info->connect_fd && visitor->state == VISITOR_ARRIVING)
			{
				visitor->state = VISITOR_STRANGER;
				*context = visitor;
			}
	}
	else if (*context)
		forget(*context);
	pthread_mutex_unlock(&lock);
	if (code == MHD_CONNECTION_NOTIFY_CLOSED)
		eventfd_write(wake_fd, 1);
}

static void
tell_handshake(int fd, VisitorState from, VisitorState to, bool complete)
{
	pthread_mutex_lock(&lock);
	for (Visitor *visitor = visitors; visitor; visitor = visitor->next)
		if (visitor->fd == fd && visitor->state == from)
		{
			visitor->state = to;
			visitor->shook_hands = complete;
		}
	pthread_mutex_unlock(&lock);
}

void
door_greeting(int fd)
{
	tell_handshake(fd, VISITOR_STRANGER, VISITOR_GREETED, false);
}

void
door_greeting_done(int fd)
{
	tell_handshake(fd, VISITOR_GREETED, VISITOR_STRANGER, false);
	eventfd_write(wake_fd, 1);
}

void
door_handshake_done(int fd)
{
	tell_handshake(fd, VISITOR_STRANGER, VISITOR_STRANGER, true);
}

static Visitor *
visitor_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* The lock is held. */
static void
next_step(Visitor *visitor, VisitorState state, double limit_ms)
{
	visitor->state = state;
	visitor->deadline = limit_ms > 0 ? clock_monotonic_ms() + limit_ms : 0;
	unlink_visitor(visitor);
	append(visitor);
}

DoorAnswer
door_admit(struct MHD_Connection *connection)
{
	Visitor    *visitor = visitor_of(connection);
	Visitor    *other;
	DoorAnswer	answer = DOOR_OPEN;

	pthread_mutex_lock(&lock);
	if (!visitor || visitor->state == VISITOR_LEAVING)
		answer = DOOR_GONE;
	else if (is_stranger(visitor) && count(VISITOR_KNOWN) + count(VISITOR_SERVED) >= KNOWN_MAX)
	{
		/* a client can connect again; one that does not read or write must not keep others out */
		for (other = visitors; other && other->state != VISITOR_KNOWN;)
			other = other->next;
		if (other)
			show_out(other);
		else
			answer = DOOR_FULL;
	}
	if (answer == DOOR_OPEN)
		next_step(visitor, VISITOR_KNOWN, BODY_MS);
	pthread_mutex_unlock(&lock);
	return answer;
}

/* A stranger's deadline stays as it is: an answer to it gives it no more time. */
static void
step_of(struct MHD_Connection *connection, VisitorState state, double limit_ms)
{
	Visitor    *visitor = visitor_of(connection);

	pthread_mutex_lock(&lock);
	if (visitor && (visitor->state == VISITOR_KNOWN || visitor->state == VISITOR_SERVED))
		next_step(visitor, state, limit_ms);
	pthread_mutex_unlock(&lock);
}

void
door_working(struct MHD_Connection *connection)
{
	step_of(connection, VISITOR_SERVED, 0);
}

void
door_answering(struct MHD_Connection *connection)
{
	step_of(connection, VISITOR_KNOWN, ANSWER_MS);
}

void
door_idle(struct MHD_Connection *connection)
{
	step_of(connection, VISITOR_KNOWN, IDLE_MS);
}
