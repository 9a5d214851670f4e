/*
 * status.c
 *		pingpong-agent status [RUN]: what the agent of this host does for a run.
 *
 * It is for the time in which there is no database to ask. It changes nothing, and writes no file.
 */
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/configread.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/status/draw.h"
#include "agent/status/news.h"
#include "agent/status/rows.h"
#include "agent/status/screen.h"
#include "agent/status/status.h"
#include "common/names.h"
#include "common/protocol.h"

#define REDRAW_MS 1000
#define SETTLE_MS 10000			/* between two orders of a run; the grace of writers is among what lies there */
#define OTHER_LINES 9			/* of a picture, besides rows and errors */
#define ROWS_MIN 3

/* Exit statuses */
enum
{
	STATUS_SUCCEEDED = 0, STATUS_FAILED = 1, STATUS_UNKNOWN = 2, STATUS_RUNNING = 3
};

typedef struct Options
{
	const char *path;
	const char *run;			/* as it was typed; NULL: the latest one */
	bool		once;
	bool		json;
} Options;

/* What is watched. */
typedef struct Watch
{
	const AgentConfig *config;
	char		run[PINGPONG_KEY_MAX + 1];	/* its key */
	json_t	   *all;			/* the jobs of all runs, when it began */
	double		busy_ms;		/* CLOCK_MONOTONIC; when something of it was last seen to run; 0: never */
} Watch;

static void
print_help(void)
{
	printf("pingpong-agent status shows what the agent of this host does for a run, also without a database.\n\n"
		   "Usage:\n  pingpong-agent status [RUN] [--once] [--json] [--config FILE]\n\n"
		   "RUN is the run's number (pingpong.report), or its key; default: the latest run that has ordered\n"
		   "something here. On a terminal it is drawn again each second until the run's jobs have ended.\n\n"
		   "Options:\n"
		   "      --once         print it once\n"
		   "      --json         print once what the agent answers\n"
		   "  -c, --config FILE  configuration of the agent\n"
		   "  -h, --help         print this, then exit\n\n"
		   "Exit status: 0 all has succeeded, 1 something has failed, 2 this cannot be told, 3 it still runs.\n");
}

static int
complain(const char *what)
{
	fprintf(stderr, "pingpong-agent: %s\n", what);
	return STATUS_UNKNOWN;
}

/* -1: go on; else the exit status. */
static int
read_options(int argc, char **argv, Options *options)
{
	static const struct option known[] = {
		{"config", required_argument, NULL, 'c'},
		{"once", no_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL}
	};
	int			c;

	optind = 0;					/* another list of arguments than that of main() */
	while ((c = getopt_long(argc, argv, "c:h", known, NULL)) != -1)
	{
		if (c == 'c')
			options->path = optarg;
		else if (c == 'o')
			options->once = true;
		else if (c == 'j')
			options->json = true;
		else if (c == 'h')
		{
			print_help();
			return 0;
		}
		else
		{
			fprintf(stderr, "Try \"pingpong-agent status --help\".\n");
			return STATUS_UNKNOWN;
		}
	}
	if (optind < argc)
		options->run = argv[optind++];
	return optind < argc ? complain("too many arguments") : -1;
}

/* ---- the picture ---- */

static void
add_time(Text *to, double realtime_ms)
{
	time_t		seconds = (time_t) (realtime_ms / 1000);
	struct tm	tm;
	char		text[32];

	localtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	text_addf(to, "%s", text);
}

/* What is not of now says so before anything else. */
static void
add_warning(Text *to, const News *news)
{
	char		ago[32];

	if (!news->old)
		return;
	draw_duration(ago, sizeof(ago), clock_realtime_ms() - news->told_ms);
	text_addf(to, "NOT THE PRESENT STATE: %s\nThis is what its journal says, last written ", news->why);
	add_time(to, news->told_ms);
	text_addf(to, "%s%s%s:\n\n", *ago ? ", " : "", ago, *ago ? " ago" : "");
}

static void
add_head(Text *to, const Watch *watch, const News *news)
{
	long long	number = rows_number(news->jobs);

	if (number > 0)
		text_addf(to, "Run %lld at the agent of %s", number, watch->config->node);
	else
		text_addf(to, "Run %s at the agent of %s", watch->run, watch->config->node);
	if (!news->old)
	{
		text_add(to, ", ", 2);
		add_time(to, news->told_ms);
	}
	text_add(to, "\n\n", 2);
}

static void
add_end(Text *to, const News *news, const RowsEnd *end, bool waits)
{
	if (end->running > 0 || news->old)
		return;
	if (waits)
		text_addf(to, "\nNothing of it runs here now. Waiting %d s for a further order ...\n", SETTLE_MS / 1000);
	else if (end->failed > 0)
		text_addf(to, "\n%d of %d jobs here did not succeed. What became of the run is in pingpong.progress.\n",
				  end->failed, end->jobs);
	else
		text_addf(to, "\nAll that was ordered here has succeeded. Whether the run goes on elsewhere is in "
				  "pingpong.progress.\n");
}

/* height: of a terminal that has to hold it; 0: it may be as long as it is. */
static void
make_picture(Text *to, const Watch *watch, const News *news, bool waits, int height)
{
	RowsEnd		end = rows_end(news->jobs);
	Text		errors = {0};
	int			limit = 0;
	int			n;
	Row		   *rows = rows_make(news->jobs, watch->all, news->old, &n);

	draw_errors(&errors, rows, n);
	if (height > 0)
	{
		limit = height - OTHER_LINES - draw_lines(&errors);
		limit = limit < ROWS_MIN ? ROWS_MIN : limit;
	}
	add_warning(to, news);
	add_head(to, watch, news);
	draw_rows(to, rows, n, limit);
	if (errors.size > 0)
		text_addf(to, "\n%s", errors.data);
	add_end(to, news, &end, waits);
	free(errors.data);
	free(rows);
}

static int
exit_status(const News *news)
{
	RowsEnd		end = rows_end(news->jobs);

	if (news->old)
		return STATUS_UNKNOWN;
	if (end.failed > 0)
		return STATUS_FAILED;
	return end.running > 0 ? STATUS_RUNNING : STATUS_SUCCEEDED;
}

static int
print_once(const Watch *watch, const News *news)
{
	Text		text = {0};

	make_picture(&text, watch, news, false, 0);
	printf("%s", text.data);
	free(text.data);
	return exit_status(news);
}

static int
print_json(const News *news)
{
	json_t	   *answer = json_pack("{s:O}", "jobs", news->jobs);

	if (news->old)
	{
		complain(news->why);
		json_object_set_new(answer, "journal", json_true());
		json_object_set_new(answer, "written_ms", json_real(news->told_ms));
	}
	json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(16));
	printf("\n");
	json_decref(answer);
	return exit_status(news);
}

/* ---- in a terminal ---- */

/* A run has pauses between its orders: nothing is over before it was quiet for a while. */
static bool
may_go_on(Watch *watch, const News *news)
{
	RowsEnd		end = rows_end(news->jobs);
	double		now = clock_monotonic_ms();

	if (end.running > 0)
		watch->busy_ms = now;
	return end.running > 0 || (watch->busy_ms > 0 && now < watch->busy_ms + SETTLE_MS) ||
		clock_realtime_ms() < end.ended_ms + SETTLE_MS;
}

static int
watch_live(Watch *watch, News *news)
{
	while (may_go_on(watch, news))
	{
		Text		text = {0};

		make_picture(&text, watch, news, true, screen_height());
		screen_draw(text.data);
		free(text.data);
		sleep_ms(REDRAW_MS);
		news_free(news);
		if (news_get(watch->config, watch->run, news) < 0)
			return complain(news->why);
		if (json_array_size(news->jobs) == 0)
			return complain("the agent does not know of the run any more");
	}
	screen_clear();
	return print_once(watch, news);
}

/* ---- all of it ---- */

/* The jobs of the run alone; those of the others stay in watch->all. */
static int
choose_run(Watch *watch, const char *wanted, News *news)
{
	char		error[512];
	const char *run = rows_pick(news->jobs, wanted, error, sizeof(error));
	json_t	   *jobs = json_array();
	json_t	   *job;
	size_t		i;

	if (!run)
	{
		json_decref(jobs);
		if (news->old)
			complain(news->why);
		return complain(error);
	}
	snprintf(watch->run, sizeof(watch->run), "%s", run);
	json_array_foreach(news->jobs, i, job)
		if (strcmp(protocol_text(job, "run"), run) == 0)
			json_array_append(jobs, job);
	watch->all = news->jobs;
	news->jobs = jobs;
	return 0;
}

static int
show(Watch *watch, const Options *options)
{
	News		news;
	int			rc;

	if (news_get(watch->config, NULL, &news) < 0)
		return complain(news.why);
	rc = choose_run(watch, options->run, &news);
	if (rc == 0 && options->json)
		rc = print_json(&news);
	else if (rc == 0 && !options->once && screen_is_terminal())
		rc = watch_live(watch, &news);
	else if (rc == 0)
		rc = print_once(watch, &news);
	news_free(&news);
	json_decref(watch->all);
	return rc;
}

int
status_run(int argc, char **argv, const char *path)
{
	Options		options = {.path = path};
	Watch		watch = {0};
	char		error[512];
	AgentConfig *config;
	int			rc = read_options(argc, argv, &options);

	if (rc >= 0)
		return rc;
	log_set_level(LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN);
	config = config_read(options.path, error, sizeof(error));
	if (!config)
	{
		fprintf(stderr, "pingpong-agent: configuration \"%s\": %s\n", options.path, error);
		return STATUS_UNKNOWN;
	}
	watch.config = config;
	rc = show(&watch, &options);
	config_free(config);
	return rc;
}
