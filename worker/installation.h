/*
 * installation.h - can requests be made in this database, and by this server? ERROR 55000 with the remedy if not.
 */
#ifndef PINGPONG_INSTALLATION_H
#define PINGPONG_INSTALLATION_H

/* The module is loaded, and this is the database of its worker. */
extern void installation_require_database(void);

/*
 * A worker runs that takes requests from here; one that is just starting is waited for, for 3 s. A standby is
 * refused, unless the request is of standbys.
 */
extern void installation_require_worker(bool of_standby);

#endif
