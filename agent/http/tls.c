/*
 * tls.c
 *		The certificate that the agent shows, and its key. They can be exchanged while it runs.
 *
 * The library asks for them in each handshake, when the client's greeting has come. From that moment on a handshake
 * costs our time, and the door wants to know it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/http/door.h"
#include "agent/http/tls.h"

#define CHAIN_MAX 8
#define FILE_MAX (256 * 1024)

typedef struct Identity
{
	struct Identity *older;		/* a handshake may still use it: it stays */
	gnutls_datum_t cert;		/* as read */
	gnutls_datum_t key;
	gnutls_pcert_st chain[CHAIN_MAX];
	unsigned	length;
	gnutls_privkey_t private;
} Identity;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Identity *current;

static int
failed(char *error, size_t error_size, const char *path, const char *why)
{
	snprintf(error, error_size, "could not use \"%s\": %s", path, why);
	return -1;
}

static int
read_datum(gnutls_datum_t *datum, const char *path, char *error, size_t error_size)
{
	size_t		size = 0;

	datum->data = (unsigned char *) file_read(path, FILE_MAX, &size);
	datum->size = (unsigned) size;
	return datum->data ? 0 : failed(error, error_size, path, strerror(errno));
}

/* The library does not check whether they belong together. If not, each handshake would fail. */
static bool
fit(const Identity *identity)
{
	unsigned char cert_id[64];
	unsigned char key_id[64];
	size_t		cert_size = sizeof(cert_id);
	size_t		key_size = sizeof(key_id);
	gnutls_pubkey_t public;
	bool		equal;

	if (gnutls_pubkey_init(&public) < 0)
		return false;
	equal = gnutls_pubkey_import_privkey(public, identity->private, 0, 0) >= 0 &&
		gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, key_id, &key_size) >= 0 &&
		gnutls_pubkey_get_key_id(identity->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, cert_id, &cert_size) >= 0 &&
		key_size == cert_size && memcmp(key_id, cert_id, key_size) == 0;
	gnutls_pubkey_deinit(public);
	return equal;
}

static int
parse(Identity *identity, const AgentConfig *config, char *error, size_t error_size)
{
	int			rc;

	identity->length = CHAIN_MAX;
	rc = gnutls_pcert_list_import_x509_raw(identity->chain, &identity->length, &identity->cert, GNUTLS_X509_FMT_PEM,
										   0);
	if (rc < 0 || identity->length == 0)
	{
		identity->length = 0;
		return failed(error, error_size, config->tls_cert, rc < 0 ? gnutls_strerror(rc) : "it holds no certificate");
	}
	if (gnutls_privkey_init(&identity->private) < 0)
		return failed(error, error_size, config->tls_key, "out of memory");
	rc = gnutls_privkey_import_x509_raw(identity->private, &identity->key, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (rc < 0)
		return failed(error, error_size, config->tls_key, gnutls_strerror(rc));
	return fit(identity) ? 0 : failed(error, error_size, config->tls_key, "it is not the key of the certificate");
}

static void
free_identity(Identity *identity)
{
	for (unsigned i = 0; i < identity->length; i++)
		gnutls_pcert_deinit(&identity->chain[i]);
	if (identity->private)
		gnutls_privkey_deinit(identity->private);
	if (identity->key.data)
		explicit_bzero(identity->key.data, identity->key.size);
	free(identity->key.data);
	free(identity->cert.data);
	free(identity);
}

static bool
same_datum(const gnutls_datum_t *a, const gnutls_datum_t *b)
{
	return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

int
tls_load(const AgentConfig *config, char *error, size_t error_size)
{
	Identity   *identity;

	if (!config->tls_cert)
		return 0;
	identity = xalloc(sizeof(Identity));
	if (read_datum(&identity->cert, config->tls_cert, error, error_size) < 0 ||
		read_datum(&identity->key, config->tls_key, error, error_size) < 0 ||
		parse(identity, config, error, error_size) < 0)
	{
		free_identity(identity);
		return -1;
	}
	pthread_mutex_lock(&lock);
	if (current && same_datum(&current->cert, &identity->cert) && same_datum(&current->key, &identity->key))
		free_identity(identity);
	else
	{
		identity->older = current;
		current = identity;
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

/* Our last message before the client's turn (in TLS 1.3, and before it), and the client's last one. */
static int
after_message(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
			  const gnutls_datum_t *message)
{
	if (!incoming && (type == GNUTLS_HANDSHAKE_FINISHED || type == GNUTLS_HANDSHAKE_SERVER_HELLO_DONE))
		door_greeting_done(gnutls_transport_get_int(session));
	if (incoming && type == GNUTLS_HANDSHAKE_FINISHED)
		door_handshake_done(gnutls_transport_get_int(session));
	return 0;
}

int
tls_certificate(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
				const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
				gnutls_pcert_st **chain, unsigned *length, gnutls_privkey_t *key)
{
	door_greeting(gnutls_transport_get_int(session));
	gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_POST, after_message);
	pthread_mutex_lock(&lock);
	*chain = current->chain;
	*length = current->length;
	*key = current->private;
	pthread_mutex_unlock(&lock);
	return 0;
}
