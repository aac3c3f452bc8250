/* SPDX-License-Identifier: MIT */
#include "doveadm/audit-lines.h"

#include "store/audit-files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 65536u
/* A broker looks once a second whether its file was renamed, and writes to the old one until then. */
#define OLD_FILE_MSECS 2500

/* -- cutting into lines ------------------------------------------------------------------------------------- */

struct splitter {
	const struct mauth_audit_taker *taker;
	const char *file;
	uint64_t number;
	bool counts;                         /* lines, since it has seen the first one */
	struct mauth_buf part;               /* of a line whose end has not come */
	bool skipping;                       /* the rest of one that was too long */
	bool enough;
};

static bool hand_over(struct splitter *splitter, const char *data, size_t size, enum mauth_audit_line_end end)
{
	const struct mauth_audit_line line = { .file = splitter->file, .number = splitter->counts ? splitter->number : 0, .data = data,
					       .size = size, .end = end };

	splitter->enough = !splitter->taker->line(splitter->taker->context, &line);
	return !splitter->enough;
}

static bool add_part(struct splitter *splitter, const char *data, size_t size)
{
	if (splitter->skipping)
		return true;
	if (splitter->part.size + size <= MAUTH_AUDIT_LINE_MAX) {
		mauth_buf_append(&splitter->part, data, size);
		return true;
	}
	splitter->skipping = true;
	splitter->number++;
	return hand_over(splitter, data, size < 64 ? size : 64, MAUTH_AUDIT_LINE_LONG);
}

static bool end_line(struct splitter *splitter, const char *data, size_t size)
{
	bool more;

	if (splitter->part.size == 0 && !splitter->skipping && size <= MAUTH_AUDIT_LINE_MAX) {
		splitter->number++;
		return hand_over(splitter, data, size, MAUTH_AUDIT_LINE_WHOLE);
	}
	more = add_part(splitter, data, size);
	if (!splitter->skipping) {
		splitter->number++;
		more = hand_over(splitter, splitter->part.data, splitter->part.size, MAUTH_AUDIT_LINE_WHOLE);
	}
	splitter->skipping = false;
	mauth_buf_clear(&splitter->part);
	return more;
}

static bool split(void *context, const char *data, size_t size)
{
	struct splitter *splitter = context;
	const char *end = data + size, *newline;

	while (data < end) {
		newline = memchr(data, '\n', (size_t)(end - data));
		if (newline == NULL)
			return add_part(splitter, data, (size_t)(end - data));
		if (!end_line(splitter, data, (size_t)(newline - data)))
			return false;
		data = newline + 1;
	}
	return true;
}

static void tell_progress(void *context, uint64_t octets)
{
	const struct splitter *splitter = context;

	if (splitter->taker->progress != NULL)
		splitter->taker->progress(splitter->taker->context, octets);
}

enum mauth_status mauth_audit_lines(const char *path, const struct mauth_audit_taker *taker, struct mauth_error *error_r)
{
	struct splitter splitter = { .taker = taker, .file = path, .counts = true };
	const struct mauth_audit_reader reader = { .data = split, .progress = tell_progress, .context = &splitter };
	enum mauth_status status = mauth_audit_read(path, &reader, error_r);

	if (splitter.part.size > 0 && !splitter.skipping && !splitter.enough) {
		splitter.number++;
		(void)hand_over(&splitter, splitter.part.data, splitter.part.size, MAUTH_AUDIT_LINE_CUT);
	}
	mauth_buf_free(&splitter.part);
	return status;
}

/* -- following ---------------------------------------------------------------------------------------------- */

struct mauth_audit_follow {
	char *path;
	int fd;                              /* -1: none is open */
	off_t offset;
	dev_t dev;
	ino_t ino;
	int64_t renamed_at;                  /* when it was first seen that path is another file; -1: it is not */
	struct splitter splitter;
	char data[CHUNK];
};

static void open_file(struct mauth_audit_follow *follow)
{
	struct stat st;

	follow->fd = open(follow->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (follow->fd < 0)
		return;
	if (fstat(follow->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(follow->fd);
		follow->fd = -1;
		return;
	}
	follow->dev = st.st_dev;
	follow->ino = st.st_ino;
	follow->offset = 0;
	follow->renamed_at = -1;
	follow->splitter.number = 0;
	follow->splitter.counts = true;
	follow->splitter.skipping = false;
	mauth_buf_clear(&follow->splitter.part);
}

struct mauth_audit_follow *mauth_audit_follow_new(const char *path)
{
	struct mauth_audit_follow *follow = mauth_new(sizeof(*follow));

	follow->path = mauth_strdup(path);
	follow->splitter.file = follow->path;
	open_file(follow);
	return follow;
}

void mauth_audit_follow_free(struct mauth_audit_follow **follow)
{
	if (*follow == NULL)
		return;
	if ((*follow)->fd >= 0)
		close((*follow)->fd);
	mauth_buf_free(&(*follow)->splitter.part);
	free((*follow)->path);
	free(*follow);
	*follow = NULL;
}

bool mauth_audit_follow_has(const struct mauth_audit_follow *follow, const char *path)
{
	struct stat st;

	return follow->fd >= 0 && stat(path, &st) == 0 && st.st_dev == follow->dev && st.st_ino == follow->ino;
}

void mauth_audit_follow_back(struct mauth_audit_follow *follow, uint64_t octets)
{
	struct splitter *splitter = &follow->splitter;
	struct stat st;

	if (follow->fd < 0 || fstat(follow->fd, &st) < 0)
		return;
	mauth_buf_clear(&splitter->part);
	splitter->number = 0;
	splitter->counts = octets >= (uint64_t)st.st_size;
	follow->offset = splitter->counts ? 0 : st.st_size - (off_t)octets;
	splitter->skipping = false;
	if (splitter->counts)
		return;
	/* From the octet before: if that is the end of a line, nothing of the next one is lost. */
	follow->offset--;
	splitter->skipping = true;
}

/* "copytruncate" of logrotate. */
static void look_for_cut(struct mauth_audit_follow *follow)
{
	struct splitter *splitter = &follow->splitter;
	struct stat st;

	if (fstat(follow->fd, &st) < 0 || st.st_size >= follow->offset)
		return;
	follow->offset = 0;
	splitter->number = 0;
	splitter->counts = true;
	splitter->skipping = false;
}

/* Half a line is read again when there is more: the broker may take it back, and write another one in its place. */
static void leave_part(struct mauth_audit_follow *follow)
{
	follow->offset -= (off_t)follow->splitter.part.size;
	mauth_buf_clear(&follow->splitter.part);
}

static bool read_to_end(struct mauth_audit_follow *follow)
{
	ssize_t got;

	look_for_cut(follow);
	for (;;) {
		do
			got = pread(follow->fd, follow->data, sizeof(follow->data), follow->offset);
		while (got < 0 && errno == EINTR);
		if (got <= 0) {
			leave_part(follow);
			return true;
		}
		follow->offset += got;
		if (!split(&follow->splitter, follow->data, (size_t)got))
			return false;
	}
}

/* Files that were made and renamed again since ours was: those in the list between it and path. */
static bool read_between(struct mauth_audit_follow *follow, const struct mauth_audit_taker *taker)
{
	char **paths;
	size_t count = mauth_audit_list(follow->path, &paths), i = 0, found = count;
	bool more = true;

	for (i = 0; i < count && found == count; i++) {
		if (mauth_audit_follow_has(follow, paths[i]))
			found = i;
	}
	for (i = found + 1; more && i < count && strcmp(paths[i], follow->path) != 0; i++)
		more = mauth_audit_lines(paths[i], taker, NULL) == MAUTH_OK && !follow->splitter.enough;
	for (i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
	return more;
}

bool mauth_audit_follow_read(struct mauth_audit_follow *follow, const struct mauth_audit_taker *taker, int64_t now_msecs)
{
	follow->splitter.taker = taker;
	if (follow->fd < 0)
		open_file(follow);
	if (follow->fd < 0)
		return true;
	if (!read_to_end(follow))
		return false;
	if (access(follow->path, F_OK) < 0 || mauth_audit_follow_has(follow, follow->path)) {
		follow->renamed_at = -1;
		return true;
	}
	if (follow->renamed_at < 0)
		follow->renamed_at = now_msecs;
	if (now_msecs < follow->renamed_at + OLD_FILE_MSECS)
		return true;
	(void)read_between(follow, taker);
	close(follow->fd);
	open_file(follow);
	return follow->fd < 0 || read_to_end(follow);
}
