/* SPDX-License-Identifier: MIT */
/* Moving users to Exchange Online, or back, in the map files of the tenants: move-batch. The files are the admin's, so they are
 * written here, as root, and noticed by the broker. */
#include "lib.h"
#include "array.h"
#include "doveadm-print.h"
#include "hash.h"

#include "doveadm/command.h"
#include "doveadm/map-edit.h"
#include "doveadm/out-file.h"
#include "doveadm/term.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_OCTETS_MAX ((size_t)64 << 20)
/* So many unknown users are named, the rest is counted. */
#define NAMED_MAX 20u

struct map_target {
	const char *path;                /* NULL: of users of tenants that have none */
	struct mauth_user_list users;    /* names are the list's of all */
};

struct domain {
	char *name;
	const char *tenant;
	struct map_target *target;
	bool in_force;
};

struct move_run {
	struct mauth_command cmd;
	pool_t pool;
	struct mauth_move move;
	struct mauth_user_list users;
	HASH_TABLE(char *, struct domain *) domains;
	ARRAY(struct map_target *) targets;
	unsigned int unknown;
};

static const struct mauth_column columns[] = {
	{ .key = "map" }, { .key = "side" }, { .key = "at" }, { .key = "added", .cell = MAUTH_CELL_COUNT },
	{ .key = "changed", .cell = MAUTH_CELL_COUNT }, { .key = "unchanged", .cell = MAUTH_CELL_COUNT },
	{ .key = "unknown", .cell = MAUTH_CELL_COUNT }, MAUTH_COLUMNS_END
};

/* --- what is asked for --------------------------------------------------------------------------------------- */

static bool read_move(const struct doveadm_cmd_context *cctx, struct mauth_move *move_r)
{
	const char *at = mauth_command_need(cctx, "at"), *to = mauth_command_str(cctx, "to");

	if (at == NULL)
		return FALSE;
	*move_r = (struct mauth_move){ .side = MAUTH_SIDE_CLOUD };
	if (to != NULL && !mauth_side_parse(to, &move_r->side))
		i_error("--to: \"cloud\" or \"onprem\" was expected: %s", mauth_show(to));
	else if (strcmp(at, "now") != 0 && !mauth_instant_parse(at, &move_r->at))
		i_error("--at: a time such as 2026-12-01T22:00:00Z or 2026-12-01T23:00:00+01:00, or now, was expected: %s",
			mauth_show(at));
	else
		return TRUE;
	doveadm_exit_code = EX_USAGE;
	return FALSE;
}

/* The whole file, which the caller frees; NULL with an error. No file: *text_r is NULL, too, with MAUTH_OK. */
static enum mauth_status read_file(const char *path, char **text_r, size_t *size_r, struct stat *st_r,
				   struct mauth_error *error_r)
{
	FILE *file = fopen(path, "re");
	enum mauth_status status = MAUTH_OK;
	size_t size;

	*text_r = NULL;
	*size_r = 0;
	if (file == NULL && errno == ENOENT)
		return MAUTH_OK;
	if (file == NULL)
		return mauth_fail(error_r, MAUTH_CONFIG, errno, "opening %s failed: %s", path, strerror(errno));
	if (fstat(fileno(file), st_r) < 0 || !S_ISREG(st_r->st_mode) || (size_t)st_r->st_size > FILE_OCTETS_MAX) {
		(void)fclose(file);
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s is no regular file, or has more than %zu octets", path,
				  FILE_OCTETS_MAX);
	}
	size = (size_t)st_r->st_size;
	*text_r = mauth_new(size + 1);
	if (fread(*text_r, 1, size, file) != size)
		status = mauth_fail(error_r, MAUTH_CONFIG, 0, "reading %s failed: it is shorter than it was", path);
	(void)fclose(file);
	if (status != MAUTH_OK) {
		free(*text_r);
		*text_r = NULL;
	}
	*size_r = size;
	return status;
}

static bool read_users(struct move_run *run, const char *path)
{
	struct mauth_error error;
	struct stat st;
	char *text;
	size_t size;
	bool good;

	i_zero(&error);
	if (read_file(path, &text, &size, &st, &error) != MAUTH_OK) {
		mauth_command_fail(&error);
		return FALSE;
	}
	if (text == NULL) {
		mauth_command_fail_text(MAUTH_CONFIG, "there is no file %s", path);
		doveadm_exit_code = EX_NOINPUT;
		return FALSE;
	}
	good = mauth_user_list_read(text, size, path, &run->users, &error) == MAUTH_OK;
	free(text);
	if (!good) {
		mauth_command_fail(&error);
		doveadm_exit_code = EX_DATAERR;
	}
	return good;
}

/* --- which map ----------------------------------------------------------------------------------------------- */

static struct map_target *get_target(struct move_run *run, const char *path)
{
	struct map_target *const *at, *target;

	array_foreach(&run->targets, at) {
		if (null_strcmp((*at)->path, path) == 0)
			return *at;
	}
	target = p_new(run->pool, struct map_target, 1);
	target->path = p_strdup(run->pool, path);
	array_push_back(&run->targets, &target);
	return target;
}

static bool ask_domains(struct move_run *run)
{
	static const struct mauth_admin_field no_fields[] = { { NULL, NULL } };
	const struct mauth_admin_reply *reply;

	if (!mauth_command_ask(&run->cmd, "MAPS", no_fields))
		return FALSE;
	for (;;) {
		const char *name, *in_force;
		struct domain *domain;

		if (!mauth_command_next(&run->cmd, &reply))
			return FALSE;
		if (reply->kind == MAUTH_ADMIN_OK)
			return TRUE;
		name = mauth_admin_get(reply, "domain");
		if (reply->kind != MAUTH_ADMIN_ROW || name == NULL)
			continue;
		in_force = mauth_admin_get(reply, "in_force");
		domain = p_new(run->pool, struct domain, 1);
		domain->name = p_strdup(run->pool, name);
		domain->tenant = p_strdup(run->pool, mauth_admin_get(reply, "tenant"));
		domain->target = get_target(run, mauth_admin_get(reply, "map"));
		domain->in_force = null_strcmp(in_force, "yes") == 0;
		hash_table_update(run->domains, domain->name, domain);
	}
}

static void say_unknown(struct move_run *run, const char *user, const char *why)
{
	if (run->unknown++ < NAMED_MAX)
		i_warning("%s: %s", mauth_show(user), why);
}

static void sort_users(struct move_run *run)
{
	for (size_t i = 0; i < run->users.count; i++) {
		char *user = run->users.names[i];
		const char *name = strrchr(user, '@') + 1;
		struct domain *domain = hash_table_lookup(run->domains, name);
		struct mauth_user_list *list;

		if (domain == NULL) {
			say_unknown(run, user, "no tenant of modernauth.conf has this domain; left out");
			continue;
		}
		if (domain->target->path == NULL || !domain->in_force) {
			say_unknown(run, user, t_strdup_printf("mailbox_sources of tenant %s does not have \"map\"; left out",
							       mauth_show(domain->tenant)));
			continue;
		}
		list = &domain->target->users;
		if (list->names == NULL)
			list->names = p_new(run->pool, char *, run->users.count);
		list->names[list->count++] = user;
	}
	if (run->unknown > NAMED_MAX)
		i_warning("and %u more", run->unknown - NAMED_MAX);
}

/* --- changing it --------------------------------------------------------------------------------------------- */

/* The new file is whose the old one was. */
static enum mauth_status write_map(const char *path, const struct stat *st, const struct mauth_buf *text,
				   struct mauth_error *error_r)
{
	struct mauth_out_file out = { .file = NULL };
	int fd;

	if (mauth_out_file_begin(&out, path, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	fd = fileno(out.file);
	if (st != NULL && fchown(fd, st->st_uid, st->st_gid) < 0) {
		mauth_fail(error_r, MAUTH_CONFIG, errno, "fchown(%s) failed: %s", out.temp, strerror(errno));
		mauth_out_file_abort(&out);
		return MAUTH_CONFIG;
	}
	if (fchmod(fd, st != NULL ? st->st_mode & 0777 : 0644) < 0) {
		mauth_fail(error_r, MAUTH_CONFIG, errno, "fchmod(%s) failed: %s", out.temp, strerror(errno));
		mauth_out_file_abort(&out);
		return MAUTH_CONFIG;
	}
	(void)fwrite(text->data, 1, text->size, out.file);
	return mauth_out_file_commit(&out, TRUE, error_r);
}

static enum mauth_status change_map(const struct move_run *run, const struct map_target *target,
				    struct mauth_map_edit *edit_r, struct mauth_error *error_r)
{
	struct mauth_buf out = { .data = NULL };
	enum mauth_status status;
	struct stat st;
	char *text;
	size_t size;

	status = read_file(target->path, &text, &size, &st, error_r);
	if (status != MAUTH_OK)
		return status;
	if (text == NULL)
		mauth_buf_puts(&out, mauth_map_header);
	status = mauth_map_edit(text == NULL ? "" : text, size, target->path, &target->users, &run->move, &out, edit_r, error_r);
	if (status == MAUTH_OK && edit_r->added + edit_r->changed > 0)
		status = write_map(target->path, text == NULL ? NULL : &st, &out, error_r);
	free(text);
	mauth_buf_free(&out);
	return status;
}

/* Two admins at once would lose the lines of one. */
static int lock_directory(const char *path, struct mauth_error *error_r)
{
	const char *slash = strrchr(path, '/');
	const char *dir = slash == NULL || slash == path ? "/" : t_strdup_until(path, slash);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX) < 0) {
		mauth_fail(error_r, MAUTH_CONFIG, errno, "locking %s failed: %s", dir, strerror(errno));
		i_close_fd(&fd);
	}
	return fd;
}

static bool change_and_print(struct move_run *run, const struct map_target *target)
{
	struct mauth_map_edit edit = { .added = 0 };
	enum mauth_status status = MAUTH_CONFIG;
	struct mauth_error error;
	int lock;

	i_zero(&error);
	lock = lock_directory(target->path, &error);
	if (lock >= 0)
		status = change_map(run, target, &edit, &error);
	i_close_fd(&lock);
	if (status != MAUTH_OK) {
		mauth_command_fail(&error);
		return FALSE;
	}
	mauth_command_headers(&run->cmd, columns);
	mauth_command_print(&run->cmd, target->path);
	mauth_command_print(&run->cmd, mauth_side_name(run->move.side));
	if (run->move.at == 0)
		mauth_command_print(&run->cmd, "now");
	else
		mauth_command_print_time(&run->cmd, run->move.at);
	doveadm_print_num(edit.added);
	doveadm_print_num(edit.changed);
	doveadm_print_num(edit.unchanged);
	doveadm_print_num(run->unknown);
	return TRUE;
}

static void change_maps(struct move_run *run)
{
	struct map_target *const *target;
	bool any = FALSE;

	array_foreach(&run->targets, target) {
		if ((*target)->users.count == 0)
			continue;
		any = TRUE;
		if (!change_and_print(run, *target))
			return;
	}
	if (run->unknown > 0)
		doveadm_exit_code = EX_NOUSER;
	else if (!any)
		i_info("the file names nobody: nothing to do");
}

void mauth_cmd_move_batch(struct doveadm_cmd_context *cctx)
{
	const char *path = mauth_command_need(cctx, "file");
	struct move_run run;

	i_zero(&run);
	if (path == NULL || !read_move(cctx, &run.move) || !mauth_command_init(&run.cmd, cctx))
		return;
	if (!run.cmd.is_cli) {
		i_error("%s: only on the command line", cctx->cmd->name);
		doveadm_exit_code = EX_USAGE;
		return;
	}
	if (!read_users(&run, path)) {
		mauth_user_list_free(&run.users);
		return;
	}
	run.pool = pool_alloconly_create("move-batch", 4096);
	hash_table_create(&run.domains, run.pool, 0, str_hash, strcmp);
	i_array_init(&run.targets, 4);
	if (mauth_command_connect(&run.cmd, 0) && ask_domains(&run)) {
		sort_users(&run);
		change_maps(&run);
	}
	mauth_command_deinit(&run.cmd);
	array_free(&run.targets);
	hash_table_destroy(&run.domains);
	pool_unref(&run.pool);
	mauth_user_list_free(&run.users);
}
