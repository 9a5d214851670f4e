/*
 * login.h - sessions that logged in while the server was sealed.
 */
#ifndef PINGPONG_GATE_LOGIN_H
#define PINGPONG_GATE_LOGIN_H

/* This session is one, and read-only by default for that reason. Written by login.c only. */
extern bool gate_read_only_login;

/*
 * Undoes that for the present transaction if the gate is open. To be called
 * before each statement of such a session, after the gate's own check.
 */
extern void gate_login_writes_again(void);

/* To be called before each commit of any session, and after each of its transactions. */
extern void gate_login_commits(void);
extern void gate_login_ended(bool committed);

#endif
