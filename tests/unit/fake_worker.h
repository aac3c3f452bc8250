/* SPDX-License-Identifier: MIT */
#ifndef FAKE_WORKER_H
#define FAKE_WORKER_H
/* A worker without a thread: a job is worked on and done in a turn of the loop, or when the test says so. */

#include "modernauth/loop.h"
#include "modernauth/worker.h"

struct fake_worker;
/* loop NULL: jobs run by fake_worker_run() only, as if the worker were always held. */
struct fake_worker *fake_worker_new(const struct mauth_loop *loop);
const struct mauth_worker *fake_worker_worker(const struct fake_worker *worker);
/* Fails the test if a job is left: somebody's done() was never called. */
void fake_worker_free(struct fake_worker **worker);

/* Held: jobs wait for fake_worker_run(). Otherwise those that wait go on with the loop, one in a turn. */
void fake_worker_hold(struct fake_worker *worker, bool hold);
/* Sticks: nobody can wait for a job, as if each took for ever. */
void fake_worker_stick(struct fake_worker *worker, bool stick);
/* Works on up to max of the jobs that wait now, in their order, and returns how many there were. */
unsigned int fake_worker_run(struct fake_worker *worker, unsigned int max);
/* Only works, as the thread does, on the oldest job that has not been worked on. false: there is none. Its done() comes
 * with fake_worker_run(), or the loop. */
bool fake_worker_work(struct fake_worker *worker);
/* Jobs done so far, and those that wait. */
unsigned int fake_worker_done(const struct fake_worker *worker);
unsigned int fake_worker_waiting(const struct fake_worker *worker);

#endif
