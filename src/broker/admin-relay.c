/* SPDX-License-Identifier: MIT */
/* Relay keys: RELAY-ADD, RELAY-LIST, RELAY-REMOVE. */
#include "broker/admin-private.h"

#include "core/config-value.h"
#include "core/mem.h"
#include "core/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mauth_relay_keys *keys_of(const struct mauth_session *session)
{
	return mauth_vault_relay_keys(mauth_broker_vault(session->service->broker));
}

static void put_until(struct mauth_session *session, int64_t until)
{
	char day[MAUTH_DAY_TEXT_SIZE];

	if (until == 0)
		return;
	mauth_policy_last_day(until, day);
	mauth_wire_str(&session->out, "last_day", day);
	mauth_wire_num(&session->out, "until", until);
}

static void changed(const struct mauth_relay_key *key, const struct mauth_error *error, void *context)
{
	struct admin_op *op = context;
	struct mauth_session *session = op->session;
	const struct mauth_change_record change = {
		.wall_usecs = mauth_wall_usecs(op->service->loop), .action = op->action, .actor = "doveadm",
		.relay_key = key, .by = op->by, .uid = op->uid, .error = error,
	};

	op->service->changes++;
	if (op->service->sink != NULL)
		mauth_record_and_log_change(op->service->sink, op->service->log, &change);
	if (session != NULL && error != NULL) {
		admin_fail(session, op->id, error);
	} else if (session != NULL) {
		admin_begin(session, op->id, "OK");
		mauth_wire_str(&session->out, "key_id", key->id);
		mauth_wire_str(&session->out, "name", key->name);
		put_until(session, key->expires_at);
		if (op->password != NULL)
			mauth_wire_data(&session->out, "relay_password", mauth_secret_expose(op->password),
					mauth_secret_size(op->password));
		admin_end(session);
	}
	admin_op_free(op);
}

static struct admin_op *op_begin(struct mauth_session *session, const struct mauth_wire_line *line, const char *action)
{
	const char *by = mauth_wire_get(line, "by");
	struct admin_op *op = admin_op_new(session, line->id);

	op->action = action;
	op->by = mauth_strdup(by == NULL || *by == '\0' ? "unknown" : by);
	return op;
}

/* Nobody could be given a token: say so now, not when mail waits. */
static bool check_grants(struct mauth_session *session, uint32_t id)
{
	struct mauth_error error;

	if (mauth_config_has_grant(session->service->config, NULL, MAUTH_GRANT_ENROLLED) ||
	    mauth_config_has_grant(session->service->config, NULL, MAUTH_GRANT_APP))
		return true;
	mauth_fail(&error, MAUTH_CONFIG, 0, "no \"grants\" in modernauth.conf has \"enrolled\" or \"app\": a relay key would open "
		   "nothing");
	admin_fail(session, id, &error);
	return false;
}

/* The words between commas; false: too many. */
static bool split(char *list, const char **words, size_t max, size_t *count_r)
{
	char *at = list, *word;
	size_t count = 0;

	while ((word = strsep(&at, ",")) != NULL) {
		while (*word == ' ')
			word++;
		if (*word == '\0')
			continue;
		if (count == max)
			return false;
		words[count++] = word;
	}
	*count_r = count;
	return true;
}

static enum mauth_status parse(const struct mauth_wire_line *line, char *list, const char **identities,
			       struct mauth_relay_key_new *key, struct mauth_error *error_r)
{
	const char *until = mauth_wire_get(line, "until");
	int64_t last;

	key->name = mauth_wire_get(line, "name");
	key->identities = identities;
	if (!split(list, identities, MAUTH_RELAY_IDENTITIES_MAX, &key->identities_count))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "more than %u identities", MAUTH_RELAY_IDENTITIES_MAX);
	if (until == NULL)
		return MAUTH_OK;
	if (!mauth_day_parse(until, &last))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "until \"%.40s\"; a date like 2027-03-31 was expected", until);
	key->expires_at = mauth_policy_day_end(last);
	return MAUTH_OK;
}

bool admin_relay_add(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *identities[MAUTH_RELAY_IDENTITIES_MAX], *list = mauth_wire_get(line, "identities");
	struct mauth_relay_key_new key = { .uid = (int64_t)session->uid, .by = mauth_wire_get(line, "by") };
	struct mauth_error error;
	struct admin_op *op;
	char *copy;

	if (list == NULL || mauth_wire_get(line, "name") == NULL)
		return false;
	if (admin_vault(session, line->id) == NULL || !check_grants(session, line->id))
		return true;
	copy = mauth_strdup(list);
	op = op_begin(session, line, "relay-key-added");
	if (parse(line, copy, identities, &key, &error) != MAUTH_OK ||
	    mauth_relay_keys_add(keys_of(session), &key, &op->password, changed, op, &error) != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		admin_op_free(op);
	}
	free(copy);
	return true;
}

bool admin_relay_remove(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *which = mauth_wire_get(line, "key");
	struct mauth_error error;
	struct admin_op *op;

	if (which == NULL)
		return false;
	if (admin_vault(session, line->id) == NULL)
		return true;
	op = op_begin(session, line, "relay-key-removed");
	if (mauth_relay_keys_remove(keys_of(session), which, changed, op, &error) != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		admin_op_free(op);
	}
	return true;
}

static void key_row(struct mauth_session *session, uint32_t id, const struct mauth_relay_key *key)
{
	bool ended = key->expires_at != 0 && mauth_wall_secs(session->service->loop) >= key->expires_at;
	struct mauth_buf identities = { 0 };

	for (char *const *identity = key->identities; *identity != NULL; identity++)
		mauth_buf_printf(&identities, "%s%s", identities.size > 0 ? "," : "", *identity);
	admin_begin(session, id, "ROW");
	mauth_wire_str(&session->out, "key_id", key->id);
	mauth_wire_str(&session->out, "name", key->name);
	mauth_wire_str(&session->out, "identities", identities.data);
	mauth_wire_str(&session->out, "state", ended ? "ended" : "active");
	put_until(session, key->expires_at);
	admin_time(session, "last_used_at", key->last_used_at);
	admin_time(session, "created_at", key->created_at);
	mauth_wire_str(&session->out, "by", key->by);
	mauth_wire_num(&session->out, "uid", key->uid);
	admin_end(session);
	mauth_buf_free(&identities);
}

bool admin_relay_list(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const struct mauth_relay_key *key = NULL;
	unsigned int rows = 0;

	if (admin_vault(session, line->id) == NULL)
		return true;
	for (; (key = mauth_relay_keys_next(keys_of(session), key)) != NULL; rows++)
		key_row(session, line->id, key);
	admin_begin(session, line->id, "OK");
	mauth_wire_num(&session->out, "rows", rows);
	admin_end(session);
	return true;
}
