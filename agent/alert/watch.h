/*
 * watch.h
 *		Raises the alerts that no database can raise: its server does not answer, another agent or its host is gone.
 */
#ifndef PINGPONG_AGENT_ALERT_WATCH_H
#define PINGPONG_AGENT_ALERT_WATCH_H

/* Starts the thread. It does nothing while [alerts] has no url. */
extern void watch_start(void);

#endif							/* PINGPONG_AGENT_ALERT_WATCH_H */
