/* SPDX-License-Identifier: MIT */
#include "core/hybrid-map.h"

#include "core/mem.h"
#include "core/verifier.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	const char *name;                    /* in text */
	uint32_t line;
	struct mauth_move move;
};

struct mauth_side_map {
	char *text;
	struct entry *entries;
	size_t count, alloc;
	uint32_t *slots;                     /* of entries, from 1; 0: free. Twice as many as entries, a power of two */
	size_t slots_count;
	struct mauth_verifier_key key;       /* of the hash: what clients send must not collide at will */
};

static void add(struct mauth_side_map *map, const struct entry *entry)
{
	if (map->count == map->alloc) {
		map->alloc = map->alloc == 0 ? 256 : map->alloc * 2;
		map->entries = mauth_grow(map->entries, map->alloc, sizeof(*map->entries));
	}
	map->entries[map->count++] = *entry;
}

static enum mauth_status read_lines(struct mauth_side_map *map, size_t size, const char *path, struct mauth_error *error_r)
{
	struct mauth_move section = { MAUTH_SIDE_UNKNOWN, 0 };
	char *next, *end = map->text + size;
	struct mauth_map_line line;
	const char *problem;
	uint32_t number = 0;

	/* Windows' editors begin with a byte order mark. */
	for (char *at = map->text + (strncmp(map->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0); at < end; at = next + 1) {
		next = memchr(at, '\n', (size_t)(end - at));
		if (next == NULL)
			next = end;
		*next = '\0';
		number++;
		if (!mauth_map_line_parse(at, (size_t)(next - at), &line, &problem))
			return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s:%u: %s", path, number, problem);
		if (line.kind == MAUTH_MAP_SECTION)
			section = line.move;
		if (line.kind != MAUTH_MAP_ENTRY)
			continue;
		if (line.move.side == MAUTH_SIDE_UNKNOWN)
			line.move = section;
		if (line.move.side == MAUTH_SIDE_UNKNOWN)
			return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s:%u: %.100s has no side; \"cloud\" or \"onprem\" was "
					  "expected after it, or a section [cloud ...] above it", path, number, line.name);
		add(map, &(struct entry){ line.name, number, line.move });
	}
	return MAUTH_OK;
}

/* The slot where name is, or would be. */
static uint32_t *find_slot(const struct mauth_side_map *map, const char *name)
{
	size_t at = (size_t)mauth_name_hash(&map->key, 0, name) & (map->slots_count - 1);

	while (map->slots[at] != 0 && strcmp(map->entries[map->slots[at] - 1].name, name) != 0)
		at = (at + 1) & (map->slots_count - 1);
	return &map->slots[at];
}

static enum mauth_status make_table(struct mauth_side_map *map, const char *path, struct mauth_error *error_r)
{
	map->slots_count = 16;
	while (map->slots_count < map->count * 2)
		map->slots_count *= 2;
	map->slots = mauth_new_array(map->slots_count, sizeof(*map->slots));
	mauth_verifier_key_new(&map->key);
	for (size_t i = 0; i < map->count; i++) {
		const struct entry *entry = &map->entries[i];
		uint32_t *slot = find_slot(map, entry->name);

		if (*slot != 0)
			return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s:%u: %.100s is in line %u already; one line was expected",
					  path, entry->line, entry->name, map->entries[*slot - 1].line);
		*slot = (uint32_t)i + 1;
	}
	return MAUTH_OK;
}

enum mauth_status mauth_side_map_new(char *text, size_t size, const char *path, struct mauth_side_map **map_r,
				     struct mauth_error *error_r)
{
	struct mauth_side_map *map = mauth_new(sizeof(*map));
	enum mauth_status status;

	map->text = text;
	if (!mauth_is_utf8(text, size))
		status = mauth_fail(error_r, MAUTH_CONFIG, 0, "%s is not UTF-8; a text file was expected", path);
	else
		status = read_lines(map, size, path, error_r);
	if (status == MAUTH_OK)
		status = make_table(map, path, error_r);
	if (status != MAUTH_OK)
		mauth_side_map_free(&map);
	*map_r = map;
	return status;
}

void mauth_side_map_free(struct mauth_side_map **map)
{
	if (*map == NULL)
		return;
	free((*map)->text);
	free((*map)->entries);
	free((*map)->slots);
	free(*map);
	*map = NULL;
}

size_t mauth_side_map_count(const struct mauth_side_map *map)
{
	return map->count;
}

static const struct mauth_move *find(const struct mauth_side_map *map, const char *name)
{
	uint32_t entry = *find_slot(map, name);

	return entry == 0 ? NULL : &map->entries[entry - 1].move;
}

const struct mauth_move *mauth_side_map_find(const struct mauth_side_map *map, const char *name)
{
	const struct mauth_move *move = find(map, name);
	const char *domain = strrchr(name, '@');

	return move != NULL || domain == NULL ? move : find(map, domain);
}
