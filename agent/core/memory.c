/*
 * memory.c
 *		The name of this state folder.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/memory.h"

#define ID_BYTES 16
#define ID_LENGTH (2 * ID_BYTES)

static char id[ID_LENGTH + 1];

static void
make_id(void)
{
	unsigned char bytes[ID_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		abort();
	for (int i = 0; i < ID_BYTES; i++)
		snprintf(id + 2 * i, 3, "%02x", bytes[i]);
}

void
memory_start(const AgentConfig *config)
{
	char	   *path = xasprintf("%s/memory", config->state_dir);
	char	   *text = file_read(path, 256, NULL);
	int			reason = text ? 0 : errno;

	if (text && strspn(text, "0123456789abcdef") == ID_LENGTH)
		snprintf(id, sizeof(id), "%s", text);
	else if (!text && reason != ENOENT)
	{
		/* it is there, and may be read again one day: it is not written over */
		make_id();
		log_error("could not read \"%s\": %s; this agent begins without knowledge of earlier runs", path,
				  strerror(reason));
	}
	else
	{
		make_id();
		log_warning("there is no memory in \"%s\": this agent begins without knowledge of earlier runs",
					config->state_dir);
		/* where it cannot be kept, what is promised in this life holds for this life */
		if (file_write_atomic(path, id, ID_LENGTH, 0600, true) < 0)
			log_error("could not write \"%s\": %s", path, strerror(errno));
	}
	free(text);
	free(path);
}

const char *
memory_id(void)
{
	return id;
}
