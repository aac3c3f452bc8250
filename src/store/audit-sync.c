/* SPDX-License-Identifier: MIT */
#include "store/audit-sync.h"

#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct waiter {
	struct waiter *next;
	mauth_audit_commit_fn *done;
	void *context;
};

struct waiters {
	struct waiter *first, **tail;
};

/* One sync under way. Until it is done the thread has all but sync, mark, records and waiters. */
struct job {
	struct mauth_audit_sync *sync;
	int *fds;
	size_t fds_count;
	char *directory;                /* NULL: need not be synced */
	int code;                       /* errno, of */
	const char *what;
	uint64_t mark;
	unsigned int records;
	struct waiters waiters;
};

struct mauth_audit_sync {
	struct mauth_audit_sync_deps deps;
	int fd;                         /* ours of the file that is being written to; -1: none */
	bool dirty;                     /* it has what no sync has begun with */
	bool new_name;                  /* the directory has, perhaps */
	int *closed;                    /* files that were rotated away while dirty */
	size_t closed_count;
	unsigned int records;           /* written since the last sync began */
	struct waiters waiters;         /* for the next sync */
	struct job *job;
	bool late;                      /* the job is */
	struct mauth_timer *start, *limit;
	bool starts_now;
};

/* -- in the thread ------------------------------------------------------------------------------------------- */

static void note_error(struct job *job, const char *what)
{
	if (job->code == 0) {
		job->code = errno;
		job->what = what;
	}
}

static void sync_directory(struct job *job)
{
	int fd = open(job->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		note_error(job, "open() of its directory");
		return;
	}
	/* Some file systems have nothing to do there, and say so. */
	if (fsync(fd) < 0 && errno != EINVAL)
		note_error(job, "fsync() of its directory");
	close(fd);
}

/* Once for each: after an error the kernel takes what it could not write for written, and a second call would succeed. */
static void work(void *context)
{
	struct job *job = context;

	for (size_t i = 0; i < job->fds_count; i++) {
		if (fdatasync(job->fds[i]) < 0)
			note_error(job, "fdatasync()");
		close(job->fds[i]);
	}
	if (job->directory != NULL)
		sync_directory(job);
}

/* -- in the loop --------------------------------------------------------------------------------------------- */

static void add_waiter(struct waiters *waiters, struct waiter *waiter)
{
	if (waiters->first == NULL)
		waiters->tail = &waiters->first;
	*waiters->tail = waiter;
	waiters->tail = &waiter->next;
}

static struct waiters take(struct waiters *waiters)
{
	struct waiters taken = *waiters;

	waiters->first = NULL;
	return taken;
}

/* Comes last: whoever is told may append and commit. */
static void tell(struct waiters waiters, const struct mauth_error *error)
{
	struct waiter *waiter;

	while ((waiter = waiters.first) != NULL) {
		waiters.first = waiter->next;
		waiter->done(error, waiter->context);
		free(waiter);
	}
}

static void make_error(int code, const char *what, struct mauth_error *error_r)
{
	const char *advice = "look at the kernel's log: what does it say of the disk below it?";

	mauth_fail(error_r, MAUTH_AUDIT, code, "%s: %s", what, strerror(code));
	if (code == ENOSPC || code == EDQUOT)
		advice = "free some space";
	else if (code == EACCES || code == EPERM)
		advice = "give the user of the service modernauth the right to read its directory";
	mauth_clean_copy(error_r->advice, sizeof(error_r->advice), advice, strlen(advice));
}

static void late_error(unsigned int msecs, struct mauth_error *error_r)
{
	static const char advice[] = "look what keeps the disk below it busy, or whether it answers at all";

	mauth_fail(error_r, MAUTH_AUDIT, 0, "the disk does not take the records within %u s", msecs / 1000);
	mauth_clean_copy(error_r->advice, sizeof(error_r->advice), advice, sizeof(advice) - 1);
}

static void start(void *context);

static void start_in(struct mauth_audit_sync *sync, unsigned int msecs)
{
	if (sync->start != NULL && (sync->starts_now || msecs > 0))
		return;
	mauth_timer_remove(sync->deps.loop, &sync->start);
	sync->starts_now = msecs == 0;
	sync->start = mauth_timer_add(sync->deps.loop, msecs, start, sync);
}

static void close_all(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

static void forget_files(struct mauth_audit_sync *sync)
{
	close_all(sync->closed, sync->closed_count);
	sync->closed_count = 0;
	if (sync->fd >= 0)
		close(sync->fd);
	sync->fd = -1;
	sync->dirty = false;
	sync->records = 0;
}

static void done(void *context);
static void too_late(void *context);

static void add_file(struct job *job, int fd)
{
	job->fds = mauth_grow(job->fds, job->fds_count + 1, sizeof(*job->fds));
	job->fds[job->fds_count++] = fd;
}

/* false: there is nothing to sync, or no descriptor left to do it with. */
static bool fill_job(struct mauth_audit_sync *sync, struct job *job, struct mauth_error *error_r)
{
	int fd;

	if (sync->dirty) {
		fd = fcntl(sync->fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0) {
			make_error(errno, "fcntl(F_DUPFD)", error_r);
			return false;
		}
		add_file(job, fd);
	}
	for (size_t i = 0; i < sync->closed_count; i++)
		add_file(job, sync->closed[i]);
	sync->closed_count = 0;
	if (sync->new_name) {
		char *path = mauth_strdup(sync->deps.path);

		job->directory = mauth_strdup(dirname(path));
		free(path);
	}
	sync->dirty = sync->new_name = false;
	return true;
}

static void begin_job(struct mauth_audit_sync *sync)
{
	struct job *job = mauth_new(sizeof(*job));
	struct mauth_error error;

	if (!fill_job(sync, job, &error)) {
		free(job);
		sync->deps.ended(sync->deps.context, MAUTH_AUDIT_LOST, 0, sync->records, &error);
		tell(take(&sync->waiters), &error);
		return;
	}
	job->sync = sync;
	job->mark = sync->deps.mark(sync->deps.context);
	job->records = sync->records;
	job->waiters = take(&sync->waiters);
	sync->records = 0;
	sync->job = job;
	sync->limit = mauth_timer_add(sync->deps.loop, MAUTH_AUDIT_LATE_MSECS, too_late, sync);
	sync->deps.worker->submit(sync->deps.worker->context, work, done, job);
}

static void start(void *context)
{
	struct mauth_audit_sync *sync = context;
	struct mauth_error error;

	sync->start = NULL;
	if (sync->late) {
		late_error(MAUTH_AUDIT_LATE_MSECS, &error);
		tell(take(&sync->waiters), &error);
	} else if (sync->job != NULL) {
		return;
	} else if (sync->dirty || sync->closed_count > 0 || sync->new_name) {
		begin_job(sync);
	} else {
		tell(take(&sync->waiters), NULL);
	}
}

/* The disk hangs, or has so much to do that nobody should wait for it. What it has been given stays given. */
static void give_up(struct mauth_audit_sync *sync, unsigned int msecs)
{
	struct waiters first = take(&sync->job->waiters), second = take(&sync->waiters);
	struct mauth_error error;

	late_error(msecs, &error);
	sync->deps.ended(sync->deps.context, MAUTH_AUDIT_LATE, 0, sync->job->records + sync->records, &error);
	/* What is written of that is still taken. */
	tell(first, &error);
	tell(second, &error);
	sync->late = true;
	if (sync->waiters.first != NULL)
		start_in(sync, 0);
}

static void too_late(void *context)
{
	struct mauth_audit_sync *sync = context;

	sync->limit = NULL;
	give_up(sync, MAUTH_AUDIT_LATE_MSECS);
}

static void go_on(struct mauth_audit_sync *sync)
{
	if (sync->waiters.first != NULL && (sync->dirty || sync->closed_count > 0 || sync->new_name)) {
		mauth_timer_remove(sync->deps.loop, &sync->start);
		begin_job(sync);
	} else if (sync->waiters.first != NULL) {
		start_in(sync, 0);
	} else if (sync->dirty || sync->closed_count > 0) {
		start_in(sync, MAUTH_AUDIT_IDLE_MSECS);
	}
}

static void lost(struct mauth_audit_sync *sync, struct job *job)
{
	struct waiters first = take(&job->waiters), second = take(&sync->waiters);
	uint64_t records = (uint64_t)job->records + sync->records;
	struct mauth_error error;

	make_error(job->code, job->what, &error);
	/* Those that were written during the sync may have gone with it: the error is reported once only. */
	forget_files(sync);
	sync->new_name = true;
	sync->deps.ended(sync->deps.context, MAUTH_AUDIT_LOST, 0, records, &error);
	tell(first, &error);
	tell(second, &error);
}

static void done(void *context)
{
	struct job *job = context;
	struct mauth_audit_sync *sync = job->sync;
	struct waiters waiters;

	sync->job = NULL;
	sync->late = false;
	mauth_timer_remove(sync->deps.loop, &sync->limit);
	if (job->code != 0) {
		lost(sync, job);
	} else {
		waiters = take(&job->waiters);
		/* The next ones first: the disk need not wait for what the others do now. */
		go_on(sync);
		sync->deps.ended(sync->deps.context, MAUTH_AUDIT_ON_DISK, job->mark, job->records, NULL);
		tell(waiters, NULL);
	}
	free(job->fds);
	free(job->directory);
	free(job);
}

struct mauth_audit_sync *mauth_audit_sync_new(const struct mauth_audit_sync_deps *deps)
{
	struct mauth_audit_sync *sync = mauth_new(sizeof(*sync));

	sync->deps = *deps;
	sync->fd = -1;
	return sync;
}

void mauth_audit_sync_free(struct mauth_audit_sync **sync_p)
{
	struct mauth_audit_sync *sync = *sync_p;
	struct mauth_error error;

	if (sync == NULL)
		return;
	mauth_timer_remove(sync->deps.loop, &sync->start);
	mauth_fail(&error, MAUTH_AUDIT, 0, "the broker ends");
	while (sync->waiters.first != NULL)
		tell(take(&sync->waiters), &error);
	mauth_timer_remove(sync->deps.loop, &sync->start);
	for (size_t i = 0; i < sync->closed_count; i++)
		(void)fdatasync(sync->closed[i]);
	forget_files(sync);
	free(sync->closed);
	free(sync);
	*sync_p = NULL;
}

enum mauth_status mauth_audit_sync_opened(struct mauth_audit_sync *sync, int fd, struct mauth_error *error_r)
{
	sync->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (sync->fd < 0) {
		make_error(errno, "fcntl(F_DUPFD)", error_r);
		return MAUTH_AUDIT;
	}
	sync->new_name = true;
	return MAUTH_OK;
}

void mauth_audit_sync_closed(struct mauth_audit_sync *sync)
{
	if (sync->fd < 0)
		return;
	if (sync->dirty) {
		sync->closed = mauth_grow(sync->closed, sync->closed_count + 1, sizeof(*sync->closed));
		sync->closed[sync->closed_count++] = sync->fd;
	} else {
		close(sync->fd);
	}
	sync->fd = -1;
	sync->dirty = false;
}

void mauth_audit_sync_written(struct mauth_audit_sync *sync, unsigned int records)
{
	sync->dirty = true;
	sync->records += records;
	if (sync->job == NULL)
		start_in(sync, MAUTH_AUDIT_IDLE_MSECS);
}

enum mauth_status mauth_audit_sync_accepts(const struct mauth_audit_sync *sync, struct mauth_error *error_r)
{
	if (!sync->late && sync->records + (sync->job == NULL ? 0 : sync->job->records) < MAUTH_AUDIT_UNSYNCED_MAX)
		return MAUTH_OK;
	late_error(MAUTH_AUDIT_LATE_MSECS, error_r);
	if (!sync->late)
		(void)mauth_fail(error_r, MAUTH_AUDIT, 0, "%u records wait for the disk already", MAUTH_AUDIT_UNSYNCED_MAX);
	return MAUTH_AUDIT;
}

void mauth_audit_sync_commit(struct mauth_audit_sync *sync, mauth_audit_commit_fn *fn, void *done_context)
{
	struct waiter *waiter = mauth_new(sizeof(*waiter));

	*waiter = (struct waiter){ .done = fn, .context = done_context };
	add_waiter(&sync->waiters, waiter);
	/* Not now: others of this turn of the loop come along. During a sync: after it. */
	if (sync->job == NULL || sync->late)
		start_in(sync, 0);
}

static bool is_waited_for(const struct mauth_audit_sync *sync)
{
	return sync->waiters.first != NULL || (sync->job != NULL && sync->job->waiters.first != NULL);
}

void mauth_audit_sync_settle(struct mauth_audit_sync *sync)
{
	const struct mauth_worker *worker = sync->deps.worker;
	int64_t until = mauth_mono_msecs(sync->deps.loop) + MAUTH_AUDIT_SETTLE_MSECS, left;

	while (is_waited_for(sync)) {
		if (sync->job == NULL || sync->late) {
			mauth_timer_remove(sync->deps.loop, &sync->start);
			start(sync);
			continue;
		}
		left = until - mauth_mono_msecs(sync->deps.loop);
		if (left > 0 && worker->wait != NULL && worker->wait(worker->context, (unsigned int)left))
			continue;
		mauth_timer_remove(sync->deps.loop, &sync->limit);
		give_up(sync, MAUTH_AUDIT_SETTLE_MSECS);
	}
}
