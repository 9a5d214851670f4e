/*
 * authority.c
 *		Keys and certificates of the agents, as PEM: a site's authority, what it signs, and requests to another one.
 *
 * Keys are of ECDSA on P-256, signatures of SHA-256: every TLS library of the last ten years takes them. A
 * certificate begins an hour ago, because clocks differ, and is for servers only: as that of a client it would
 * control other agents.
 */
#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/core/alloc.h"
#include "agent/init/authority.h"

#define HOUR_S 3600
#define DAY_S 86400
#define CA_DAYS 3650
#define LEAF_DAYS 825
#define SERIAL_BYTES 16
#define SECRET_BYTES 24

typedef struct Work
{
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t cert;
	gnutls_x509_crq_t request;
	gnutls_x509_crt_t ca_cert;
	gnutls_x509_privkey_t ca_key;
} Work;

static void
work_end(Work *work)
{
	if (work->key)
		gnutls_x509_privkey_deinit(work->key);
	if (work->cert)
		gnutls_x509_crt_deinit(work->cert);
	if (work->request)
		gnutls_x509_crq_deinit(work->request);
	if (work->ca_cert)
		gnutls_x509_crt_deinit(work->ca_cert);
	if (work->ca_key)
		gnutls_x509_privkey_deinit(work->ca_key);
}

static char *
text_of(gnutls_datum_t *datum)
{
	char	   *text = xasprintf("%.*s", (int) datum->size, (const char *) datum->data);

	gnutls_free(datum->data);
	return text;
}

static int
make_key(Work *work, char **pem)
{
	gnutls_datum_t out;
	int			rc = gnutls_x509_privkey_init(&work->key);

	if (rc == 0)
		rc = gnutls_x509_privkey_generate(work->key, GNUTLS_PK_ECDSA,
										  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (rc == 0)
		rc = gnutls_x509_privkey_export2_pkcs8(work->key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &out);
	if (rc == 0)
		*pem = text_of(&out);
	return rc;
}

/* Whose it is, from when to when, with a number that no other one has. */
static int
begin_certificate(Work *work, const char *common_name, int days)
{
	unsigned char serial[SERIAL_BYTES];
	time_t		now = time(NULL);
	int			rc = gnutls_x509_crt_init(&work->cert);

	if (rc == 0)
		rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));
	serial[0] = (serial[0] & 0x7f) | 0x40;	/* a positive number of full length */
	if (rc == 0)
		rc = gnutls_x509_crt_set_version(work->cert, 3);
	if (rc == 0)
		rc = gnutls_x509_crt_set_serial(work->cert, serial, sizeof(serial));
	if (rc == 0)
		rc = gnutls_x509_crt_set_activation_time(work->cert, now - HOUR_S);
	if (rc == 0)
		rc = gnutls_x509_crt_set_expiration_time(work->cert, now + (time_t) days * DAY_S);
	if (rc == 0)
		rc = gnutls_x509_crt_set_dn_by_oid(work->cert, GNUTLS_OID_X520_COMMON_NAME, 0, common_name,
										   strlen(common_name));
	if (rc == 0)
		rc = gnutls_x509_crt_set_key(work->cert, work->key);
	return rc;
}

static int
export_certificate(Work *work, char **pem)
{
	gnutls_datum_t out;
	int			rc = gnutls_x509_crt_export2(work->cert, GNUTLS_X509_FMT_PEM, &out);

	if (rc == 0)
		*pem = text_of(&out);
	return rc;
}

/* The identifier of a key, by which a certificate names that of its signer. */
static int
set_key_id(Work *work, gnutls_x509_crt_t signer)
{
	unsigned char id[64];
	size_t		size = sizeof(id);
	int			rc = gnutls_x509_crt_get_key_id(work->cert, 0, id, &size);

	if (rc == 0)
		rc = gnutls_x509_crt_set_subject_key_id(work->cert, id, size);
	size = sizeof(id);
	if (rc == 0 && signer && gnutls_x509_crt_get_subject_key_id(signer, id, &size, NULL) == 0)
		rc = gnutls_x509_crt_set_authority_key_id(work->cert, id, size);
	return rc;
}

static int
result(Work *work, int rc, char *error, size_t error_size)
{
	work_end(work);
	if (rc < 0)
		snprintf(error, error_size, "%s", gnutls_strerror(rc));
	return rc < 0 ? -1 : 0;
}

int
authority_make(char **cert, char **key, char *error, size_t error_size)
{
	Work		work = {0};
	int			rc = make_key(&work, key);

	if (rc == 0)
		rc = begin_certificate(&work, "pingpong CA", CA_DAYS);
	if (rc == 0)
		rc = gnutls_x509_crt_set_basic_constraints(work.cert, 1, 0);
	if (rc == 0)
		rc = gnutls_x509_crt_set_key_usage(work.cert, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
	if (rc == 0)
		rc = set_key_id(&work, NULL);
	if (rc == 0)
		rc = gnutls_x509_crt_sign2(work.cert, work.cert, work.key, GNUTLS_DIG_SHA256, 0);
	if (rc == 0)
		rc = export_certificate(&work, cert);
	return result(&work, rc, error, error_size);
}

/* ---- for a server ---- */

/* The bytes of an address; 0: it is a name. */
static unsigned
address_bytes(const char *host, unsigned char bytes[16])
{
	if (inet_pton(AF_INET, host, bytes) == 1)
		return 4;
	return inet_pton(AF_INET6, host, bytes) == 1 ? 16 : 0;
}

/* The name of the host, or its address, and the node's name. */
static int
set_names(Work *work, const CertificateName *name)
{
	unsigned char bytes[16];
	unsigned	size = address_bytes(name->host, bytes);
	int			rc = gnutls_x509_crt_set_subject_alt_name(work->cert, GNUTLS_SAN_DNSNAME, name->node,
														  strlen(name->node), GNUTLS_FSAN_SET);

	if (rc == 0 && size)
		rc = gnutls_x509_crt_set_subject_alt_name(work->cert, GNUTLS_SAN_IPADDRESS, bytes, size, GNUTLS_FSAN_APPEND);
	else if (rc == 0 && strcmp(name->node, name->host) != 0)
		rc = gnutls_x509_crt_set_subject_alt_name(work->cert, GNUTLS_SAN_DNSNAME, name->host, strlen(name->host),
												  GNUTLS_FSAN_APPEND);
	return rc;
}

static int
load_authority(Work *work, const char *ca_cert, const char *ca_key)
{
	gnutls_datum_t cert = {(unsigned char *) ca_cert, (unsigned) strlen(ca_cert)};
	gnutls_datum_t key = {(unsigned char *) ca_key, (unsigned) strlen(ca_key)};
	int			rc = gnutls_x509_crt_init(&work->ca_cert);

	if (rc == 0)
		rc = gnutls_x509_crt_import(work->ca_cert, &cert, GNUTLS_X509_FMT_PEM);
	if (rc == 0)
		rc = gnutls_x509_privkey_init(&work->ca_key);
	if (rc == 0)
		rc = gnutls_x509_privkey_import2(work->ca_key, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
	return rc;
}

int
authority_sign(const char *ca_cert, const char *ca_key, const CertificateName *name, char **cert, char **key,
			   char *error, size_t error_size)
{
	Work		work = {0};
	int			rc = load_authority(&work, ca_cert, ca_key);

	if (rc == 0)
		rc = make_key(&work, key);
	if (rc == 0)
		rc = begin_certificate(&work, name->node, LEAF_DAYS);
	if (rc == 0)
		rc = set_names(&work, name);
	if (rc == 0)
		rc = gnutls_x509_crt_set_basic_constraints(work.cert, 0, -1);
	if (rc == 0)
		rc = gnutls_x509_crt_set_key_usage(work.cert, GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (rc == 0)
		rc = gnutls_x509_crt_set_key_purpose_oid(work.cert, GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (rc == 0)
		rc = set_key_id(&work, work.ca_cert);
	if (rc == 0)
		rc = gnutls_x509_crt_sign2(work.cert, work.ca_cert, work.ca_key, GNUTLS_DIG_SHA256, 0);
	if (rc == 0)
		rc = export_certificate(&work, cert);
	return result(&work, rc, error, error_size);
}

int
authority_request(const CertificateName *name, char **request, char **key, char *error, size_t error_size)
{
	Work		work = {0};
	unsigned char bytes[16];
	unsigned	size = address_bytes(name->host, bytes);
	gnutls_datum_t out;
	int			rc = make_key(&work, key);

	if (rc == 0)
		rc = gnutls_x509_crq_init(&work.request);
	if (rc == 0)
		rc = gnutls_x509_crq_set_version(work.request, 1);
	if (rc == 0)
		rc = gnutls_x509_crq_set_dn_by_oid(work.request, GNUTLS_OID_X520_COMMON_NAME, 0, name->node,
										   strlen(name->node));
	if (rc == 0)
		rc = gnutls_x509_crq_set_key(work.request, work.key);
	if (rc == 0)
		rc = gnutls_x509_crq_set_subject_alt_name(work.request, size ? GNUTLS_SAN_IPADDRESS : GNUTLS_SAN_DNSNAME,
												  size ? (const void *) bytes : name->host,
												  size ? size : strlen(name->host), GNUTLS_FSAN_SET);
	if (rc == 0)
		rc = gnutls_x509_crq_set_key_purpose_oid(work.request, GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (rc == 0)
		rc = gnutls_x509_crq_sign2(work.request, work.key, GNUTLS_DIG_SHA256, 0);
	if (rc == 0)
		rc = gnutls_x509_crq_export2(work.request, GNUTLS_X509_FMT_PEM, &out);
	if (rc == 0)
		*request = text_of(&out);
	return result(&work, rc, error, error_size);
}

char *
authority_secret(void)
{
	unsigned char bytes[SECRET_BYTES];
	char	   *text = xalloc(2 * SECRET_BYTES + 1);

	if (gnutls_rnd(GNUTLS_RND_KEY, bytes, sizeof(bytes)) < 0)
		abort();
	for (int i = 0; i < SECRET_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return text;
}
