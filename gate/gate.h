/*
 * gate.h - all that the write gate offers.
 */
#ifndef PINGPONG_GATE_H
#define PINGPONG_GATE_H

#include "gate/appliers.h"
#include "gate/clock.h"
#include "gate/closing.h"
#include "gate/drain.h"
#include "gate/hooks.h"
#include "gate/lag.h"
#include "gate/login.h"
#include "gate/refuse.h"
#include "gate/seal.h"
#include "gate/sealing.h"
#include "gate/state.h"

#endif
