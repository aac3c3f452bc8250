/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_STORE_AUDIT_FILES_H
#define MAUTH_STORE_AUDIT_FILES_H
/* Audit files as logrotate leaves them: plain, gzip or zstd, told apart by how they begin. Without Dovecot. */

#include "modernauth/modernauth.h"

struct mauth_audit_reader {
	/* A part of what is in the file; false: that is enough. */
	bool (*data)(void *context, const char *data, size_t size);
	/* So many octets of the file itself have been read. May be NULL. */
	void (*progress)(void *context, uint64_t octets);
	void *context;
};
/* MAUTH_TEMPORARY: it cannot be read, or its compression is broken; then what came before has been handed over. */
enum mauth_status mauth_audit_read(const char *path, const struct mauth_audit_reader *reader, struct mauth_error *error_r);

/* path and the files that logrotate has made of it (PATH.1, PATH.2.gz, PATH-20261126.zst), the oldest first by the time of their first
 * record; the caller frees each and the array. 0: there is none. */
size_t mauth_audit_list(const char *path, char ***paths_r);
/* When the first record of the file was made, as it says it; "" if it does not begin with one. */
#define MAUTH_AUDIT_TIME_SIZE 40u
void mauth_audit_first_time(const char *path, char time_r[static MAUTH_AUDIT_TIME_SIZE]);
/* Of files in that order: the first whose name says another one, since somebody has exchanged them; NULL: none. path: of the audit. */
const char *mauth_audit_misplaced(const char *path, const char *const *paths, size_t count);
/* Sizes together, for a progress bar. */
uint64_t mauth_audit_size(const char *const *paths, size_t count);

#endif
