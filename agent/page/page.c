/*
 * page.c
 *		The status page: one document, put together once from the files of this folder.
 *
 * The policy names style and script by their hashes: nothing else may run in the page, whatever text gets into it.
 */
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/text.h"
#include "agent/page/page.h"

#define HASH_SIZE 32			/* SHA-256 */

/* The bytes of a file, from the top of the tree, with a NUL after them */
#define FILE_TEXT(name, path) \
	__asm__(".pushsection .rodata\n" #name ": .incbin \"" path "\"\n.byte 0\n.popsection\n"); \
	extern const char name[] __attribute__((visibility("hidden")))

FILE_TEXT(page_html, "agent/page/page.html");
FILE_TEXT(page_css, "agent/page/page.css");
FILE_TEXT(page_base_js, "agent/page/base.js");
FILE_TEXT(page_map_js, "agent/page/map.js");
FILE_TEXT(page_plots_js, "agent/page/plots.js");
FILE_TEXT(page_lists_js, "agent/page/lists.js");
FILE_TEXT(page_main_js, "agent/page/main.js");

static const char *const scripts[] = {page_base_js, page_map_js, page_plots_js, page_lists_js, page_main_js, NULL};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static Text document;
static char *policy;

/* 'sha256-...', as a policy has it */
static char *
source_hash(const char *text)
{
	unsigned char digest[HASH_SIZE];
	gnutls_datum_t plain = {digest, HASH_SIZE};
	gnutls_datum_t encoded = {NULL, 0};
	char	   *hash;

	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text, strlen(text), digest) < 0 ||
		gnutls_base64_encode2(&plain, &encoded) < 0)
		return xstrdup("'none'");
	hash = xasprintf("'sha256-%.*s'", (int) encoded.size, (char *) encoded.data);
	gnutls_free(encoded.data);
	return hash;
}

/* The text up to a mark; what comes after it is left in *rest. */
static void
add_before(const char **rest, const char *mark)
{
	const char *end = strstr(*rest, mark);
	size_t		size = end ? (size_t) (end - *rest) : strlen(*rest);

	text_add(&document, *rest, size);
	*rest += size + (end ? strlen(mark) : 0);
}

static void
make_page(void)
{
	const char *rest = page_html;
	Text		script = {0};
	char	   *style_hash = source_hash(page_css);
	char	   *script_hash;

	for (int i = 0; scripts[i]; i++)
		text_add(&script, scripts[i], strlen(scripts[i]));
	script_hash = source_hash(script.data);
	add_before(&rest, "@STYLE@");
	text_add(&document, page_css, strlen(page_css));
	add_before(&rest, "@SCRIPT@");
	text_add(&document, script.data, script.size);
	add_before(&rest, "@END@");
	policy = xasprintf("default-src 'none'; style-src %s; script-src %s; connect-src 'self'; img-src data:; "
					   "base-uri 'none'; form-action 'none'; frame-ancestors 'none'", style_hash, script_hash);
	free(style_hash);
	free(script_hash);
	free(script.data);
}

const char *
page_text(size_t *size)
{
	pthread_once(&once, make_page);
	*size = document.size;
	return document.data;
}

const char *
page_policy(void)
{
	pthread_once(&once, make_page);
	return policy;
}
