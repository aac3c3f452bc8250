/* SPDX-License-Identifier: MIT */
#include "store/sqlite-follow.h"

#include "store/sqlite-private.h"

#include <stdlib.h>
#include <string.h>

#define POLL_MSECS 400u
/* Rows that are told in one turn of the loop. */
#define TOGETHER_MAX 200u
#define KINDS_MAX 8u
/* Failures in a row before it is said: a database that is being checkpointed or opened is busy for a moment. */
#define FAILURES_MAX 5u

/* A row as it was last seen. */
struct seen {
	char *name;
	uint64_t hash;
};

struct picture {
	struct seen *rows;               /* in order of name, as the database gives them */
	size_t count;
};

struct change {
	char *name, *value;              /* value NULL: deleted */
	const char *kind;
	size_t size;
};

/* What the worker works on; the loop keeps its hands off while busy. */
struct look {
	struct mauth_sqlite_follow *follow;      /* NULL: gone meanwhile */
	const char *const *kinds;
	char *path;
	sqlite3 *db;                     /* NULL: not connected */
	int64_t version;
	struct picture pictures[KINDS_MAX];
	struct change *changes;
	size_t count;
	struct mauth_error error;        /* status MAUTH_OK: none */
};

struct mauth_sqlite_follow {
	struct mauth_sqlite_follow_deps deps;
	struct look *look;
	struct mauth_timer *timer;
	size_t told;                     /* of look->changes */
	unsigned int failures;           /* in a row */
	bool busy;
};

/* -- pictures -- */

static uint64_t hash_of(const char *data, size_t size)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)data[i]) * 1099511628211u;
	return hash;
}

static void picture_clear(struct picture *picture)
{
	for (size_t i = 0; i < picture->count; i++)
		free(picture->rows[i].name);
	free(picture->rows);
	*picture = (struct picture){ NULL, 0 };
}

static void changes_clear(struct look *look)
{
	for (size_t i = 0; i < look->count; i++) {
		free(look->changes[i].name);
		free(look->changes[i].value);
	}
	free(look->changes);
	look->changes = NULL;
	look->count = 0;
}

static bool is_power_of_two(size_t count)
{
	return (count & (count - 1)) == 0;
}

static void add_change(struct look *look, const char *kind, const char *name, const char *value, size_t size)
{
	struct change *change;

	if (is_power_of_two(look->count))
		look->changes = mauth_grow(look->changes, look->count == 0 ? 1 : look->count * 2, sizeof(*look->changes));
	change = &look->changes[look->count++];
	*change = (struct change){ .kind = kind, .name = mauth_strdup(name), .size = size };
	if (value != NULL) {
		change->value = mauth_new(size + 1);
		memcpy(change->value, value, size);
	}
}

static void add_seen(struct picture *picture, const char *name, uint64_t hash)
{
	if (is_power_of_two(picture->count))
		picture->rows = mauth_grow(picture->rows, picture->count == 0 ? 1 : picture->count * 2, sizeof(*picture->rows));
	picture->rows[picture->count++] = (struct seen){ mauth_strdup(name), hash };
}

/* Both are in order: what lies between in the old one is gone. */
static void compare_row(struct look *look, const char *kind, const struct picture *old, size_t *at, const char *name,
			const char *value, size_t size, uint64_t hash)
{
	int order = -1;

	while (*at < old->count && (order = strcmp(old->rows[*at].name, name)) < 0)
		add_change(look, kind, old->rows[(*at)++].name, NULL, 0);
	if (*at < old->count && order == 0 && old->rows[(*at)++].hash == hash)
		return;
	add_change(look, kind, name, value, size);
}

static int look_at_kind(struct look *look, size_t index)
{
	struct picture *old = &look->pictures[index], new = { NULL, 0 };
	sqlite3_stmt *stmt = NULL;
	size_t at = 0;
	int rc = sqlite3_prepare_v2(look->db, "SELECT name, value FROM records WHERE kind = ?1 ORDER BY name", -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(stmt, 1, look->kinds[index], -1, SQLITE_STATIC);
	while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0), *value = sqlite3_column_blob(stmt, 1);
		size_t size = (size_t)sqlite3_column_bytes(stmt, 1);
		uint64_t hash = hash_of(value, size);

		rc = SQLITE_OK;
		if (name == NULL || value == NULL)
			continue;
		compare_row(look, look->kinds[index], old, &at, name, value, size, hash);
		add_seen(&new, name, hash);
	}
	(void)sqlite3_finalize(stmt);
	if (rc != SQLITE_DONE) {
		picture_clear(&new);
		return rc;
	}
	while (at < old->count)
		add_change(look, look->kinds[index], old->rows[at++].name, NULL, 0);
	picture_clear(old);
	*old = new;
	return SQLITE_OK;
}

/* -- in the worker -- */

static int read_version(struct look *look, int64_t *version_r)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(look->db, "PRAGMA data_version", -1, &stmt, NULL);

	if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		*version_r = sqlite3_column_int64(stmt, 0);
		rc = SQLITE_OK;
	}
	(void)sqlite3_finalize(stmt);
	return rc;
}

static int look_at_all(struct look *look)
{
	int64_t version = 0;
	/* What comes after this version was read is found the next time, at worst twice. */
	int rc = read_version(look, &version);

	if (rc != SQLITE_OK || version == look->version)
		return rc;
	for (size_t i = 0; rc == SQLITE_OK && look->kinds[i] != NULL; i++)
		rc = look_at_kind(look, i);
	if (rc == SQLITE_OK)
		look->version = version;
	return rc;
}

static void work(void *context)
{
	struct look *look = context;
	int rc;

	look->error.status = MAUTH_OK;
	if (look->db == NULL && mauth_sqlite_open_reader(look->path, &look->db, &look->error) != MAUTH_OK) {
		(void)sqlite3_close(look->db);
		look->db = NULL;
		return;
	}
	rc = look_at_all(look);
	if (rc != SQLITE_OK)
		(void)mauth_sqlite_fail(look->db, rc, look->path, "followed", &look->error);
}

/* -- in the loop -- */

static void look_free(struct look *look)
{
	for (size_t i = 0; i < KINDS_MAX; i++)
		picture_clear(&look->pictures[i]);
	changes_clear(look);
	(void)sqlite3_close(look->db);
	free(look->path);
	free(look);
}

static void look_again(void *context);

static void tell_some(void *context)
{
	struct mauth_sqlite_follow *follow = context;
	struct look *look = follow->look;
	size_t end = look->count - follow->told > TOGETHER_MAX ? follow->told + TOGETHER_MAX : look->count;

	follow->timer = NULL;
	for (; follow->told < end; follow->told++) {
		const struct change *change = &look->changes[follow->told];

		follow->deps.changed(&(struct mauth_store_row){ change->kind, change->name, change->value, change->size },
				     follow->deps.context);
	}
	if (end < look->count) {
		follow->timer = mauth_timer_add(follow->deps.loop, 0, tell_some, follow);
		return;
	}
	changes_clear(look);
	follow->timer = mauth_timer_add(follow->deps.loop, POLL_MSECS, look_again, follow);
}

static void complain(struct mauth_sqlite_follow *follow)
{
	const struct mauth_error *error = &follow->look->error;

	if (error->status == MAUTH_OK) {
		if (follow->failures >= FAILURES_MAX)
			mauth_log(follow->deps.log, MAUTH_INFO, "database %s is followed again", follow->look->path);
		follow->failures = 0;
		return;
	}
	if (++follow->failures == FAILURES_MAX)
		mauth_log(follow->deps.log, MAUTH_ERROR, "database %s; what other front ends change in it is not seen; to do: %s",
			  error->text, error->advice);
}

static void looked(void *context)
{
	struct look *look = context;
	struct mauth_sqlite_follow *follow = look->follow;

	if (follow == NULL) {
		look_free(look);
		return;
	}
	follow->busy = false;
	complain(follow);
	follow->told = 0;
	tell_some(follow);
}

static void look_again(void *context)
{
	struct mauth_sqlite_follow *follow = context;

	follow->timer = NULL;
	follow->busy = true;
	follow->deps.worker->submit(follow->deps.worker->context, work, looked, follow->look);
}

struct mauth_sqlite_follow *mauth_sqlite_follow_new(const struct mauth_sqlite_follow_deps *deps)
{
	struct mauth_sqlite_follow *follow = mauth_new(sizeof(*follow));
	struct look *look = mauth_new(sizeof(*look));

	look->follow = follow;
	look->kinds = deps->kinds;
	look->path = mauth_printf("%s/modernauth.db", deps->dir);
	look->version = -1;
	follow->deps = *deps;
	follow->look = look;
	/* The picture to compare with. */
	work(look);
	complain(follow);
	changes_clear(look);
	follow->timer = mauth_timer_add(deps->loop, POLL_MSECS, look_again, follow);
	return follow;
}

void mauth_sqlite_follow_free(struct mauth_sqlite_follow **follow)
{
	struct mauth_sqlite_follow *f = *follow;

	if (f == NULL)
		return;
	mauth_timer_remove(f->deps.loop, &f->timer);
	if (f->busy)
		f->look->follow = NULL;
	else
		look_free(f->look);
	free(f);
	*follow = NULL;
}
