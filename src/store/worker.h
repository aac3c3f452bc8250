/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_STORE_WORKER_H
#define MAUTH_STORE_WORKER_H
/* The real struct mauth_worker: one thread beside a loop that has descriptors. */

#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/worker.h"

struct mauth_worker_thread;

/* Starts nothing yet: the first submit() does, so that the process may fork and drop its privileges before. No signal
 * is delivered to the thread. If it cannot be started, jobs run in the loop, each in a turn of its own, which is
 * logged. */
struct mauth_worker_thread *mauth_worker_thread_new(const struct mauth_loop *loop, const struct mauth_log *log);
/* Lives as long as thread. */
const struct mauth_worker *mauth_worker_thread_worker(struct mauth_worker_thread *thread);
/* Waits for every job and calls its done() first, those that a done() submits included. Not to be called from a
 * done(). */
void mauth_worker_thread_free(struct mauth_worker_thread **thread);

#endif
