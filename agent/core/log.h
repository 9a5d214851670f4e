/*
 * log.h
 *		The agent's log: lines on stderr, each with time and level; never a secret in one.
 */
#ifndef PINGPONG_AGENT_CORE_LOG_H
#define PINGPONG_AGENT_CORE_LOG_H

enum
{
	LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG
};

extern void log_set_level(int level);
extern void log_line(int level, const char *format,...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif							/* PINGPONG_AGENT_CORE_LOG_H */
