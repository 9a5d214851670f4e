/*
 * alerts.c
 *		--check: the receiver of alerts.
 */
#include "agent/alert/post.h"
#include "agent/check/alerts.h"
#include "agent/check/say.h"

void
check_alerts(const AgentConfig *config)
{
	const AlertConfig *alerts = &config->alerts;
	char		error[256];
	bool		reached;

	if (!alerts->url)
		return;
	check_about("alerts");
	if (alerts->secret_file)
		check_say(true, "secret_file %s", alerts->secret_file);	/* was read with the configuration */
	else
		check_warn("no secret_file: the receiver cannot tell who sends");
	if (alerts->ca_file)
		check_readable("ca_file", alerts->ca_file);
	if (alerts->peer_ca_file)
		check_readable("peer_ca_file", alerts->peer_ca_file);
	reached = post_reachable(alerts, error, sizeof(error));
	check_say(reached, "the receiver can be reached%s%s", error[0] ? ": " : "",
			  error);
	check_about(NULL);
}
