/*
 * deliver.h
 *		Delivers alerts to the receiver: a thread of its own, so that a slow receiver holds up nothing else.
 */
#ifndef PINGPONG_AGENT_ALERT_DELIVER_H
#define PINGPONG_AGENT_ALERT_DELIVER_H

/* Starts the thread. It does nothing while [alerts] has no url. */
extern void deliver_start(void);

#endif							/* PINGPONG_AGENT_ALERT_DELIVER_H */
