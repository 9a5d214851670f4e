/*
 * tls.c
 *		--check: certificates and keys, of the agent and of those that may control it.
 */
#include <sys/stat.h>
#include <time.h>

#include "agent/check/say.h"
#include "agent/check/tls.h"
#include "agent/http/certificate.h"

#define DAY_S 86400
#define RENEW_DAYS 30

static void
check_dates(const char *what, const char *path, const CertificateFacts *facts)
{
	time_t		now = time(NULL);
	long		days = (long) (facts->ends - now) / DAY_S;

	if (facts->begins > now)
		check_say(false, "%s %s is not valid yet", what, path);
	else if (facts->ends <= now)
		check_say(false, "%s %s has expired", what, path);
	else if (days < RENEW_DAYS)
		check_warn("%s %s expires in %ld days", what, path, days);
	else
		check_say(true, "%s %s is valid for %ld days", what, path, days);
}

static void
check_own(const AgentConfig *config)
{
	CertificateFacts facts;
	char		error[512];
	struct stat st;

	if (certificate_facts(config->tls_cert, &facts, error, sizeof(error)) < 0)
		check_say(false, "tls_cert %s", error);
	else
	{
		check_dates("tls_cert", config->tls_cert, &facts);
		if (!facts.for_servers)
			check_say(false, "tls_cert %s is not for a server (extendedKeyUsage): the worker would refuse it",
					  config->tls_cert);
	}
	if (certificate_fits_key(config->tls_cert, config->tls_key, error, sizeof(error)) < 0)
		check_say(false, "tls_key %s", error);
	else
		check_say(true, "tls_key %s is the key of the certificate", config->tls_key);
	if (stat(config->tls_key, &st) == 0 && (st.st_mode & 077) != 0)
		check_say(false, "tls_key %s is readable by others (mode %03o)", config->tls_key,
				  (unsigned) st.st_mode & 0777);
}

static void
check_clients(const AgentConfig *config)
{
	CertificateFacts facts;
	char		error[512];

	if (certificate_facts(config->tls_client_ca, &facts, error, sizeof(error)) < 0)
	{
		check_say(false, "tls_client_ca %s", error);
		return;
	}
	check_dates("tls_client_ca", config->tls_client_ca, &facts);
	if (!config->tls_client_names)
		check_warn("tls_client_names is not set: each certificate of %s that is for client "
				   "authentication, or does not say "
				   "what it is for, may control this agent", config->tls_client_ca);
	if (certificate_serves_as_client(config))
		check_warn("tls_cert %s is of tls_client_ca and does not say that it is for a server "
				   "(extendedKeyUsage): others "
				   "like it may control this agent", config->tls_cert);
}

void
check_tls(const AgentConfig *config)
{
	if (config->tls_cert)
		check_own(config);
	if (config->tls_client_ca)
		check_clients(config);
}
