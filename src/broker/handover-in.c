/* SPDX-License-Identifier: MIT */
#include "broker/handover.h"

#include "broker/relay.h"

#include "core/account-check.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

#define FILES_MAX 2048u
#define FILES_OCTETS_MAX (8u * 1024u * 1024u)

/* What has come so far. */
struct mauth_handover_in {
	struct mauth_buf config;
	struct received_file {
		char *path;
		struct mauth_buf content;
	} *files;
	size_t files_count, octets;
	/* a user is sent in several lines */
	struct mauth_shield_user *user;      /* NULL: none yet */
	char upn[MAUTH_USER_MAX + 1];
	uint32_t tenant;
	size_t slots;
	unsigned int tokens, users;
};

static void drop_user(struct mauth_handover_in *in)
{
	if (in->user != NULL)
		mauth_wipe(in->user, sizeof(*in->user));
	free(in->user);
	in->user = NULL;
	in->slots = 0;
}

void mauth_handover_forget(struct mauth_service_state *service)
{
	struct mauth_handover_in *in = service->in;

	if (in == NULL)
		return;
	mauth_buf_free(&in->config);
	for (size_t i = 0; i < in->files_count; i++) {
		free(in->files[i].path);
		mauth_buf_free(&in->files[i].content);
	}
	free(in->files);
	drop_user(in);
	free(in);
	service->in = NULL;
}

static int64_t get_int(const struct mauth_wire_line *line, const char *key)
{
	const char *value = mauth_wire_get(line, key);

	return value == NULL ? 0 : strtoll(value, NULL, 10);
}

/* Copies an octet string of exactly size. */
static bool get_octets(const struct mauth_wire_line *line, const char *key, void *to, size_t size)
{
	const struct mauth_wire_field *field = mauth_wire_find(line, key);

	if (field == NULL || field->size != size)
		return false;
	memcpy(to, field->value, size);
	return true;
}

static bool take_file(struct mauth_handover_in *in, const struct mauth_wire_line *line, bool config)
{
	const struct mauth_wire_field *data = mauth_wire_find(line, "data");
	const char *path = mauth_wire_get(line, "path");
	struct mauth_buf *to = &in->config;

	if (data == NULL || path == NULL || in->octets + data->size > FILES_OCTETS_MAX)
		return false;
	if (!config) {
		struct received_file *last = in->files_count == 0 ? NULL : &in->files[in->files_count - 1];

		if (last == NULL || strcmp(last->path, path) != 0) {
			if (in->files_count == FILES_MAX)
				return false;
			/* Only the table of pointers moves; the contents stay where they are. */
			in->files = mauth_grow(in->files, in->files_count + 1, sizeof(*in->files));
			last = &in->files[in->files_count++];
			*last = (struct received_file){ .path = mauth_strdup(path) };
		}
		to = &last->content;
	}
	mauth_buf_append(to, data->value, data->size);
	in->octets += data->size;
	return true;
}

/* Serves the configuration loader from what has come. */
static enum mauth_status read_received(void *context, const char *path, bool secret, struct mauth_secret **content_r,
				       struct mauth_error *error_r)
{
	struct mauth_service_state *service = context;
	const struct mauth_handover_in *in = service->in;

	if (strcmp(path, service->settings.config_path) == 0) {
		*content_r = mauth_secret_new(in->config.data, in->config.size);
		return MAUTH_OK;
	}
	for (size_t i = 0; i < in->files_count; i++) {
		if (strcmp(in->files[i].path, path) == 0) {
			*content_r = mauth_secret_new(in->files[i].content.data, in->files[i].content.size);
			return MAUTH_OK;
		}
	}
	return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s was not handed over", path);
}

static bool take_key(struct mauth_service_state *service, const struct mauth_wire_line *line)
{
	struct mauth_verifier_key key;
	struct mauth_config *config;
	struct mauth_error error;

	if (!get_octets(line, "data", key.key, sizeof(key.key)))
		return false;
	if (service->config == NULL) {
		if (mauth_config_load(service->settings.config_path, read_received, service, NULL, NULL, &config,
				      &error) != MAUTH_OK) {
			mauth_log(service->log, MAUTH_ERROR, "the previous configuration cannot be used either: %s",
				  error.text);
			return false;
		}
		mauth_log(service->log, MAUTH_ERROR, "continuing with the previous configuration, the file is broken: %s",
			  service->config_error.text);
		mauth_service_adopt_config(service, config);
	}
	if (service->broker == NULL)
		mauth_service_make_broker(service, &key);
	mauth_wipe(&key, sizeof(key));
	return true;
}

/* A tenant that the new file has changed or dropped: its tokens are not this configuration's to give. */
static bool tenant_is_known(const struct mauth_config *config, uint32_t key)
{
	for (size_t i = 0; i < config->tenants_count; i++) {
		const struct mauth_tenant *tenant = config->tenants[i];

		if (tenant->key == key)
			return true;
		for (size_t grant = 0; grant < MAUTH_GRANT_COUNT; grant++) {
			if (tenant->keys[grant] == key)
				return true;
		}
	}
	return false;
}

static bool take_token(struct mauth_service_state *service, const struct mauth_wire_line *line)
{
	const struct mauth_wire_field *token = mauth_wire_find(line, "token");
	const char *upn = mauth_wire_get(line, "upn");
	uint32_t tenant = (uint32_t)get_int(line, "tenant");
	struct mauth_cache_entry head = {
		.expires_wall = get_int(line, "expires_wall"), .expires_mono = get_int(line, "expires_mono"),
		.refresh_mono = get_int(line, "refresh_mono"), .refused_until = get_int(line, "refused_until"),
		.refused = get_int(line, "refused") != 0, .forced_mono = get_int(line, "forced_mono"),
		/* A predecessor that does not know the word has only such. */
		.bound = mauth_wire_get(line, "bound") == NULL || get_int(line, "bound") != 0,
		.refusals = (uint8_t)get_int(line, "refusals"),
	};

	if (upn == NULL || strlen(upn) > MAUTH_USER_MAX || token == NULL || token->size > MAUTH_TOKEN_MAX ||
	    service->broker == NULL || !get_octets(line, "salt", head.salt, sizeof(head.salt)) ||
	    !get_octets(line, "verifier", head.verifier, sizeof(head.verifier)))
		return false;
	if (!tenant_is_known(service->config, tenant))
		return true;
	mauth_cache_adopt(mauth_broker_cache(service->broker), &head, tenant, upn, token->value, token->size);
	service->in->tokens++;
	return true;
}

static void get_text(const struct mauth_wire_line *line, const char *key, char *to, size_t size)
{
	const char *text = mauth_wire_get(line, key);

	if (text != NULL)
		mauth_clean_copy(to, size, text, strlen(text));
}

static bool take_relay(struct mauth_service_state *service, const struct mauth_wire_line *line)
{
	struct mauth_relay_memory memory = {
		.pid = (pid_t)get_int(line, "pid"), .started = (uint64_t)get_int(line, "started"), .at = get_int(line, "at"),
		.uid = get_int(line, "uid"),
	};

	get_text(line, "identity", memory.identity, sizeof(memory.identity));
	get_text(line, "session", memory.session, sizeof(memory.session));
	get_text(line, "program", memory.program, sizeof(memory.program));
	get_text(line, "host", memory.host, sizeof(memory.host));
	get_text(line, "key_id", memory.key_id, sizeof(memory.key_id));
	get_text(line, "key_name", memory.key_name, sizeof(memory.key_name));
	get_text(line, "token_id", memory.token_id, sizeof(memory.token_id));
	get_text(line, "reason", memory.reason, sizeof(memory.reason));
	get_text(line, "transport", memory.transport, sizeof(memory.transport));
	mauth_relay_adopt(service, &memory);
	return true;
}

static bool take_account(struct mauth_service_state *service, const struct mauth_wire_line *line)
{
	const char *name = mauth_wire_get(line, "status");
	uint32_t tenant = (uint32_t)get_int(line, "tenant");
	struct mauth_account_fact fact = {
		.upn = mauth_wire_get(line, "upn"), .tenant = tenant, .good_until = get_int(line, "good_until"),
		.refresh_at = get_int(line, "refresh_at"),
	};

	if (service->broker == NULL || fact.upn == NULL || strlen(fact.upn) > MAUTH_USER_MAX || name == NULL ||
	    !mauth_status_parse(name, &fact.status))
		return false;
	for (size_t i = 0; i < service->config->tenants_count; i++) {
		if (service->config->tenants[i]->key == tenant)
			mauth_accounts_adopt(mauth_broker_accounts(service->broker), service->config->tenants[i], &fact);
	}
	return true;
}

static void finish_user(struct mauth_service_state *service)
{
	struct mauth_handover_in *in = service->in;

	if (in->user != NULL && tenant_is_known(service->config, in->tenant)) {
		mauth_shield_adopt(mauth_broker_shield(service->broker), in->user, in->tenant, in->upn);
		in->users++;
	}
	drop_user(in);
}

static bool take_user(struct mauth_service_state *service, const struct mauth_wire_line *line)
{
	struct mauth_handover_in *in = service->in;
	const char *upn = mauth_wire_get(line, "upn");

	if (service->broker == NULL || upn == NULL || strlen(upn) > MAUTH_USER_MAX)
		return false;
	finish_user(service);
	in->user = mauth_new(sizeof(*in->user));
	in->user->locked_until = get_int(line, "locked_until");
	in->tenant = (uint32_t)get_int(line, "tenant");
	memcpy(in->upn, upn, strlen(upn) + 1);
	if (get_octets(line, "salt", in->user->salt, sizeof(in->user->salt)))
		return true;
	drop_user(in);
	return false;
}

static bool take_slot(struct mauth_handover_in *in, const struct mauth_wire_line *line)
{
	const char *name = mauth_wire_get(line, "status");
	struct mauth_shield_slot *slot;
	enum mauth_status status;

	if (in->user == NULL || in->slots == MAUTH_SHIELD_SLOTS || name == NULL || !mauth_status_parse(name, &status))
		return false;
	slot = &in->user->slots[in->slots];
	if (!get_octets(line, "verifier", slot->verifier, sizeof(slot->verifier)))
		return false;
	slot->seen = get_int(line, "seen");
	slot->until = get_int(line, "until");
	slot->code = (int32_t)get_int(line, "code");
	slot->status = (uint8_t)status;
	slot->repeats = (uint8_t)(get_int(line, "repeats") & 15);
	slot->counts = get_int(line, "counts") != 0;
	in->slots++;
	return true;
}

static bool take_end(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_service_state *service = session->service;

	if (service->broker != NULL)
		finish_user(service);
	mauth_log(service->log, MAUTH_INFO, "took over from the predecessor: %u tokens, %u users with refusals",
		  service->in->tokens, service->in->users);
	mauth_wire_begin(&session->out, "DONE");
	mauth_wire_id(&session->out, line->id);
	mauth_wire_end(&session->out);
	mauth_session_flush(session);
	mauth_handover_forget(service);
	mauth_service_predecessor_done(service);
	return true;
}

bool mauth_handover_verb(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_service_state *service = session->service;
	const char *what = mauth_wire_get(line, "what");

	/* Who is alone has no predecessor: taking over now would fork the state. */
	if (what == NULL || service->phase != MAUTH_PHASE_WAITING)
		return false;
	if (service->in == NULL)
		service->in = mauth_new(sizeof(*service->in));
	if (strcmp(what, "config") == 0)
		return take_file(service->in, line, true);
	if (strcmp(what, "file") == 0)
		return take_file(service->in, line, false);
	if (strcmp(what, "key") == 0)
		return take_key(service, line);
	if (strcmp(what, "token") == 0)
		return take_token(service, line);
	if (strcmp(what, "relay") == 0)
		return take_relay(service, line);
	if (strcmp(what, "account") == 0)
		return take_account(service, line);
	if (strcmp(what, "user") == 0)
		return take_user(service, line);
	if (strcmp(what, "slot") == 0)
		return take_slot(service->in, line);
	return strcmp(what, "end") == 0 && take_end(session, line);
}
