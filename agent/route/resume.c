/*
 * resume.c
 *		RESUME of databases, and RELOAD in the same write.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/text.h"
#include "agent/route/burst.h"
#include "agent/route/console.h"
#include "agent/route/resume.h"
#include "agent/route/retry.h"

/* RELOAD if wanted, RESUME of each, and what may only come after the RELOAD */
static char **
resume_statements(Endpoint *endpoint, json_t *databases, bool reload)
{
	char	  **statements = xalloc(sizeof(char *) * (json_object_size(databases) + 3));
	const char *retry = reload ? retry_statement(endpoint) : NULL;
	const char *name;
	json_t	   *unused;
	int			n = 0;

	if (reload)
		statements[n++] = xstrdup("RELOAD");
	json_object_foreach(databases, name, unused)
		statements[n++] = admin_command("RESUME", name);
	if (retry)
		statements[n++] = xstrdup(retry);
	return statements;
}

int
admin_resume(Endpoint *endpoint, const BouncerConfig *bouncer, json_t *databases, bool reload, double deadline,
			 char *refusal, size_t refusal_size, char *error, size_t error_size)
{
	char	  **statements = resume_statements(endpoint, databases, reload);
	int			n = text_list_length(statements);
	BurstAnswer *answers = xalloc(sizeof(BurstAnswer) * (n + 1));
	int			rc = burst_run(endpoint, bouncer, statements, answers, deadline, error, error_size);

	refusal[0] = '\0';
	if (rc == 0 && reload)
		snprintf(refusal, refusal_size, "%s", answers[0].error);
	for (int i = reload; rc == 0 && i < n && i < (int) json_object_size(databases) + reload; i++)
		if (!answers[i].ok && !strstr(answers[i].error, "not paused"))
		{
			snprintf(error, error_size, "%s: %s", statements[i], answers[i].error);
			rc = -1;
		}
	text_free_list(statements);
	free(answers);
	return rc;
}
