/* SPDX-License-Identifier: MIT */
#include "core/inventory-private.h"

#include <stdlib.h>
#include <string.h>

#define ROUND_MSECS 60000u
/* Rows of one write; what is more follows when it is done, so that logins and other writes get their turn. */
#define BATCH_ROWS_MAX 250u

struct batch_row {
	const char *kind;
	char *name;
	struct mauth_buf value;              /* data NULL: to be deleted */
};

/* A write on its way to the disk: it outlives the inventory. */
struct inventory_batch {
	struct mauth_inventory *inventory;   /* NULL: it has forgotten all, or is gone */
	struct inventory_forget *forget;     /* NULL: a round's; otherwise: */
	struct inventory_batch *next, **link;    /* in forgetting */
	size_t count;
	struct batch_row rows[BATCH_ROWS_MAX];
};

static void round_start(void *context);
static void leave(struct inventory_batch *batch);

/* -- what is to be written ---------------------------------------------------------------------------------- */

static size_t dirty_day(const struct mauth_inventory *inventory)
{
	size_t i = 0;

	while (i < inventory->days_count && !inventory->days_dirty[i])
		i++;
	return i;
}

static bool has_work(const struct mauth_inventory *inventory)
{
	return inventory->dirty != NULL || inventory->erased_count > 0 || dirty_day(inventory) < inventory->days_count;
}

void inventory_arm(struct mauth_inventory *inventory)
{
	if (inventory->store == NULL || inventory->timer != NULL || inventory->batch != NULL)
		return;
	inventory->timer = mauth_timer_add(inventory->deps.loop, ROUND_MSECS, round_start, inventory);
}

void inventory_mark(struct mauth_inventory *inventory, struct inventory_entry *entry)
{
	if (entry->dirty_link == NULL) {
		entry->dirty_next = NULL;
		entry->dirty_link = inventory->dirty_tail;
		*inventory->dirty_tail = entry;
		inventory->dirty_tail = &entry->dirty_next;
		inventory->dirty_count++;
	}
	inventory_arm(inventory);
}

void inventory_unmark(struct mauth_inventory *inventory, struct inventory_entry *entry)
{
	if (entry->dirty_link == NULL)
		return;
	*entry->dirty_link = entry->dirty_next;
	if (entry->dirty_next != NULL)
		entry->dirty_next->dirty_link = entry->dirty_link;
	else
		inventory->dirty_tail = entry->dirty_link;
	entry->dirty_next = NULL;
	entry->dirty_link = NULL;
	inventory->dirty_count--;
}

void inventory_erase_later(struct mauth_inventory *inventory, char *name)
{
	if (inventory->erased_count % 256 == 0)
		inventory->erased = mauth_grow(inventory->erased, inventory->erased_count + 256, sizeof(*inventory->erased));
	inventory->erased[inventory->erased_count++] = name;
	inventory_arm(inventory);
}

/* Names of days have no slash. */
static const char *kind_of(const char *name)
{
	return strchr(name, '/') == NULL ? MAUTH_INVENTORY_DAY_KIND : MAUTH_INVENTORY_KIND;
}

static struct inventory_entry *entry_named(struct mauth_inventory *inventory, const char *name)
{
	struct inventory_entry *found = NULL;
	const struct inventory_user *user;
	char *user_name = mauth_strndup(name, (size_t)(strrchr(name, '/') - name));
	uint64_t id = strtoull(strrchr(name, '/') + 1, NULL, 16);

	user = (const struct inventory_user *)mauth_table_find(&inventory->users, 0, user_name);
	for (struct mauth_inventory_row *row = user == NULL ? NULL : user->rows; row != NULL; row = row->next) {
		if (inventory_entry_of(row)->id == id)
			found = inventory_entry_of(row);
	}
	free(user_name);
	return found;
}

/* -- writing it --------------------------------------------------------------------------------------------- */

static struct batch_row *next_row(struct inventory_batch *batch, char *name)
{
	struct batch_row *row = &batch->rows[batch->count++];

	row->kind = kind_of(name);
	row->name = name;
	return row;
}

static void take_erased(struct mauth_inventory *inventory, struct inventory_batch *batch)
{
	while (inventory->erased_count > 0 && batch->count < BATCH_ROWS_MAX)
		next_row(batch, inventory->erased[--inventory->erased_count]);
	if (inventory->erased_count > 0)
		return;
	free(inventory->erased);
	inventory->erased = NULL;
}

static void take_days(struct mauth_inventory *inventory, struct inventory_batch *batch)
{
	size_t i;

	while (batch->count < BATCH_ROWS_MAX && (i = dirty_day(inventory)) < inventory->days_count) {
		char name[INVENTORY_DAY_SIZE];

		inventory->days_dirty[i] = false;
		inventory_day_name(inventory->days[i].day, name);
		inventory_day_encode(&inventory->days[i], &next_row(batch, mauth_strdup(name))->value);
	}
}

static void take_entries(struct mauth_inventory *inventory, struct inventory_batch *batch)
{
	while (inventory->round_left > 0 && inventory->dirty != NULL && batch->count < BATCH_ROWS_MAX) {
		struct inventory_entry *entry = inventory->dirty;

		inventory->round_left--;
		inventory_unmark(inventory, entry);
		entry->stored = true;
		inventory_row_encode(&entry->pub, &next_row(batch, inventory_row_name(entry))->value);
	}
}

static struct inventory_batch *batch_take(struct mauth_inventory *inventory)
{
	struct inventory_batch *batch = mauth_new(sizeof(*batch));

	batch->inventory = inventory;
	take_erased(inventory, batch);
	take_entries(inventory, batch);
	/* Once a round: the day's totals change with every login. */
	if (inventory->round_left == 0)
		take_days(inventory, batch);
	if (batch->count > 0)
		return batch;
	free(batch);
	return NULL;
}

static void batch_free(struct inventory_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		free(batch->rows[i].name);
		mauth_buf_free(&batch->rows[i].value);
	}
	free(batch);
}

/* Everything in it is still to be written, but for what is gone by now. */
static void batch_again(struct inventory_batch *batch)
{
	struct mauth_inventory *inventory = batch->inventory;

	for (size_t i = 0; i < batch->count; i++) {
		struct batch_row *row = &batch->rows[i];
		struct inventory_entry *entry;

		if (row->value.data == NULL) {
			inventory_erase_later(inventory, row->name);
			row->name = NULL;
		} else if (strcmp(row->kind, MAUTH_INVENTORY_KIND) == 0) {
			entry = entry_named(inventory, row->name);
			if (entry != NULL)
				inventory_mark(inventory, entry);
		} else {
			for (size_t d = 0; d < inventory->days_count; d++) {
				char name[INVENTORY_DAY_SIZE];

				inventory_day_name(inventory->days[d].day, name);
				if (strcmp(name, row->name) == 0)
					inventory_day_mark(inventory, &inventory->days[d]);
			}
		}
	}
}

static void batch_write(const struct mauth_store *store, struct inventory_batch *batch);

static void batch_done(const struct mauth_error *error, void *context)
{
	struct inventory_batch *batch = context;
	struct mauth_inventory *inventory = batch->inventory;

	if (inventory != NULL) {
		inventory->batch = NULL;
		if (error != NULL) {
			mauth_log(inventory->deps.log, MAUTH_WARNING, "inventory: %zu rows could not be written, they "
				  "are tried again in a minute: %s", batch->count, error->text);
			inventory->round_left = 0;
			batch_again(batch);
		} else if (inventory->round_left > 0 || inventory->erased_count > 0) {
			inventory->batch = batch_take(inventory);
		}
		if (inventory->batch != NULL)
			batch_write(inventory->store, inventory->batch);
		else if (has_work(inventory))
			inventory_arm(inventory);
	}
	batch_free(batch);
}

static void batch_write(const struct mauth_store *store, struct inventory_batch *batch)
{
	struct mauth_store_row rows[BATCH_ROWS_MAX];

	for (size_t i = 0; i < batch->count; i++) {
		const struct batch_row *row = &batch->rows[i];

		rows[i] = (struct mauth_store_row){ row->kind, row->name, row->value.data, row->value.size };
	}
	mauth_store_write(store, rows, batch->count, batch_done, batch);
}

/* What is seen from now on belongs to the next round: this one ends, however busy everybody is. */
static void round_start(void *context)
{
	struct mauth_inventory *inventory = context;

	inventory->timer = NULL;
	inventory_trim(inventory);
	inventory->round_left = inventory->dirty_count;
	inventory->batch = batch_take(inventory);
	if (inventory->batch != NULL)
		batch_write(inventory->store, inventory->batch);
}

/* -- closing ------------------------------------------------------------------------------------------------ */

void mauth_inventory_discard(struct mauth_inventory *inventory)
{
	mauth_timer_remove(inventory->deps.loop, &inventory->timer);
	if (inventory->batch != NULL)
		inventory->batch->inventory = NULL;
	inventory->batch = NULL;
	while (inventory->forgetting != NULL)
		leave(inventory->forgetting);
	while (inventory->users.oldest != NULL)
		inventory_entry_drop(inventory, inventory_entry_of(inventory_user_of(inventory->users.oldest)->rows), false);
	while (inventory->erased_count > 0)
		free(inventory->erased[--inventory->erased_count]);
	free(inventory->erased);
	inventory->erased = NULL;
	inventory->days_count = 0;
	inventory->round_left = 0;
}

void mauth_inventory_close(struct mauth_inventory *inventory)
{
	const struct mauth_store *store = inventory->store;
	struct inventory_batch *batch;

	mauth_timer_remove(inventory->deps.loop, &inventory->timer);
	if (inventory->batch != NULL)
		inventory->batch->inventory = NULL;
	inventory->batch = NULL;
	inventory->round_left = inventory->dirty_count;
	while (store != NULL && (batch = batch_take(inventory)) != NULL) {
		/* The store may call back from within its own end. */
		batch->inventory = NULL;
		batch_write(store, batch);
	}
	inventory->store = NULL;
	mauth_inventory_discard(inventory);
}

/* -- opening ------------------------------------------------------------------------------------------------ */

struct loading {
	struct mauth_inventory *inventory;
	size_t unreadable;
	char example[128];
};

static void merge(struct mauth_inventory_row *into, const struct mauth_inventory_row *from)
{
	const uint32_t *counts[] = { from->outcomes, from->actions, &from->exchange_refused };
	uint32_t *sums[] = { into->outcomes, into->actions, &into->exchange_refused };
	static const size_t sizes[] = { MAUTH_INVENTORY_OUTCOMES, MAUTH_INVENTORY_ACTIONS, 1 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (size_t n = 0; n < sizes[i]; n++)
			sums[i][n] = UINT32_MAX - sums[i][n] < counts[i][n] ? UINT32_MAX : sums[i][n] + counts[i][n];
	}
	if (from->first_seen < into->first_seen)
		into->first_seen = from->first_seen;
	if (into->error_status == MAUTH_OK) {
		into->error_status = from->error_status;
		into->error_code = from->error_code;
	}
	if (into->tls_version[0] == '\0')
		memcpy(into->tls_version, from->tls_version, sizeof(into->tls_version));
}

/* Takes over row->client. */
static void load_entry(struct mauth_inventory *inventory, struct inventory_user *user, struct mauth_inventory_row *row,
		       uint64_t id, const char *name)
{
	struct inventory_entry *entry = inventory_entry_like(user, row);

	if (entry == NULL) {
		entry = inventory_entry_new(inventory, user, row);
		entry->id = id;
		entry->stored = true;
		return;
	}
	/* What is in memory is of after what is on disk. */
	merge(&entry->pub, row);
	free(row->client);
	if (entry->stored) {
		inventory_erase_later(inventory, mauth_strdup(name));
	} else {
		entry->id = id;
		entry->stored = true;
	}
	inventory_mark(inventory, entry);
}

static void unreadable(struct loading *loading, const char *name)
{
	if (loading->unreadable++ == 0)
		mauth_clean_copy(loading->example, sizeof(loading->example), name, strlen(name));
}

static enum mauth_status load_row(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	struct loading *loading = context;
	struct mauth_inventory_row decoded;
	struct inventory_user *user_entry;
	char *tenant, *user;
	uint64_t id;

	if (!inventory_row_name_parse(row->name, &tenant, &user, &id)) {
		unreadable(loading, row->name);
		return MAUTH_OK;
	}
	user_entry = inventory_row_decode(row->value, row->size, &decoded) ?
		inventory_user_get(loading->inventory, tenant, user) : NULL;
	if (user_entry != NULL)
		load_entry(loading->inventory, user_entry, &decoded, id, row->name);
	else
		unreadable(loading, row->name);
	free(tenant);
	free(user);
	return MAUTH_OK;
}

static enum mauth_status load_day(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	struct loading *loading = context;
	struct mauth_inventory_day decoded, *day;
	bool more = false;

	if (!inventory_day_decode(row->name, row->value, row->size, &decoded)) {
		unreadable(loading, row->name);
		return MAUTH_OK;
	}
	day = inventory_day(loading->inventory, decoded.day);
	if (day == NULL) {
		inventory_erase_later(loading->inventory, mauth_strdup(row->name));
		return MAUTH_OK;
	}
	for (size_t s = 0; s < MAUTH_SERVICE_COUNT; s++) {
		for (size_t o = 0; o < MAUTH_INVENTORY_OUTCOMES; o++) {
			more = more || day->counts[s][o] > 0;
			day->counts[s][o] = UINT32_MAX - day->counts[s][o] < decoded.counts[s][o] ? UINT32_MAX :
				day->counts[s][o] + decoded.counts[s][o];
		}
	}
	if (more)
		inventory_day_mark(loading->inventory, day);
	return MAUTH_OK;
}

enum mauth_status mauth_inventory_open(struct mauth_inventory *inventory, const struct mauth_store *store,
				       struct mauth_error *error_r)
{
	struct loading loading = { .inventory = inventory };
	enum mauth_status status = mauth_store_each(store, MAUTH_INVENTORY_KIND, load_row, &loading, error_r);

	if (status == MAUTH_OK)
		status = mauth_store_each(store, MAUTH_INVENTORY_DAY_KIND, load_day, &loading, error_r);
	if (loading.unreadable > 0)
		mauth_log(inventory->deps.log, MAUTH_WARNING, "inventory: %zu rows of the store cannot be read and are "
			  "left alone, the first is \"%s\": has a newer release written them?", loading.unreadable, loading.example);
	inventory_sort(inventory);
	/* Half of it in memory and all of it on disk would be added up one day. */
	if (status != MAUTH_OK) {
		mauth_inventory_discard(inventory);
		return status;
	}
	inventory->store = store;
	inventory_trim(inventory);
	if (has_work(inventory))
		inventory_arm(inventory);
	return MAUTH_OK;
}

/* -- forgetting --------------------------------------------------------------------------------------------- */

/* One request to forget: its batches are done when it is. */
struct inventory_forget {
	mauth_store_done_fn *done;
	void *context;
	size_t waiting;                      /* batches */
	struct mauth_error error;            /* the first one */
};

static void leave(struct inventory_batch *batch)
{
	*batch->link = batch->next;
	if (batch->next != NULL)
		batch->next->link = batch->link;
	batch->inventory = NULL;
}

static void forgotten(const struct mauth_error *error, void *context)
{
	struct inventory_batch *batch = context;
	struct inventory_forget *forget = batch->forget;
	struct mauth_inventory *inventory = batch->inventory;

	if (inventory != NULL)
		leave(batch);
	if (inventory != NULL && error != NULL) {
		batch->inventory = inventory;
		batch_again(batch);
	}
	batch_free(batch);
	if (error != NULL && forget->error.status == MAUTH_OK)
		forget->error = *error;
	if (--forget->waiting > 0)
		return;
	forget->done(forget->error.status == MAUTH_OK ? NULL : &forget->error, forget->context);
	free(forget);
}

/* All that is to be deleted, now. */
static void write_erased(struct mauth_inventory *inventory, struct inventory_forget *forget)
{
	struct mauth_store_row rows[BATCH_ROWS_MAX];

	while (inventory->erased_count > 0) {
		struct inventory_batch *batch = mauth_new(sizeof(*batch));

		take_erased(inventory, batch);
		batch->inventory = inventory;
		batch->forget = forget;
		batch->next = inventory->forgetting;
		batch->link = &inventory->forgetting;
		if (batch->next != NULL)
			batch->next->link = &batch->next;
		inventory->forgetting = batch;
		forget->waiting++;
		for (size_t i = 0; i < batch->count; i++)
			rows[i] = (struct mauth_store_row){ .kind = batch->rows[i].kind, .name = batch->rows[i].name };
		mauth_store_write(inventory->store, rows, batch->count, forgotten, batch);
	}
}

static void forget_days(struct mauth_inventory *inventory)
{
	for (size_t i = 0; i < inventory->days_count; i++) {
		char name[INVENTORY_DAY_SIZE];

		inventory_day_name(inventory->days[i].day, name);
		if (inventory->store != NULL)
			inventory_erase_later(inventory, mauth_strdup(name));
	}
	inventory->days_count = 0;
}

static size_t forget_rows(struct mauth_inventory *inventory, const char *tenant, const char *name)
{
	struct mauth_node *node = inventory->users.oldest, *newer;
	size_t count = 0;

	for (; node != NULL; node = newer) {
		struct inventory_user *user = inventory_user_of(node);

		newer = node->newer;
		if ((tenant != NULL && strcmp(tenant, user->tenant) != 0) || (name != NULL && strcmp(name, user->user) != 0))
			continue;
		/* With the last one the user goes. */
		for (unsigned int left = user->count; left > 0; left--, count++)
			inventory_entry_drop(inventory, inventory_entry_of(user->rows), true);
	}
	return count;
}

bool mauth_inventory_forget(struct mauth_inventory *inventory, const char *tenant, const char *user, mauth_store_done_fn *done,
			    void *context, size_t *rows_r)
{
	struct inventory_forget *forget;

	*rows_r = forget_rows(inventory, tenant, user);
	if (user == NULL && tenant == NULL)
		forget_days(inventory);
	if (inventory->store == NULL || inventory->erased_count == 0)
		return false;
	forget = mauth_new(sizeof(*forget));
	forget->done = done;
	forget->context = context;
	write_erased(inventory, forget);
	return true;
}
