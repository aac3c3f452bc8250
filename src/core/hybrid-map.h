/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HYBRID_MAP_H
#define MAUTH_HYBRID_MAP_H
/* A map file (hybrid-line.h) as a table that never changes: a new file is a new table. */

#include "core/hybrid-line.h"

#define MAUTH_SIDE_MAP_OCTETS_MAX ((size_t)64 << 20)

struct mauth_side_map;

/* Takes text over, which was allocated with a NUL after its size octets. Touches nothing else: it may run in a worker.
 * MAUTH_CONFIG: "path:line: what is wrong; what was expected". */
enum mauth_status mauth_side_map_new(char *text, size_t size, const char *path, struct mauth_side_map **map_r,
				     struct mauth_error *error_r);
void mauth_side_map_free(struct mauth_side_map **map);
size_t mauth_side_map_count(const struct mauth_side_map *map);

/* What it says of name, a lower-case address: of itself, or else of its domain. NULL: nothing. */
const struct mauth_move *mauth_side_map_find(const struct mauth_side_map *map, const char *name);

#endif
