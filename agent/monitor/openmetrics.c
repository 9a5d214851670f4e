/*
 * openmetrics.c
 *		Metrics as text.
 */
#include <math.h>

#include "agent/monitor/openmetrics.h"

static const char *const type_names[] = {"gauge", "counter"};

/* The older format has the suffix in the name of the family, too, and knows no units. */
void
metric_family(MetricsText *to, MetricType type, const char *name, const char *unit, const char *help)
{
	const char *suffix = type == METRIC_COUNTER && !to->open ? "_total" : "";

	text_addf(&to->text, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix, type_names[type]);
	if (unit && to->open)
		text_addf(&to->text, "# UNIT %s %s\n", name, unit);
}

static void
add_escaped(Text *to, const char *value)
{
	for (; value && *value; value++)
	{
		if (*value == '\n')
			text_add(to, "\\n", 2);
		else if (*value == '"' || *value == '\\')
			text_addf(to, "\\%c", *value);
		else
			text_add(to, value, 1);
	}
}

static void
add_number(Text *to, double value)
{
	if (isnan(value))
		text_addf(to, " NaN\n");
	else if (isinf(value))
		text_addf(to, " %sInf\n", value > 0 ? "+" : "-");
	else if (value == floor(value) && fabs(value) < 1e15)
		text_addf(to, " %.0f\n", value);
	else
		text_addf(to, " %.17g\n", value);
}

void
metric_sample(MetricsText *to, MetricType type, const char *name, const char *const *labels, double value)
{
	const char *separator = "{";

	text_addf(&to->text, "%s%s", name, type == METRIC_COUNTER ? "_total" : "");
	for (; labels && *labels; labels += 2)
	{
		text_addf(&to->text, "%s%s=\"", separator, labels[0]);
		add_escaped(&to->text, labels[1]);
		text_addf(&to->text, "\"");
		separator = ",";
	}
	text_addf(&to->text, "%s", separator[0] == ',' ? "}" : "");
	add_number(&to->text, value);
}

char *
metric_end(MetricsText *to)
{
	text_addf(&to->text, "%s", to->open ? "# EOF\n" : "");
	return to->text.data;
}
