/*
 * access.c
 *		Which clients may call: by token, or by certificate.
 */
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/core/config.h"
#include "agent/http/access.h"
#include "agent/http/certificate.h"

char	   *access_client_ca;

bool
token_equal(const char *given, const char *expected)
{
	size_t		given_len = strlen(given);
	size_t		len = strlen(expected);
	unsigned char difference = given_len != len;

	for (size_t i = 0; i < len; i++)
		difference |= (unsigned char) expected[i] ^ (unsigned char) (given_len ? given[i % given_len] : 0);
	return difference == 0;
}

/* A controller's certificate of our CA is as good as the token. */
static ClientVerdict
client_certificate(struct MHD_Connection *connection, const AgentConfig *config)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	return access_client_ca && info ? certificate_client(info->tls_session, config) : CLIENT_NONE;
}

static bool
has_token(const char *header, const char *token)
{
	return token && header && strncasecmp(header, "Bearer ", 7) == 0 && token_equal(header + 7, token);
}

/*
 * What a browser sends when a person types the monitor's token as a password. The controller's does not do: a browser
 * would send it along whatever page asks for a request.
 */
static bool
has_password(struct MHD_Connection *connection, const char *token)
{
	char	   *password = NULL;
	char	   *user = token ? MHD_basic_auth_get_username_password(connection, &password) : NULL;
	bool		equal = user && password && token_equal(password, token);

	MHD_free(user);
	MHD_free(password);
	return equal;
}

/* Browsers say where a request comes from. No page may order anything, whatever certificate its reader has. */
static bool
is_from_page(struct MHD_Connection *connection)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN) ||
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Sec-Fetch-Site");
}

RouteAccess
access_needed(RouteAccess access)
{
	AgentConfig *config;
	bool		open;

	if (access != ACCESS_METRICS && access != ACCESS_PAGE)
		return access;
	config = config_current();
	open = config_is_open(config, access == ACCESS_METRICS ? OPEN_METRICS : OPEN_PAGE);
	config_release(config);
	return open ? ACCESS_ANYONE : ACCESS_MONITOR;
}

/* A refused client may know why: that tells nothing about the token, and the certificate is its own. */
bool
access_allowed(struct MHD_Connection *connection, RouteAccess access, char *why, size_t why_size)
{
	const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
	AgentConfig *config;
	ClientVerdict verdict = CLIENT_NONE;
	bool		equal;

	snprintf(why, why_size, "no or wrong token");
	if (access == ACCESS_ANYONE)
		return true;
	if (access != ACCESS_CONTROLLER && access != ACCESS_MONITOR)
		return false;
	if (access == ACCESS_CONTROLLER && is_from_page(connection))
	{
		snprintf(why, why_size, "this is not for browsers");
		return false;
	}
	config = config_current();
	equal = has_token(header, config->token) ||
		(access == ACCESS_MONITOR && (has_token(header, config->monitor_token) ||
									  has_password(connection, config->monitor_token)));
	if (!equal)
		verdict = client_certificate(connection, config);
	if (verdict != CLIENT_NONE)
		snprintf(why, why_size, "%sthe certificate %s", header ? "no or wrong token, and " : "",
				 certificate_verdict_text(verdict));
	else if (!header)
		snprintf(why, why_size, "no %s%s%s", config->token ? "token" : "",
				 config->token && access_client_ca ? " and no " : "", access_client_ca ? "certificate" : "");
	config_release(config);
	return equal || verdict == CLIENT_ACCEPTED;
}
