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
	/* For a host that is about to end: waits up to msecs for a job to be worked on, and calls its done(). false: none
	   was, or there is none. Not to be called from a done(). NULL: jobs are only done in the loop. */
	bool (*wait)(void *context, unsigned int msecs);
};

#endif
