/* SPDX-License-Identifier: MIT */
#include "core/pseudonyms.h"

#include "core/mem.h"
#include "core/privacy.h"
#include "core/seal.h"
#include "core/table.h"
#include "modernauth/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A row is written anew, under another name, once in so many days in which its person was seen: its name says until when. */
#define PERIOD_DAYS 30
#define FLUSH_MSECS 200u
#define RETRY_MSECS 10000u
#define EXPIRE_MSECS 86400000u
#define BATCH_MAX 250u
#define ROW_NAME_SIZE (MAUTH_PSEUDONYM_SIZE + 24u)

/* What the store has, or will have when all is written, of one pseudonym. */
struct row_id {
	bool works;                          /* which kind */
	uint32_t period;
};

struct entry {
	struct mauth_node node;
	char pseudonym[MAUTH_PSEUDONYM_SIZE];
	struct row_id id;
	bool stored;
	struct row_id stored_id;
	char *name;                          /* to be written; NULL: the store has it */
	struct entry *dirty_next, **dirty_link;
};

struct gone {
	char pseudonym[MAUTH_PSEUDONYM_SIZE];
	struct row_id id;
};

/* A write on its way to the disk: it outlives us. */
struct batch {
	struct mauth_pseudonyms *owner;      /* NULL: closed meanwhile */
	size_t count;
	struct {
		char pseudonym[MAUTH_PSEUDONYM_SIZE];
		char *name;                  /* NULL: was deleted */
	} rows[BATCH_MAX];
};

struct mauth_pseudonyms {
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	int64_t keep_secs;
	struct mauth_verifier_key key;       /* of the tables */
	struct mauth_table known, fresh;
	struct mauth_vault *vault;           /* NULL: the store is not open */
	struct entry *dirty, **dirty_tail;
	struct gone *gone;                   /* rows to be deleted */
	size_t gone_count;
	struct batch *batch;
	struct mauth_timer *timer, *expire;
};

static const char *entry_name(const struct mauth_node *node)
{
	return ((const struct entry *)node)->pseudonym;
}

static struct mauth_table *table_of(struct mauth_pseudonyms *p, bool works)
{
	return works ? &p->known : &p->fresh;
}

static struct entry *find(struct mauth_pseudonyms *p, const char *pseudonym)
{
	struct mauth_node *node = mauth_table_find(&p->known, 0, pseudonym);

	return (struct entry *)(node != NULL ? node : mauth_table_find(&p->fresh, 0, pseudonym));
}

static uint32_t period_now(const struct mauth_pseudonyms *p)
{
	return (uint32_t)(mauth_wall_secs(p->loop) / 86400 / PERIOD_DAYS);
}

/* -- rows --------------------------------------------------------------------------------------------------- */

static const char *kind_of(struct row_id id)
{
	return id.works ? MAUTH_PSEUDONYM_KIND : MAUTH_PSEUDONYM_NEW_KIND;
}

static void row_name(const char *pseudonym, struct row_id id, char name_r[static ROW_NAME_SIZE])
{
	snprintf(name_r, ROW_NAME_SIZE, "%s/%u", pseudonym, id.period);
}

static bool same_row(struct row_id a, struct row_id b)
{
	return a.works == b.works && a.period == b.period;
}

static void flush(void *context);

static void arm(struct mauth_pseudonyms *p, unsigned int msecs)
{
	/* One writer: who follows keeps his in memory until the store is his. */
	if (p->vault != NULL && !mauth_vault_follows(p->vault) && p->timer == NULL && p->batch == NULL)
		p->timer = mauth_timer_add(p->loop, msecs, flush, p);
}

static void mark(struct mauth_pseudonyms *p, struct entry *entry)
{
	if (entry->dirty_link == NULL) {
		entry->dirty_next = NULL;
		entry->dirty_link = p->dirty_tail;
		*p->dirty_tail = entry;
		p->dirty_tail = &entry->dirty_next;
	}
	arm(p, FLUSH_MSECS);
}

static void unmark(struct mauth_pseudonyms *p, struct entry *entry)
{
	if (entry->dirty_link == NULL)
		return;
	*entry->dirty_link = entry->dirty_next;
	if (entry->dirty_next != NULL)
		entry->dirty_next->dirty_link = entry->dirty_link;
	else
		p->dirty_tail = entry->dirty_link;
	entry->dirty_link = NULL;
}

static void erase_later(struct mauth_pseudonyms *p, const char *pseudonym, struct row_id id)
{
	struct gone *gone;

	if (p->gone_count % 64 == 0)
		p->gone = mauth_grow(p->gone, p->gone_count + 64, sizeof(*p->gone));
	gone = &p->gone[p->gone_count++];
	memcpy(gone->pseudonym, pseudonym, sizeof(gone->pseudonym));
	gone->id = id;
	arm(p, FLUSH_MSECS);
}

static void drop(struct mauth_pseudonyms *p, struct entry *entry, bool erase)
{
	if (erase && entry->stored)
		erase_later(p, entry->pseudonym, entry->stored_id);
	unmark(p, entry);
	mauth_table_remove(table_of(p, entry->id.works), &entry->node);
	if (entry->name != NULL)
		mauth_wipe(entry->name, strlen(entry->name));
	free(entry->name);
	free(entry);
}

static void insert(struct mauth_pseudonyms *p, struct entry *entry)
{
	struct mauth_table *table = table_of(p, entry->id.works);
	size_t max = entry->id.works ? MAUTH_PSEUDONYMS_MAX : MAUTH_PSEUDONYMS_NEW_MAX;

	if (table->count >= max)
		drop(p, (struct entry *)table->oldest, true);
	mauth_table_insert(table, &entry->node, 0, entry->pseudonym);
}

/* -- writing ------------------------------------------------------------------------------------------------ */

struct writing {
	struct mauth_store_row rows[2 * BATCH_MAX];
	char names[2 * BATCH_MAX][ROW_NAME_SIZE];
	struct mauth_buf values[2 * BATCH_MAX];
	size_t count;
};

static void put_row(struct writing *w, const struct mauth_vault *vault, const char *pseudonym, struct row_id id, const char *name)
{
	size_t i = w->count++;
	char period[16];

	row_name(pseudonym, id, w->names[i]);
	w->rows[i] = (struct mauth_store_row){ .kind = kind_of(id), .name = w->names[i] };
	if (name == NULL)
		return;
	snprintf(period, sizeof(period), "%u", id.period);
	struct mauth_secret *plain = mauth_secret_new(name, strlen(name));
	mauth_seal(mauth_vault_keyring(vault), &(struct mauth_seal_context){ kind_of(id), pseudonym, period }, plain, &w->values[i]);
	mauth_secret_free(&plain);
	w->rows[i].value = w->values[i].data;
	w->rows[i].size = w->values[i].size;
}

static void batch_free(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++)
		free(batch->rows[i].name);
	free(batch);
}

/* What is still wanted of it is tried again. */
static void take_back(struct mauth_pseudonyms *p, struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct entry *entry = find(p, batch->rows[i].pseudonym);

		if (entry == NULL || batch->rows[i].name == NULL)
			continue;
		if (entry->name == NULL) {
			entry->name = batch->rows[i].name;
			batch->rows[i].name = NULL;
		}
		mark(p, entry);
	}
}

static void batch_done(const struct mauth_error *error, void *context)
{
	struct batch *batch = context;
	struct mauth_pseudonyms *p = batch->owner;

	if (p != NULL) {
		p->batch = NULL;
		if (error != NULL) {
			mauth_log(p->log, MAUTH_WARNING, "the names of %zu pseudonyms could not be written, they are tried again: %s",
				  batch->count, error->text);
			arm(p, RETRY_MSECS);
			take_back(p, batch);
		}
		if (p->dirty != NULL || p->gone_count > 0)
			arm(p, 0);
	}
	batch_free(batch);
}

static void fill(struct mauth_pseudonyms *p, struct batch *batch, struct writing *w)
{
	while (p->gone_count > 0 && batch->count < BATCH_MAX) {
		const struct gone *gone = &p->gone[--p->gone_count];

		memcpy(batch->rows[batch->count++].pseudonym, gone->pseudonym, sizeof(gone->pseudonym));
		put_row(w, p->vault, gone->pseudonym, gone->id, NULL);
	}
	while (p->dirty != NULL && batch->count < BATCH_MAX) {
		struct entry *entry = p->dirty;

		unmark(p, entry);
		put_row(w, p->vault, entry->pseudonym, entry->id, entry->name);
		if (entry->stored && !same_row(entry->stored_id, entry->id))
			put_row(w, p->vault, entry->pseudonym, entry->stored_id, NULL);
		memcpy(batch->rows[batch->count].pseudonym, entry->pseudonym, sizeof(entry->pseudonym));
		batch->rows[batch->count++].name = entry->name;
		entry->name = NULL;
		entry->stored = true;
		entry->stored_id = entry->id;
	}
}

static void write_batch(struct mauth_pseudonyms *p)
{
	struct batch *batch = mauth_new(sizeof(*batch));
	struct writing *w = mauth_new(sizeof(*w));

	batch->owner = p;
	p->batch = batch;
	fill(p, batch, w);
	mauth_store_write(mauth_vault_store(p->vault), w->rows, w->count, batch_done, batch);
	for (size_t i = 0; i < w->count; i++)
		mauth_buf_free(&w->values[i]);
	free(w);
}

static void flush(void *context)
{
	struct mauth_pseudonyms *p = context;

	p->timer = NULL;
	if (p->dirty != NULL || p->gone_count > 0)
		write_batch(p);
}

/* -- noting ------------------------------------------------------------------------------------------------- */

void mauth_pseudonyms_note(struct mauth_pseudonyms *p, const char *pseudonym, const char *name, bool works)
{
	struct entry *entry = find(p, pseudonym);
	uint32_t period = period_now(p);

	if (entry == NULL) {
		entry = mauth_new(sizeof(*entry));
		snprintf(entry->pseudonym, sizeof(entry->pseudonym), "%s", pseudonym);
		entry->id = (struct row_id){ works, period };
		entry->name = mauth_strdup(name);
		insert(p, entry);
		mark(p, entry);
		return;
	}
	if (works && !entry->id.works) {
		mauth_table_remove(&p->fresh, &entry->node);
		entry->id.works = true;
		insert(p, entry);
	} else {
		mauth_table_touch(table_of(p, entry->id.works), &entry->node);
	}
	if (entry->id.period < period)
		entry->id.period = period;
	if (!entry->stored || same_row(entry->id, entry->stored_id))
		return;
	if (entry->name == NULL)
		entry->name = mauth_strdup(name);
	mark(p, entry);
}

/* -- asking ------------------------------------------------------------------------------------------------- */

static enum mauth_status read_name(struct mauth_pseudonyms *p, const struct entry *entry, char **name_r, struct mauth_error *error_r)
{
	struct mauth_secret *sealed = NULL, *plain = NULL;
	char name[ROW_NAME_SIZE], period[16];
	enum mauth_status status;

	row_name(entry->pseudonym, entry->stored_id, name);
	status = mauth_store_get(mauth_vault_store(p->vault), kind_of(entry->stored_id), name, &sealed, error_r);
	if (status != MAUTH_OK)
		return status;
	snprintf(period, sizeof(period), "%u", entry->stored_id.period);
	status = mauth_unseal(mauth_vault_keyring(p->vault),
			      &(struct mauth_seal_context){ kind_of(entry->stored_id), entry->pseudonym, period },
			      mauth_secret_expose(sealed), mauth_secret_size(sealed), &plain, error_r);
	mauth_secret_free(&sealed);
	if (status != MAUTH_OK)
		return status;
	*name_r = mauth_strndup(mauth_secret_expose(plain), mauth_secret_size(plain));
	mauth_secret_free(&plain);
	return MAUTH_OK;
}

enum mauth_status mauth_pseudonyms_find(struct mauth_pseudonyms *p, const char *pseudonym, char **name_r, struct mauth_error *error_r)
{
	const struct entry *entry = find(p, pseudonym);

	if (entry == NULL)
		return mauth_fail(error_r, MAUTH_USER_UNKNOWN, 0, "nobody knows whose pseudonym %.40s is", pseudonym);
	if (entry->name != NULL) {
		*name_r = mauth_strdup(entry->name);
		return MAUTH_OK;
	}
	for (size_t i = 0; p->batch != NULL && i < p->batch->count; i++) {
		if (p->batch->rows[i].name != NULL && strcmp(p->batch->rows[i].pseudonym, pseudonym) == 0) {
			*name_r = mauth_strdup(p->batch->rows[i].name);
			return MAUTH_OK;
		}
	}
	if (p->vault == NULL)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "the store is not open");
	return read_name(p, entry, name_r, error_r);
}

bool mauth_pseudonyms_forget(struct mauth_pseudonyms *p, const char *pseudonym, mauth_store_done_fn *done, void *context)
{
	struct entry *entry = find(p, pseudonym);
	struct row_id id = { 0 };
	char name[ROW_NAME_SIZE];
	struct mauth_store_row row = { .name = name };
	bool stored;

	if (entry == NULL)
		return false;
	stored = entry->stored;
	id = entry->stored_id;
	drop(p, entry, false);
	if (!stored || p->vault == NULL)
		return false;
	/* Behind a batch that may be writing it just now: writes are done in their order. */
	row.kind = kind_of(id);
	row_name(pseudonym, id, name);
	mauth_store_write(mauth_vault_store(p->vault), &row, 1, done, context);
	return true;
}

size_t mauth_pseudonyms_count(const struct mauth_pseudonyms *p)
{
	return p->known.count + p->fresh.count;
}

/* -- the whole ---------------------------------------------------------------------------------------------- */

static bool is_over(const struct mauth_pseudonyms *p, uint32_t period)
{
	return p->keep_secs > 0 && ((int64_t)period + 1) * PERIOD_DAYS * 86400 + p->keep_secs < mauth_wall_secs(p->loop);
}

static void expire(void *context)
{
	struct mauth_pseudonyms *p = context;
	struct mauth_table *tables[] = { &p->known, &p->fresh };

	p->expire = mauth_timer_add(p->loop, EXPIRE_MSECS, expire, p);
	for (size_t i = 0; i < 2; i++) {
		for (struct mauth_node *node = tables[i]->oldest, *newer; node != NULL; node = newer) {
			newer = node->newer;
			if (is_over(p, ((struct entry *)node)->id.period))
				drop(p, (struct entry *)node, true);
		}
	}
}

/* A row that is none of ours is left alone: exports of later versions may have more. */
static enum mauth_status load(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	struct mauth_pseudonyms *p = context;
	struct row_id id = { .works = strcmp(row->kind, MAUTH_PSEUDONYM_KIND) == 0 };
	char pseudonym[MAUTH_PSEUDONYM_SIZE];
	struct entry *entry;

	if (!mauth_is_pseudonym(row->name, strlen(row->name)) || row->name[MAUTH_PSEUDONYM_SIZE - 1] != '/')
		return MAUTH_OK;
	memcpy(pseudonym, row->name, sizeof(pseudonym) - 1);
	pseudonym[sizeof(pseudonym) - 1] = '\0';
	id.period = (uint32_t)strtoul(row->name + MAUTH_PSEUDONYM_SIZE, NULL, 10);
	entry = find(p, pseudonym);
	if (entry == NULL) {
		entry = mauth_new(sizeof(*entry));
		memcpy(entry->pseudonym, pseudonym, sizeof(pseudonym));
		entry->id = id;
		insert(p, entry);
	} else if (entry->stored) {
		/* Left over by a write that failed in its middle. */
		erase_later(p, pseudonym, id);
		return MAUTH_OK;
	} else if (id.works && !entry->id.works) {
		mauth_table_remove(&p->fresh, &entry->node);
		entry->id.works = true;
		insert(p, entry);
	}
	entry->stored = true;
	entry->stored_id = id;
	return MAUTH_OK;
}

void mauth_pseudonyms_open(struct mauth_pseudonyms *p, struct mauth_vault *vault)
{
	static const char *const kinds[] = { MAUTH_PSEUDONYM_KIND, MAUTH_PSEUDONYM_NEW_KIND };
	struct mauth_error error;

	p->vault = vault;
	for (size_t i = 0; i < 2; i++) {
		if (mauth_store_each(mauth_vault_store(vault), kinds[i], load, p, &error) != MAUTH_OK)
			mauth_log(p->log, MAUTH_ERROR, "the pseudonyms cannot be read from the store: %s", error.text);
	}
	expire(p);
	if (p->dirty != NULL || p->gone_count > 0)
		arm(p, 0);
}

static void drop_all(struct mauth_pseudonyms *p)
{
	while (p->known.oldest != NULL)
		drop(p, (struct entry *)p->known.oldest, false);
	while (p->fresh.oldest != NULL)
		drop(p, (struct entry *)p->fresh.oldest, false);
	free(p->gone);
	p->gone = NULL;
	p->gone_count = 0;
}

void mauth_pseudonyms_close(struct mauth_pseudonyms *p)
{
	if (p->vault == NULL)
		return;
	mauth_timer_remove(p->loop, &p->timer);
	mauth_timer_remove(p->loop, &p->expire);
	do {
		if (p->batch != NULL)
			p->batch->owner = NULL;
		p->batch = NULL;
		if (p->dirty != NULL || p->gone_count > 0)
			write_batch(p);
	} while (p->batch != NULL);
	p->vault = NULL;
	drop_all(p);
}

struct mauth_pseudonyms *mauth_pseudonyms_new(const struct mauth_loop *loop, const struct mauth_log *log, int64_t keep_secs)
{
	struct mauth_pseudonyms *p = mauth_new(sizeof(*p));

	p->loop = loop;
	p->log = log;
	p->keep_secs = keep_secs;
	p->dirty_tail = &p->dirty;
	mauth_verifier_key_new(&p->key);
	mauth_table_init(&p->known, &p->key, entry_name);
	mauth_table_init(&p->fresh, &p->key, entry_name);
	return p;
}

void mauth_pseudonyms_free(struct mauth_pseudonyms **pseudonyms)
{
	struct mauth_pseudonyms *p = *pseudonyms;

	if (p == NULL)
		return;
	mauth_pseudonyms_close(p);
	drop_all(p);
	mauth_table_free(&p->known);
	mauth_table_free(&p->fresh);
	free(p);
	*pseudonyms = NULL;
}

size_t mauth_pseudonyms_erase_all(const struct mauth_loop *loop, const struct mauth_log *log, struct mauth_vault *vault)
{
	struct mauth_pseudonyms *p = mauth_pseudonyms_new(loop, log, 0);
	size_t count;

	mauth_pseudonyms_open(p, vault);
	count = mauth_pseudonyms_count(p);
	while (p->known.oldest != NULL)
		drop(p, (struct entry *)p->known.oldest, true);
	while (p->fresh.oldest != NULL)
		drop(p, (struct entry *)p->fresh.oldest, true);
	mauth_pseudonyms_free(&p);
	return count;
}
