/*
 * topics.c
 *		What has to be the same in a cluster before and after pg_upgrade.
 *
 * What is 16384 or more was not made by initdb. Objects of users in pg_catalog are not dumped.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/core/alloc.h"
#include "agent/facts/error.h"
#include "agent/pg/pg.h"
#include "agent/upgrade/topics.h"

/* `rows` gives a text that identifies each. No collation but "C" hashes the same everywhere. */
#define TOPIC(rows) \
	"SELECT jsonb_build_object('count', count(*), " \
	"'digest', coalesce(sum(hashtextextended(id COLLATE \"C\", 0)), 0)::text) FROM (" rows ") r (id)"

#define OF_USERS "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
#define RELATIONS "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND " OF_USERS
#define NOT_DUMPED "NOT (i.indisready AND (i.indisvalid OR t.relkind = 'p'))"

/* Who may do what: an ACL that says the default is none after a dump. MAINTAIN is new in 17, and part of ALL. */
#define GRANTED(objects) \
	TOPIC("SELECT DISTINCT format('%s %s %s %s', o.name, a.grantee::regrole, a.privilege_type, a.is_grantable) " \
		  "FROM (" objects ") o (name, acl), aclexplode(o.acl) a WHERE a.privilege_type <> 'MAINTAIN'")

/* template0 is that of initdb. The locale of ICU has two names. */
const Question topics_of_cluster[] = {
	{"databases", TOPIC("SELECT format('%I %s %s %s %s %s %s %s %s', datname, datdba::regrole, "
						"pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, "
						"coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'), datconnlimit, "
						"datistemplate) FROM pg_database d WHERE datname <> 'template0'")},
	{"privileges on databases", GRANTED("SELECT quote_ident(datname), coalesce(datacl, acldefault('d', datdba)) "
										"FROM pg_database WHERE datname <> 'template0'")},
	{"roles", TOPIC("SELECT format('%I %s %s %s %s %s %s %s %s %s', rolname, rolsuper, rolinherit, rolcreaterole, "
					"rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, "
					"extract(epoch FROM rolvaliduntil)) FROM pg_roles WHERE oid >= 16384 OR oid = 10")},
	/* from 16 on there is a row for each grantor */
	{"memberships", TOPIC("SELECT DISTINCT format('%s %s', roleid::regrole, member::regrole) FROM pg_auth_members "
						  "WHERE roleid >= 16384 OR member >= 16384")},
	/* those of ALTER ROLE ALL no dump has */
	{"settings of roles and databases",
		TOPIC("SELECT format('%s %s %s', d.datname, s.setrole::regrole, split_part(c, '=', 1)) "
			  "FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c "
			  "WHERE d.datname IS DISTINCT FROM 'template0' AND (s.setrole <> 0 OR s.setdatabase <> 0)")},
	{NULL}
};

/*
 * Their rows have the values. Each statement locks those that it reads until it ends: not too many at a time.
 * query_to_xml() runs a statement.
 */
#define SEQUENCES_AT_A_TIME "500"

static json_t *
ask_sequences(PGconn *conn)
{
	static const char sql[] = "SELECT count(*), coalesce(sum(hashtextextended(v.id COLLATE \"C\", 0)), 0) FROM "
		"(SELECT n.nspname, c.relname, c.relpersistence FROM " RELATIONS " WHERE c.relkind = 'S' AND c.oid >= 16384 "
		"ORDER BY c.oid LIMIT $2 OFFSET $1) s, LATERAL (SELECT format('%I.%I %s %s', s.nspname, s.relname, "
		"s.relpersistence, query_to_xml(format('SELECT last_value, is_called FROM %I.%I', s.nspname, s.relname), "
		"false, false, ''))) v (id)";
	char	   *digest = xstrdup("");
	json_t	   *answer;
	int			count = 0;
	int			got;

	do
	{
		char		offset[16];
		char		error[512];
		const char *values[] = {offset, SEQUENCES_AT_A_TIME};
		PGresult   *res;
		char	   *longer;

		snprintf(offset, sizeof(offset), "%d", count);
		res = pg_query(conn, error, sizeof(error), sql, 2, values);
		if (!res)
		{
			free(digest);
			return facts_error("%s", error);
		}
		got = atoi(PQgetvalue(res, 0, 0));
		count += got;
		longer = xasprintf("%s %s", digest, PQgetvalue(res, 0, 1));
		free(digest);
		digest = longer;
		PQclear(res);
	} while (got == atoi(SEQUENCES_AT_A_TIME));
	answer = json_pack("{s:i, s:s}", "count", count, "digest", digest);
	free(digest);
	return answer;
}

const Question topics_of_database[] = {
	{"schemas", TOPIC("SELECT format('%I %s', n.nspname, n.nspowner::regrole) FROM pg_namespace n "
					  "WHERE " OF_USERS)},
	{"tables", TOPIC("SELECT format('%s %s %I.%I %s %s %s %s', c.relkind, c.relpersistence, n.nspname, c.relname, "
					 "c.relowner::regrole, c.relrowsecurity, c.relforcerowsecurity, c.relispartition) "
					 "FROM " RELATIONS " WHERE c.relkind IN ('r', 'p', 'f') AND c.oid >= 16384")},
	{"partitions and children", TOPIC("SELECT format('%s %s', i.inhrelid::regclass, i.inhparent::regclass) "
									  "FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
									  "WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' "
									  "AND NOT i.inhdetachpending")},
	{"views", TOPIC("SELECT format('%s %I.%I %s %s', c.relkind, n.nspname, c.relname, c.relowner::regrole, "
					"c.relispopulated) FROM " RELATIONS " WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384")},
	/* those of a view may have another type with another catalog below it */
	{"columns", TOPIC("SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) || CASE WHEN c.relkind IN "
					  "('r', 'p', 'f', 'c') THEN format(' %s %s %s %s %s', format_type(a.atttypid, a.atttypmod), "
					  "a.attnotnull, a.attidentity, a.attgenerated, a.atthasdef) ELSE '' END "
					  "FROM " RELATIONS " JOIN pg_attribute a ON a.attrelid = c.oid "
					  "WHERE c.relkind IN ('r', 'p', 'f', 'c', 'v', 'm') AND c.oid >= 16384 AND a.attnum > 0 "
					  "AND NOT a.attisdropped")},
	/* from 18 on NOT NULL is one; a partition's foreign keys have names that the server made */
	{"constraints", TOPIC("SELECT format('%I %s %s %I %s %s %s %s', n.nspname, c.relname, t.typname, k.conname, "
						  "k.contype, k.convalidated, k.condeferrable, k.condeferred) "
						  "FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace AND " OF_USERS
						  " LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid "
						  "WHERE k.oid >= 16384 AND k.contype <> 'n' "
						  "AND NOT (k.contype = 'f' AND k.conparentid <> 0)")},
	{"indexes", TOPIC("SELECT format('%I.%I %I %s %s %s %s', n.nspname, c.relname, t.relname, c.relkind, am.amname, "
					  "i.indisunique, i.indisprimary) FROM " RELATIONS " JOIN pg_index i ON i.indexrelid = c.oid "
					  "JOIN pg_class t ON t.oid = i.indrelid JOIN pg_am am ON am.oid = c.relam "
					  "WHERE c.oid >= 16384 AND NOT (" NOT_DUMPED ")")},
	{"sequences", NULL, ask_sequences},
	{"triggers", TOPIC("SELECT format('%I.%I %I %s %s', n.nspname, c.relname, g.tgname, g.tgenabled, g.tgtype) "
					   "FROM " RELATIONS " JOIN pg_trigger g ON g.tgrelid = c.oid "
					   "WHERE NOT g.tgisinternal AND g.tgparentid = 0")},
	{"event triggers", TOPIC("SELECT format('%I %s %s %s', evtname, evtevent, evtenabled, evtowner::regrole) "
							 "FROM pg_event_trigger")},
	{"policies", TOPIC("SELECT format('%I.%I %I %s %s %s', n.nspname, c.relname, p.polname, p.polcmd, "
					   "p.polpermissive, cardinality(p.polroles)) FROM " RELATIONS
					   " JOIN pg_policy p ON p.polrelid = c.oid")},
	{"rules", TOPIC("SELECT format('%I.%I %I %s %s %s', n.nspname, c.relname, w.rulename, w.ev_type, w.ev_enabled, "
					"w.is_instead) FROM " RELATIONS " JOIN pg_rewrite w ON w.ev_class = c.oid "
					"WHERE w.oid >= 16384")},
	{"functions and procedures", TOPIC("SELECT format('%s %I.%I(%s) %s %s %s', p.prokind, n.nspname, p.proname, "
									   "oidvectortypes(p.proargtypes), p.proowner::regrole, l.lanname, p.prosecdef) "
									   "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND " OF_USERS
									   " JOIN pg_language l ON l.oid = p.prolang WHERE p.oid >= 16384")},
	/* the names of array types are the server's */
	{"types", TOPIC("SELECT format('%I.%I %s %s', n.nspname, t.typname, t.typtype, t.typowner::regrole) "
					"FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND " OF_USERS
					" WHERE t.oid >= 16384 AND t.typcategory <> 'A'")},
	{"values of enum types", TOPIC("SELECT format('%s %s %s', e.enumtypid::regtype, e.enumlabel, row_number() OVER "
								   "(PARTITION BY e.enumtypid ORDER BY e.enumsortorder)) FROM pg_enum e")},
	{"operators", TOPIC("SELECT format('%I.%s(%s, %s)', n.nspname, o.oprname, o.oprleft::regtype, "
						"o.oprright::regtype) FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace "
						"AND " OF_USERS " WHERE o.oid >= 16384 AND o.oprcode <> 0")},
	{"operator classes", TOPIC("SELECT format('%I.%I %s %s', n.nspname, o.opcname, am.amname, o.opcdefault) "
							   "FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace AND " OF_USERS
							   " JOIN pg_am am ON am.oid = o.opcmethod WHERE o.oid >= 16384")},
	{"casts", TOPIC("SELECT format('%s %s %s', castsource::regtype, casttarget::regtype, castcontext) "
					"FROM pg_cast WHERE oid >= 16384")},
	{"collations", TOPIC("SELECT format('%I.%I %s', n.nspname, k.collname, k.collprovider) FROM pg_collation k "
						 "JOIN pg_namespace n ON n.oid = k.collnamespace AND " OF_USERS " WHERE k.oid >= 16384")},
	{"text search configurations", TOPIC("SELECT format('%I.%I', n.nspname, f.cfgname) FROM pg_ts_config f "
										 "JOIN pg_namespace n ON n.oid = f.cfgnamespace AND " OF_USERS
										 " WHERE f.oid >= 16384")},
	{"extensions", TOPIC("SELECT format('%I %s %I', e.extname, e.extversion, n.nspname) FROM pg_extension e "
						 "JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.oid >= 16384")},
	{"large objects", "SELECT jsonb_build_object('count', count(*), 'digest', coalesce(sum(oid::bigint), 0)::text) "
	"FROM pg_largeobject_metadata"},
	{"publications", TOPIC("SELECT format('%I %s %s %s %s %s %s', p.pubname, p.pubowner::regrole, p.puballtables, "
						   "p.pubinsert, p.pubupdate, p.pubdelete, (SELECT count(*) FROM pg_publication_rel r "
						   "WHERE r.prpubid = p.oid)) FROM pg_publication p")},
	{"subscriptions", TOPIC("SELECT quote_ident(s.subname) FROM pg_subscription s "
							"WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())")},
	{"foreign servers", TOPIC("SELECT format('server %I %s %I', s.srvname, s.srvowner::regrole, w.fdwname) "
							  "FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw "
							  "UNION ALL SELECT format('user %s %I', m.umuser::regrole, s.srvname) "
							  "FROM pg_user_mapping m JOIN pg_foreign_server s ON s.oid = m.umserver")},
	{"privileges", GRANTED("SELECT format('relation %I.%I', n.nspname, c.relname), coalesce(c.relacl, acldefault("
						   "CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner)) FROM " RELATIONS
						   " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.oid >= 16384 UNION ALL "
						   "SELECT format('column %I.%I.%I', n.nspname, c.relname, a.attname), a.attacl "
						   "FROM " RELATIONS " JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.oid >= 16384 "
						   "AND a.attacl IS NOT NULL AND NOT a.attisdropped UNION ALL "
						   "SELECT format('function %I.%I(%s)', n.nspname, p.proname, "
						   "oidvectortypes(p.proargtypes)), "
						   "coalesce(p.proacl, acldefault('f', p.proowner)) FROM pg_proc p JOIN pg_namespace n "
						   "ON n.oid = p.pronamespace AND " OF_USERS " WHERE p.oid >= 16384 UNION ALL "
						   "SELECT format('schema %I', n.nspname), coalesce(n.nspacl, acldefault('n', n.nspowner)) "
						   "FROM pg_namespace n WHERE " OF_USERS " UNION ALL "
						   "SELECT format('type %I.%I', n.nspname, t.typname), "
						   "coalesce(t.typacl, acldefault('T', t.typowner)) FROM pg_type t JOIN pg_namespace n "
						   "ON n.oid = t.typnamespace AND " OF_USERS " WHERE t.oid >= 16384 AND t.typrelid = 0 "
						   "AND t.typcategory <> 'A' UNION ALL "
						   "SELECT format('server %I', srvname), coalesce(srvacl, acldefault('S', srvowner)) "
						   "FROM pg_foreign_server")},
	{"default privileges",
		GRANTED("SELECT format('%s %s %s', d.defaclrole::regrole, n.nspname, d.defaclobjtype), d.defaclacl "
				"FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace")},
	{"statistics objects", TOPIC("SELECT format('%I.%I %s %s', n.nspname, s.stxname, s.stxowner::regrole, s.stxkind) "
								 "FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace AND "
								 OF_USERS)},
	{"security labels", TOPIC("SELECT format('%s %s %s', classoid::regclass, provider, label) FROM pg_seclabel "
							  "WHERE objoid >= 16384")},
	{"comments", TOPIC("SELECT format('%s %s', d.classoid::regclass, d.description) FROM pg_description d "
					   "WHERE d.objoid >= 16384 AND (d.classoid IN ('pg_namespace'::regclass, 'pg_proc'::regclass) "
					   "OR d.classoid = 'pg_class'::regclass AND EXISTS (SELECT FROM " RELATIONS
					   " WHERE c.oid = d.objoid AND c.relkind NOT IN ('i', 'I')))")},
	{NULL}
};
