/* SPDX-License-Identifier: MIT */
#include "store/audit-files.h"

#include "core/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define CHUNK 262144u
#define FILES_MAX 10000u

static const unsigned char gzip_magic[] = { 0x1f, 0x8b };
static const unsigned char zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };

struct input {
	int fd;
	const char *path;
	uint64_t read;
	unsigned char data[CHUNK];
	size_t size;
	char out[CHUNK];
};

static enum mauth_status fail(const struct input *input, const char *why, struct mauth_error *error_r)
{
	return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "%s: %s", input->path, why);
}

/* The next part of the file itself; size 0 at its end. */
static enum mauth_status fill(struct input *input, const struct mauth_audit_reader *reader, struct mauth_error *error_r)
{
	ssize_t got;

	do
		got = read(input->fd, input->data, sizeof(input->data));
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return fail(input, strerror(errno), error_r);
	input->size = (size_t)got;
	input->read += (uint64_t)got;
	if (reader->progress != NULL)
		reader->progress(reader->context, input->read);
	return MAUTH_OK;
}

static enum mauth_status read_plain(struct input *input, const struct mauth_audit_reader *reader, struct mauth_error *error_r)
{
	enum mauth_status status = MAUTH_OK;

	while (status == MAUTH_OK && input->size > 0 &&
	       reader->data(reader->context, (const char *)input->data, input->size))
		status = fill(input, reader, error_r);
	return status;
}

static enum mauth_status read_gzip(struct input *input, const struct mauth_audit_reader *reader, struct mauth_error *error_r)
{
	z_stream stream = { 0 };
	enum mauth_status status = MAUTH_OK;
	int result = Z_OK;

	/* 16: a gzip header. */
	if (inflateInit2(&stream, 15 + 16) != Z_OK)
		return fail(input, "no memory for gzip", error_r);
	while (status == MAUTH_OK && input->size > 0) {
		stream.next_in = input->data;
		stream.avail_in = (unsigned int)input->size;
		while (stream.avail_in > 0) {
			/* Files that were appended to are several streams. */
			if (result == Z_STREAM_END)
				(void)inflateReset(&stream);
			stream.next_out = (unsigned char *)input->out;
			stream.avail_out = sizeof(input->out);
			result = inflate(&stream, Z_NO_FLUSH);
			if (result != Z_OK && result != Z_STREAM_END) {
				(void)inflateEnd(&stream);
				return fail(input, "broken gzip data", error_r);
			}
			if (!reader->data(reader->context, input->out, sizeof(input->out) - stream.avail_out)) {
				(void)inflateEnd(&stream);
				return MAUTH_OK;
			}
		}
		status = fill(input, reader, error_r);
	}
	(void)inflateEnd(&stream);
	if (status == MAUTH_OK && result != Z_STREAM_END)
		return fail(input, "gzip data ends in the middle", error_r);
	return status;
}

static enum mauth_status read_zstd(struct input *input, const struct mauth_audit_reader *reader, struct mauth_error *error_r)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	enum mauth_status status = MAUTH_OK;
	size_t left = 0;

	if (stream == NULL)
		return fail(input, "no memory for zstd", error_r);
	while (status == MAUTH_OK && input->size > 0) {
		ZSTD_inBuffer in = { input->data, input->size, 0 };

		while (in.pos < in.size) {
			ZSTD_outBuffer out = { input->out, sizeof(input->out), 0 };

			left = ZSTD_decompressStream(stream, &out, &in);
			if (ZSTD_isError(left)) {
				ZSTD_freeDStream(stream);
				return fail(input, ZSTD_getErrorName(left), error_r);
			}
			if (!reader->data(reader->context, input->out, out.pos)) {
				ZSTD_freeDStream(stream);
				return MAUTH_OK;
			}
		}
		status = fill(input, reader, error_r);
	}
	ZSTD_freeDStream(stream);
	if (status == MAUTH_OK && left != 0)
		return fail(input, "zstd data ends in the middle", error_r);
	return status;
}

static bool begins(const struct input *input, const unsigned char *magic, size_t size)
{
	return input->size >= size && memcmp(input->data, magic, size) == 0;
}

enum mauth_status mauth_audit_read(const char *path, const struct mauth_audit_reader *reader, struct mauth_error *error_r)
{
	struct input *input = mauth_new(sizeof(*input));
	enum mauth_status status;
	struct stat st;

	input->path = path;
	input->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (input->fd < 0 || fstat(input->fd, &st) < 0)
		status = fail(input, strerror(errno), error_r);
	else if (!S_ISREG(st.st_mode))
		status = fail(input, "not a regular file", error_r);
	else
		status = fill(input, reader, error_r);
	if (status == MAUTH_OK) {
		if (begins(input, gzip_magic, sizeof(gzip_magic)))
			status = read_gzip(input, reader, error_r);
		else if (begins(input, zstd_magic, sizeof(zstd_magic)))
			status = read_zstd(input, reader, error_r);
		else
			status = read_plain(input, reader, error_r);
	}
	if (input->fd >= 0)
		close(input->fd);
	free(input);
	return status;
}

/* -- which files -------------------------------------------------------------------------------------------- */

struct candidate {
	char *path;
	char time[MAUTH_AUDIT_TIME_SIZE];                     /* of the first record: RFC 3339 in UTC is in order as text */
};

/* Enough of a file for its first record's time, which every record begins with. */
static bool take_time(void *context, const char *data, size_t size)
{
	static const char begin[] = "{\"@timestamp\":\"";
	char *time = context;
	size_t length;

	if (size < sizeof(begin) - 1 || memcmp(data, begin, sizeof(begin) - 1) != 0)
		return false;
	data += sizeof(begin) - 1;
	length = strnlen(data, size - (sizeof(begin) - 1));
	snprintf(time, MAUTH_AUDIT_TIME_SIZE, "%.*s", (int)(length < 30 ? length : 30), data);
	time[strcspn(time, "\"")] = '\0';
	return false;
}

void mauth_audit_first_time(const char *path, char time_r[static MAUTH_AUDIT_TIME_SIZE])
{
	const struct mauth_audit_reader reader = { .data = take_time, .context = time_r };

	time_r[0] = '\0';
	(void)mauth_audit_read(path, &reader, NULL);
}

static int compare(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;
	int order = strcmp(left->time, right->time);

	return order != 0 ? order : strcmp(right->path, left->path);
}

/* NAME.1, NAME.1.gz, NAME-20261126.zst; not NAME.torn, nor a file that only begins alike. */
static bool is_rotated(const char *name, const char *base, size_t size)
{
	if (strncmp(name, base, size) != 0 || (name[size] != '.' && name[size] != '-'))
		return false;
	return name[size + 1] >= '0' && name[size + 1] <= '9';
}

static void add(struct candidate **candidates, size_t *count, char *path)
{
	struct candidate candidate = { .path = path };
	const struct mauth_audit_reader reader = { .data = take_time, .context = candidate.time };

	if (mauth_audit_read(path, &reader, NULL) != MAUTH_OK && candidate.time[0] == '\0') {
		/* Whoever reads it says why not. */
		snprintf(candidate.time, sizeof(candidate.time), "9");
	}
	*candidates = mauth_grow(*candidates, *count + 1, sizeof(**candidates));
	(*candidates)[(*count)++] = candidate;
}

size_t mauth_audit_list(const char *path, char ***paths_r)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash == NULL ? mauth_strdup(".") : mauth_strndup(path, (size_t)(slash - path) + 1);
	const char *base = slash == NULL ? path : slash + 1;
	struct candidate *candidates = NULL;
	size_t count = 0;
	struct dirent *entry;
	DIR *handle = opendir(dir);

	while (handle != NULL && count < FILES_MAX && (entry = readdir(handle)) != NULL) {
		if (is_rotated(entry->d_name, base, strlen(base)))
			add(&candidates, &count, mauth_printf("%s/%s", dir, entry->d_name));
	}
	if (handle != NULL)
		closedir(handle);
	if (access(path, F_OK) == 0)
		add(&candidates, &count, mauth_strdup(path));
	free(dir);
	if (count > 0)
		qsort(candidates, count, sizeof(*candidates), compare);
	*paths_r = mauth_new_array(count + 1, sizeof(**paths_r));
	for (size_t i = 0; i < count; i++)
		(*paths_r)[i] = candidates[i].path;
	free(candidates);
	return count;
}

/* The digits behind "NAME-" or "NAME."; NULL: there are none. */
static const char *number_of(const char *path, const char *file, char separator, size_t *digits_r)
{
	const char *slash = strrchr(file, '/'), *name = slash == NULL ? file : slash + 1;
	const char *base = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
	size_t size = strlen(base);

	if (strncmp(name, base, size) != 0 || name[size] != separator)
		return NULL;
	*digits_r = strspn(name + size + 1, "0123456789");
	return *digits_r == 0 ? NULL : name + size + 1;
}

/* logrotate counts up what is older, and dates go the other way. */
static bool contradict(const char *path, const char *older, const char *newer)
{
	size_t older_digits, newer_digits;
	const char *a = number_of(path, older, '-', &older_digits), *b = number_of(path, newer, '-', &newer_digits);

	if (a != NULL && b != NULL)
		return older_digits == newer_digits && memcmp(a, b, older_digits) > 0;
	a = number_of(path, older, '.', &older_digits);
	b = number_of(path, newer, '.', &newer_digits);
	return a != NULL && b != NULL && strtoul(a, NULL, 10) < strtoul(b, NULL, 10);
}

/* A file that a crash has left without a whole record has no place of its own. */
static bool has_time(const char *path)
{
	char time[40] = "";
	const struct mauth_audit_reader reader = { .data = take_time, .context = time };

	(void)mauth_audit_read(path, &reader, NULL);
	return strlen(time) > 20 && strchr("Z", time[strlen(time) - 1]) != NULL;
}

const char *mauth_audit_misplaced(const char *path, const char *const *paths, size_t count)
{
	const char *older = NULL;

	for (size_t i = 0; i < count; i++) {
		if (!has_time(paths[i]))
			continue;
		if (older != NULL && (strcmp(older, path) == 0 || contradict(path, older, paths[i])))
			return older;
		older = paths[i];
	}
	return NULL;
}

uint64_t mauth_audit_size(const char *const *paths, size_t count)
{
	uint64_t size = 0;
	struct stat st;

	for (size_t i = 0; i < count; i++) {
		if (stat(paths[i], &st) == 0)
			size += (uint64_t)st.st_size;
	}
	return size;
}
