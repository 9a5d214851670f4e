/*
 * hooks.h - where statements, functions and commits meet the gate.
 */
#ifndef PINGPONG_GATE_HOOKS_H
#define PINGPONG_GATE_HOOKS_H

/* pingpong.bypass_gate */
extern bool gate_bypass;

/* Installs the hooks, in front of those that are there; once, as the module is loaded. */
extern void gate_init(void);

#endif
