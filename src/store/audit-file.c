/* SPDX-License-Identifier: MIT */
#include "store/audit-file.h"

#include "core/mem.h"
#include "store/audit-seal.h"
#include "store/audit-sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MSECS 1000         /* how often the path is compared with the open file */
#define COMPLAIN_MSECS 10000
#define TAIL_MAX 65536u         /* longer than any record: a torn one begins within */

struct mauth_audit_file {
	struct mauth_audit_sink sink;
	char *path;
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	int fd;                         /* -1: closed */
	int64_t look_at;                /* monotonic msecs */
	int64_t complain_at;
	uint64_t failures;              /* since the log last said that all is well */
	bool complained;                /* and said that it is not */
	bool torn;                      /* the file ends in half a line that could not be cut off */
	struct mauth_audit_seal *seal;  /* NULL: records are written as they come */
	struct mauth_audit_sync *sync;  /* NULL: the operating system brings them to disk when it likes */
	struct mauth_timer *checkpoint;
	struct mauth_buf sealed;
	dev_t dev;                      /* of the file that was open last */
	ino_t ino;
};

static void close_file(struct mauth_audit_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	if (file->sync != NULL)
		mauth_audit_sync_closed(file->sync);
}

/* Whether path still names the open file. */
static bool is_current(const struct mauth_audit_file *file)
{
	struct stat now, ours;

	return fstat(file->fd, &ours) == 0 && lstat(file->path, &now) == 0 && ours.st_dev == now.st_dev &&
	       ours.st_ino == now.st_ino;
}

/* The last octets of a file of size octets. */
struct tail {
	char data[TAIL_MAX];
	size_t size;
	off_t begin;
};

static bool read_tail(int fd, off_t size, struct tail *tail)
{
	tail->size = size < (off_t)TAIL_MAX ? (size_t)size : TAIL_MAX;
	tail->begin = size - (off_t)tail->size;
	return pread(fd, tail->data, tail->size, tail->begin) == (ssize_t)tail->size;
}

/* How much of it are whole lines; all of it if no line ends near. */
static size_t whole_lines(const struct tail *tail)
{
	const char *newline = memrchr(tail->data, '\n', tail->size);

	if (newline != NULL)
		return (size_t)(newline - tail->data) + 1;
	return tail->begin == 0 ? 0 : tail->size;
}

/* Nothing that was written is thrown away. */
static void set_aside(const struct mauth_audit_file *file, const char *data, size_t size)
{
	char *path = mauth_printf("%s.torn", file->path);
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd >= 0) {
		(void)!write(fd, data, size);
		(void)!write(fd, "\n", 1);
		close(fd);
	}
	free(path);
}

/* A process that died while the disk was full left half a record: whoever parses the file must not find it. */
static void cut_torn_line(struct mauth_audit_file *file, const struct tail *tail)
{
	size_t whole = whole_lines(tail);
	off_t end = tail->begin + (off_t)whole, size = tail->begin + (off_t)tail->size;

	file->torn = false;
	if (whole == tail->size && (tail->size == 0 || tail->data[tail->size - 1] == '\n'))
		return;
	if (file->seal != NULL && whole < tail->size) {
		set_aside(file, tail->data + whole, tail->size - whole);
		mauth_audit_seal_torn(file->seal, tail->data + whole, tail->size - whole);
	}
	if (end < size && ftruncate(file->fd, end) == 0) {
		mauth_log(file->log, MAUTH_WARNING,
			  "audit file %s ended in half a record; %lld octets of it were cut off", file->path,
			  (long long)(size - end));
		return;
	}
	/* An append-only file (chattr +a) cannot be cut; the half line then gets an end of its own. */
	file->torn = true;
}

static enum mauth_status fail(struct mauth_error *error_r, int code, const char *text, const char *advice)
{
	struct mauth_error error = { 0 };

	mauth_fail(&error, MAUTH_AUDIT, code, "%s", text);
	mauth_clean_copy(error.advice, sizeof(error.advice), advice, strlen(advice));
	*error_r = error;
	return MAUTH_AUDIT;
}

static const char *open_advice(int code)
{
	switch (code) {
	case ENOENT:
		return "create its directory, owned by the user of the service modernauth";
	case EACCES:
	case EPERM:
		return "give its directory and the file to the user of the service modernauth";
	case ELOOP:
		return "a symbolic link is not followed: name the file itself in audit { path }";
	case ENOSPC:
	case EDQUOT:
		return "free some space";
	case EROFS:
		return "look why it is mounted read-only (the kernel's log), and make it writable again";
	case EISDIR:
		return "name a file in audit { path }";
	default:
		return "mend what the error says";
	}
}

/* A line's begin within tail. */
static const char *first_line(const struct tail *tail, size_t *size_r)
{
	const char *newline = tail->begin == 0 ? NULL : memchr(tail->data, '\n', tail->size);
	const char *begin = newline == NULL ? tail->data : newline + 1;

	*size_r = tail->size - (size_t)(begin - tail->data);
	return begin;
}

static void look_at_end(struct mauth_audit_file *file, const struct stat *st)
{
	struct tail *tail = mauth_new(sizeof(*tail));
	const char *lines;
	size_t size;

	if (read_tail(file->fd, st->st_size, tail)) {
		lines = first_line(tail, &size);
		if (file->seal != NULL && (file->dev != st->st_dev || file->ino != st->st_ino))
			mauth_audit_seal_opened(file->seal, lines, size);
		cut_torn_line(file, tail);
		file->dev = st->st_dev;
		file->ino = st->st_ino;
	}
	free(tail);
}

static enum mauth_status open_file(struct mauth_audit_file *file, struct mauth_error *error_r)
{
	struct stat st;

	/* O_NONBLOCK: a FIFO must be refused, not waited for. */
	file->fd = open(file->path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY,
			0600);
	if (file->fd < 0)
		return fail(error_r, errno, strerror(errno), open_advice(errno));
	if (fstat(file->fd, &st) < 0) {
		int code = errno;

		close_file(file);
		return fail(error_r, code, strerror(code), open_advice(code));
	}
	if (!S_ISREG(st.st_mode)) {
		close_file(file);
		return fail(error_r, 0, "not a regular file", "name a file in audit { path }");
	}
	if ((st.st_mode & S_IWOTH) != 0) {
		close_file(file);
		return fail(error_r, 0, "everybody may write to it: its records prove nothing",
			    "look who did that, then chmod 0600");
	}
	if (file->sync != NULL && mauth_audit_sync_opened(file->sync, file->fd, error_r) != MAUTH_OK) {
		close_file(file);
		return MAUTH_AUDIT;
	}
	look_at_end(file, &st);
	file->look_at = mauth_mono_msecs(file->loop) + LOOK_MSECS;
	return MAUTH_OK;
}

/* Takes back what a full disk let through of a record. If another process has appended since (a successor, during a
 * hand-over), it stays, and the next open_file() ends the line. */
static void take_back(struct mauth_audit_file *file, ssize_t written)
{
	off_t end = lseek(file->fd, 0, SEEK_CUR);
	struct stat st;

	if (written > 0 && end >= written && fstat(file->fd, &st) == 0 && st.st_size == end)
		(void)!ftruncate(file->fd, end - written);
}

static unsigned int count_lines(const char *lines, size_t size)
{
	unsigned int count = 0;

	for (const char *end = lines + size; lines < end && (lines = memchr(lines, '\n', (size_t)(end - lines))) != NULL; lines++)
		count++;
	return count;
}

static enum mauth_status write_line(struct mauth_audit_file *file, const char *line, size_t size,
				    struct mauth_error *error_r)
{
	struct mauth_buf ended = { 0 };
	ssize_t written;
	int code;

	if (file->torn) {
		mauth_buf_putc(&ended, '\n');
		mauth_buf_append(&ended, line, size);
		line = ended.data;
		size = ended.size;
	}
	/* One call for all: with O_APPEND two processes do not mix their lines. */
	do
		written = write(file->fd, line, size);
	while (written < 0 && errno == EINTR);
	code = errno;
	if (written == (ssize_t)size) {
		if (file->sync != NULL)
			mauth_audit_sync_written(file->sync, count_lines(line, size));
		mauth_buf_free(&ended);
		file->torn = false;
		return MAUTH_OK;
	}
	mauth_buf_free(&ended);
	/* Half a write is what the last free blocks of a disk allow. */
	if (written >= 0)
		code = ENOSPC;
	take_back(file, written);
	/* Whatever it was, a fresh descriptor may be better: the path may lead to another disk by now. */
	close_file(file);
	return fail(error_r, code, strerror(code), code == ENOSPC || code == EDQUOT || code == EFBIG ?
			    "free some space, or rotate the file" : open_advice(code));
}

/* Before we sign: has another broker written here? */
static void look_around(struct mauth_audit_file *file)
{
	struct tail *tail;
	const char *lines;
	struct stat st;
	size_t size;

	if (file->fd < 0 || fstat(file->fd, &st) < 0)
		return;
	tail = mauth_new(sizeof(*tail));
	if (read_tail(file->fd, st.st_size, tail)) {
		lines = first_line(tail, &size);
		mauth_audit_seal_look_around(file->seal, lines, size);
	}
	free(tail);
}

/* The last line of a file, or of all. If it cannot be written, the next file says where the chain goes on all the same. */
static void write_last(struct mauth_audit_file *file, enum mauth_chain_note_kind kind)
{
	struct mauth_error error;

	if (file->seal == NULL || file->fd < 0)
		return;
	look_around(file);
	if (!mauth_audit_seal_last(file->seal, kind, &file->sealed))
		return;
	mauth_audit_seal_written(file->seal, write_line(file, file->sealed.data, file->sealed.size, &error) == MAUTH_OK);
	mauth_buf_clear(&file->sealed);
}

static enum mauth_status make_ready(struct mauth_audit_file *file, struct mauth_error *error_r)
{
	int64_t now = mauth_mono_msecs(file->loop);

	if (file->fd >= 0 && now >= file->look_at) {
		file->look_at = now + LOOK_MSECS;
		if (!is_current(file)) {
			write_last(file, MAUTH_CHAIN_NOTE_ROTATED);
			close_file(file);
		}
	}
	return file->fd >= 0 ? MAUTH_OK : open_file(file, error_r);
}

static void complain(struct mauth_audit_file *file, uint64_t records, const struct mauth_error *error)
{
	int64_t now = mauth_mono_msecs(file->loop);

	file->failures += records;
	if (now < file->complain_at)
		return;
	file->complain_at = now + COMPLAIN_MSECS;
	file->complained = true;
	mauth_log(file->log, MAUTH_ERROR, "audit file %s: %s; %s (%llu records not written so far)", file->path,
		  error->text, error->advice, (unsigned long long)file->failures);
}

static void recovered(struct mauth_audit_file *file)
{
	if (!file->complained)
		return;
	mauth_log(file->log, MAUTH_INFO, "audit file %s: records are written again, %llu were not", file->path,
		  (unsigned long long)file->failures);
	file->failures = 0;
	file->complained = false;
}

static enum mauth_status append(void *context, const char *line, size_t size, struct mauth_error *error_r);

static void checkpoint_due(void *context)
{
	struct mauth_audit_file *file = context;

	file->checkpoint = NULL;
	look_around(file);
	if (mauth_audit_seal_is_due(file->seal))
		(void)append(file, NULL, 0, NULL);
}

static enum mauth_status write_sealed(struct mauth_audit_file *file, const char *line, size_t size, struct mauth_error *error_r)
{
	enum mauth_status status;

	mauth_audit_seal_lines(file->seal, line, size, &file->sealed);
	status = write_line(file, file->sealed.data, file->sealed.size, error_r);
	mauth_audit_seal_written(file->seal, status == MAUTH_OK);
	mauth_buf_clear(&file->sealed);
	if (file->checkpoint == NULL && mauth_audit_seal_is_due(file->seal))
		file->checkpoint = mauth_timer_add(file->loop, MAUTH_AUDIT_CHECKPOINT_MSECS, checkpoint_due, file);
	return status;
}

static enum mauth_status append(void *context, const char *line, size_t size, struct mauth_error *error_r)
{
	struct mauth_audit_file *file = context;
	struct mauth_error error;
	enum mauth_status status = MAUTH_OK;

	/* A disk that does not take what it has been given is given nothing more: a write might wait for it, and the loop with that. */
	if (file->sync != NULL)
		status = mauth_audit_sync_accepts(file->sync, &error);
	if (status == MAUTH_OK)
		status = make_ready(file, &error);
	if (status == MAUTH_OK)
		status = file->seal != NULL ? write_sealed(file, line, size, &error) : write_line(file, line, size, &error);
	if (status != MAUTH_OK) {
		complain(file, line == NULL ? 0 : count_lines(line, size), &error);
		if (error_r != NULL)
			*error_r = error;
		return status;
	}
	/* Otherwise it is known once they are on disk. */
	if (file->sync == NULL)
		recovered(file);
	return MAUTH_OK;
}

static void commit(void *context, mauth_audit_commit_fn *done, void *done_context)
{
	struct mauth_audit_file *file = context;

	mauth_audit_sync_commit(file->sync, done, done_context);
}

static uint64_t sync_mark(void *context)
{
	const struct mauth_audit_file *file = context;

	return file->seal == NULL ? 0 : mauth_audit_seal_signed(file->seal);
}

static void sync_ended(void *context, enum mauth_audit_synced how, uint64_t mark, uint64_t records,
		       const struct mauth_error *error)
{
	struct mauth_audit_file *file = context;

	switch (how) {
	case MAUTH_AUDIT_ON_DISK:
		if (file->seal != NULL)
			mauth_audit_seal_on_disk(file->seal, mark);
		recovered(file);
		return;
	case MAUTH_AUDIT_LATE:
		complain(file, records, error);
		return;
	case MAUTH_AUDIT_LOST:
		complain(file, records, error);
		/* The descriptor would say next time that all is well. */
		close_file(file);
		return;
	}
}

struct mauth_audit_file *mauth_audit_file_new(const char *path, const struct mauth_loop *loop,
					      const struct mauth_log *log)
{
	struct mauth_audit_file *file = mauth_new(sizeof(*file));

	file->sink = (struct mauth_audit_sink){ .append = append, .context = file };
	file->path = mauth_strdup(path);
	file->loop = loop;
	file->log = log;
	file->fd = -1;
	return file;
}

void mauth_audit_file_seal(struct mauth_audit_file *file, const struct mauth_chain_key *key, const char *head_path)
{
	file->seal = mauth_audit_seal_new(key, head_path, file->loop);
}

void mauth_audit_file_group(struct mauth_audit_file *file, const struct mauth_worker *worker)
{
	file->sync = mauth_audit_sync_new(&(struct mauth_audit_sync_deps){
		.loop = file->loop, .worker = worker, .path = file->path, .mark = sync_mark, .ended = sync_ended,
		.context = file,
	});
	if (file->seal != NULL)
		mauth_audit_seal_defer(file->seal);
	file->sink.commit = commit;
}

void mauth_audit_file_settle(struct mauth_audit_file *file)
{
	if (file->sync != NULL)
		mauth_audit_sync_settle(file->sync);
}

const struct mauth_chain_writer *mauth_audit_file_writer(const struct mauth_audit_file *file)
{
	return file->seal == NULL ? NULL : mauth_audit_seal_writer(file->seal);
}

const struct mauth_audit_sink *mauth_audit_file_sink(struct mauth_audit_file *file)
{
	return &file->sink;
}

void mauth_audit_file_free(struct mauth_audit_file **file)
{
	struct mauth_audit_file *old = *file;
	bool group;

	if (old == NULL)
		return;
	*file = NULL;
	group = old->sync != NULL;
	mauth_audit_sync_free(&old->sync);
	old->sink.commit = NULL;
	write_last(old, MAUTH_CHAIN_NOTE_ENDED);
	if (group && old->fd >= 0 && fdatasync(old->fd) == 0 && old->seal != NULL)
		mauth_audit_seal_on_disk(old->seal, mauth_audit_seal_signed(old->seal));
	mauth_timer_remove(old->loop, &old->checkpoint);
	mauth_audit_seal_free(&old->seal);
	mauth_buf_free(&old->sealed);
	close_file(old);
	free(old->path);
	free(old);
}
