/*
 * bouncerchain.h
 *		The files that PgBouncer reads, from its main one through every %include, as far as we may read them.
 */
#ifndef PINGPONG_AGENT_ROUTE_BOUNCERCHAIN_H
#define PINGPONG_AGENT_ROUTE_BOUNCERCHAIN_H

#include <jansson.h>
#include <stdbool.h>

typedef struct BouncerChain
{
	bool		included;		/* the file is one of them */
	bool		complete;		/* we could read all of them; else nothing can be said of what is not here */
	char		trouble[512];	/* what PgBouncer cannot read, or why we cannot tell; "" for neither */
	bool		broken;			/* trouble is PgBouncer's: its next RELOAD would fail */
	char	   *star;			/* the "*" line that counts, malloc'd; NULL: there is none */
	json_t	   *shadowed;		/* databases of the file that another one has too, after it: names, with where */
} BouncerChain;

extern void bouncer_chain_look(const char *main_file, const char *file, BouncerChain *chain);
extern void bouncer_chain_free(BouncerChain *chain);

#endif							/* PINGPONG_AGENT_ROUTE_BOUNCERCHAIN_H */
