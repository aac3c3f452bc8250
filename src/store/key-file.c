/* SPDX-License-Identifier: MIT */
#include "store/key-file.h"

#include "store/advise.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- reading -- */

static enum mauth_status cannot_open(const char *path, int code, struct mauth_error *error_r)
{
	switch (code) {
	case ENOENT:
		return mauth_fail(error_r, MAUTH_USER_UNKNOWN, code, "key file %.300s: %s", path, strerror(code));
	case ELOOP:
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, code, "key file %.300s is a symbolic link",
							path),
				    "a symbolic link is not followed: name the file itself");
	case EACCES:
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, code, "key file %.300s: %s", path,
							strerror(code)),
				    "give it to the user of the service: chown modernauth %.300s", path);
	default:
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_TEMPORARY, code, "key file %.300s: %s", path,
							strerror(code)), "mend what the error says");
	}
}

static enum mauth_status check(const char *path, const struct stat *st, struct mauth_error *error_r)
{
	if (!S_ISREG(st->st_mode))
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0, "key file %.300s is not a regular file",
							path), "name a file");
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0,
							"key file %.300s belongs to uid %u, who can change it", path,
							(unsigned int)st->st_uid),
				    "look who did that, then give it to the user of the service: chown modernauth "
				    "%.300s", path);
	if ((st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0,
							"key file %.300s is accessible to others (mode %04o)", path,
							(unsigned int)st->st_mode & 07777),
				    "chmod 0600 %.300s; if others may have read it, replace the key", path);
	if (st->st_size > (off_t)MAUTH_KEY_FILE_MAX)
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0,
							"key file %.300s has more than %u octets", path,
							MAUTH_KEY_FILE_MAX),
				    "this is no key file: restore it from its copy");
	return MAUTH_OK;
}

/* false: errno says why; 0 for more than fits. */
static bool read_all(int fd, struct mauth_buf *buf)
{
	char chunk[4096];
	ssize_t got;

	for (;;) {
		got = read(fd, chunk, sizeof(chunk));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		mauth_buf_append(buf, chunk, (size_t)got);
		if (buf->size > MAUTH_KEY_FILE_MAX) {
			errno = 0;
			got = -1;
			break;
		}
	}
	mauth_wipe(chunk, sizeof(chunk));
	return got == 0;
}

static enum mauth_status read_open(int fd, const char *path, struct mauth_secret **secret_r,
				   struct mauth_error *error_r)
{
	struct mauth_buf buf = { 0 };
	struct stat st;
	enum mauth_status status;

	if (fstat(fd, &st) < 0)
		return cannot_open(path, errno, error_r);
	status = check(path, &st, error_r);
	if (status != MAUTH_OK)
		return status;
	if (read_all(fd, &buf))
		*secret_r = mauth_secret_new(buf.data, buf.size);
	else
		status = cannot_open(path, errno != 0 ? errno : EFBIG, error_r);
	mauth_buf_free(&buf);
	return status;
}

enum mauth_status mauth_key_file_read(const char *path, struct mauth_secret **secret_r, struct mauth_error *error_r)
{
	/* O_NONBLOCK: a FIFO must be refused, not waited for. */
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	enum mauth_status status;

	if (fd < 0)
		return cannot_open(path, errno, error_r);
	status = read_open(fd, path, secret_r, error_r);
	close(fd);
	return status;
}

/* -- writing -- */

static enum mauth_status cannot_write(const char *path, const char *what, int code, struct mauth_error *error_r)
{
	enum mauth_status status = mauth_fail(error_r, MAUTH_TEMPORARY, code, "key file %.300s: %s: %s", path, what,
					      strerror(code));

	switch (code) {
	case EEXIST:
		mauth_fail(error_r, MAUTH_CONFIG, code, "key file %.300s: there is one already", path);
		return mauth_advise(error_r, MAUTH_CONFIG, "it is not overwritten: move it away if it is not needed");
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return mauth_advise(error_r, status, "free some space");
	case ENOENT:
	case EACCES:
	case EPERM:
		return mauth_advise(error_r, status, "its directory must exist and belong to the user of the service: "
				    "install -d -m 0700 -o modernauth -g modernauth DIRECTORY");
	default:
		return mauth_advise(error_r, status, "mend what the error says");
	}
}

/* The directory of path, which the caller frees. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return mauth_strdup(".");
	return slash == path ? mauth_strdup("/") : mauth_strndup(path, (size_t)(slash - path));
}

static bool give_to_owner(int fd, const char *path, const char *directory)
{
	struct stat st;

	if (geteuid() != 0)
		return true;
	if (lstat(path, &st) < 0 && stat(directory, &st) < 0)
		return false;
	return fchown(fd, st.st_uid, st.st_gid) == 0;
}

static bool write_all(int fd, const struct mauth_secret *secret)
{
	const char *pos = mauth_secret_expose(secret), *end = pos + mauth_secret_size(secret);

	while (pos < end) {
		ssize_t written = write(fd, pos, (size_t)(end - pos));

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return false;
		pos += written;
	}
	return true;
}

/* What failed, NULL if nothing did; errno says why. */
static const char *fill_temporary(const char *temporary, const char *path, const char *directory,
				  const struct mauth_secret *secret)
{
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	const char *failed = NULL;
	int code;

	if (fd < 0)
		return "cannot create a temporary file beside it";
	/* The umask may have taken away even our own access. */
	if (fchmod(fd, 0600) < 0 || !give_to_owner(fd, path, directory))
		failed = "cannot set its owner";
	else if (!write_all(fd, secret) || fsync(fd) < 0)
		failed = "cannot write it";
	code = errno;
	if (close(fd) < 0 && failed == NULL) {
		failed = "cannot write it";
		code = errno;
	}
	errno = code;
	return failed;
}

static bool sync_directory(const char *directory)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code;
	bool ok;

	if (fd < 0)
		return false;
	ok = fsync(fd) == 0;
	code = errno;
	close(fd);
	errno = code;
	return ok;
}

/* Gives temporary its name. link() does not replace, which rename() cannot be kept from everywhere. */
static bool put_in_place(const char *temporary, const char *path, bool create_only)
{
	if (!create_only)
		return rename(temporary, path) == 0;
	return link(temporary, path) == 0;
}

static enum mauth_status replace(const char *temporary, const char *path, const char *directory,
				 const struct mauth_secret *secret, bool create_only, struct mauth_error *error_r)
{
	const char *failed = fill_temporary(temporary, path, directory, secret);
	enum mauth_status status = MAUTH_OK;

	if (failed == NULL && !put_in_place(temporary, path, create_only))
		failed = "cannot put it in its place";
	if (failed != NULL)
		status = cannot_write(path, failed, errno, error_r);
	/* Gone already after a rename(). */
	if (failed != NULL || create_only)
		(void)unlink(temporary);
	if (status == MAUTH_OK && !sync_directory(directory))
		status = cannot_write(path, "is written, but may be gone after a power failure", errno, error_r);
	return status;
}

enum mauth_status mauth_key_file_write(const char *path, const struct mauth_secret *secret, bool create_only,
				       struct mauth_error *error_r)
{
	uint64_t random;
	char *temporary, *directory;
	enum mauth_status status;

	/* A name of its own: two who write at the same time must not meet in one file. */
	mauth_random(&random, sizeof(random));
	temporary = mauth_printf("%s.%016llx.tmp", path, (unsigned long long)random);
	directory = directory_of(path);
	status = replace(temporary, path, directory, secret, create_only, error_r);
	free(directory);
	free(temporary);
	return status;
}
