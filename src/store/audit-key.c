/* SPDX-License-Identifier: MIT */
#include "store/audit-key.h"

#include "core/chain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* On disk when this returns true: a key that is lost in a crash leaves records that nobody can verify. */
static bool write_file(const char *path, const char *data, size_t size, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	bool good;
	int code;

	if (fd < 0)
		return false;
	good = write(fd, data, size) == (ssize_t)size && fsync(fd) == 0;
	code = errno;
	if (close(fd) < 0 && good) {
		code = errno;
		good = false;
	}
	if (!good)
		unlink(path);
	errno = code;
	return good;
}

static enum mauth_status fail(const char *path, struct mauth_error *error_r)
{
	mauth_fail(error_r, MAUTH_CONFIG, errno, "audit: the key %s cannot be made: %s", path, strerror(errno));
	if (error_r != NULL)
		snprintf(error_r->advice, sizeof(error_r->advice), "make its directory (root's), name another one in audit { key_file }, or "
			 "do without: seal = false");
	return MAUTH_CONFIG;
}

enum mauth_status mauth_audit_key_create(const char *path, struct mauth_error *error_r)
{
	struct mauth_chain_key *key = mauth_chain_key_new();
	struct mauth_secret *text = mauth_chain_key_text(key);
	char *public = mauth_chain_key_public(key), *public_path = mauth_printf("%s.pub", path);
	enum mauth_status status = MAUTH_OK;

	/* A public half without its secret one is of an earlier try that failed. */
	if (access(path, F_OK) != 0)
		unlink(public_path);
	if (!write_file(public_path, public, strlen(public), 0644))
		status = fail(public_path, error_r);
	else if (!write_file(path, mauth_secret_expose(text), mauth_secret_size(text), 0600))
		status = fail(path, error_r);
	free(public_path);
	free(public);
	mauth_secret_free(&text);
	mauth_chain_key_free(&key);
	return status;
}
