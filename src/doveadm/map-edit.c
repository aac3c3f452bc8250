/* SPDX-License-Identifier: MIT */
#include "doveadm/map-edit.h"

#include <stdlib.h>
#include <string.h>

const char mauth_map_header[] =
	"# Where mailboxes are, for dovecot-modernauth (mailbox_map in modernauth.conf). One line for each user or domain:\n"
	"#   anna@contoso.com cloud                        in Exchange Online\n"
	"#   @old.contoso.com onprem                       on-premises: everybody in the domain who has no line\n"
	"#   bob@contoso.com cloud 2026-12-01T22:00:00Z    moves at that time: until then on the other side\n"
	"# Below [cloud 2026-12-01T22:00:00Z] lines need no more than the address: a batch. [] ends it.\n"
	"# Times end in Z (UTC) or an offset such as +01:00. A changed file is in force within three seconds; one with a\n"
	"# mistake is refused as a whole, and the log names the line.\n";

/* -- lists of users -- */

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_once(struct mauth_user_list *list)
{
	size_t kept = 0;

	if (list->count == 0)
		return;
	qsort(list->names, list->count, sizeof(*list->names), compare);
	for (size_t i = 1; i < list->count; i++) {
		if (strcmp(list->names[kept], list->names[i]) == 0)
			free(list->names[i]);
		else
			list->names[++kept] = list->names[i];
	}
	list->count = kept + 1;
}

enum mauth_status mauth_user_list_read(char *text, size_t size, const char *name, struct mauth_user_list *list_r,
				       struct mauth_error *error_r)
{
	char *end = text + size, *next;
	struct mauth_map_line line;
	const char *problem;
	unsigned int number = 0;
	size_t alloc = 0;

	memset(list_r, 0, sizeof(*list_r));
	for (char *at = text + (strncmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0); at < end; at = next + 1) {
		next = memchr(at, '\n', (size_t)(end - at));
		if (next == NULL)
			next = end;
		*next = '\0';
		number++;
		if (!mauth_map_line_parse(at, (size_t)(next - at), &line, &problem))
			return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s:%u: %s", name, number, problem);
		if (line.kind == MAUTH_MAP_BLANK)
			continue;
		if (line.kind != MAUTH_MAP_ENTRY || line.move.side != MAUTH_SIDE_UNKNOWN)
			return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s:%u: one address, and nothing after it, was expected",
					  name, number);
		if (list_r->count == alloc) {
			alloc = alloc == 0 ? 64 : alloc * 2;
			list_r->names = mauth_grow(list_r->names, alloc, sizeof(*list_r->names));
		}
		list_r->names[list_r->count++] = mauth_strdup(line.name);
	}
	sort_once(list_r);
	return MAUTH_OK;
}

void mauth_user_list_free(struct mauth_user_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
	memset(list, 0, sizeof(*list));
}

/* -- the map -- */

struct editor {
	const struct mauth_user_list *users;
	const struct mauth_move *move;
	struct mauth_buf *out;
	struct mauth_map_edit *edit;
	unsigned int *lines;                 /* where each of users was found; 0: nowhere */
	struct mauth_move section;
	char suffix[MAUTH_INSTANT_SIZE + 16];/* " cloud 2026-12-01T22:00:00Z" */
};

static bool is_same(const struct mauth_move *a, const struct mauth_move *b)
{
	return a->side == b->side && a->at == b->at;
}

/* original: the line as it stands, which line was made of. */
static enum mauth_status edit_line(struct editor *editor, const struct mauth_map_line *line, const char *original, size_t size,
				   const char *path, unsigned int number, struct mauth_error *error_r)
{
	const struct mauth_user_list *users = editor->users;
	const struct mauth_move *said = line->move.side == MAUTH_SIDE_UNKNOWN ? &editor->section : &line->move;
	char **found = line->kind != MAUTH_MAP_ENTRY || users->count == 0 ? NULL :
		bsearch(&line->name, users->names, users->count, sizeof(*users->names), compare);

	if (line->kind == MAUTH_MAP_SECTION)
		editor->section = line->move;
	if (line->kind == MAUTH_MAP_ENTRY && said->side == MAUTH_SIDE_UNKNOWN)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s:%u: %.100s has no side; \"cloud\" or \"onprem\" was expected "
				  "after it", path, number, line->name);
	if (found != NULL && editor->lines[found - users->names] != 0)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s:%u: %.100s is in line %u already; one line was expected", path,
				  number, line->name, editor->lines[found - users->names]);
	if (found != NULL)
		editor->lines[found - users->names] = number;
	if (found == NULL || is_same(said, editor->move)) {
		editor->edit->unchanged += found != NULL;
		mauth_buf_append(editor->out, original, size);
		return MAUTH_OK;
	}
	editor->edit->changed++;
	mauth_buf_puts(editor->out, line->name);
	mauth_buf_puts(editor->out, editor->suffix);
	if (line->comment[0] != '\0') {
		mauth_buf_putc(editor->out, ' ');
		mauth_buf_puts(editor->out, line->comment);
	}
	return MAUTH_OK;
}

static enum mauth_status edit_lines(struct editor *editor, const char *text, size_t size, const char *path,
				    struct mauth_error *error_r)
{
	const char *end = text + size, *next;
	enum mauth_status status = MAUTH_OK;
	unsigned int number = 0;

	for (const char *at = text; status == MAUTH_OK && at < end; at = next + 1) {
		struct mauth_map_line line;
		const char *problem;
		size_t mark = number == 0 && strncmp(at, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
		char *copy;

		next = memchr(at, '\n', (size_t)(end - at));
		if (next == NULL)
			next = end;
		copy = mauth_strndup(at + mark, (size_t)(next - at) - mark);
		number++;
		if (!mauth_map_line_parse(copy, (size_t)(next - at) - mark, &line, &problem))
			status = mauth_fail(error_r, MAUTH_CONFIG, 0, "%s:%u: %s", path, number, problem);
		else
			status = edit_line(editor, &line, at, (size_t)(next - at), path, number, error_r);
		free(copy);
		if (status == MAUTH_OK)
			mauth_buf_putc(editor->out, '\n');
	}
	return status;
}

enum mauth_status mauth_map_edit(const char *text, size_t size, const char *path, const struct mauth_user_list *users,
				 const struct mauth_move *move, struct mauth_buf *out, struct mauth_map_edit *edit_r,
				 struct mauth_error *error_r)
{
	struct editor editor = { .users = users, .move = move, .out = out, .edit = edit_r };
	enum mauth_status status;
	char instant[MAUTH_INSTANT_SIZE];
	struct mauth_buf suffix = { 0 };

	memset(edit_r, 0, sizeof(*edit_r));
	mauth_buf_printf(&suffix, " %s", mauth_side_name(move->side));
	if (move->at != 0) {
		mauth_instant_text(move->at, instant);
		mauth_buf_printf(&suffix, " %s", instant);
	}
	memcpy(editor.suffix, suffix.data, suffix.size + 1);
	mauth_buf_free(&suffix);
	editor.lines = mauth_new_array(users->count + 1, sizeof(*editor.lines));
	status = edit_lines(&editor, text, size, path, error_r);
	for (size_t i = 0; status == MAUTH_OK && i < users->count; i++) {
		if (editor.lines[i] != 0)
			continue;
		mauth_buf_puts(out, users->names[i]);
		mauth_buf_puts(out, editor.suffix);
		mauth_buf_putc(out, '\n');
		edit_r->added++;
	}
	free(editor.lines);
	return status;
}
