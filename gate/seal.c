/*
 * seal.c - the seal file.
 *
 * A seal counts only when it is on disk: temporary name, fsync, rename, fsync of the directory. The file is text with
 * a checksum, so an operator can read it. It names the system and the timeline. On a newer timeline it is void,
 * because this server was promoted after it had been sealed. A copy of another system's file means nothing here.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "gate/file.h"
#include "gate/seal.h"
#include "pg_compat.h"

#define SEAL_FILE		"pingpong.seal"
#define SEAL_FILE_TMP	"pingpong.seal.tmp"
#define SEAL_MAX		2048

static void
seal_to_text(StringInfo buf, const GateSeal *seal)
{
	initStringInfo(buf);
	appendStringInfo(buf, "system_identifier=" UINT64_FORMAT "\n", seal->sysid);
	appendStringInfo(buf, "timeline=%u\n", seal->tli);
	appendStringInfo(buf, "epoch=" INT64_FORMAT "\n", seal->epoch);
	appendStringInfo(buf, "run=%s\n", seal->run);
	appendStringInfo(buf, "target=%s\n", seal->target);
	appendStringInfo(buf, "lsn=%X/%X\n", LSN_FORMAT_ARGS(seal->lsn));
	appendStringInfo(buf, "at=" INT64_FORMAT "\n", (int64) seal->at);
	if (seal->why[0])
		appendStringInfo(buf, "why=%s\n", seal->why);
	appendStringInfo(buf, "crc=%08X\n", gate_file_checksum(buf->data, buf->len));
}

/* The value of a `key=value` line, "" if it is missing. */
static void
field(const char *text, const char *key, char *value, size_t size)
{
	size_t		keylen = strlen(key);
	const char *line = text;

	value[0] = '\0';
	while (line && strncmp(line, key, keylen) != 0)
	{
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	if (line)
		strlcpy(value, line + keylen, Min(size, strcspn(line + keylen, "\n") + 1));
}

static bool
seal_from_text(const char *text, GateSeal *seal)
{
	char		value[64];
	const char *crc = strstr(text, "\ncrc=");
	uint32		hi,
				lo;

	if (!crc || gate_file_checksum(text, crc + 1 - text) != strtoul(crc + 5, NULL, 16))
		return false;
	field(text, "system_identifier=", value, sizeof(value));
	seal->sysid = strtoull(value, NULL, 10);
	field(text, "timeline=", value, sizeof(value));
	seal->tli = strtoul(value, NULL, 10);
	field(text, "epoch=", value, sizeof(value));
	seal->epoch = strtoll(value, NULL, 10);
	field(text, "run=", seal->run, sizeof(seal->run));
	field(text, "target=", seal->target, sizeof(seal->target));
	field(text, "why=", seal->why, sizeof(seal->why));
	field(text, "at=", value, sizeof(value));
	seal->at = strtoll(value, NULL, 10);
	field(text, "lsn=", value, sizeof(value));
	if (sscanf(value, "%X/%X", &hi, &lo) != 2)
		return false;
	seal->lsn = ((uint64) hi) << 32 | lo;
	return true;
}

/* Read the file into text; false if there is none. Unreadable gives "". */
static bool
read_text(char *text, size_t size)
{
	int			fd = OpenTransientFile(SEAL_FILE, O_RDONLY | PG_BINARY);
	ssize_t		len;

	text[0] = '\0';
	if (fd < 0)
		return errno != ENOENT;
	len = read(fd, text, size - 1);
	text[Max(len, 0)] = '\0';
	CloseTransientFile(fd);
	return true;
}

/*
 * Read the seal. May be called in the postmaster before recovery, so the
 * timeline comes from the control file. A file that cannot be understood is
 * SEAL_BROKEN, with a seal made up for this timeline: a server that cannot tell must
 * stay closed.
 */
SealFound
seal_read(GateSeal *out)
{
	char		text[SEAL_MAX];
	bool		crc_ok;
	ControlFileData *control;
	TimeLineID	tli;
	TimeLineID	newest;

	memset(out, 0, sizeof(*out));
	if (!read_text(text, sizeof(text)))
		return SEAL_NONE;

	control = get_controlfile(DataDir, &crc_ok);
	tli = control->checkPointCopy.ThisTimeLineID;
	/* between a promotion and its first checkpoint only the end of recovery names the timeline that is written now */
	newest = Max(tli, control->minRecoveryPointTLI);
	pfree(control);
	if (!seal_from_text(text, out))
	{
		memset(out, 0, sizeof(*out));
		out->sysid = GetSystemIdentifier();
		out->tli = newest;
		strlcpy(out->run, "unreadable", sizeof(out->run));
		return SEAL_BROKEN;
	}
	if (out->sysid != GetSystemIdentifier() || out->tli < tli)
		return SEAL_VOID;
	return SEAL_VALID;
}

/*
 * Write the seal; when this returns it survives a crash. On ERROR there is no
 * seal on disk. durable_rename() would do two fsyncs more, inside the blackout.
 */
void
seal_write(const GateSeal *seal)
{
	StringInfoData buf;

	seal_to_text(&buf, seal);
	PG_TRY();
	{
		gate_file_write_tmp(SEAL_FILE_TMP, buf.data, buf.len);
		if (rename(SEAL_FILE_TMP, SEAL_FILE) != 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not rename file \"%s\" to \"%s\": %m",
							SEAL_FILE_TMP, SEAL_FILE)));
		if (fsync_fname_ext(".", true, false, LOG) != 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not fsync directory \"%s\": %m", DataDir)));
	}
	PG_CATCH();
	{
		/*
		 * The gate will open again and commits will follow: a seal that came
		 * back after a crash would deny them. Not knowing is worse than
		 * restarting, which finds either a seal or none, both true by then.
		 */
		seal_remove(PANIC);
		PG_RE_THROW();
	}
	PG_END_TRY();
	pfree(buf.data);
}

/* Remove the file, if there is one; when this returns that survives a crash. */
void
seal_remove(int elevel)
{
	unlink(SEAL_FILE_TMP);
	if (unlink(SEAL_FILE) != 0 && errno != ENOENT)
		ereport(elevel,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", SEAL_FILE)));

	/* Also when it is gone: an earlier call may have failed right here. */
	if (fsync_fname_ext(".", true, false, LOG) != 0)
		ereport(elevel,
				(errcode_for_file_access(),
				 errmsg("could not fsync directory \"%s\": %m", DataDir)));
}
