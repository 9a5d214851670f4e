/*
 * peers.h - keeps the file pingpong.peers, by which the next start of this server knows whom to ask (gate/peers.h).
 */
#ifndef PINGPONG_WORKER_PEERS_H
#define PINGPONG_WORKER_PEERS_H

/*
 * The worker of a primary whose gate is open: writes the file if nodes or epoch have changed; gives the longest nap
 * in ms. `ready`: the extension is there; without it no node is registered, and the next start asks nobody. May raise
 * an error, of a statement or of a file: it is tried again later.
 */
extern long peers_advance(bool ready);

#endif
