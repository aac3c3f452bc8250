/* SPDX-License-Identifier: MIT */
#include "store/audit-keep.h"

#include "core/chain-verify.h"
#include "core/mem.h"
#include "store/audit-files.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What is known of a file that stays: reading it again every hour would be for nothing. */
struct remembered {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
	int64_t last_secs;
};

/* One look: which file, if any, has to go. Outlives us if it is under way. */
struct look {
	struct mauth_audit_keep *keep;       /* NULL: nobody wants to know any more, and: */
	atomic_bool stop;                    /* who waits for the thread need not wait for gigabytes */
	char *path;                          /* of the audit */
	int64_t keep_secs, settled_secs, now;
	uint64_t max_size;
	struct mauth_chain_key *key;         /* its own: another thread's; NULL */
	struct remembered remembered;
	/* what was found */
	char *file;                          /* NULL: nothing has to go */
	struct stat st;
	bool by_age, readable;
	uint64_t octets, findings, sealed;
	unsigned char hash[MAUTH_CHAIN_HASH];
	int64_t last_secs;
	struct mauth_chain_range *ranges;
	size_t ranges_count;
	/* while it is read */
	struct mauth_chain_verify *verify;
	EVP_MD_CTX *digest;
	char tail[64];                       /* the begin of the last line */
	size_t tail_size;
	bool recorded, synced;               /* the second time: its deletion is on record, and that on disk */
};

struct mauth_audit_keep {
	struct mauth_audit_keep_settings settings;
	char *path;
	struct mauth_timer *timer;
	struct look *look;                   /* under way */
	struct remembered remembered;        /* of the oldest file */
	char *failed;                        /* a file that could not be deleted: said once */
};

/* -- in the thread: one file -------------------------------------------------------------------------------- */

/* Every record begins with its time. */
static int64_t time_of(const char *line, size_t size)
{
	static const char begin[] = "{\"@timestamp\":\"";
	struct tm tm = { 0 };
	char text[32];
	size_t length = sizeof("2026-11-26T10:00:00") - 1;

	if (size < sizeof(begin) - 1 + length || memcmp(line, begin, sizeof(begin) - 1) != 0)
		return 0;
	memcpy(text, line + sizeof(begin) - 1, length);
	text[length] = '\0';
	return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) == NULL ? 0 : (int64_t)timegm(&tm);
}

static void end_line(struct look *look)
{
	int64_t secs = time_of(look->tail, look->tail_size);

	if (secs > look->last_secs)
		look->last_secs = secs;
	look->tail_size = 0;
}

/* Begins of lines: the last record's time is wanted, and two brokers' records are not in order. */
static void take_times(struct look *look, const char *data, size_t size)
{
	const char *end = data + size, *newline;

	for (; data < end; data = newline + 1) {
		size_t room = sizeof(look->tail) - look->tail_size, part;

		newline = memchr(data, '\n', (size_t)(end - data));
		part = newline == NULL ? (size_t)(end - data) : (size_t)(newline - data);
		memcpy(look->tail + look->tail_size, data, part < room ? part : room);
		look->tail_size += part < room ? part : room;
		if (newline == NULL)
			return;
		end_line(look);
	}
}

static bool take_data(void *context, const char *data, size_t size)
{
	struct look *look = context;

	look->octets += size;
	if (EVP_DigestUpdate(look->digest, data, size) != 1)
		abort();
	take_times(look, data, size);
	if (look->verify != NULL)
		mauth_chain_verify_data(look->verify, data, size);
	return !atomic_load(&look->stop);
}

static void ignore(const struct mauth_chain_report *report, void *context)
{
	(void)report;
	(void)context;
}

static void take_range(const struct mauth_chain_range *range, void *context)
{
	struct look *look = context;

	look->ranges = mauth_grow(look->ranges, look->ranges_count + 1, sizeof(*look->ranges));
	look->ranges[look->ranges_count++] = *range;
}

static void read_whole(struct look *look, const char *path)
{
	const struct mauth_audit_reader reader = { .data = take_data, .context = look };
	struct mauth_chain_summary summary = { 0 };

	free(look->ranges);
	look->ranges = NULL;
	look->ranges_count = look->tail_size = 0;
	look->octets = 0;
	look->last_secs = 0;
	look->digest = EVP_MD_CTX_new();
	/* Fails for want of memory only. */
	if (look->digest == NULL || EVP_DigestInit_ex(look->digest, EVP_sha256(), NULL) != 1)
		abort();
	if (look->key != NULL) {
		look->verify = mauth_chain_verify_new(look->key, ignore, NULL);
		mauth_chain_verify_file(look->verify, path);
	}
	look->readable = mauth_audit_read(path, &reader, NULL) == MAUTH_OK;
	end_line(look);
	if (look->verify != NULL) {
		mauth_chain_verify_end(look->verify, &summary);
		mauth_chain_verify_ranges(look->verify, take_range, look);
		mauth_chain_verify_free(&look->verify);
	}
	look->findings = summary.findings;
	look->sealed = summary.sealed;
	if (EVP_DigestFinal_ex(look->digest, look->hash, NULL) != 1)
		abort();
	EVP_MD_CTX_free(look->digest);
	look->digest = NULL;
}

/* -- in the thread: which ----------------------------------------------------------------------------------- */

static bool is_remembered(const struct remembered *remembered, const struct stat *st)
{
	return remembered->ino == st->st_ino && remembered->dev == st->st_dev && remembered->size == st->st_size &&
	       remembered->mtime.tv_sec == st->st_mtim.tv_sec && remembered->mtime.tv_nsec == st->st_mtim.tv_nsec;
}

/* When was its last record written? A file that cannot be read, or has none, is as old as it says itself. */
static int64_t age_of(struct look *look, const char *path, const struct stat *st)
{
	int64_t last = look->remembered.last_secs;

	if (!is_remembered(&look->remembered, st)) {
		read_whole(look, path);
		last = look->readable && look->last_secs > 0 ? look->last_secs : (int64_t)st->st_mtim.tv_sec;
		look->remembered = (struct remembered){ st->st_dev, st->st_ino, st->st_size, st->st_mtim, last };
	}
	return last;
}

static void choose(struct look *look, char **paths, size_t count)
{
	struct stat current, st;
	const bool has_current = lstat(look->path, &current) == 0;
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += lstat(paths[i], &st) == 0 ? (uint64_t)st.st_size : 0;
	for (size_t i = 0; i < count && look->file == NULL && !atomic_load(&look->stop); i++) {
		const bool too_large = look->max_size > 0 && total > look->max_size;

		if (strcmp(paths[i], look->path) == 0 || lstat(paths[i], &st) != 0 || !S_ISREG(st.st_mode) ||
		    (has_current && st.st_dev == current.st_dev && st.st_ino == current.st_ino))
			continue;
		/* What was renamed a moment ago may be written to once more. */
		if (look->settled_secs > 0 && (int64_t)st.st_ctim.tv_sec + look->settled_secs > look->now)
			return;
		look->by_age = look->keep_secs > 0 && age_of(look, paths[i], &st) + look->keep_secs < look->now;
		if (!look->by_age && !too_large)
			return;
		look->file = mauth_strdup(paths[i]);
		look->st = st;
	}
}

/* A record that a crash takes back leaves a deletion that nobody has recorded. */
static bool sync_records(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool good = fd >= 0 && fdatasync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return good;
}

static void look_work(void *job)
{
	struct look *look = job;
	char **paths;
	size_t count;

	if (look->recorded) {
		look->synced = sync_records(look->path);
		return;
	}
	count = mauth_audit_list(look->path, &paths);
	choose(look, paths, count);
	if (look->file != NULL)
		read_whole(look, look->file);
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
}

/* -- in the loop -------------------------------------------------------------------------------------------- */

static void look_free(struct look *look)
{
	mauth_chain_key_free(&look->key);
	free(look->ranges);
	free(look->file);
	free(look->path);
	free(look);
}

static void start(void *context);

static void later(struct mauth_audit_keep *keep, unsigned int msecs)
{
	keep->timer = mauth_timer_add(keep->settings.loop, msecs, start, keep);
}

static const char *why(const struct look *look)
{
	return look->by_age ? "older than audit { keep }" : "audit { max_size } is exceeded";
}

static bool record(struct mauth_audit_keep *keep, const struct look *look)
{
	const char *slash = strrchr(look->file, '/');
	const struct mauth_chain_deletion deletion = {
		.file = slash == NULL ? look->file : slash + 1, .reason = why(look),
		.octets = look->octets, .last_secs = look->last_secs,
		.verified = look->key != NULL && look->readable && look->findings == 0 && look->sealed > 0,
		.ranges = look->ranges, .ranges_count = look->ranges_count,
	};
	const struct mauth_audit_sink *sink = keep->settings.sink;
	struct mauth_chain_deletion whole = deletion;
	struct mauth_buf lines = { 0 };
	enum mauth_status status;

	memcpy(whole.hash, look->hash, sizeof(whole.hash));
	mauth_chain_deletion_write(&lines, mauth_wall_usecs(keep->settings.loop), &whole);
	status = sink->append(sink->context, lines.data, lines.size, NULL);
	mauth_buf_free(&lines);
	return status == MAUTH_OK;
}

/* Nobody has put another file in its place. */
static bool is_same(const struct look *look)
{
	struct stat st;

	return lstat(look->file, &st) == 0 && st.st_ino == look->st.st_ino && st.st_dev == look->st.st_dev &&
	       st.st_size == look->st.st_size;
}

/* The record first: a deletion without one would be an alarm, a record without a deletion is none. */
static bool prepare(struct mauth_audit_keep *keep, const struct look *look)
{
	/* A file that would not go is on record once. */
	if (keep->failed != NULL && strcmp(keep->failed, look->file) == 0)
		return true;
	if (!is_same(look))
		return false;
	if (look->findings > 0 || !look->readable)
		mauth_log(keep->settings.log, MAUTH_WARNING,
			  "audit: %s does not verify (%s%llu findings) and is deleted now: %s; the record says so", look->file,
			  look->readable ? "" : "it cannot be read, ", (unsigned long long)look->findings, why(look));
	return record(keep, look);
}

static bool delete(struct mauth_audit_keep *keep, const struct look *look)
{
	if (!look->synced || !is_same(look))
		return false;
	if (unlink(look->file) != 0) {
		mauth_log(keep->settings.log, MAUTH_ERROR,
			  "audit: %s cannot be deleted: %s; give its directory to the user of the service modernauth", look->file,
			  strerror(errno));
		free(keep->failed);
		keep->failed = mauth_strdup(look->file);
		return false;
	}
	mauth_log(keep->settings.log, MAUTH_INFO, "audit: deleted %s, %llu octets of records: %s", look->file,
		  (unsigned long long)look->octets, why(look));
	return true;
}

static void look_done(void *job)
{
	struct look *look = job;
	struct mauth_audit_keep *keep = look->keep;

	const bool found = keep != NULL && look->file != NULL;

	if (found && !look->recorded && prepare(keep, look)) {
		look->recorded = true;
		keep->settings.worker->submit(keep->settings.worker->context, look_work, look_done, look);
		return;
	}
	if (keep != NULL) {
		keep->look = NULL;
		keep->remembered = look->remembered;
		later(keep, found && look->recorded && delete(keep, look) ? 0 : MAUTH_AUDIT_KEEP_MSECS);
	}
	look_free(look);
}

static void start(void *context)
{
	struct mauth_audit_keep *keep = context;
	const struct mauth_worker *worker = keep->settings.worker;
	struct look *look = mauth_new(sizeof(*look));

	keep->timer = NULL;
	look->keep = keep;
	look->path = mauth_strdup(keep->path);
	look->keep_secs = keep->settings.keep_secs;
	look->max_size = keep->settings.max_size;
	look->settled_secs = keep->settings.settled_secs;
	look->now = mauth_wall_secs(keep->settings.loop);
	look->key = keep->settings.key == NULL ? NULL : mauth_chain_key_dup(keep->settings.key);
	look->remembered = keep->remembered;
	keep->look = look;
	worker->submit(worker->context, look_work, look_done, look);
}

struct mauth_audit_keep *mauth_audit_keep_new(const struct mauth_audit_keep_settings *settings)
{
	struct mauth_audit_keep *keep = mauth_new(sizeof(*keep));

	keep->settings = *settings;
	keep->path = mauth_strdup(settings->path);
	later(keep, MAUTH_AUDIT_KEEP_FIRST_MSECS);
	return keep;
}

void mauth_audit_keep_free(struct mauth_audit_keep **keep)
{
	struct mauth_audit_keep *k = *keep;

	if (k == NULL)
		return;
	mauth_timer_remove(k->settings.loop, &k->timer);
	if (k->look != NULL) {
		k->look->keep = NULL;
		atomic_store(&k->look->stop, true);
	}
	free(k->failed);
	free(k->path);
	free(k);
	*keep = NULL;
}
