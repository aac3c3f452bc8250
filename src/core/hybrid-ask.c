/* SPDX-License-Identifier: MIT */
#include "core/hybrid-ask.h"

#include "core/breaker.h"
#include "core/entra.h"
#include "core/json.h"
#include "core/table.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define ASK_TIMEOUT_MSECS 3000u
#define FRESH_SECS (4 * 3600)
#define UNKNOWN_FRESH_SECS (15 * 60)
#define KEPT_SECS (7 * 86400)
/* One that could not be asked for again waits this long for the next try. */
#define RETRY_SECS 60
#define DOUBT_SECS 60
#define ENTRIES_MAX 100000u
#define ASKING_MAX 1000u             /* requests at once, those of logins included */
#define REFRESHING_MAX 16u           /* those that nobody waits for */

struct mauth_autodiscover_waiter {
	struct mauth_autodiscover_waiter *next, **link;
	mauth_autodiscover_fn *done;
	void *context;
};

struct entry {
	struct mauth_node node;
	struct mauth_autodiscover *autodiscover;
	const struct mauth_tenant *tenant;
	bool known;                          /* side was answered */
	enum mauth_side side;
	bool doubted;
	int64_t answered_at, fresh_until, doubted_at;        /* monotonic, seconds */
	struct mauth_http_call *call;
	struct mauth_autodiscover_waiter *waiters;
	char address[];
};

struct mauth_autodiscover {
	struct mauth_autodiscover_deps deps;
	struct mauth_table table;
	struct mauth_breaker *breakers;      /* of each tenant */
	unsigned int asking;
	bool stopped;
};

static const char *address_of(const struct mauth_node *node)
{
	return ((const struct entry *)(const void *)((const char *)node - offsetof(struct entry, node)))->address;
}

static struct entry *entry_of(struct mauth_node *node)
{
	return node == NULL ? NULL : (struct entry *)(void *)((char *)node - offsetof(struct entry, node));
}

static int64_t now_secs(const struct mauth_autodiscover *autodiscover)
{
	return mauth_mono_msecs(autodiscover->deps.loop) / 1000;
}

struct mauth_autodiscover *mauth_autodiscover_new(const struct mauth_autodiscover_deps *deps)
{
	struct mauth_autodiscover *autodiscover = mauth_new(sizeof(*autodiscover));

	autodiscover->deps = *deps;
	mauth_table_init(&autodiscover->table, deps->key, address_of);
	autodiscover->breakers = mauth_new_array(deps->config->tenants_count + 1, sizeof(*autodiscover->breakers));
	return autodiscover;
}

static void remove_entry(struct entry *entry)
{
	mauth_table_remove(&entry->autodiscover->table, &entry->node);
	free(entry);
}

void mauth_autodiscover_stop(struct mauth_autodiscover *autodiscover)
{
	autodiscover->stopped = true;
	for (struct mauth_node *node = autodiscover->table.oldest; node != NULL; node = node->newer)
		mauth_http_cancel(autodiscover->deps.http, &entry_of(node)->call);
	autodiscover->asking = 0;
}

void mauth_autodiscover_free(struct mauth_autodiscover **autodiscover)
{
	struct mauth_node *node;

	if (*autodiscover == NULL)
		return;
	mauth_autodiscover_stop(*autodiscover);
	while ((node = (*autodiscover)->table.oldest) != NULL)
		remove_entry(entry_of(node));
	mauth_table_free(&(*autodiscover)->table);
	free((*autodiscover)->breakers);
	free(*autodiscover);
	*autodiscover = NULL;
}

size_t mauth_autodiscover_count(const struct mauth_autodiscover *autodiscover)
{
	return autodiscover->table.count;
}

/* -- answers -- */

/* The host of a URL, NUL-terminated; false: it has none. */
static bool host_of(const char *url, char *host, size_t size)
{
	const char *begin = strstr(url, "://");
	size_t length;

	if (begin == NULL)
		return false;
	begin += 3;
	length = strcspn(begin, ":/?#");
	if (length == 0 || length >= size)
		return false;
	memcpy(host, begin, length);
	host[length] = '\0';
	return true;
}

static bool is_below(const char *host, const char *domain)
{
	size_t host_size = strlen(host), size = strlen(domain);

	return host_size >= size && strcasecmp(host + host_size - size, domain) == 0 &&
	       (host_size == size || host[host_size - size - 1] == '.');
}

/* Which host answers for the mailbox is the answer: the one that was asked and Microsoft's others, or the organisation's own. */
static bool side_of_url(const char *base, const char *url, enum mauth_side *side_r)
{
	static const char *const clouds[] = {
		"outlook.com", "office365.com", "office.com", "office365.us", "apps.mil", "partner.outlook.cn",
	};
	char host[256], asked[256];

	if (!host_of(url, host, sizeof(host)))
		return false;
	*side_r = host_of(base, asked, sizeof(asked)) && strcasecmp(host, asked) == 0 ? MAUTH_SIDE_CLOUD : MAUTH_SIDE_ONPREM;
	for (size_t i = 0; i < sizeof(clouds) / sizeof(clouds[0]); i++) {
		if (is_below(host, clouds[i]))
			*side_r = MAUTH_SIDE_CLOUD;
	}
	return true;
}

bool mauth_autodiscover_read(const char *base, const struct mauth_http_reply *reply, enum mauth_side *side_r)
{
	json_t *object;
	bool good = false;

	if (reply->status == 301 || reply->status == 302 || reply->status == 307 || reply->status == 308)
		return side_of_url(base, reply->location, side_r);
	if (reply->status != 200 && reply->status != 400 && reply->status != 404)
		return false;
	object = mauth_json_object(reply->body, reply->body_size);
	if (object == NULL)
		return false;
	if (reply->status == 200) {
		good = side_of_url(base, mauth_json_str(object, "Url"), side_r);
	} else if (strcmp(mauth_json_str(object, "ErrorCode"), "UserNotFound") == 0) {
		*side_r = MAUTH_SIDE_UNKNOWN;
		good = true;
	}
	json_decref(object);
	return good;
}

/* -- asking -- */

static struct mauth_breaker *breaker_of(const struct entry *entry)
{
	return &entry->autodiscover->breakers[entry->tenant->index];
}

static void learn(struct entry *entry, enum mauth_side side)
{
	int64_t now = now_secs(entry->autodiscover);

	entry->known = true;
	entry->side = side;
	entry->answered_at = now;
	entry->fresh_until = now + (side == MAUTH_SIDE_UNKNOWN ? UNKNOWN_FRESH_SECS : FRESH_SECS);
}

static void failed(struct entry *entry, const struct mauth_http_reply *reply, const struct mauth_error *error)
{
	const struct mauth_autodiscover_deps *deps = &entry->autodiscover->deps;
	struct mauth_breaker *breaker = breaker_of(entry);
	int64_t now = mauth_mono_msecs(deps->loop);
	unsigned int wait = reply == NULL ? 0 : mauth_entra_retry_after(reply->retry_after, reply->date,
									 mauth_wall_secs(deps->loop));

	entry->fresh_until = now / 1000 + RETRY_SECS;
	if (!mauth_breaker_failure(breaker, now, wait))
		return;
	mauth_log(deps->log, MAUTH_ERROR, "tenant %s: Autodiscover is not asked for %u s: %s (HTTP status %u). Mailboxes that it "
		  "has told about before are where it said, the others where mailbox_default says", entry->tenant->name,
		  (unsigned int)((breaker->open_until - now + 999) / 1000),
		  error != NULL ? error->text : "its answers cannot be used", reply == NULL ? 0 : reply->status);
}

static void answered(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct entry *entry = context;
	struct mauth_autodiscover *autodiscover = entry->autodiscover;
	struct mauth_autodiscover_waiter *waiter, *mine = entry->waiters;
	enum mauth_side side = MAUTH_SIDE_UNKNOWN;
	bool known;

	entry->call = NULL;
	autodiscover->asking--;
	if (reply != NULL && mauth_autodiscover_read(entry->tenant->autodiscover, reply, &side)) {
		mauth_breaker_success(breaker_of(entry), mauth_mono_msecs(autodiscover->deps.loop));
		learn(entry, side);
	} else {
		failed(entry, reply, error);
	}
	known = entry->known && entry->answered_at + KEPT_SECS > now_secs(autodiscover);
	side = entry->side;
	/* Callbacks may cancel each other, and ask again. */
	entry->waiters = NULL;
	if (mine != NULL)
		mine->link = &mine;
	if (!known)
		remove_entry(entry);
	while ((waiter = mine) != NULL) {
		mauth_autodiscover_fn *done = waiter->done;
		void *done_context = waiter->context;

		mauth_autodiscover_cancel(&waiter);
		done(known, side, done_context);
	}
}

/* false: not now. */
static bool ask(struct entry *entry)
{
	struct mauth_autodiscover *autodiscover = entry->autodiscover;
	const struct mauth_autodiscover_deps *deps = &autodiscover->deps;
	struct mauth_http_request request = {
		.ca_file = entry->tenant->ca_file, .proxy = entry->tenant->proxy, .timeout_msecs = ASK_TIMEOUT_MSECS,
	};
	char *url;

	if (autodiscover->stopped || autodiscover->asking >= ASKING_MAX ||
	    !mauth_breaker_allow(breaker_of(entry), mauth_mono_msecs(deps->loop), NULL))
		return false;
	url = mauth_entra_autodiscover_url(entry->tenant, entry->address);
	request.url = url;
	autodiscover->asking++;
	entry->call = mauth_http_start(deps->http, &request, answered, entry);
	free(url);
	return true;
}

static struct entry *find(const struct mauth_autodiscover *autodiscover, const struct mauth_tenant *tenant,
			  const char *address)
{
	return entry_of(mauth_table_find(&autodiscover->table, tenant->key, address));
}

/* Those that are being asked for are the newest ones, and far fewer than the table has. */
static void make_room(struct mauth_autodiscover *autodiscover)
{
	struct mauth_node *node = autodiscover->table.oldest;

	while (autodiscover->table.count >= ENTRIES_MAX && node != NULL) {
		struct entry *entry = entry_of(node);

		node = node->newer;
		if (entry->call == NULL)
			remove_entry(entry);
	}
}

static struct entry *find_or_add(struct mauth_autodiscover *autodiscover, const struct mauth_tenant *tenant,
				 const char *address)
{
	struct entry *entry = find(autodiscover, tenant, address);

	if (entry != NULL) {
		mauth_table_touch(&autodiscover->table, &entry->node);
		return entry;
	}
	make_room(autodiscover);
	entry = mauth_new(sizeof(*entry) + strlen(address) + 1);
	entry->autodiscover = autodiscover;
	entry->tenant = tenant;
	memcpy(entry->address, address, strlen(address) + 1);
	mauth_table_insert(&autodiscover->table, &entry->node, tenant->key, address);
	return entry;
}

bool mauth_autodiscover_known(const struct mauth_autodiscover *autodiscover, const struct mauth_tenant *tenant,
			      const char *address, enum mauth_side *side_r, bool *is_old_r)
{
	const struct entry *entry = find(autodiscover, tenant, address);
	int64_t now = now_secs(autodiscover);

	if (entry == NULL || !entry->known || entry->answered_at + KEPT_SECS <= now)
		return false;
	*side_r = entry->side;
	*is_old_r = entry->fresh_until <= now;
	return true;
}

void mauth_autodiscover_refresh(struct mauth_autodiscover *autodiscover, const struct mauth_tenant *tenant,
				const char *address)
{
	struct entry *entry;

	if (autodiscover->asking >= REFRESHING_MAX)
		return;
	entry = find_or_add(autodiscover, tenant, address);
	if (entry->call == NULL && !ask(entry) && !entry->known)
		remove_entry(entry);
}

struct mauth_autodiscover_waiter *mauth_autodiscover_ask(struct mauth_autodiscover *autodiscover,
							 const struct mauth_tenant *tenant, const char *address,
							 mauth_autodiscover_fn *done, void *context)
{
	struct entry *entry = find_or_add(autodiscover, tenant, address);
	struct mauth_autodiscover_waiter *waiter;

	if (entry->call == NULL && !ask(entry)) {
		if (!entry->known)
			remove_entry(entry);
		return NULL;
	}
	waiter = mauth_new(sizeof(*waiter));
	waiter->done = done;
	waiter->context = context;
	waiter->next = entry->waiters;
	waiter->link = &entry->waiters;
	if (waiter->next != NULL)
		waiter->next->link = &waiter->next;
	entry->waiters = waiter;
	return waiter;
}

void mauth_autodiscover_cancel(struct mauth_autodiscover_waiter **waiter)
{
	if (*waiter == NULL)
		return;
	*(*waiter)->link = (*waiter)->next;
	if ((*waiter)->next != NULL)
		(*waiter)->next->link = (*waiter)->link;
	free(*waiter);
	*waiter = NULL;
}

void mauth_autodiscover_doubt(struct mauth_autodiscover *autodiscover, const struct mauth_tenant *tenant,
			      const char *address)
{
	struct entry *entry = find(autodiscover, tenant, address);
	int64_t now = now_secs(autodiscover);

	/* Whose protocol is off is not connected either, at each login: that is no reason to ask each time. */
	if (entry == NULL || entry->call != NULL || (entry->doubted && now < entry->doubted_at + DOUBT_SECS))
		return;
	entry->known = false;
	entry->doubted = true;
	entry->doubted_at = now;
}
