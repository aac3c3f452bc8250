/* SPDX-License-Identifier: MIT */
#include "store/text-file.h"

#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum mauth_status fail(struct mauth_error *error_r, const char *path)
{
	return mauth_fail(error_r, MAUTH_CONFIG, errno, "%s: %s", path, strerror(errno));
}

static void take_stamp(const struct stat *st, struct mauth_file_stamp *stamp_r)
{
	*stamp_r = (struct mauth_file_stamp){
		.device = (uint64_t)st->st_dev, .inode = (uint64_t)st->st_ino, .size = (uint64_t)st->st_size,
		.changed_nsecs = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec,
		.modified_nsecs = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
	};
}

static enum mauth_status look(void *context, const char *path, struct mauth_file_stamp *stamp_r,
			      struct mauth_error *error_r)
{
	struct stat st;

	(void)context;
	if (stat(path, &st) < 0)
		return fail(error_r, path);
	take_stamp(&st, stamp_r);
	return MAUTH_OK;
}

static enum mauth_status read_octets(int fd, const char *path, char *text, size_t size, struct mauth_error *error_r)
{
	size_t at = 0;
	ssize_t got;

	while (at < size) {
		got = read(fd, text + at, size - at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(error_r, path);
		if (got == 0)
			return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "%s: changed while it was read", path);
		at += (size_t)got;
	}
	return MAUTH_OK;
}

static enum mauth_status read_fd(int fd, const char *path, size_t max, char **text_r, size_t *size_r,
				 struct mauth_file_stamp *stamp_r, struct mauth_error *error_r)
{
	struct mauth_file_stamp after;
	enum mauth_status status;
	struct stat st;
	char *text;

	if (fstat(fd, &st) < 0)
		return fail(error_r, path);
	if (!S_ISREG(st.st_mode))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s is not a regular file", path);
	if ((uint64_t)st.st_size > max)
		return mauth_fail(error_r, MAUTH_CONFIG, EFBIG, "%s: more than %zu octets", path, max);
	take_stamp(&st, stamp_r);
	text = mauth_new((size_t)st.st_size + 1);
	status = read_octets(fd, path, text, (size_t)st.st_size, error_r);
	if (status == MAUTH_OK && fstat(fd, &st) < 0)
		status = fail(error_r, path);
	take_stamp(&st, &after);
	if (status == MAUTH_OK && (after.size != stamp_r->size || after.modified_nsecs != stamp_r->modified_nsecs))
		status = mauth_fail(error_r, MAUTH_TEMPORARY, 0, "%s: changed while it was read", path);
	if (status != MAUTH_OK) {
		free(text);
		return status;
	}
	*text_r = text;
	*size_r = (size_t)stamp_r->size;
	return MAUTH_OK;
}

static enum mauth_status read_file(void *context, const char *path, size_t max, char **text_r, size_t *size_r,
				   struct mauth_file_stamp *stamp_r, struct mauth_error *error_r)
{
	/* O_NONBLOCK: opening a FIFO must not wait for a writer before it is refused. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	enum mauth_status status;

	(void)context;
	if (fd < 0)
		return fail(error_r, path);
	status = read_fd(fd, path, max, text_r, size_r, stamp_r, error_r);
	(void)close(fd);
	return status;
}

const struct mauth_files mauth_text_files = { .look = look, .read = read_file };
