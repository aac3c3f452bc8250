/* SPDX-License-Identifier: MIT */
/* Rules are put into lists by what a login must have for them to match: the letters before the first or behind the last wildcard
 * of a name pattern, or the network. A login looks only into the lists of its own letters and networks. */
#include "core/mem.h"
#include "core/policy.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define NOTHING UINT32_MAX
#define FNV_BASIS 14695981039346656037ull
#define FNV_PRIME 1099511628211ull

enum kind { PREFIX, SUFFIX, NETWORK, KIND_COUNT };

/* One reason for which a rule may match. */
struct entry {
	uint32_t rule, next;                 /* next in the list, in the order of the file */
	const char *pattern;                 /* NULL: not by its name */
};

/* A list: all entries with the same letters or network. */
struct list {
	uint64_t hash;
	const char *text;                    /* of the first pattern, or the address */
	uint32_t first, last, count, chain;
	unsigned short size;                 /* octets of text, bits of the network */
	unsigned char kind;
};

struct mauth_policy_index {
	struct mauth_rule *const *rules;
	size_t rules_count;
	struct entry *entries;
	size_t entries_count;
	struct list *lists;
	size_t lists_count;
	uint32_t *buckets;
	size_t mask;
	uint32_t rest, rest_last;            /* entries that any login may match */
	/* which sizes there are */
	unsigned char sizes[KIND_COUNT][MAUTH_USER_MAX + 1];
};

/* -- letters ------------------------------------------------------------------------------------------------ */

struct affix {
	enum kind kind;
	const char *text;
	size_t size;
	uint64_t hash;
};

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static uint64_t hash_octet(uint64_t hash, char octet)
{
	return (hash ^ (unsigned char)octet) * FNV_PRIME;
}

/* Suffixes are read from their end, so that a name is read once for all sizes. */
static uint64_t hash_affix(const struct affix *affix)
{
	uint64_t hash = FNV_BASIS + affix->kind;

	for (size_t i = 0; i < affix->size; i++)
		hash = hash_octet(hash, affix->text[affix->kind == SUFFIX ? affix->size - 1 - i : i]);
	return hash;
}

/* The letters at the pattern's begin and those at its end; none in "*" and "*x*", one in a name without wildcards. */
static size_t pattern_affixes(const char *pattern, struct affix affixes_r[static 2])
{
	size_t size = strlen(pattern), before = strcspn(pattern, "*?"), after = 0, count = 0;

	while (before < size && after < size && pattern[size - 1 - after] != '*' && pattern[size - 1 - after] != '?')
		after++;
	if (before > 0 && before <= MAUTH_USER_MAX)
		affixes_r[count++] = (struct affix){ PREFIX, pattern, before, 0 };
	if (after > 0 && after <= MAUTH_USER_MAX)
		affixes_r[count++] = (struct affix){ SUFFIX, pattern + size - after, after, 0 };
	for (size_t i = 0; i < count; i++)
		affixes_r[i].hash = hash_affix(&affixes_r[i]);
	return count;
}

static void mask_address(const unsigned char octets[16], unsigned int bits, char masked_r[16])
{
	memcpy(masked_r, octets, 16);
	if (bits % 8 != 0)
		masked_r[bits / 8] = (char)(octets[bits / 8] & (0xff00 >> (bits % 8)));
	for (size_t i = (bits + 7) / 8; i < 16; i++)
		masked_r[i] = 0;
}

static uint64_t hash_network(const char *text, unsigned int bits)
{
	uint64_t hash = FNV_BASIS + NETWORK + bits;

	for (unsigned int i = 0; i < 16; i++)
		hash = hash_octet(hash, text[i]);
	return hash;
}

static struct affix network_affix(const struct mauth_network *network)
{
	/* A network's host bits are zero. */
	const char *text = (const char *)network->address;

	return (struct affix){ NETWORK, text, network->bits, hash_network(text, network->bits) };
}

/* -- lists -------------------------------------------------------------------------------------------------- */

static bool same(const struct list *list, const struct affix *affix)
{
	return list->hash == affix->hash && list->kind == (unsigned char)affix->kind && list->size == affix->size &&
	       memcmp(list->text, affix->text, affix->kind == NETWORK ? 16 : affix->size) == 0;
}

static struct list *list_find(const struct mauth_policy_index *index, const struct affix *affix)
{
	uint32_t at = index->buckets[affix->hash & index->mask];

	while (at != NOTHING && !same(&index->lists[at], affix))
		at = index->lists[at].chain;
	return at == NOTHING ? NULL : &index->lists[at];
}

static struct list *list_of(struct mauth_policy_index *index, const struct affix *affix)
{
	struct list *list = list_find(index, affix);

	if (list != NULL)
		return list;
	list = &index->lists[index->lists_count];
	*list = (struct list){ .hash = affix->hash, .text = affix->text, .first = NOTHING, .last = NOTHING,
			       .size = (unsigned short)affix->size, .kind = (unsigned char)affix->kind,
			       .chain = index->buckets[affix->hash & index->mask] };
	index->buckets[affix->hash & index->mask] = (uint32_t)index->lists_count++;
	index->sizes[affix->kind][affix->size] = 1;
	return list;
}

static void append(struct mauth_policy_index *index, uint32_t *first, uint32_t *last, size_t rule, const char *pattern)
{
	uint32_t at = (uint32_t)index->entries_count++;

	index->entries[at] = (struct entry){ .rule = (uint32_t)rule, .next = NOTHING, .pattern = pattern };
	if (*last == NOTHING)
		*first = at;
	else
		index->entries[*last].next = at;
	*last = at;
}

/* Of the letters at begin and end those that fewer rules share: "scan7-*@contoso.com" ends like everybody. NULL: there are
 * none. Everything is counted by then. */
static struct list *list_of_pattern(const struct mauth_policy_index *index, const char *pattern)
{
	struct affix affixes[2];
	size_t count = pattern_affixes(pattern, affixes);
	struct list *best = NULL;

	for (size_t i = 0; i < count; i++) {
		struct list *list = list_find(index, &affixes[i]);

		if (list != NULL && (best == NULL || list->count < best->count))
			best = list;
	}
	return best;
}

/* How many rules share the list that the worst of the rule's patterns is in; UINT32_MAX: one has no letters to go by. */
static uint32_t crowd_of_users(const struct mauth_policy_index *index, const struct mauth_rule *rule)
{
	uint32_t worst = 0;

	if (rule->users == NULL)
		return UINT32_MAX;
	for (char *const *pattern = rule->users; *pattern != NULL; pattern++) {
		const struct list *list = list_of_pattern(index, *pattern);

		if (list == NULL)
			return UINT32_MAX;
		if (list->count > worst)
			worst = list->count;
	}
	return worst;
}

static uint32_t crowd_of_networks(const struct mauth_policy_index *index, const struct mauth_rule *rule)
{
	uint32_t worst = rule->networks_count == 0 ? UINT32_MAX : 0;

	for (size_t i = 0; i < rule->networks_count; i++) {
		const struct affix affix = network_affix(&rule->networks[i]);
		const struct list *list = list_find(index, &affix);

		if (list != NULL && list->count > worst)
			worst = list->count;
	}
	return worst;
}

static void count_rule(struct mauth_policy_index *index, const struct mauth_rule *rule)
{
	struct affix affixes[2], affix;

	for (char *const *pattern = rule->users; pattern != NULL && *pattern != NULL; pattern++) {
		size_t count = pattern_affixes(*pattern, affixes);

		for (size_t i = 0; i < count; i++)
			list_of(index, &affixes[i])->count++;
	}
	for (size_t i = 0; i < rule->networks_count; i++) {
		affix = network_affix(&rule->networks[i]);
		list_of(index, &affix)->count++;
	}
}

static void place_rule(struct mauth_policy_index *index, size_t at)
{
	const struct mauth_rule *rule = index->rules[at];
	uint32_t users = crowd_of_users(index, rule), networks = crowd_of_networks(index, rule);
	struct affix affix;

	if (users == UINT32_MAX && networks == UINT32_MAX) {
		append(index, &index->rest, &index->rest_last, at, NULL);
		return;
	}
	/* A long list of names would be compared one by one. */
	if (networks < users && (users == UINT32_MAX || rule->users[0] == NULL || rule->users[1] == NULL)) {
		for (size_t i = 0; i < rule->networks_count; i++) {
			struct list *list;

			affix = network_affix(&rule->networks[i]);
			list = list_of(index, &affix);
			append(index, &list->first, &list->last, at, NULL);
		}
		return;
	}
	if (users == UINT32_MAX) {
		append(index, &index->rest, &index->rest_last, at, NULL);
		return;
	}
	for (char *const *pattern = rule->users; *pattern != NULL; pattern++) {
		struct list *list = list_of_pattern(index, *pattern);

		assert(list != NULL);        /* or crowd_of_users() had said UINT32_MAX */
		append(index, &list->first, &list->last, at, *pattern);
	}
}

struct mauth_policy_index *mauth_policy_index_new(struct mauth_rule *const *rules, size_t count)
{
	struct mauth_policy_index *index = mauth_new(sizeof(*index));
	size_t entries = count, size = 64;

	index->rules = rules;
	index->rules_count = count;
	index->rest = index->rest_last = NOTHING;
	for (size_t i = 0; i < count; i++) {
		for (char *const *pattern = rules[i]->users; pattern != NULL && *pattern != NULL; pattern++)
			entries++;
		entries += rules[i]->networks_count;
	}
	while (size < entries)
		size *= 2;
	index->mask = size - 1;
	index->buckets = mauth_new_array(size, sizeof(*index->buckets));
	memset(index->buckets, 0xff, size * sizeof(*index->buckets));
	index->entries = mauth_new_array(entries + 1, sizeof(*index->entries));
	/* A pattern may have two. */
	index->lists = mauth_new_array(2 * entries + 1, sizeof(*index->lists));
	for (size_t i = 0; i < count; i++)
		count_rule(index, rules[i]);
	for (size_t i = 0; i < count; i++)
		place_rule(index, i);
	return index;
}

void mauth_policy_index_free(struct mauth_policy_index **index)
{
	if (*index == NULL)
		return;
	free((*index)->entries);
	free((*index)->lists);
	free((*index)->buckets);
	free(*index);
	*index = NULL;
}

/* -- looking ------------------------------------------------------------------------------------------------ */

struct search {
	const struct mauth_policy_index *index;
	const char *user;
	size_t from, best;
	mauth_policy_match_fn *match;
	void *context;
};

/* Is there a rule in the list that comes before the best so far? */
static void try_list(struct search *search, uint32_t at)
{
	for (; at != NOTHING; at = search->index->entries[at].next) {
		const struct entry *entry = &search->index->entries[at];

		if (entry->rule >= search->best)
			return;
		if (entry->rule < search->from || (entry->pattern != NULL && !mauth_glob_match(entry->pattern, search->user)))
			continue;
		if (search->match(search->index->rules[entry->rule], entry->pattern != NULL, search->context)) {
			search->best = entry->rule;
			return;
		}
	}
}

static void try_affix(struct search *search, const struct affix *affix)
{
	const struct list *list = list_find(search->index, affix);

	if (list != NULL)
		try_list(search, list->first);
}

static void try_names(struct search *search, enum kind kind, const char *name, size_t size)
{
	struct affix affix = { kind, name, 0, FNV_BASIS + kind };

	for (size_t i = 1; i <= size; i++) {
		affix.hash = hash_octet(affix.hash, name[kind == SUFFIX ? size - i : i - 1]);
		affix.size = i;
		affix.text = kind == SUFFIX ? name + size - i : name;
		if (search->index->sizes[kind][i])
			try_affix(search, &affix);
	}
}

static void try_networks(struct search *search, const struct mauth_address *address)
{
	char masked[16];

	for (unsigned int bits = 0; bits <= 128; bits++) {
		if (!search->index->sizes[NETWORK][bits])
			continue;
		mask_address(address->octets, bits, masked);
		try_affix(search, &(struct affix){ NETWORK, masked, bits, hash_network(masked, bits) });
	}
}

size_t mauth_policy_index_find(const struct mauth_policy_index *index, size_t from, const char *user,
			       const struct mauth_address *address, mauth_policy_match_fn *match, void *context)
{
	struct search search = {
		.index = index, .from = from, .best = index->rules_count, .match = match, .context = context,
	};
	size_t size = strnlen(user, MAUTH_USER_MAX + 1);
	char name[MAUTH_USER_MAX + 1];

	if (from >= index->rules_count)
		return index->rules_count;
	if (size <= MAUTH_USER_MAX) {
		for (size_t i = 0; i < size; i++)
			name[i] = lower(user[i]);
		name[size] = '\0';
		search.user = name;
		try_names(&search, PREFIX, name, size);
		try_names(&search, SUFFIX, name, size);
	}
	if (address != NULL)
		try_networks(&search, address);
	try_list(&search, index->rest);
	return search.best;
}
