/*
 * door.h
 *		The connections: strangers, with little room and little time, and those that showed credentials.
 */
#ifndef PINGPONG_AGENT_HTTP_DOOR_H
#define PINGPONG_AGENT_HTTP_DOOR_H

#include <stdbool.h>

#include <microhttpd.h>

/* More than this many connections are never handed to the server. */
#define DOOR_CONNECTIONS_MAX 400

/*
 * Accepts connections on a listening socket (taken over) for a server that was started without one and with
 * door_notify().  0, or -1 with errno; -1 closes the socket.
 */
extern int	door_open(struct MHD_Daemon *server, int listen_fd, bool tls);

/* No newcomers and no deadlines from now on: before the server is stopped. */
extern void door_close(void);

/* For MHD_OPTION_NOTIFY_CONNECTION. */
extern void door_notify(void *unused, struct MHD_Connection *connection, void **context,
						enum MHD_ConnectionNotificationCode code);

/*
 * In the thread of a connection: between the first two calls the agent computes; then the client has done its part.
 */
extern void door_greeting(int fd);
extern void door_greeting_done(int fd);
extern void door_handshake_done(int fd);

typedef enum DoorAnswer
{
	DOOR_OPEN,
	DOOR_FULL,					/* too many are at work: ask again later */
	DOOR_GONE					/* this connection was closed meanwhile */
} DoorAnswer;

/*
 * The phases of a request, told by the thread of its connection. The head has come and its credentials are good: a
 * time begins for the body. The body has come: no limit while it is worked on. The answer is ready: a time begins to
 * take it. It was taken: the connection may stay idle for some minutes.
 */
extern DoorAnswer door_admit(struct MHD_Connection *connection);
extern void door_working(struct MHD_Connection *connection);
extern void door_answering(struct MHD_Connection *connection);
extern void door_idle(struct MHD_Connection *connection);

#endif							/* PINGPONG_AGENT_HTTP_DOOR_H */
