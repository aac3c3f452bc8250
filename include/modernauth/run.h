/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_RUN_H
#define MODERNAUTH_RUN_H
/* Programs of the admin's, run by the host: without a shell, with nothing of ours but what is named here. src/broker/run.c is
 * the real one. */

#include "modernauth/modernauth.h"

struct mauth_run_job {
	const char *what;                    /* for the log: "notice about rule \"scanners\"" */
	const char *const *argv;             /* NULL-terminated; argv[0] is a path */
	const char *const *env;              /* NULL-terminated "NAME=value"; besides them only PATH is set */
	const char *input;                   /* its stdin, size octets */
	size_t size;
	unsigned int timeout_msecs;          /* then it is killed, with its children */
};

struct mauth_run {
	/* Copies job, which is run after those before it. How it ends is logged, and nobody waits for it. */
	void (*start)(void *context, const struct mauth_run_job *job);
	void *context;
};

#endif
