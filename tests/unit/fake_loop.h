/* SPDX-License-Identifier: MIT */
#ifndef FAKE_LOOP_H
#define FAKE_LOOP_H
/* A loop whose clocks stand still until a test moves them. No descriptors. */

#include "modernauth/loop.h"

struct fake_loop;
struct fake_loop *fake_loop_new(int64_t wall_secs);
const struct mauth_loop *fake_loop_loop(struct fake_loop *loop);
/* Moves both clocks by msecs and fires the timers that fall due on the way, each at its own time. */
void fake_loop_run(struct fake_loop *loop, unsigned int msecs);
/* Moves the wall clock alone, as ntpd might. */
void fake_loop_jump(struct fake_loop *loop, int64_t secs);
/* Moves both clocks by msecs and fires nothing: the host was busy. */
void fake_loop_lag(struct fake_loop *loop, unsigned int msecs);
unsigned int fake_loop_timers(const struct fake_loop *loop);
/* Fails the test if a timer is left: somebody forgot it. */
void fake_loop_free(struct fake_loop **loop);

#endif
