/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_MAP_EDIT_H
#define MAUTH_DOVEADM_MAP_EDIT_H
/* Moves users in the text of a map file (core/hybrid-line.h): whatever is not about them stays as it is. */

#include "core/hybrid-line.h"
#include "core/mem.h"

/* A list of users: one address a line, comments as in a map. Sorted, each once. */
struct mauth_user_list {
	char **names;                        /* lower case */
	size_t count;
};
/* MAUTH_CONFIG: "name:line: what is wrong". text is changed. */
enum mauth_status mauth_user_list_read(char *text, size_t size, const char *name, struct mauth_user_list *list_r,
				       struct mauth_error *error_r);
void mauth_user_list_free(struct mauth_user_list *list);

struct mauth_map_edit {
	size_t added, changed, unchanged;    /* users */
};
/* Puts text (size octets) into out with the lines of users changed to move, and new ones at its end. Nothing changes if done
 * again. MAUTH_CONFIG: text is no map, or has a user twice; "path:line: what is wrong". */
enum mauth_status mauth_map_edit(const char *text, size_t size, const char *path, const struct mauth_user_list *users,
				 const struct mauth_move *move, struct mauth_buf *out, struct mauth_map_edit *edit_r,
				 struct mauth_error *error_r);
/* What a new map begins with. */
extern const char mauth_map_header[];

#endif
