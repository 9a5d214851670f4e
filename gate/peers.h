/*
 * peers.h - the file pingpong.peers: whom a primary asks at its next start whether it was replaced.
 *
 * It is beside the seal, so that no table and no database is needed to decide. It holds no secret. The worker of the
 * primary writes it; the postmaster and the worker read it at a start. No locks.
 */
#ifndef PINGPONG_GATE_PEERS_H
#define PINGPONG_GATE_PEERS_H

#include "access/xlogdefs.h"

#define PEERS_FILE		"pingpong.peers"
#define PEERS_MAX		32		/* as many nodes as the worker asks (worker/news.h) */

/* A registered node that is not away on purpose; also this server's own. */
typedef struct Peer
{
	char		node[NAMEDATALEN];
	bool		router;			/* an agent without a server */
	uint64		foreign;		/* the system of its server, if that is known to be another one than ours; else 0 */
	char		url[256];		/* of its agent */
} Peer;

typedef struct PeersFile
{
	uint64		sysid;
	TimeLineID	tli;			/* that was written when the file was */
	int64		epoch;
	char		self[NAMEDATALEN];	/* what the server that wrote it called itself */
	bool		cut;			/* there are more nodes: who answers for all these does not answer for all */
	int			n;
	Peer		peers[PEERS_MAX];
} PeersFile;

typedef enum PeersFound
{
	PEERS_NONE,
	PEERS_VALID,
	PEERS_OTHER,				/* of another system: it came with a copy, and means nothing here */
	PEERS_BROKEN				/* it is there and cannot be understood: whom to ask is not known */
} PeersFound;

/* What the file says. The postmaster may call it before recovery. */
extern PeersFound peers_read(PeersFile *out);

/* When this returns it survives a crash. ERROR, with its SQLSTATE: the file is the one of before. */
extern void peers_write(const PeersFile *file);

/*
 * What this server is called now: pingpong.node_name, else cluster_name, else as in the file (may be NULL). A copy of
 * the file of another node comes with a base backup, so the settings count.
 */
extern const char *peers_self(const PeersFile *file);

/* How many of the nodes are other ones. */
extern int	peers_others(const PeersFile *file);

#endif
