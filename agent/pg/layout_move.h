/*
 * layout_move.h
 *		Hiding a data directory, and exchanging it for another.
 *
 * layout_repair() finishes work that was interrupted at any point.
 */
#ifndef PINGPONG_AGENT_PG_LAYOUT_MOVE_H
#define PINGPONG_AGENT_PG_LAYOUT_MOVE_H

#include "agent/job/action.h"
#include "agent/pg/layout.h"

/* Finishes what was interrupted and can be finished: what stays is WHOLE or hidden. Not while a server runs. */
extern int	layout_repair(ActionContext *ctx);

/*
 * A server was started between the first rename of a move and the look for it: it gets its PG_VERSION back, and what
 * was begun is void.
 */
extern int	layout_give_back(ActionContext *ctx);

extern int	layout_hide(ActionContext *ctx);
extern int	layout_show(ActionContext *ctx);
extern int	layout_swap(ActionContext *ctx, const Layout *layout);

#endif							/* PINGPONG_AGENT_PG_LAYOUT_MOVE_H */
