/* SPDX-License-Identifier: MIT */
#include "core/enrol-private.h"

#include "core/json.h"
#include "core/jwt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct mauth_vault *vault_of(const struct enrol *enrol)
{
	return *enrol->enrols->deps.vault;
}

/* -- rows --------------------------------------------------------------------------------------------------- */

char *enrol_row_name(const struct enrol *enrol)
{
	return mauth_printf("%s/%s%s%s", enrol->tenant->name, enrol->login, enrol->ip != NULL ? "/" : "",
			    enrol->ip != NULL ? enrol->ip : "");
}

static void set_octets(json_t *root, const char *key, const void *data, size_t size)
{
	struct mauth_buf text = { 0 };

	mauth_base64url_encode(&text, data, size);
	json_object_set_new(root, key, json_stringn(text.data, text.size));
	mauth_buf_free(&text);
}

static struct mauth_secret *to_json(const struct enrol *enrol)
{
	json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "login", enrol->login, "account", enrol->account,
				 "mailbox", enrol->mailbox, "user_code", enrol->code.user_code, "uri", enrol->code.uri,
				 "device_code", mauth_secret_expose(enrol->code.device_code),
				 "expires_at", (json_int_t)enrol->expires_at, "interval", (json_int_t)enrol->code.interval);
	struct mauth_secret *secret;
	char *text;

	if (enrol->device != NULL)
		json_object_set_new(root, "device", json_string(enrol->device));
	if (enrol->ip != NULL) {
		json_object_set_new(root, "ip", json_string(enrol->ip));
		if (enrol->hash != NULL)
			json_object_set_new(root, "hash", json_string(enrol->hash));
		set_octets(root, "salt", enrol->salt, sizeof(enrol->salt));
		set_octets(root, "verifier", enrol->verifier, sizeof(enrol->verifier));
	}
	text = mauth_json_text(root);
	secret = mauth_secret_new(text, strlen(text));
	mauth_wipe(text, strlen(text));
	free(text);
	json_decref(root);
	return secret;
}

static void written(const struct mauth_error *error, void *context)
{
	struct enrol *enrol = enrol_unhold(context);

	if (enrol == NULL)
		return;
	if (error != NULL) {
		enrol->has_row = false;
		enrol_end(enrol, NULL, error);
		return;
	}
	enrol->shown = true;
	enrol_poll_later(enrol);
	enrol_tell(enrol, MAUTH_ENROL_CODE);
}

void enrol_write(struct enrol *enrol)
{
	char *name = enrol_row_name(enrol);
	const struct mauth_seal_context seal = { MAUTH_PENDING_KIND, enrol->tenant->name, strchr(name, '/') + 1 };
	struct mauth_store_row row = { .kind = MAUTH_PENDING_KIND, .name = name };
	struct mauth_secret *plain = to_json(enrol);
	struct mauth_buf sealed = { 0 };

	mauth_seal(mauth_vault_keyring(vault_of(enrol)), &seal, plain, &sealed);
	row.value = sealed.data;
	row.size = sealed.size;
	enrol->has_row = true;
	mauth_store_write(mauth_vault_store(vault_of(enrol)), &row, 1, written, enrol_hold(enrol));
	mauth_secret_free(&plain);
	mauth_buf_free(&sealed);
	free(name);
}

static void erased(const struct mauth_error *error, void *context)
{
	/* A row that stays is forgotten when its code has run out. */
	(void)error;
	(void)context;
}

void enrol_erase(struct enrol *enrol)
{
	char *name;
	struct mauth_store_row row = { .kind = MAUTH_PENDING_KIND };

	if (!enrol->has_row || vault_of(enrol) == NULL)
		return;
	enrol->has_row = false;
	name = enrol_row_name(enrol);
	row.name = name;
	mauth_store_write(mauth_vault_store(vault_of(enrol)), &row, 1, erased, NULL);
	free(name);
}

static bool get_octets(const json_t *root, const char *key, void *data, size_t size)
{
	const char *text = mauth_json_str(root, key);
	struct mauth_buf buf = { 0 };
	bool good = mauth_base64url_decode(&buf, text, strlen(text)) && buf.size == size;

	if (good)
		memcpy(data, buf.data, size);
	mauth_buf_free(&buf);
	return good;
}

static char *dup_if(const json_t *root, const char *key)
{
	const char *text = mauth_json_str(root, key);

	return *text == '\0' ? NULL : mauth_strdup(text);
}

static struct enrol *from_json(struct mauth_enrols *enrols, const struct mauth_tenant *tenant, const json_t *root)
{
	const char *code = mauth_json_str(root, "device_code");
	struct enrol *enrol = mauth_new(sizeof(*enrol));
	int64_t num;

	enrol->enrols = enrols;
	enrol->tenant = tenant;
	enrol->login = mauth_strdup(mauth_json_str(root, "login"));
	enrol->account = mauth_strdup(mauth_json_str(root, "account"));
	enrol->mailbox = mauth_strdup(mauth_json_str(root, "mailbox"));
	enrol->device = dup_if(root, "device");
	enrol->ip = dup_if(root, "ip");
	enrol->hash = dup_if(root, "hash");
	(void)get_octets(root, "salt", enrol->salt, sizeof(enrol->salt));
	/* One that cannot be compared with is nobody's. */
	if (!get_octets(root, "verifier", enrol->verifier, sizeof(enrol->verifier)))
		mauth_random(enrol->verifier, sizeof(enrol->verifier));
	snprintf(enrol->code.user_code, sizeof(enrol->code.user_code), "%s", mauth_json_str(root, "user_code"));
	snprintf(enrol->code.uri, sizeof(enrol->code.uri), "%s", mauth_json_str(root, "uri"));
	enrol->code.device_code = mauth_secret_new(code, strlen(code));
	enrol->code.interval = mauth_json_num(json_object_get(root, "interval"), &num) && num > 0 && num <= 60 ? num : 5;
	if (mauth_json_num(json_object_get(root, "expires_at"), &num))
		enrol->expires_at = num;
	enrol->shown = enrol->has_row = true;
	enrol->next = enrols->list;
	enrol->link = &enrols->list;
	if (enrol->next != NULL)
		enrol->next->link = &enrol->next;
	enrols->list = enrol;
	enrols->count++;
	return enrol;
}

/* Or else its row would never be found again. */
static bool is_named(const struct enrol *enrol, const char *name)
{
	char *own = enrol_row_name(enrol);
	bool same = strcmp(own, name) == 0;

	free(own);
	return same;
}

struct enrol *enrol_from_row(struct mauth_enrols *enrols, const struct mauth_store_row *row)
{
	const char *slash = strchr(row->name, '/');
	const struct mauth_tenant *tenant = slash == NULL ? NULL :
		mauth_config_tenant_named(enrols->deps.config, row->name, (size_t)(slash - row->name));
	struct mauth_secret *plain = NULL;
	struct enrol *enrol = NULL;
	struct mauth_error error;
	json_t *root;

	if (tenant == NULL || enrols->count >= MAUTH_ENROLS_MAX)
		return NULL;
	if (mauth_unseal(mauth_vault_keyring(*enrols->deps.vault),
			 &(struct mauth_seal_context){ MAUTH_PENDING_KIND, tenant->name, slash + 1 }, row->value, row->size,
			 &plain, &error) != MAUTH_OK) {
		mauth_log(enrols->deps.log, MAUTH_WARNING, "an enrolment under way cannot be taken up: %s", error.text);
		return NULL;
	}
	root = mauth_json_object(mauth_secret_expose(plain), mauth_secret_size(plain));
	mauth_secret_free(&plain);
	if (root != NULL && *mauth_json_str(root, "login") != '\0' && *mauth_json_str(root, "device_code") != '\0')
		enrol = from_json(enrols, tenant, root);
	json_decref(root);
	if (enrol == NULL || is_named(enrol, row->name))
		return enrol;
	enrol_free(enrol);
	return NULL;
}

/* -- the end ------------------------------------------------------------------------------------------------ */

static void undone(const struct mauth_error *error, void *context)
{
	/* In effect at once; the store is said to have failed by who writes to it. */
	(void)error;
	(void)context;
}

static void namesake_gone(const char *id, const struct mauth_error *error, void *context)
{
	(void)id;
	undone(error, context);
}

/* Somebody has revoked the login between its last answer from Entra and the disk. */
static void undo(struct enrol *enrol, const char *device_id)
{
	struct mauth_vault *vault = vault_of(enrol);
	const char *tenant = enrol->tenant->name;
	char *name = mauth_store_name(tenant, enrol->login);
	const struct mauth_store_row link = { .kind = MAUTH_LINK_KIND, .name = name };

	if (device_id != NULL)
		(void)mauth_devices_remove(mauth_vault_devices(vault), tenant, enrol->login, device_id, namesake_gone,
					   NULL, NULL);
	/* Another account may be in use by itself. */
	if (strcmp(enrol->account, enrol->login) == 0)
		(void)mauth_enrolments_remove(mauth_vault_enrolments(vault), tenant, enrol->account, undone, NULL,
					      NULL);
	mauth_vault_set_link(vault, tenant, enrol->login, NULL, NULL);
	mauth_store_write(mauth_vault_store(vault), &link, 1, undone, NULL);
	free(name);
	enrol_end(enrol, NULL, &enrol_revoked);
}

static void device_made(const char *id, const struct mauth_error *error, void *context)
{
	struct enrol *enrol = enrol_unhold(context);
	struct mauth_error copy;

	if (enrol == NULL)
		return;
	if (enrol->revoked) {
		undo(enrol, error == NULL ? id : NULL);
		return;
	}
	if (error == NULL && enrol->ip == NULL && enrol->listeners == NULL) {
		/* Whoever was to be shown the password left while it was written. */
		(void)mauth_devices_remove(mauth_vault_devices(vault_of(enrol)), enrol->tenant->name, enrol->login, id,
					   namesake_gone, NULL, NULL);
		id = NULL;
	}
	if (error == NULL) {
		enrol_end(enrol, id, NULL);
		return;
	}
	copy = *error;
	snprintf(copy.advice, sizeof(copy.advice), "the account is enrolled, but there is no device password: doveadm modernauth "
		 "device add %s NAME", enrol->login);
	enrol_end(enrol, NULL, &copy);
}

static const char *device_name(const struct enrol *enrol, char *scratch, size_t size)
{
	if (enrol->ip == NULL)
		return enrol->device;
	if (enrol->enrols->deps.config->self_service_generated)
		return MAUTH_ENROL_ONE_TIME;
	snprintf(scratch, size, "self-service from %s", enrol->ip);
	return scratch;
}

/* A second enrolment at the same address brings another password of the same name. */
static void drop_namesake(struct enrol *enrol, const char *name)
{
	(void)mauth_devices_remove(mauth_vault_devices(vault_of(enrol)), enrol->tenant->name, enrol->login, name, namesake_gone,
				   NULL, NULL);
}

static void make_device(struct enrol *enrol)
{
	struct mauth_devices *devices = mauth_vault_devices(vault_of(enrol));
	char scratch[MAUTH_DEVICE_NAME_MAX + 1];
	struct mauth_device_new device = {
		.tenant = enrol->tenant->name, .user = enrol->login, .name = device_name(enrol, scratch, sizeof(scratch)),
	};
	enum mauth_status status;
	struct mauth_error error;

	if (enrol->ip != NULL) {
		drop_namesake(enrol, device.name);
		status = mauth_devices_add_hashed(devices, &device, enrol->hash, device_made, enrol_hold(enrol), &error);
	} else {
		status = mauth_devices_add(devices, &device, &enrol->device_password, device_made, enrol_hold(enrol), &error);
	}
	if (status != MAUTH_OK)
		device_made(NULL, &error, enrol->hold);
}

/* Enrolled again: the device goes on with the password that it has. */
static bool has_device(const struct enrol *enrol)
{
	const struct mauth_device *device =
		mauth_devices_of(mauth_vault_devices(vault_of(enrol)), enrol->tenant->name, enrol->login);

	while (device != NULL && strcasecmp(device->name, enrol->device) != 0)
		device = device->next;
	return device != NULL;
}

static bool wants_device(const struct enrol *enrol)
{
	if (enrol->ip != NULL)
		return enrol->hash != NULL;
	/* A password that nobody is shown is no use to anybody. */
	return enrol->device != NULL && enrol->listeners != NULL && !has_device(enrol);
}

static bool names_another_mailbox(const struct enrol *enrol)
{
	return strcmp(enrol->account, enrol->login) != 0 || strcmp(enrol->mailbox, enrol->login) != 0;
}

static void kept(const struct mauth_error *error, void *context)
{
	struct enrol *enrol = enrol_unhold(context);

	if (enrol == NULL)
		return;
	if (error != NULL) {
		enrol_end(enrol, NULL, error);
		return;
	}
	if (enrol->revoked) {
		undo(enrol, NULL);
		return;
	}
	if (names_another_mailbox(enrol))
		mauth_vault_set_link(vault_of(enrol), enrol->tenant->name, enrol->login, enrol->account, enrol->mailbox);
	else
		mauth_vault_set_link(vault_of(enrol), enrol->tenant->name, enrol->login, NULL, NULL);
	if (wants_device(enrol))
		make_device(enrol);
	else
		enrol_end(enrol, NULL, NULL);
}

static enum mauth_status check_who(const struct enrol *enrol, const struct mauth_entra_reply *reply,
				   struct mauth_error *error_r)
{
	if (reply->upn[0] == '\0')
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "Entra did not say who signed in");
	if (strcasecmp(reply->upn, enrol->account) != 0)
		return mauth_fail(error_r, MAUTH_POLICY, 0, "%s signed in, but it has to be %s", reply->upn, enrol->account);
	if (reply->refresh_token == NULL)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "Entra gave no refresh token that can be kept");
	return MAUTH_OK;
}

void enrol_keep(struct enrol *enrol, const struct mauth_entra_reply *reply)
{
	struct mauth_store_row rows[2];
	struct mauth_enrolment_new what = {
		.tenant = enrol->tenant, .account = enrol->account, .oid = reply->oid, .refresh_token = reply->refresh_token,
		.rows = rows, .rows_count = 2,
	};
	struct mauth_error error;
	char *pending = enrol_row_name(enrol), *name, *link = NULL;

	if (check_who(enrol, reply, &error) != MAUTH_OK) {
		free(pending);
		snprintf(error.advice, sizeof(error.advice), "start the enrolment again and sign in as %s", enrol->account);
		enrol_end(enrol, NULL, &error);
		return;
	}
	/* All of it, or nothing: the account, its link (or none), and the code that is of no use any more. */
	name = mauth_store_name(enrol->tenant->name, enrol->login);
	if (names_another_mailbox(enrol))
		link = mauth_link_value(enrol->account, enrol->mailbox);
	rows[0] = (struct mauth_store_row){ MAUTH_LINK_KIND, name, link, link == NULL ? 0 : strlen(link) };
	rows[1] = (struct mauth_store_row){ .kind = MAUTH_PENDING_KIND, .name = pending };
	enrol->storing = true;
	mauth_enrolments_put(mauth_vault_enrolments(vault_of(enrol)), &what, kept, enrol_hold(enrol));
	free(link);
	free(name);
	free(pending);
}
