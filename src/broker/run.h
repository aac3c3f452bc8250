/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_BROKER_RUN_H
#define MAUTH_BROKER_RUN_H
/* The host's side of modernauth/run.h: child processes, one at a time, beside the loop. */

#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/run.h"

struct mauth_runner;
struct mauth_runner *mauth_runner_new(const struct mauth_loop *loop, const struct mauth_log *log);
/* What waits is not run, and said. A process under way goes on by itself, no longer than its time. */
void mauth_runner_free(struct mauth_runner **runner);
const struct mauth_run *mauth_runner_run(struct mauth_runner *runner);

#endif
