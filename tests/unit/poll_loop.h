/* SPDX-License-Identifier: MIT */
#ifndef POLL_LOOP_H
#define POLL_LOOP_H
/* A real event loop on poll(2), for tests and tools that need descriptors. Real clocks, one thread. */

#include "modernauth/loop.h"

struct poll_loop;

struct poll_loop *poll_loop_new(void);
/* Timers and watches that are still there are freed without being called. */
void poll_loop_free(struct poll_loop **loop);
const struct mauth_loop *poll_loop_loop(struct poll_loop *loop);

/* Runs until *done or for at least msecs. Gives *done. */
bool poll_loop_run_until(struct poll_loop *loop, const bool *done, unsigned int msecs);

/* What is still registered: a test that ends with anything else than 0 has leaked. */
unsigned int poll_loop_timers(const struct poll_loop *loop);
unsigned int poll_loop_watches(const struct poll_loop *loop);

#endif
