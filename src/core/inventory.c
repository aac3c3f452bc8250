/* SPDX-License-Identifier: MIT */
#include "core/inventory-private.h"

#include "core/client-id.h"

#include <stdlib.h>
#include <string.h>

/* Whoever guesses names and passwords makes rows that never work: they get no more than this part of the table. */
#define OTHERS_PART 4u
#define DAY_SECS 86400
#define TOUCH_SECS 60

static const char *const action_names[MAUTH_INVENTORY_ACTIONS] = {
	[MAUTH_INVENTORY_ACTION_OTHER] = "other",
	[MAUTH_INVENTORY_UPGRADE] = "upgrade",
	[MAUTH_INVENTORY_PASS] = "pass",
	[MAUTH_INVENTORY_REFUSE] = "refuse",
	[MAUTH_INVENTORY_MONITOR] = "monitor",
	[MAUTH_INVENTORY_BASIC] = "basic",
	[MAUTH_INVENTORY_DENY] = "deny",
	[MAUTH_INVENTORY_LOCAL] = "local",
	[MAUTH_INVENTORY_NOT_OURS] = "not-ours",
	[MAUTH_INVENTORY_VERIFY] = "verify",
};

const char *mauth_inventory_action_name(enum mauth_inventory_action action)
{
	return action_names[action < MAUTH_INVENTORY_ACTIONS ? action : MAUTH_INVENTORY_ACTION_OTHER];
}

static enum mauth_inventory_action action_of(const char *decision)
{
	for (unsigned int i = 0; decision != NULL && i < MAUTH_INVENTORY_ACTIONS; i++) {
		if (strcmp(action_names[i], decision) == 0)
			return (enum mauth_inventory_action)i;
	}
	return MAUTH_INVENTORY_ACTION_OTHER;
}

enum mauth_inventory_outcome mauth_inventory_outcome_of(enum mauth_status status)
{
	switch (status) {
	case MAUTH_OK:
		return MAUTH_INVENTORY_OK;
	case MAUTH_BAD_CREDENTIALS:
	case MAUTH_USER_UNKNOWN:
	case MAUTH_LOCKED:
	case MAUTH_DISABLED:
	case MAUTH_EXPIRED:
	case MAUTH_INTERACTION:
	case MAUTH_POLICY:
		return MAUTH_INVENTORY_REFUSED;
	case MAUTH_NOT_OURS:
	case MAUTH_CANCELLED:
		return MAUTH_INVENTORY_OTHER;
	case MAUTH_CONFIG:
	case MAUTH_TEMPORARY:
	case MAUTH_TIMEOUT:
	case MAUTH_PROTOCOL:
	case MAUTH_AUDIT:
	case MAUTH_STATUS_COUNT:
		break;
	}
	return MAUTH_INVENTORY_FAILED;
}

bool mauth_inventory_row_works(const struct mauth_inventory_row *row)
{
	return row->outcomes[MAUTH_INVENTORY_OK] > 0 || row->outcomes[MAUTH_INVENTORY_OTHER] > 0;
}

static void count_up(uint32_t *count)
{
	if (*count < UINT32_MAX)
		(*count)++;
}

/* -- users -------------------------------------------------------------------------------------------------- */

static const char *user_name(const struct mauth_node *node)
{
	return ((const struct inventory_user *)node)->name;
}

static const char *tenant_name(struct mauth_inventory *inventory, const char *tenant)
{
	for (size_t i = 0; i < inventory->tenants_count; i++) {
		if (strcmp(inventory->tenants[i], tenant) == 0)
			return inventory->tenants[i];
	}
	inventory->tenants = mauth_grow(inventory->tenants, inventory->tenants_count + 1, sizeof(*inventory->tenants));
	inventory->tenants[inventory->tenants_count] = mauth_strdup(tenant);
	return inventory->tenants[inventory->tenants_count++];
}

/* Row names of the store are this and an id. */
#define NAME_SIZE (MAUTH_STORE_NAME_MAX - INVENTORY_ID_SIZE)

/* "tenant/user"; its size, 0 if it does not fit. */
static size_t compose(char name_r[static NAME_SIZE], const char *tenant, const char *user)
{
	size_t tenant_size = strlen(tenant), user_size = strnlen(user, MAUTH_USER_MAX + 1);

	if (user_size > MAUTH_USER_MAX || tenant_size + user_size + 2 > NAME_SIZE)
		return 0;
	memcpy(name_r, tenant, tenant_size);
	name_r[tenant_size] = '/';
	memcpy(name_r + tenant_size + 1, user, user_size);
	name_r[tenant_size + 1 + user_size] = '\0';
	return tenant_size + 1 + user_size;
}

struct inventory_user *inventory_user_get(struct mauth_inventory *inventory, const char *tenant, const char *user)
{
	char name[NAME_SIZE];
	size_t size = compose(name, tenant, user);
	struct inventory_user *found;

	if (size == 0)
		return NULL;
	found = inventory_user_of(mauth_table_find(&inventory->users, 0, name));
	if (found != NULL)
		return found;
	found = mauth_new(sizeof(*found) + size + 1);
	memcpy(found->name, name, size + 1);
	found->tenant = tenant_name(inventory, tenant);
	found->user = found->name + strlen(tenant) + 1;
	mauth_table_insert(&inventory->users, &found->node, 0, found->name);
	return found;
}

void inventory_user_release(struct mauth_inventory *inventory, struct inventory_user *user)
{
	if (user->rows != NULL)
		return;
	for (struct mauth_inventory_cursor *cursor = inventory->cursors; cursor != NULL; cursor = cursor->next) {
		if (cursor->at == user)
			cursor->at = inventory_user_of(user->node.newer);
	}
	mauth_table_remove(&inventory->users, &user->node);
	free(user);
}

/* -- rows --------------------------------------------------------------------------------------------------- */

/* FNV-1a. Whoever makes equal ones on purpose makes his own rows slower to find, all hundred of them. */
static uint32_t hash_more(uint32_t hash, const void *data, size_t size)
{
	const unsigned char *octets = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ octets[i]) * 16777619u;
	return hash;
}

static uint32_t hash_row(const struct mauth_inventory_row *row)
{
	const unsigned char flags[] = { row->service, row->tls, row->network.bits };
	uint32_t hash = hash_more(2166136261u, flags, sizeof(flags));

	hash = hash_more(hash, row->network.address, sizeof(row->network.address));
	hash = hash_more(hash, row->mechanism, strlen(row->mechanism) + 1);
	return row->client == NULL ? hash : hash_more(hash, row->client, strlen(row->client));
}

static bool is_like(const struct mauth_inventory_row *a, const struct mauth_inventory_row *b)
{
	if (a->like != b->like || a->service != b->service || a->tls != b->tls || a->network.bits != b->network.bits ||
	    memcmp(a->network.address, b->network.address, sizeof(a->network.address)) != 0 ||
	    strcmp(a->mechanism, b->mechanism) != 0)
		return false;
	if (a->client == NULL || b->client == NULL)
		return a->client == b->client;
	return strcmp(a->client, b->client) == 0;
}

struct inventory_entry *inventory_entry_like(const struct inventory_user *user, struct mauth_inventory_row *row)
{
	struct mauth_inventory_row *other = user->rows;

	row->like = hash_row(row);
	while (other != NULL && !is_like(other, row))
		other = other->next;
	return other == NULL ? NULL : inventory_entry_of(other);
}

static void user_unlink(struct inventory_entry *entry)
{
	struct mauth_inventory_row **p = &entry->user->rows;

	while (*p != &entry->pub)
		p = &(*p)->next;
	*p = entry->pub.next;
	entry->user->count--;
}

static void user_link(struct inventory_entry *entry)
{
	struct mauth_inventory_row **p = &entry->user->rows;

	while (*p != NULL && (*p)->last_seen > entry->pub.last_seen)
		p = &(*p)->next;
	entry->pub.next = *p;
	*p = &entry->pub;
	entry->user->count++;
}

struct inventory_entry *inventory_entry_new(struct mauth_inventory *inventory, struct inventory_user *user,
					    const struct mauth_inventory_row *row)
{
	struct inventory_entry *entry = mauth_new(sizeof(*entry));

	entry->pub = *row;
	entry->user = user;
	user_link(entry);
	inventory->count++;
	return entry;
}

static void order_remove(struct inventory_order *order, struct inventory_entry *entry)
{
	if (order->oldest != entry && entry->older == NULL)
		return;
	if (entry->older != NULL)
		entry->older->newer = entry->newer;
	else
		order->oldest = entry->newer;
	if (entry->newer != NULL)
		entry->newer->older = entry->older;
	else
		order->newest = entry->older;
	entry->older = entry->newer = NULL;
	order->count--;
}

static void order_append(struct inventory_order *order, struct inventory_entry *entry)
{
	entry->newer = NULL;
	entry->older = order->newest;
	if (order->newest != NULL)
		order->newest->newer = entry;
	else
		order->oldest = entry;
	order->newest = entry;
	order->count++;
}

static struct inventory_order *order_of(struct mauth_inventory *inventory, const struct inventory_entry *entry)
{
	return entry->works ? &inventory->working : &inventory->others;
}

void inventory_entry_touch(struct mauth_inventory *inventory, struct inventory_entry *entry)
{
	bool works = mauth_inventory_row_works(&entry->pub);

	/* Its neighbours are somewhere in memory, and looking for them is what would cost most. */
	if (works == entry->works && entry->touched_at != 0 && entry->pub.last_seen - entry->touched_at < TOUCH_SECS &&
	    entry->pub.last_seen >= entry->touched_at)
		return;
	order_remove(order_of(inventory, entry), entry);
	entry->works = works;
	entry->touched_at = entry->pub.last_seen;
	order_append(order_of(inventory, entry), entry);
}

static int compare_seen(const void *a, const void *b)
{
	const struct inventory_entry *left = *(struct inventory_entry *const *)a, *right = *(struct inventory_entry *const *)b;

	return left->pub.last_seen == right->pub.last_seen ? 0 : left->pub.last_seen < right->pub.last_seen ? -1 : 1;
}

void inventory_sort(struct mauth_inventory *inventory)
{
	struct inventory_entry **entries = mauth_new_array(inventory->count, sizeof(struct inventory_entry *));
	size_t count = 0;

	for (struct mauth_node *node = inventory->users.oldest; node != NULL; node = node->newer) {
		for (struct mauth_inventory_row *row = inventory_user_of(node)->rows; row != NULL; row = row->next)
			entries[count++] = inventory_entry_of(row);
	}
	if (count > 0)
		qsort(entries, count, sizeof(struct inventory_entry *), compare_seen);
	memset(&inventory->working, 0, sizeof(inventory->working));
	memset(&inventory->others, 0, sizeof(inventory->others));
	for (size_t i = 0; i < count; i++) {
		entries[i]->works = mauth_inventory_row_works(&entries[i]->pub);
		entries[i]->touched_at = entries[i]->pub.last_seen;
		order_append(order_of(inventory, entries[i]), entries[i]);
	}
	free(entries);
}

void inventory_entry_drop(struct mauth_inventory *inventory, struct inventory_entry *entry, bool erase)
{
	struct inventory_user *user = entry->user;

	if (erase && entry->stored)
		inventory_erase_later(inventory, inventory_row_name(entry));
	inventory_unmark(inventory, entry);
	order_remove(order_of(inventory, entry), entry);
	user_unlink(entry);
	inventory->count--;
	free(entry->pub.client);
	free(entry);
	inventory_user_release(inventory, user);
}

/* The least recently seen of a user who has too many, those that never worked first. */
static void trim_user(struct mauth_inventory *inventory, struct inventory_user *user)
{
	while (user->count > MAUTH_INVENTORY_PER_USER_MAX) {
		struct mauth_inventory_row *last = user->rows, *idle = NULL;

		/* The first is the one that has just been seen. */
		for (struct mauth_inventory_row *row = user->rows->next; row != NULL; row = row->next) {
			last = row;
			if (!mauth_inventory_row_works(row))
				idle = row;
		}
		inventory_entry_drop(inventory, inventory_entry_of(idle != NULL ? idle : last), true);
	}
}

static void expire(struct mauth_inventory *inventory, struct inventory_order *order, int64_t before)
{
	while (order->oldest != NULL && order->oldest->pub.last_seen < before)
		inventory_entry_drop(inventory, order->oldest, true);
}

void inventory_trim(struct mauth_inventory *inventory)
{
	int64_t before = mauth_wall_secs(inventory->deps.loop) - inventory->deps.keep_secs;

	expire(inventory, &inventory->working, before);
	expire(inventory, &inventory->others, before);
	while (inventory->others.count > 0 && (inventory->others.count > inventory->deps.max / OTHERS_PART ||
					       inventory->count > inventory->deps.max))
		inventory_entry_drop(inventory, inventory->others.oldest, true);
	while (inventory->count > inventory->deps.max)
		inventory_entry_drop(inventory, inventory->working.oldest, true);
}

/* -- days --------------------------------------------------------------------------------------------------- */

struct mauth_inventory_day *inventory_day(struct mauth_inventory *inventory, int64_t day)
{
	size_t at = inventory->days_count;

	while (at > 0 && inventory->days[at - 1].day > day)
		at--;
	if (at > 0 && inventory->days[at - 1].day == day)
		return &inventory->days[at - 1];
	if (inventory->days_count == MAUTH_INVENTORY_DAYS_MAX) {
		char name[INVENTORY_DAY_SIZE];

		if (at == 0)
			return NULL;
		inventory_day_name(inventory->days[0].day, name);
		inventory_erase_later(inventory, mauth_strdup(name));
		memmove(inventory->days, inventory->days + 1, (inventory->days_count - 1) * sizeof(*inventory->days));
		memmove(inventory->days_dirty, inventory->days_dirty + 1, inventory->days_count - 1);
		inventory->days_count--;
		at--;
	}
	memmove(inventory->days + at + 1, inventory->days + at, (inventory->days_count - at) * sizeof(*inventory->days));
	memmove(inventory->days_dirty + at + 1, inventory->days_dirty + at, inventory->days_count - at);
	inventory->days[at] = (struct mauth_inventory_day){ .day = day };
	inventory->days_dirty[at] = false;
	inventory->days_count++;
	return &inventory->days[at];
}

void inventory_day_mark(struct mauth_inventory *inventory, const struct mauth_inventory_day *day)
{
	inventory->days_dirty[day - inventory->days] = true;
	inventory_arm(inventory);
}

static void count_day(struct mauth_inventory *inventory, int64_t seen, enum mauth_service service,
		      enum mauth_inventory_outcome outcome)
{
	struct mauth_inventory_day *day = inventory_day(inventory, seen / DAY_SECS);

	if (day == NULL)
		return;
	count_up(&day->counts[service][outcome]);
	inventory_day_mark(inventory, day);
}

/* -- what has been seen ------------------------------------------------------------------------------------- */

/* "name version", clean; false: the client did not say. */
static bool take_client(const char *client_id, char client_r[static MAUTH_INVENTORY_CLIENT_SIZE])
{
	char text[2 * MAUTH_CLIENT_ID_PART];
	struct mauth_client_id id;
	size_t size;

	if (client_id == NULL || !mauth_client_id_parse(client_id, &id) || (id.name[0] == '\0' && id.version[0] == '\0'))
		return false;
	size = strlen(id.name);
	memcpy(text, id.name, size);
	if (id.version[0] != '\0') {
		if (size > 0)
			text[size++] = ' ';
		memcpy(text + size, id.version, strlen(id.version));
		size += strlen(id.version);
	}
	mauth_clean_copy(client_r, MAUTH_INVENTORY_CLIENT_SIZE, text, size);
	return true;
}

static void take_mechanism(const char *mechanism, struct mauth_inventory_row *row)
{
	if (mechanism == NULL)
		return;
	mauth_clean_copy(row->mechanism, sizeof(row->mechanism), mechanism, strnlen(mechanism, sizeof(row->mechanism)));
	/* Rows of the store are words with blanks between them. */
	for (char *c = row->mechanism; *c != '\0'; c++) {
		if (*c == ' ')
			*c = '?';
	}
}

static void take_attempt(struct mauth_inventory_row *row, const struct mauth_attempt_record *record, int64_t now)
{
	enum mauth_inventory_action action = action_of(record->decision);

	/* A clock that was wrong does not stay in the table for ever. */
	if (row->first_seen > now || row->first_seen == 0)
		row->first_seen = now;
	row->last_seen = now;
	row->last_action = (unsigned char)action;
	row->last_status = (unsigned char)record->status;
	row->last_code = record->code > 0 ? record->code : 0;
	if (record->status != MAUTH_OK) {
		row->error_status = row->last_status;
		row->error_code = row->last_code;
	}
	count_up(&row->actions[action]);
	count_up(&row->outcomes[mauth_inventory_outcome_of(record->status)]);
}

void mauth_inventory_note(struct mauth_inventory *inventory, const struct mauth_attempt_record *record)
{
	struct mauth_inventory_row row = { .service = (unsigned char)record->service, .tls = record->tls };
	int64_t now = record->started_usecs / 1000000;
	char client[MAUTH_INVENTORY_CLIENT_SIZE];
	struct inventory_entry *entry;
	struct inventory_user *user;

	if (record->tenant_name == NULL || record->upn == NULL || record->service >= MAUTH_SERVICE_COUNT)
		return;
	user = inventory_user_get(inventory, record->tenant_name, record->upn);
	if (user == NULL)
		return;
	(void)mauth_network_around(record->client_ip, &row.network, row.address);
	take_mechanism(record->mechanism, &row);
	row.client = take_client(record->client_id, client) ? client : NULL;
	row.last_seen = now;
	entry = inventory_entry_like(user, &row);
	if (entry == NULL) {
		row.client = mauth_strdup(row.client);
		entry = inventory_entry_new(inventory, user, &row);
		mauth_random(&entry->id, sizeof(entry->id));
	} else if (user->rows != &entry->pub) {
		user_unlink(entry);
		entry->pub.last_seen = now;
		user_link(entry);
	}
	memcpy(entry->pub.address, row.address, sizeof(row.address));
	take_attempt(&entry->pub, record, now);
	inventory_entry_touch(inventory, entry);
	inventory_mark(inventory, entry);
	count_day(inventory, now, record->service, mauth_inventory_outcome_of(record->status));
	trim_user(inventory, user);
	if (inventory->count > inventory->deps.max || inventory->others.count > inventory->deps.max / OTHERS_PART)
		inventory_trim(inventory);
}

/* Which of the user's rows the session is of is not said: the one that was seen last with this protocol and address. */
void mauth_inventory_note_upstream(struct mauth_inventory *inventory, const char *tenant, const char *user_,
				   const struct mauth_upstream_report *report)
{
	static const char prefix[] = "TLSv";
	struct mauth_network network;
	struct inventory_user *user;
	struct mauth_inventory_row *row;
	unsigned char address[16];
	char name[NAME_SIZE];
	const char *version = report->tls_protocol == NULL ? "" : report->tls_protocol;

	if (tenant == NULL || compose(name, tenant, user_) == 0 || !mauth_network_around(report->client_ip, &network, address))
		return;
	user = inventory_user_of(mauth_table_find(&inventory->users, 0, name));
	for (row = user == NULL ? NULL : user->rows; row != NULL; row = row->next) {
		if (row->service == report->service && memcmp(row->address, address, sizeof(address)) == 0)
			break;
	}
	if (row == NULL)
		return;
	if (strncmp(version, prefix, sizeof(prefix) - 1) == 0)
		version += sizeof(prefix) - 1;
	if (report->result == MAUTH_UPSTREAM_REFUSED)
		count_up(&row->exchange_refused);
	else if (strcmp(version, row->tls_version) == 0)
		return;
	mauth_clean_copy(row->tls_version, sizeof(row->tls_version), version, strnlen(version, sizeof(row->tls_version)));
	for (char *c = row->tls_version; *c != '\0'; c++) {
		if (*c == ' ')
			*c = '?';
	}
	inventory_mark(inventory, inventory_entry_of(row));
}

/* -- the whole ---------------------------------------------------------------------------------------------- */

struct mauth_inventory *mauth_inventory_new(const struct mauth_inventory_deps *deps)
{
	struct mauth_inventory *inventory = mauth_new(sizeof(*inventory));

	inventory->deps = *deps;
	inventory->dirty_tail = &inventory->dirty;
	inventory->days = mauth_new_array(MAUTH_INVENTORY_DAYS_MAX, sizeof(*inventory->days));
	inventory->days_dirty = mauth_new_array(MAUTH_INVENTORY_DAYS_MAX, sizeof(*inventory->days_dirty));
	mauth_table_init(&inventory->users, deps->process_key, user_name);
	return inventory;
}

void mauth_inventory_free(struct mauth_inventory **inventory)
{
	struct mauth_inventory *i = *inventory;

	if (i == NULL)
		return;
	mauth_inventory_discard(i);
	for (struct mauth_inventory_cursor *cursor = i->cursors; cursor != NULL; cursor = cursor->next)
		cursor->inventory = NULL;
	for (size_t n = 0; n < i->tenants_count; n++)
		free(i->tenants[n]);
	free(i->tenants);
	mauth_table_free(&i->users);
	free(i->days);
	free(i->days_dirty);
	free(i);
	*inventory = NULL;
}

size_t mauth_inventory_count(const struct mauth_inventory *inventory)
{
	return inventory->count;
}

const struct mauth_inventory_day *mauth_inventory_days(const struct mauth_inventory *inventory, size_t *count_r)
{
	*count_r = inventory->days_count;
	return inventory->days;
}
