/* SPDX-License-Identifier: MIT */
/* Names behind pseudonyms: audit reveal, for pseudonyms and for whole files; and audit erase, after which nobody knows them. */
#include "lib.h"
#include "hash.h"
#include "str.h"
#include "doveadm-print.h"

#include "store/audit-files.h"
#include "doveadm/command.h"
#include "doveadm/term.h"

#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

/* "anon-" and 16 of a-z, 2-7. */
#define PSEUDONYM_SIZE 21u
/* What is asked for at once: the broker's line has room for so many. */
#define ASK_MAX 400u
/* Lines that are held back until their names are known. */
#define HELD_MAX (256u * 1024u)
/* Names that are remembered; a file of a million people is asked for anew now and then. */
#define KNOWN_MAX 100000u

struct revealing {
	struct mauth_command cmd;
	const char *reason, *by;
	pool_t pool;
	HASH_TABLE(char *, char *) names;    /* "": nobody knows */
	string_t *held, *wanted;
	unsigned int wanted_count, known_count, unknown_count;
	bool failed;
};

static bool is_word(char c)
{
	return i_isalnum(c);
}

/* The next pseudonym in text, or NULL. */
static const char *find_pseudonym(const char *text, const char *end)
{
	static const char prefix[] = "anon-";

	for (const char *at = text; (at = memmem(at, (size_t)(end - at), prefix, sizeof(prefix) - 1)) != NULL; at++) {
		size_t size = sizeof(prefix) - 1;

		while (at + size < end && size < PSEUDONYM_SIZE && ((at[size] >= 'a' && at[size] <= 'z') || (at[size] >= '2' && at[size] <= '7')))
			size++;
		if (size == PSEUDONYM_SIZE && (at + size == end || !is_word(at[size])) && (at == text || !is_word(at[-1])))
			return at;
	}
	return NULL;
}

static bool is_pseudonym(const char *text)
{
	return strlen(text) == PSEUDONYM_SIZE && find_pseudonym(text, text + PSEUDONYM_SIZE) == text;
}

/* -- asking ------------------------------------------------------------------------------------------------- */

static void forget_names(struct revealing *r)
{
	hash_table_clear(r->names, FALSE);
	p_clear(r->pool);
	r->known_count = 0;
}

static bool take_row(struct revealing *r, const struct mauth_admin_reply *reply)
{
	const char *pseudonym = mauth_admin_get(reply, "pseudonym"), *name = mauth_admin_get(reply, "name");
	char *key, *value;

	if (pseudonym == NULL)
		return FALSE;
	if (name == NULL)
		r->unknown_count++;
	key = p_strdup(r->pool, pseudonym);
	value = p_strdup(r->pool, name == NULL ? "" : name);
	hash_table_update(r->names, key, value);
	r->known_count++;
	return TRUE;
}

static bool ask(struct revealing *r)
{
	const struct mauth_admin_field fields[] = {
		{ "pseudonyms", str_c(r->wanted) }, { "reason", r->reason }, { "by", r->by }, { NULL, NULL }
	};
	const struct mauth_admin_reply *reply;

	if (r->wanted_count == 0)
		return TRUE;
	if (!mauth_command_ask(&r->cmd, "REVEAL", fields))
		return FALSE;
	do {
		if (!mauth_command_next(&r->cmd, &reply))
			return FALSE;
		if (reply->kind == MAUTH_ADMIN_ROW && !take_row(r, reply))
			return FALSE;
	} while (reply->kind != MAUTH_ADMIN_OK);
	str_truncate(r->wanted, 0);
	r->wanted_count = 0;
	return TRUE;
}

static void want(struct revealing *r, const char *at)
{
	const char *pseudonym = t_strndup(at, PSEUDONYM_SIZE);

	if (hash_table_lookup(r->names, pseudonym) != NULL || strstr(str_c(r->wanted), pseudonym) != NULL)
		return;
	if (r->wanted_count++ > 0)
		str_append_c(r->wanted, ',');
	str_append(r->wanted, pseudonym);
}

/* -- files -------------------------------------------------------------------------------------------------- */

/* A name as a line can have it: records are JSON, lines of a log are not. */
static void append_name(string_t *out, const char *name, bool json)
{
	for (; *name != '\0'; name++) {
		if (json && (*name == '"' || *name == '\\'))
			str_append_c(out, '\\');
		str_append_c(out, *name);
	}
}

static void print_line(struct revealing *r, const char *line, const char *end)
{
	string_t *out = t_str_new((size_t)(end - line) + 128);
	const bool json = *line == '{';
	const char *at;

	while ((at = find_pseudonym(line, end)) != NULL) {
		const char *name = hash_table_lookup(r->names, t_strndup(at, PSEUDONYM_SIZE));

		str_append_data(out, line, (size_t)(at - line));
		if (name == NULL || *name == '\0')
			str_append_data(out, at, PSEUDONYM_SIZE);
		else
			append_name(out, name, json);
		line = at + PSEUDONYM_SIZE;
	}
	str_append_data(out, line, (size_t)(end - line));
	(void)puts(isatty(STDOUT_FILENO) > 0 ? mauth_show(str_c(out)) : str_c(out));
}

/* Asks for what is in the lines that are held, and prints them. */
static bool release(struct revealing *r)
{
	const char *at = str_c(r->held), *end = at + str_len(r->held), *newline;

	if (!ask(r))
		return FALSE;
	while (at < end) {
		newline = memchr(at, '\n', (size_t)(end - at));
		if (newline == NULL)
			newline = end;
		T_BEGIN {
			print_line(r, at, newline);
		} T_END;
		at = newline + 1;
	}
	/* doveadm writes on a stream of its own at the end ("[]" for -f json): not into the middle of ours. */
	(void)fflush(stdout);
	str_truncate(r->held, 0);
	if (r->known_count > KNOWN_MAX)
		forget_names(r);
	return TRUE;
}

static bool take_line(struct revealing *r, const char *line, const char *end)
{
	T_BEGIN {
		for (const char *at = line; (at = find_pseudonym(at, end)) != NULL; at += PSEUDONYM_SIZE)
			want(r, at);
	} T_END;
	str_append_data(r->held, line, (size_t)(end - line));
	str_append_c(r->held, '\n');
	return (str_len(r->held) < HELD_MAX && r->wanted_count < ASK_MAX) || release(r);
}

/* held: whole lines; what is behind the last of them waits in rest. */
struct reading {
	struct revealing *r;
	string_t *rest;
};

static bool take_data(void *context, const char *data, size_t size)
{
	struct reading *reading = context;
	const char *end = data + size, *newline;

	for (; (newline = memchr(data, '\n', (size_t)(end - data))) != NULL; data = newline + 1) {
		str_append_data(reading->rest, data, (size_t)(newline - data));
		if (!take_line(reading->r, str_c(reading->rest), str_c(reading->rest) + str_len(reading->rest))) {
			reading->r->failed = TRUE;
			return FALSE;
		}
		str_truncate(reading->rest, 0);
	}
	str_append_data(reading->rest, data, (size_t)(end - data));
	if (str_len(reading->rest) < HELD_MAX)
		return TRUE;
	i_error("a line of more than %u octets: that is no audit and no log", HELD_MAX);
	doveadm_exit_code = EX_DATAERR;
	reading->r->failed = TRUE;
	return FALSE;
}

static bool read_stdin(struct reading *reading, struct mauth_error *error_r)
{
	char data[8192];
	size_t got;

	while ((got = fread(data, 1, sizeof(data), stdin)) > 0) {
		if (!take_data(reading, data, got))
			return TRUE;
	}
	if (ferror(stdin) != 0)
		(void)mauth_fail(error_r, MAUTH_TEMPORARY, 0, "standard input cannot be read");
	return ferror(stdin) == 0;
}

static void reveal_file(struct revealing *r, const char *path)
{
	struct reading reading = { .r = r, .rest = str_new(default_pool, 1024) };
	const struct mauth_audit_reader reader = { .data = take_data, .context = &reading };
	struct mauth_error error;
	bool good = strcmp(path, "-") == 0 ? read_stdin(&reading, &error) : mauth_audit_read(path, &reader, &error) == MAUTH_OK;

	if (!r->failed && str_len(reading.rest) > 0)
		r->failed = !take_line(r, str_c(reading.rest), str_c(reading.rest) + str_len(reading.rest));
	if (!r->failed)
		r->failed = !release(r);
	if (!good) {
		i_error("%s", mauth_show(error.text));
		doveadm_exit_code = EX_NOINPUT;
		r->failed = TRUE;
	}
	str_free(&reading.rest);
}

/* -- audit reveal ------------------------------------------------------------------------------------------- */

static const struct mauth_column columns[] = { { .key = "pseudonym" }, { .key = "name" }, MAUTH_COLUMNS_END };

static void print_pair(struct mauth_command *cmd, const char *pseudonym, const char *name)
{
	mauth_command_headers(cmd, columns);
	mauth_command_print(cmd, pseudonym);
	mauth_command_print(cmd, name);
}

static void reveal_all(struct revealing *r, const char *const *args)
{
	const char *const *arg;
	bool pairs = FALSE;

	for (arg = args; *arg != NULL; arg++) {
		if (is_pseudonym(*arg)) {
			want(r, *arg);
			pairs = TRUE;
			if (r->wanted_count == ASK_MAX && !ask(r))
				return;
		}
	}
	if (!ask(r))
		return;
	for (arg = args; *arg != NULL; arg++) {
		if (is_pseudonym(*arg))
			print_pair(&r->cmd, *arg, hash_table_lookup(r->names, *arg));
	}
	if (pairs)
		doveadm_print_flush();
	for (arg = args; *arg != NULL && !r->failed; arg++) {
		if (!is_pseudonym(*arg))
			reveal_file(r, *arg);
	}
	if (r->unknown_count > 0) {
		i_warning("nobody knows the names of %u pseudonyms: they were erased, are older than the names that are kept, or were made "
			  "with users = \"hash\" or another key", r->unknown_count);
		if (doveadm_exit_code == 0)
			doveadm_exit_code = EX_NOUSER;
	}
}

static void reveal_user(struct mauth_command *cmd, const char *user, const char *reason, const char *by)
{
	const struct mauth_admin_field fields[] = { { "user", user }, { "reason", reason }, { "by", by }, { NULL, NULL } };

	(void)mauth_command_rows(cmd, "REVEAL", fields, columns);
}

/* Commands over the network have no person behind them who could be held to a reason. */
static bool is_at_terminal(const struct mauth_command *cmd)
{
	if (cmd->is_cli)
		return TRUE;
	i_error("%s: only on the command line", cmd->cctx->cmd->name);
	doveadm_exit_code = EX_USAGE;
	return FALSE;
}

void mauth_cmd_audit_reveal(struct doveadm_cmd_context *cctx)
{
	const char *reason = mauth_command_need(cctx, "reason"), *user = mauth_command_str(cctx, "user");
	const char *const *args = NULL;
	struct revealing r = { .reason = reason };

	if (reason == NULL || !mauth_command_init(&r.cmd, cctx) || !is_at_terminal(&r.cmd))
		return;
	(void)doveadm_cmd_param_array(cctx, "pseudonym", &args);
	if ((user == NULL) == (args == NULL || args[0] == NULL)) {
		i_error("%s: say either --user, or pseudonyms and files", cctx->cmd->name);
		doveadm_exit_code = EX_USAGE;
		return;
	}
	r.by = mauth_command_admin_name(cctx);
	if (mauth_command_connect(&r.cmd, 0)) {
		if (user != NULL) {
			reveal_user(&r.cmd, user, reason, r.by);
		} else {
			r.pool = pool_alloconly_create("pseudonyms", 16384);
			hash_table_create(&r.names, default_pool, 0, str_hash, strcmp);
			r.held = str_new(default_pool, HELD_MAX + 16384);
			r.wanted = str_new(default_pool, ASK_MAX * (PSEUDONYM_SIZE + 1));
			reveal_all(&r, args);
			str_free(&r.wanted);
			str_free(&r.held);
			hash_table_destroy(&r.names);
			pool_unref(&r.pool);
		}
	}
	mauth_command_deinit(&r.cmd);
}

/* -- audit erase -------------------------------------------------------------------------------------------- */

void mauth_cmd_audit_erase(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column erased[] = {
		{ .key = "pseudonym" }, { .key = "name" }, { .key = "inventory", .cell = MAUTH_CELL_COUNT }, { .key = "left" }, MAUTH_COLUMNS_END
	};
	const char *user = mauth_command_need(cctx, "user"), *reason = user == NULL ? NULL : mauth_command_need(cctx, "reason");
	const struct mauth_admin_field fields[] = {
		{ "user", user }, { "reason", reason }, { "by", reason == NULL ? NULL : mauth_command_admin_name(cctx) }, { NULL, NULL }
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;

	if (reason == NULL || !mauth_command_init(&cmd, cctx) || !is_at_terminal(&cmd))
		return;
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "ERASE", fields) && mauth_command_ok(&cmd, &reply)) {
		const char *left = mauth_admin_get(reply, "left"), *pseudonym = mauth_admin_get(reply, "pseudonym");
		const bool is_clear = pseudonym == NULL || *pseudonym == '\0';
		const bool is_left = left != NULL && *left != '\0';

		(void)mauth_command_row(&cmd, erased, reply);
		doveadm_print_flush();
		if (is_left)
			i_warning("still there, since the account needs it: see \"doveadm modernauth show\", and take it away with "
				  "\"revoke\" and \"disallow\"");
		if (is_clear)
			i_warning("names in audit files that are written already stay until the files are deleted: a chain cannot lose "
				  "a record unseen (audit { keep })");
	}
	mauth_command_deinit(&cmd);
}
