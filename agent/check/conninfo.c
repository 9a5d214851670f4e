/*
 * conninfo.c
 *		--check: the files that connection strings name.
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/check/conninfo.h"
#include "agent/check/say.h"
#include "agent/core/alloc.h"
#include "agent/core/conninfo.h"
#include "agent/core/files.h"

#define PASSFILE_MAX (1024 * 1024)

/* The next field of a password file's line; a backslash keeps a colon. */
static char *
next_field(char **rest)
{
	char	   *field = *rest;
	char	   *to = field;
	char	   *from = field;

	for (; *from && *from != ':'; from++)
	{
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from;
	}
	*rest = *from ? from + 1 : from;
	*to = '\0';
	return field;
}

/* Host, port and database come with an order; the user is known. */
static bool
has_entry(char *text, const char *user)
{
	char	   *line;

	while ((line = strsep(&text, "\n")))
	{
		char	   *rest = line;
		char	   *field = NULL;

		if (line[0] == '#')
			continue;
		for (int i = 0; i < 4; i++)
			field = next_field(&rest);
		if ((strcmp(field, "*") == 0 || strcmp(field, user) == 0) && *rest)
			return true;
	}
	return false;
}

static void
check_passfile(const char *what, const char *path, const char *user)
{
	struct stat st;
	char	   *text;

	if (!check_readable("passfile", path) || stat(path, &st) < 0)
		return;
	if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
	{
		check_say(false, "passfile %s of \"%s\" must be a file with mode 0600, or libpq ignores it", path, what);
		return;
	}
	text = file_read(path, PASSFILE_MAX, NULL);
	if (!text)
		check_say(false, "passfile %s: %s", path, strerror(errno));
	else
	{
		char	   *copy = xstrdup(text);

		check_say(has_entry(copy, user), "passfile %s has an entry for user %s (\"%s\")", path, user, what);
		explicit_bzero(text, strlen(text));
		free(copy);
	}
	free(text);
}

static char *
own_name(void)
{
	struct passwd *entry = getpwuid(geteuid());

	return xstrdup(entry ? entry->pw_name : "postgres");
}

void
check_conninfo(const char *what, const char *conninfo)
{
	static const char *const files[] = {"sslrootcert", "sslcert", "sslkey", "sslcrl", NULL};
	char	   *user = conninfo_get(conninfo, "user");
	char	   *passfile = conninfo_get(conninfo, "passfile");
	struct stat st;

	for (int i = 0; files[i]; i++)
	{
		char	   *path = conninfo_get(conninfo, files[i]);

		if (path && *path && strcmp(path, "system") != 0 && check_readable(files[i], path) &&
			strcmp(files[i], "sslkey") == 0 && stat(path, &st) == 0)
			check_say((st.st_mode & (st.st_uid == 0 ? 037 : 077)) == 0,
					  "sslkey %s of \"%s\" is readable by its owner alone", path, what);
		free(path);
	}
	if (!user || !*user)
	{
		free(user);
		user = own_name();
	}
	if (passfile && *passfile)
		check_passfile(what, passfile, user);
	free(passfile);
	free(user);
}
