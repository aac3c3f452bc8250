/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_KEY_FILE_H
#define MAUTH_KEY_FILE_H
/* The file of the keys that seal (core/seal.h knows its text): a small secret on disk. */

#include "modernauth/modernauth.h"

#define MAUTH_KEY_FILE_MAX 65536u

/* The content, which the caller frees. MAUTH_USER_UNKNOWN: there is no such file. MAUTH_CONFIG: it is not a regular
 * file of root or the caller that nobody else may read or write, or it is too large; MAUTH_TEMPORARY: it cannot be
 * read. */
enum mauth_status mauth_key_file_read(const char *path, struct mauth_secret **secret_r, struct mauth_error *error_r);
/* Puts secret there as a whole, 0600, or leaves everything as it was; safe on disk once this returns MAUTH_OK.
 * create_only: MAUTH_CONFIG with code EEXIST if something of that name is there, which stays. Written by root the file
 * belongs to whom the one it replaces belonged to, or else to the owner of the directory: an admin's command must not
 * take the keys away from the service. */
enum mauth_status mauth_key_file_write(const char *path, const struct mauth_secret *secret, bool create_only,
				       struct mauth_error *error_r);

#endif
