/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_WORKER_H
#define MODERNAUTH_WORKER_H
/* Work that takes longer than a turn of the loop (a password hash, a commit to disk), done elsewhere by the host: in a
 * thread of its own, one job at a time, in the order of submission. src/store/worker.c is the real one, tests run jobs
 * when their virtual clock moves. */

#include "modernauth/modernauth.h"

struct mauth_worker {
	/* work(job) runs outside of the loop and touches nothing but job; done(job) runs in the loop afterwards, never
	   before submit() has returned. Both are called exactly once; job is the caller's until then, and done's then. */
	void (*submit)(void *context, void (*work)(void *job), void (*done)(void *job), void *job);
	/* Jobs submitted whose done() has not run yet. */
	unsigned int (*pending)(const void *context);
	void *context;
};

#endif
