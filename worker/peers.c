/*
 * peers.c - keeps the file pingpong.peers.
 *
 * Nodes that are away on purpose are left out: nobody waits for them. The epoch in it never becomes lower, also when
 * the extension is made again. The first file takes it from the agents, too: they may remember an earlier life.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/memutils.h"

#include "gate/peers.h"
#include "gate/state.h"
#include "worker/clock.h"
#include "worker/db.h"
#include "worker/news.h"
#include "worker/peers.h"
#include "worker/settings.h"

#define LOOK_MS			1000
#define AFTER_FAILURE_MS 10000

static PeersFile *on_disk;		/* NULL: not read yet */
static bool found;				/* it was valid; or was written since */
static int64 due;				/* now_us() */

StaticAssertDecl(PEERS_MAX == NEWS_NODES, "the worker asks as many nodes as the guard");

static void
read_file(void)
{
	if (on_disk)
		return;
	on_disk = MemoryContextAllocZero(TopMemoryContext, sizeof(PeersFile));
	found = peers_read(on_disk) == PEERS_VALID;
}

/* What a node's agent told last; NULL: nothing. */
static const AgentNews *
news_of(const AgentNews *news, int n, const char *node)
{
	for (int i = 0; i < n; i++)
		if (strcmp(news[i].node, node) == 0)
			return &news[i];
	return NULL;
}

/* A node that an upgrade has left behind has a server of another system: by that it is known when it answers so. */
static uint64
foreign_system(const AgentNews *told, const char *node)
{
	if (told && told->system != 0)
		return told->system != GetSystemIdentifier() ? told->system : 0;
	for (int i = 0; found && i < on_disk->n; i++)
		if (strcmp(on_disk->peers[i].node, node) == 0)
			return on_disk->peers[i].foreign;
	return 0;
}

static void
collect_nodes(PeersFile *to, const AgentNews *news, int n)
{
	to->n = (int) db_exec("SELECT name, kind, agent_url FROM pingpong.node WHERE away_since IS NULL "
						  "ORDER BY name LIMIT " CppAsString2(NEWS_NODES) " + 1", 0);
	to->cut = to->n > NEWS_NODES;
	to->n = Min(to->n, NEWS_NODES);
	for (int i = 0; i < to->n; i++)
	{
		Peer	   *peer = &to->peers[i];

		db_copy(peer->node, sizeof(peer->node), i, 1);
		peer->router = strcmp(db_text(i, 2), "router") == 0;
		db_copy(peer->url, sizeof(peer->url), i, 3);
		peer->foreign = foreign_system(news_of(news, n, peer->node), peer->node);
	}
	if (db_exec("SELECT epoch FROM pingpong.cluster", 0) == 1)
		to->epoch = strtoll(db_text(0, 1), NULL, 10);
}

/* Nodes without a first answer, or the failure to get one, have no news yet. */
static bool
all_were_asked(const PeersFile *file, const AgentNews *news, int n)
{
	for (int i = 0; i < file->n; i++)
		if (news_of(news, n, file->peers[i].node) == NULL)
			return false;
	return true;
}

static void
collect(PeersFile *to, bool ready, const AgentNews *news, int n)
{
	memset(to, 0, sizeof(*to));
	to->sysid = GetSystemIdentifier();
	to->tli = gate_present_timeline();
	strlcpy(to->self, worker_self(), sizeof(to->self));
	if (ready)
	{
		db_begin();
		collect_nodes(to, news, n);
		db_end();
	}
	if (found)
		to->epoch = Max(to->epoch, on_disk->epoch);
	for (int i = 0; !found && i < n; i++)
		to->epoch = Max(to->epoch, news[i].epoch);
}

long
peers_advance(bool ready)
{
	AgentNews  *news;
	PeersFile  *wanted;
	CopiesNews	copies;
	int			n;

	if (now_us() < due)
		return (long) ((due - now_us()) / 1000 + 1);
	due = now_us() + AFTER_FAILURE_MS * INT64CONST(1000);
	read_file();
	news = palloc(NEWS_NODES * sizeof(AgentNews));
	wanted = palloc(sizeof(PeersFile));
	n = news_read(news, &copies);
	collect(wanted, ready, news, n);
	if ((found || all_were_asked(wanted, news, n)) && (found || wanted->n > 0) &&
		memcmp(wanted, on_disk, sizeof(PeersFile)) != 0)
	{
		peers_write(wanted);
		*on_disk = *wanted;
		found = true;
	}
	due = now_us() + LOOK_MS * INT64CONST(1000);
	return LOOK_MS;
}
