/*
 * peers.c - the file pingpong.peers.
 *
 * As the seal: temporary name, fsync, rename, fsync of the directory; text with a checksum, so that an operator can
 * read it.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "lib/stringinfo.h"
#include "storage/fd.h"
#include "utils/guc.h"

#include "gate/file.h"
#include "gate/peers.h"

#define TEXT_MAX		(PEERS_MAX * 512)

/* ---- reading ---- */

static bool
peer_from_line(const char *line, Peer *peer)
{
	char		kind[16];
	unsigned long long foreign;

	if (sscanf(line, "node=%63s %15s %llu %255s", peer->node, kind, &foreign, peer->url) != 4)
		return false;
	peer->router = strcmp(kind, "router") == 0;
	peer->foreign = foreign;
	return true;
}

static bool
from_text(char *text, PeersFile *file)
{
	char	   *crc = strstr(text, "\ncrc=");
	unsigned long long number;

	if (!crc || gate_file_checksum(text, crc + 1 - text) != strtoul(crc + 5, NULL, 16))
		return false;
	crc[1] = '\0';
	for (char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
	{
		if (sscanf(line, "system_identifier=%llu", &number) == 1)
			file->sysid = number;
		else if (sscanf(line, "timeline=%llu", &number) == 1)
			file->tli = (TimeLineID) number;
		else if (sscanf(line, "epoch=%llu", &number) == 1)
			file->epoch = (int64) number;
		else if (sscanf(line, "cut=%llu", &number) == 1)
			file->cut = number != 0;
		else if (strncmp(line, "self=", 5) == 0)
			strlcpy(file->self, line + 5, Min(sizeof(file->self), strcspn(line + 5, "\n") + 1));
		else if (strncmp(line, "node=", 5) == 0 &&
				 (file->n == PEERS_MAX || !peer_from_line(line, &file->peers[file->n++])))
			return false;
	}
	return true;
}

PeersFound
peers_read(PeersFile *out)
{
	int			fd = OpenTransientFile(PEERS_FILE, O_RDONLY | PG_BINARY);
	char	   *text;
	ssize_t		len;
	bool		understood;

	memset(out, 0, sizeof(*out));
	if (fd < 0)
		return errno == ENOENT ? PEERS_NONE : PEERS_BROKEN;
	text = palloc(TEXT_MAX);
	len = read(fd, text, TEXT_MAX - 1);
	CloseTransientFile(fd);
	text[Max(len, 0)] = '\0';
	understood = from_text(text, out);
	pfree(text);
	if (!understood)
		memset(out, 0, sizeof(*out));
	if (!understood)
		return PEERS_BROKEN;
	return out->sysid == GetSystemIdentifier() ? PEERS_VALID : PEERS_OTHER;
}

/* ---- writing ---- */

static void
to_text(StringInfo buf, const PeersFile *file)
{
	initStringInfo(buf);
	appendStringInfo(buf, "system_identifier=" UINT64_FORMAT "\n", file->sysid);
	appendStringInfo(buf, "timeline=%u\n", file->tli);
	appendStringInfo(buf, "epoch=" INT64_FORMAT "\n", file->epoch);
	appendStringInfo(buf, "self=%s\n", file->self);
	if (file->cut)
		appendStringInfoString(buf, "cut=1\n");
	for (int i = 0; i < file->n; i++)
		appendStringInfo(buf, "node=%s %s " UINT64_FORMAT " %s\n", file->peers[i].node,
						 file->peers[i].router ? "router" : "postgres", file->peers[i].foreign, file->peers[i].url);
	appendStringInfo(buf, "crc=%08X\n", gate_file_checksum(buf->data, buf->len));
}

void
peers_write(const PeersFile *file)
{
	StringInfoData buf;

	to_text(&buf, file);
	gate_file_write(PEERS_FILE, buf.data, buf.len);
	pfree(buf.data);
}

/* ---- who is who ---- */

const char *
peers_self(const PeersFile *file)
{
	static const char *const settings[] = {"pingpong.node_name", "cluster_name"};

	for (int i = 0; i < lengthof(settings); i++)
	{
		const char *name = GetConfigOption(settings[i], true, false);

		if (name && name[0])
			return name;
	}
	return file ? file->self : "";
}

int
peers_others(const PeersFile *file)
{
	const char *self = peers_self(file);
	int			others = 0;

	for (int i = 0; i < file->n; i++)
		others += strcmp(file->peers[i].node, self) != 0;
	return others;
}
