/*
 * status.h
 *		pingpong-agent status [RUN]: what the agent of this host does for a run.
 */
#ifndef PINGPONG_AGENT_STATUS_STATUS_H
#define PINGPONG_AGENT_STATUS_STATUS_H

/* argv[0] is "status"; path: the configuration, if it is not named there. Returns the exit status. */
extern int	status_run(int argc, char **argv, const char *path);

#endif							/* PINGPONG_AGENT_STATUS_STATUS_H */
