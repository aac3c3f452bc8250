/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_FILES_H
#define MODERNAUTH_FILES_H
/* Files that change while we run. Called from a worker (worker.h), so implementations touch nothing but what they are given.
 * src/store/text-file.c is the real one, tests have files in memory. */

#include "modernauth/modernauth.h"

/* Tells one content of a file from another without reading it. */
struct mauth_file_stamp {
	uint64_t device, inode, size;
	int64_t changed_nsecs, modified_nsecs;
};

struct mauth_files {
	/* MAUTH_CONFIG if there is no such file, or it cannot be looked at. */
	enum mauth_status (*look)(void *context, const char *path, struct mauth_file_stamp *stamp_r,
				  struct mauth_error *error_r);
	/* The whole file, followed by a NUL that is not counted; the caller frees. stamp_r is that of what was read.
	   MAUTH_CONFIG: it is larger than max, no file, cannot be read; MAUTH_TEMPORARY: it changed meanwhile. */
	enum mauth_status (*read)(void *context, const char *path, size_t max, char **text_r, size_t *size_r,
				  struct mauth_file_stamp *stamp_r, struct mauth_error *error_r);
	void *context;
};

#endif
