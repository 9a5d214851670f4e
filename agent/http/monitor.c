/*
 * monitor.c
 *		What people and programs look at: metrics, the snapshot, the status page.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/picture.h"
#include "agent/http/monitor.h"
#include "agent/monitor/metrics.h"
#include "agent/page/page.h"
#include "common/names.h"

#define METRICS_EACH_MS 200		/* the text is made anew so often at most */
#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define OLDER_TYPE "text/plain; version=0.0.4; charset=utf-8"

static double started_ms;		/* the process, CLOCK_REALTIME */

/* Before main(), so that all threads find it. */
__attribute__((constructor)) static void
note_start(void)
{
	started_ms = clock_realtime_ms();
}

void
monitor_page(Answer *answer)
{
	PictureNews news;
	size_t		size;
	const char *text = page_text(&size);

	picture_release(picture_current(&news));	/* it will be asked for in a moment */
	answer_fixed(answer, "text/html; charset=utf-8", text, size, page_policy());
}

/* ---- metrics ---- */

static double
resident_bytes(void)
{
	FILE	   *file = fopen("/proc/self/statm", "re");
	long		pages = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%*d %ld", &pages) != 1)
		pages = 0;
	fclose(file);
	return (double) pages * sysconf(_SC_PAGESIZE);
}

static double
seconds_of(struct timeval time)
{
	return time.tv_sec + time.tv_usec / 1e6;
}

static char *
make_metrics(bool openmetrics)
{
	AgentConfig *config = config_current();
	MetricsInput input = {.node = config->node, .state = nodestate_get(), .started_ms = started_ms};
	Picture    *picture = picture_current(&input.news);
	struct rusage usage;
	char	   *text;

	getrusage(RUSAGE_SELF, &usage);
	input.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
	input.memory_bytes = resident_bytes();
	input.picture = picture;
	text = metrics_text(&input, openmetrics);
	picture_release(picture);
	config_release(config);
	return text;
}

/* Prometheus names OpenMetrics among what it takes. Who takes plain text only, and says so, gets the older format. */
void
monitor_metrics(const char *accept, Answer *answer)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static char *made[2];
	static double made_at[2];
	bool		openmetrics = !accept || strstr(accept, "openmetrics") || !strstr(accept, "text/plain");
	double		now = clock_monotonic_ms();

	pthread_mutex_lock(&lock);
	if (!made[openmetrics] || now - made_at[openmetrics] > METRICS_EACH_MS)
	{
		free(made[openmetrics]);
		made[openmetrics] = make_metrics(openmetrics);
		made_at[openmetrics] = now;
	}
	answer_text(answer, MHD_HTTP_OK, openmetrics ? OPENMETRICS_TYPE : OLDER_TYPE, xstrdup(made[openmetrics]));
	pthread_mutex_unlock(&lock);
}

/* ---- the snapshot ---- */

static json_t *
maybe_moment(double ms)
{
	return ms > 0 ? json_real(ms) : json_null();
}

static char *
head_text(const Picture *picture, const PictureNews *news)
{
	AgentConfig *config = config_current();
	json_t	   *problem = news->problem[0] ? json_string(news->problem) : json_null();
	NodeState	state = nodestate_get();
	json_t	   *agent = nodestate_json(config->node, &state);
	json_t	   *head;
	char	   *text;

	json_object_set_new(agent, "version", json_string(PINGPONG_AGENT_VERSION));
	json_object_set_new(agent, "now_ms", json_real(clock_realtime_ms()));
	json_object_set_new(agent, "started_ms", json_real(started_ms));
	json_object_set_new(agent, "has_server", json_boolean(config_instance(config, "") != NULL));
	head = json_pack("{s:o, s:{s:b, s:o, s:o, s:o, s:o, s:o}}", "agent", agent, "news",
					 "fresh", (int) news->fresh, "seen_ms", maybe_moment(picture ? picture->seen_ms : 0),
					 "age_ms", picture ? json_real(clock_monotonic_ms() - picture->seen_at) : json_null(),
					 "took_ms", picture ? json_real(picture->took_ms) : json_null(),
					 "silent_since_ms", maybe_moment(news->silent_since_ms),
					 "problem", problem ? problem : json_string("it cannot be read"));
	text = json_dumps(head, JSON_COMPACT | JSON_REAL_PRECISION(16));
	json_decref(head);
	config_release(config);
	return text;
}

/* What the server gave is sent as it came. */
void
monitor_snapshot(Answer *answer)
{
	PictureNews news;
	Picture    *picture = picture_current(&news);
	char	   *head = head_text(picture, &news);

	if (head)
		answer_text(answer, MHD_HTTP_OK, "application/json",
					xasprintf("%.*s,\"snapshot\":%s}", (int) strlen(head) - 1, head,
							  picture ? picture->text : "null"));
	else
		answer_error(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "XX000", NULL, "no answer");
	free(head);
	picture_release(picture);
}
