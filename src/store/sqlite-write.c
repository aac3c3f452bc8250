/* SPDX-License-Identifier: MIT */
#include "store/sqlite-private.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COMPLAIN_MSECS 10000

struct row {
	char *kind, *name;
	struct mauth_secret *value;     /* NULL: the row is deleted */
};

struct sqlite_write {
	struct sqlite_write *next;
	mauth_store_done_fn *done;
	void *context;
	struct mauth_error *refused;    /* it never gets to the database; NULL: it does */
	size_t count;
	struct row rows[];
};

/* Who commits: the worker, unless deinit() has come first. */
enum state { WAITING, COMMITTING, COMMITTED, TAKEN };

struct sqlite_job {
	struct sqlite_writes *writes;   /* NULL: they are all done and gone, only the worker still holds the job */
	struct sqlite_write *first;     /* whose done() has not been called */
	struct mauth_error error;       /* of the commit; status MAUTH_OK: there is none */
	bool told;                      /* the log knows how it ended */
	_Atomic int state;
};

/* -- what is to be written -- */

bool mauth_sqlite_name_ok(const char *name, size_t size)
{
	char clean[MAUTH_STORE_NAME_MAX + 1];

	if (size > MAUTH_STORE_NAME_MAX)
		return false;
	mauth_clean_copy(clean, sizeof(clean), name, size);
	return strlen(clean) == size && memcmp(clean, name, size) == 0;
}

static bool row_ok(const struct mauth_store_row *row)
{
	return row->kind[0] != '\0' && mauth_sqlite_name_ok(row->kind, strlen(row->kind)) &&
	       mauth_sqlite_name_ok(row->name, strlen(row->name)) &&
	       (row->value == NULL || row->size <= MAUTH_STORE_VALUE_MAX);
}

static void copy_row(struct row *row, const struct mauth_store_row *from)
{
	row->kind = mauth_strdup(from->kind);
	row->name = mauth_strdup(from->name);
	if (from->value != NULL)
		row->value = mauth_secret_new(from->value, from->size);
}

static void refuse_shared(struct sqlite_write *write, const char *path)
{
	write->refused = mauth_new(sizeof(*write->refused));
	mauth_fail(write->refused, MAUTH_TEMPORARY, 0, "%.300s belongs to another front end, which this one follows", path);
	snprintf(write->refused->advice, sizeof(write->refused->advice), "%s", MAUTH_SQLITE_FOLLOWS_ADVICE);
}

static void refuse(struct sqlite_write *write, size_t index)
{
	write->refused = mauth_new(sizeof(*write->refused));
	mauth_fail(write->refused, MAUTH_CONFIG, 0, "row %zu cannot be stored: its kind or name is not text, or its value has "
		   "more than %u octets", index + 1, MAUTH_STORE_VALUE_MAX);
}

static bool may_write(const struct sqlite_writes *writes, const struct mauth_store_row *rows, size_t count)
{
	for (size_t i = 0; writes->shared != NULL && i < count; i++) {
		if (strcmp(rows[i].kind, writes->shared) != 0)
			return false;
	}
	return true;
}

static struct sqlite_write *write_new(const struct sqlite_writes *writes, const struct mauth_store_row *rows, size_t count)
{
	struct sqlite_write *write;
	size_t i;

	if (!may_write(writes, rows, count)) {
		write = mauth_new(sizeof(*write));
		refuse_shared(write, writes->path);
		return write;
	}
	for (i = 0; i < count && row_ok(&rows[i]); i++)
		;
	if (i < count) {
		write = mauth_new(sizeof(*write));
		refuse(write, i);
		return write;
	}
	write = mauth_new(sizeof(*write) + count * sizeof(write->rows[0]));
	write->count = count;
	for (i = 0; i < count; i++)
		copy_row(&write->rows[i], &rows[i]);
	return write;
}

static void write_free(struct sqlite_write *write)
{
	for (size_t i = 0; i < write->count; i++) {
		free(write->rows[i].kind);
		free(write->rows[i].name);
		mauth_secret_free(&write->rows[i].value);
	}
	free(write->refused);
	free(write);
}

/* -- the commit: in the worker, or wherever else nobody commits at the time -- */

static int put_row(struct sqlite_writes *writes, const struct row *row)
{
	sqlite3_stmt *stmt = row->value != NULL ? writes->put : writes->remove;
	int rc = sqlite3_bind_text(stmt, 1, row->kind, -1, SQLITE_STATIC);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(stmt, 2, row->name, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK && row->value != NULL)
		rc = sqlite3_bind_blob64(stmt, 3, mauth_secret_expose(row->value), mauth_secret_size(row->value),
					 SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	(void)sqlite3_reset(stmt);
	(void)sqlite3_clear_bindings(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int put_all(struct sqlite_writes *writes, const struct sqlite_write *write)
{
	int rc = SQLITE_OK;

	for (; rc == SQLITE_OK && write != NULL; write = write->next) {
		for (size_t i = 0; rc == SQLITE_OK && i < write->count; i++)
			rc = put_row(writes, &write->rows[i]);
	}
	return rc;
}

static void commit(struct sqlite_job *job)
{
	struct sqlite_writes *writes = job->writes;
	int rc = sqlite3_exec(writes->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		rc = put_all(writes, job->first);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(writes->db, "COMMIT", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		(void)mauth_sqlite_fail(writes->db, rc, writes->path, "written", &job->error);
	/* Some errors end the transaction by themselves. */
	if (sqlite3_get_autocommit(writes->db) == 0)
		(void)sqlite3_exec(writes->db, "ROLLBACK", NULL, NULL, NULL);
}

static void work(void *context)
{
	struct sqlite_job *job = context;
	int expected = WAITING;

	if (!atomic_compare_exchange_strong(&job->state, &expected, COMMITTING))
		return;
	commit(job);
	atomic_store(&job->state, COMMITTED);
}

/* -- in the loop -- */

static int64_t mono_msecs(void)
{
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void complain(struct sqlite_writes *writes, const struct mauth_error *error)
{
	int64_t now = mono_msecs();

	writes->failures++;
	if (now < writes->complain_at)
		return;
	writes->complain_at = now + COMPLAIN_MSECS;
	writes->complained = true;
	mauth_log(writes->log, MAUTH_ERROR, "database %s; to do: %s (%llu commits failed so far)", error->text,
		  error->advice, (unsigned long long)writes->failures);
}

static void tell(struct sqlite_writes *writes, struct sqlite_job *job)
{
	if (job->told)
		return;
	job->told = true;
	if (job->error.status != MAUTH_OK) {
		complain(writes, &job->error);
		return;
	}
	if (writes->complained)
		mauth_log(writes->log, MAUTH_INFO, "database %s is written again, %llu commits failed", writes->path,
			  (unsigned long long)writes->failures);
	writes->failures = 0;
	writes->complained = false;
}

/* Calls what is to be called. After each call the writes may be gone, never the job. */
static void call_done(struct sqlite_job *job)
{
	while (job->first != NULL) {
		struct sqlite_write *write = job->first;
		const struct mauth_error *error = write->refused;

		if (error == NULL && job->error.status != MAUTH_OK)
			error = &job->error;
		job->first = write->next;
		write->done(error, write->context);
		write_free(write);
	}
}

static struct sqlite_job *job_new(struct sqlite_writes *writes)
{
	struct sqlite_job *job = mauth_new(sizeof(*job));

	job->writes = writes;
	job->first = writes->first;
	writes->first = writes->last = NULL;
	writes->job = job;
	return job;
}

static void done(void *context);

static void begin(struct sqlite_writes *writes)
{
	struct sqlite_job *job;

	if (writes->job != NULL || writes->first == NULL)
		return;
	job = job_new(writes);
	writes->worker->submit(writes->worker->context, work, done, job);
}

static void done(void *context)
{
	struct sqlite_job *job = context;

	if (job->writes != NULL) {
		tell(job->writes, job);
		call_done(job);
	}
	/* Whoever closed the store in a done() has had the rest of them called. */
	if (job->writes != NULL) {
		job->writes->job = NULL;
		begin(job->writes);
	}
	free(job);
}

void mauth_sqlite_write(struct sqlite_writes *writes, const struct mauth_store_row *rows, size_t count,
			mauth_store_done_fn *done_fn, void *context)
{
	struct sqlite_write *write = write_new(writes, rows, count);

	write->done = done_fn;
	write->context = context;
	if (writes->first == NULL)
		writes->first = write;
	else
		writes->last->next = write;
	writes->last = write;
	begin(writes);
}

enum mauth_status mauth_sqlite_writes_init(struct sqlite_writes *writes, struct mauth_error *error_r)
{
	int rc = sqlite3_prepare_v3(writes->db,
				    "INSERT INTO records (kind, name, value) VALUES (?1, ?2, ?3)"
				    " ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value",
				    -1, SQLITE_PREPARE_PERSISTENT, &writes->put, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v3(writes->db, "DELETE FROM records WHERE kind = ?1 AND name = ?2", -1,
					SQLITE_PREPARE_PERSISTENT, &writes->remove, NULL);
	return rc == SQLITE_OK ? MAUTH_OK : mauth_sqlite_fail(writes->db, rc, writes->path, "used", error_r);
}

/* Commits what the worker has not begun; waits for what it has. */
static void finish_commit(struct sqlite_job *job)
{
	static const struct timespec moment = { .tv_nsec = 1000000 };
	int expected = WAITING;

	if (atomic_compare_exchange_strong(&job->state, &expected, TAKEN)) {
		commit(job);
		return;
	}
	/* One commit: milliseconds, and at most the patience with a foreign lock. */
	while (atomic_load(&job->state) == COMMITTING)
		(void)nanosleep(&moment, NULL);
}

/* The job that the worker holds: everything but the memory, which its done() frees. */
static void finish_job(struct sqlite_writes *writes)
{
	struct sqlite_job *job = writes->job;

	finish_commit(job);
	tell(writes, job);
	call_done(job);
	job->writes = NULL;
	writes->job = NULL;
}

static void finish_waiting(struct sqlite_writes *writes)
{
	struct sqlite_job *job = job_new(writes);

	commit(job);
	tell(writes, job);
	call_done(job);
	writes->job = NULL;
	free(job);
}

void mauth_sqlite_writes_deinit(struct sqlite_writes *writes)
{
	if (writes->job != NULL)
		finish_job(writes);
	/* What a done() has written is written, too. */
	while (writes->first != NULL)
		finish_waiting(writes);
	(void)sqlite3_finalize(writes->put);
	(void)sqlite3_finalize(writes->remove);
	writes->put = writes->remove = NULL;
}
