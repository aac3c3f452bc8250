/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_OUT_FILE_H
#define MAUTH_DOVEADM_OUT_FILE_H
/* A file that appears as a whole or not at all, readable by its owner only. */

#include "modernauth/modernauth.h"

#include <stdio.h>

struct mauth_out_file {
	FILE *file;                      /* write here; errors are noticed by commit */
	char *path, *temp;
};

/* Opens a temporary file beside path. MAUTH_CONFIG if it cannot be, or if path is something other than a file. */
enum mauth_status mauth_out_file_begin(struct mauth_out_file *out, const char *path, struct mauth_error *error_r);
/* Everything is on the disk under its name when this returns MAUTH_OK. Without replace an existing file is an error.
 * Frees out in any case. */
enum mauth_status mauth_out_file_commit(struct mauth_out_file *out, bool replace, struct mauth_error *error_r);
void mauth_out_file_abort(struct mauth_out_file *out);

#endif
