/*
 * certificate.c
 *		Certificates: which of them may control the agent, and what --check looks at.
 *
 * One CA often signs for servers and for controllers alike, so a signature alone proves little. The certificate must
 * be made for clients, and a site may name the clients that it means.
 */
#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/core/files.h"
#include "agent/http/certificate.h"

#define FILE_MAX (256 * 1024)
#define KEY_ID_SIZE 32			/* SHA-256 */

typedef struct KeyId
{
	unsigned char bytes[KEY_ID_SIZE];
	size_t		size;			/* 0: not known */
} KeyId;

static KeyId
key_id(gnutls_x509_crt_t certificate)
{
	KeyId		id = {.size = KEY_ID_SIZE};

	if (gnutls_x509_crt_get_key_id(certificate, GNUTLS_KEYID_USE_SHA256, id.bytes, &id.size) < 0)
		id.size = 0;
	return id;
}

static gnutls_x509_crt_t
import(const gnutls_datum_t *der)
{
	gnutls_x509_crt_t certificate;

	if (!der || gnutls_x509_crt_init(&certificate) < 0)
		return NULL;
	if (gnutls_x509_crt_import(certificate, der, GNUTLS_X509_FMT_DER) >= 0)
		return certificate;
	gnutls_x509_crt_deinit(certificate);
	return NULL;
}

/* ---- a peer ---- */

static bool
is_for_clients(gnutls_x509_crt_t certificate)
{
	unsigned	usage;
	unsigned	critical;

	if (!gnutls_x509_crt_check_key_purpose(certificate, GNUTLS_KP_TLS_WWW_CLIENT, 0))
		return false;
	return gnutls_x509_crt_get_key_usage(certificate, &usage, &critical) < 0 ||
		(usage & (GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_AGREEMENT)) != 0;
}

/* Compared with its length: a name with a NUL in it is not the part before the NUL. */
static bool
in_list(char *const *names, const char *name, size_t size)
{
	for (; names && *names; names++)
		if (strlen(*names) == size && strncasecmp(*names, name, size) == 0)
			return true;
	return false;
}

static bool
is_named(gnutls_x509_crt_t certificate, char *const *names)
{
	char		name[256];
	size_t		size = sizeof(name);
	int			rc;

	for (unsigned i = 0;; i++, size = sizeof(name))
	{
		rc = gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, i, 0, name, &size);
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		if (rc >= 0 && in_list(names, name, size))
			return true;
	}
	size = sizeof(name);
	for (unsigned i = 0;; i++, size = sizeof(name))
	{
		rc = gnutls_x509_crt_get_subject_alt_name(certificate, i, name, &size, NULL);
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return false;
		if (rc == GNUTLS_SAN_DNSNAME && in_list(names, name, size))
			return true;
		if (rc < 0 && rc != GNUTLS_E_SHORT_MEMORY_BUFFER)
			return false;
	}
}

static bool
is_ourselves(gnutls_session_t session, gnutls_x509_crt_t peer)
{
	gnutls_x509_crt_t own = import(gnutls_certificate_get_ours(session));
	KeyId		own_id = {.size = 0};
	KeyId		peer_id = key_id(peer);

	if (own)
	{
		own_id = key_id(own);
		gnutls_x509_crt_deinit(own);
	}
	/* "not known" does not mean "another one" */
	return own_id.size == 0 || peer_id.size == 0 || memcmp(own_id.bytes, peer_id.bytes, KEY_ID_SIZE) == 0;
}

static ClientVerdict
judge(gnutls_session_t session, gnutls_x509_crt_t peer, char *const *names)
{
	if (!is_for_clients(peer))
		return CLIENT_NOT_FOR_CLIENTS;
	if (names)
		return is_named(peer, names) ? CLIENT_ACCEPTED : CLIENT_NOT_NAMED;
	return is_ourselves(session, peer) ? CLIENT_OURSELVES : CLIENT_ACCEPTED;
}

ClientVerdict
certificate_client(gnutls_session_t session, const AgentConfig *config)
{
	unsigned	n = 0;
	unsigned	status = ~0u;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
	gnutls_x509_crt_t peer;
	ClientVerdict verdict;

	if (!chain || n == 0)
		return CLIENT_NONE;
	if (gnutls_certificate_verify_peers2(session, &status) != GNUTLS_E_SUCCESS || status != 0)
		return CLIENT_UNSIGNED;
	peer = import(&chain[0]);
	if (!peer)
		return CLIENT_UNSIGNED;
	verdict = judge(session, peer, config->tls_client_names);
	gnutls_x509_crt_deinit(peer);
	return verdict;
}

const char *
certificate_verdict_text(ClientVerdict verdict)
{
	switch (verdict)
	{
		case CLIENT_UNSIGNED:
			return "is not of the agent's \"tls_client_ca\", or not valid now";
		case CLIENT_NOT_FOR_CLIENTS:
			return "is not for client authentication";
		case CLIENT_OURSELVES:
			return "is the agent's own";
		case CLIENT_NOT_NAMED:
			return "is of nobody in the agent's \"tls_client_names\"";
		case CLIENT_NONE:
		case CLIENT_ACCEPTED:
			break;
	}
	return "is missing";
}

/* ---- files ---- */

static int
read_failed(const char *path, const char *why, char *error, size_t error_size)
{
	snprintf(error, error_size, "\"%s\": %s", path, why);
	return -1;
}

/* All certificates of a file; the list and each of them are the caller's. */
static int
read_certificates(const char *path, gnutls_x509_crt_t **list, unsigned *n, char *error, size_t error_size)
{
	gnutls_datum_t pem = {0};
	size_t		size;
	int			rc;

	pem.data = (unsigned char *) file_read(path, FILE_MAX, &size);
	if (!pem.data)
		return read_failed(path, strerror(errno), error, error_size);
	pem.size = size;
	rc = gnutls_x509_crt_list_import2(list, n, &pem, GNUTLS_X509_FMT_PEM, 0);
	free(pem.data);
	return rc < 0 ? read_failed(path, "holds no certificate", error, error_size) : 0;
}

static void
free_certificates(gnutls_x509_crt_t *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		gnutls_x509_crt_deinit(list[i]);
	gnutls_free(list);
}

int
certificate_facts(const char *path, CertificateFacts *facts, char *error, size_t error_size)
{
	gnutls_x509_crt_t *list;
	unsigned	n = 0;
	unsigned	critical;
	char		oid[128];
	size_t		size = sizeof(oid);

	if (read_certificates(path, &list, &n, error, error_size) < 0)
		return -1;
	facts->count = (int) n;
	facts->begins = gnutls_x509_crt_get_activation_time(list[0]);
	facts->ends = gnutls_x509_crt_get_expiration_time(list[0]);
	facts->for_servers = gnutls_x509_crt_check_key_purpose(list[0], GNUTLS_KP_TLS_WWW_SERVER, 0);
	facts->for_clients = is_for_clients(list[0]);
	facts->has_usage = gnutls_x509_crt_get_key_purpose_oid(list[0], 0, oid, &size, &critical) !=
		GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE;
	facts->authority = gnutls_x509_crt_get_ca_status(list[0], &critical) == 1;
	free_certificates(list, n);
	return 0;
}

/* What the server does with both at its start. */
int
certificate_fits_key(const char *cert_path, const char *key_path, char *error, size_t error_size)
{
	gnutls_certificate_credentials_t credentials;
	char	   *key = file_read(key_path, FILE_MAX, NULL);
	int			rc;

	if (!key)
		return read_failed(key_path, strerror(errno), error, error_size);
	explicit_bzero(key, strlen(key));
	free(key);
	if (gnutls_certificate_allocate_credentials(&credentials) < 0)
		return read_failed(key_path, "out of memory", error, error_size);
	rc = gnutls_certificate_set_x509_key_file(credentials, cert_path, key_path, GNUTLS_X509_FMT_PEM);
	gnutls_certificate_free_credentials(credentials);
	if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
		return read_failed(key_path, "is not the key of the certificate", error, error_size);
	return rc < 0 ? read_failed(key_path, gnutls_strerror(rc), error, error_size) : 0;
}

static bool
signed_by(const char *path, const char *authority_path)
{
	gnutls_x509_trust_list_t trusted;
	gnutls_x509_crt_t *list;
	char		error[256];
	unsigned	n = 0;
	unsigned	status = ~0u;
	bool		is_signed = false;

	if (read_certificates(path, &list, &n, error, sizeof(error)) < 0)
		return false;
	if (gnutls_x509_trust_list_init(&trusted, 0) >= 0)
	{
		is_signed = gnutls_x509_trust_list_add_trust_file(trusted, authority_path, NULL, GNUTLS_X509_FMT_PEM, 0,
														  0) > 0 &&
			gnutls_x509_trust_list_verify_crt(trusted, list, n, 0, &status, NULL) >= 0 &&
			(status & (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNATURE_FAILURE)) == 0;
		gnutls_x509_trust_list_deinit(trusted, 1);
	}
	free_certificates(list, n);
	return is_signed;
}

bool
certificate_serves_as_client(const AgentConfig *config)
{
	CertificateFacts facts;
	char		error[256];

	return !config->tls_client_names && certificate_facts(config->tls_cert, &facts, error, sizeof(error)) == 0 &&
		facts.for_clients && signed_by(config->tls_cert, config->tls_client_ca);
}

bool
certificate_peer_is(gnutls_session_t session, const char *path)
{
	unsigned	n = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
	gnutls_x509_crt_t peer = n > 0 ? import(&chain[0]) : NULL;
	KeyId		peer_id = peer ? key_id(peer) : (KeyId) {.size = 0};
	gnutls_x509_crt_t *list;
	char		error[256];
	KeyId		id;

	if (peer)
		gnutls_x509_crt_deinit(peer);
	if (peer_id.size == 0 || read_certificates(path, &list, &n, error, sizeof(error)) < 0)
		return false;
	id = key_id(list[0]);
	free_certificates(list, n);
	return id.size == peer_id.size && memcmp(id.bytes, peer_id.bytes, KEY_ID_SIZE) == 0;
}
