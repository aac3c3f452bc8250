/* SPDX-License-Identifier: MIT */
#include "broker/admin-private.h"

#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- lists of networks and services ------------------------------------------------------------------------- */

/* Calls take for each word between commas. */
static bool each_word(const char *list, bool (*take)(const char *word, void *context), void *context)
{
	char *copy = mauth_strdup(list), *at = copy, *word;
	bool good = true;

	while (good && (word = strsep(&at, ",")) != NULL) {
		while (*word == ' ')
			word++;
		good = *word == '\0' || take(word, context);
	}
	free(copy);
	return good;
}

struct device_limits {
	struct mauth_network networks[MAUTH_DEVICE_NETWORKS_MAX];
	size_t networks_count;
	unsigned int services;
	struct mauth_error *error;
};

static bool take_network(const char *word, void *context)
{
	struct device_limits *limits = context;
	const char *why = "";

	if (limits->networks_count == MAUTH_DEVICE_NETWORKS_MAX) {
		mauth_fail(limits->error, MAUTH_CONFIG, 0, "more than %u networks", MAUTH_DEVICE_NETWORKS_MAX);
		return false;
	}
	if (mauth_network_parse(word, &limits->networks[limits->networks_count], &why)) {
		limits->networks_count++;
		return true;
	}
	mauth_fail(limits->error, MAUTH_CONFIG, 0, "network \"%.60s\": %s", word, why);
	return false;
}

static bool take_service(const char *word, void *context)
{
	struct device_limits *limits = context;
	enum mauth_service service = MAUTH_SERVICE_SUBMISSION;

	if (strcmp(word, "smtp") != 0 && !mauth_service_parse(word, &service)) {
		mauth_fail(limits->error, MAUTH_CONFIG, 0, "protocol \"%.60s\"; imap, pop3 or submission was expected", word);
		return false;
	}
	limits->services |= 1u << service;
	return true;
}

static int64_t get_time(const struct mauth_wire_line *line, const char *key)
{
	const char *text = mauth_wire_get(line, key);
	long long value = text == NULL ? 0 : strtoll(text, NULL, 10);

	return value < 0 ? 0 : value;
}

/* -- changes ------------------------------------------------------------------------------------------------ */

void admin_device_changed(const char *id, const struct mauth_error *error, void *context)
{
	struct admin_op *op = context;
	struct mauth_session *session = op->session;

	admin_record(op->service, (struct admin_who){ op->asked_by, op->uid }, op->action, &op->where, id, op->device_name, error);
	if (session != NULL && error != NULL) {
		admin_fail(session, op->id, error);
	} else if (session != NULL) {
		admin_begin(session, op->id, "OK");
		if (op->password != NULL) {
			mauth_wire_str(&session->out, "device_id", id);
			mauth_wire_data(&session->out, "device_password", mauth_secret_expose(op->password),
					mauth_secret_size(op->password));
		}
		admin_end(session);
	}
	admin_op_free(op);
}

bool admin_device_add(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *name = mauth_wire_get(line, "name"), *networks = mauth_wire_get(line, "networks");
	const char *services = mauth_wire_get(line, "services");
	struct mauth_vault *vault;
	struct mauth_error error;
	struct device_limits limits = { .error = &error };
	struct mauth_mailbox where;
	struct admin_op *op;

	if (name == NULL || mauth_wire_get(line, "user") == NULL)
		return false;
	vault = admin_vault(session, line->id);
	if (vault == NULL || !admin_resolve(session, line, &where))
		return true;
	if (!mauth_config_has_grant(session->service->config, NULL, MAUTH_GRANT_ENROLLED) &&
	    !mauth_config_has_grant(session->service->config, NULL, MAUTH_GRANT_APP)) {
		mauth_fail(&error, MAUTH_CONFIG, 0, "no \"grants\" in modernauth.conf has \"enrolled\" or \"app\": a device "
			   "password would open nothing");
		admin_fail(session, line->id, &error);
		return true;
	}
	if ((networks != NULL && !each_word(networks, take_network, &limits)) ||
	    (services != NULL && !each_word(services, take_service, &limits))) {
		admin_fail(session, line->id, &error);
		return true;
	}
	const struct mauth_device_new device = {
		.tenant = where.tenant->name, .user = where.login, .name = name, .networks = limits.networks,
		.networks_count = limits.networks_count, .services = limits.services,
		.expires_at = get_time(line, "expires_at"),
	};
	op = admin_op_new(session, line->id);
	op->where = where;
	op->action = "device-added";
	op->device_name = mauth_strdup(name);
	if (mauth_devices_add(mauth_vault_devices(vault), &device, &op->password, admin_device_changed, op, &error) != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		admin_op_free(op);
	}
	return true;
}

/* An operation about the device that the line names; NULL: the line is malformed (*well_formed_r is false then), or has been
 * answered. */
static struct admin_op *change_begin(struct mauth_session *session, const struct mauth_wire_line *line, const char *action,
				     bool *well_formed_r)
{
	const char *which = mauth_wire_get(line, "device");
	struct mauth_mailbox where;
	struct admin_op *op;

	*well_formed_r = which != NULL && mauth_wire_get(line, "user") != NULL;
	if (!*well_formed_r || admin_vault(session, line->id) == NULL || !admin_resolve(session, line, &where))
		return NULL;
	op = admin_op_new(session, line->id);
	op->where = where;
	op->action = action;
	op->device_name = mauth_strdup(which);
	return op;
}

static struct mauth_devices *devices_of(const struct mauth_session *session)
{
	return mauth_vault_devices(mauth_broker_vault(session->service->broker));
}

static void change_end(struct mauth_session *session, struct admin_op *op, enum mauth_status status,
		       const struct mauth_error *error)
{
	if (status == MAUTH_OK)
		return;
	admin_fail(session, op->id, error);
	admin_op_free(op);
}

bool admin_device_remove(struct mauth_session *session, const struct mauth_wire_line *line)
{
	bool well_formed;
	struct admin_op *op = change_begin(session, line, "device-removed", &well_formed);
	struct mauth_error error;

	if (op != NULL)
		change_end(session, op, mauth_devices_remove(devices_of(session), op->where.tenant->name, op->where.login,
							     op->device_name, admin_device_changed, op, &error), &error);
	return well_formed;
}

bool admin_device_expire(struct mauth_session *session, const struct mauth_wire_line *line)
{
	int64_t expires_at = get_time(line, "expires_at");
	struct mauth_error error;
	struct admin_op *op;
	bool well_formed;

	if (expires_at == 0)
		return false;
	op = change_begin(session, line, "device-end-changed", &well_formed);
	if (op != NULL)
		change_end(session, op, mauth_devices_expire(devices_of(session), op->where.tenant->name, op->where.login,
							     op->device_name, expires_at, admin_device_changed, op, &error),
			   &error);
	return well_formed;
}

/* -- lists -------------------------------------------------------------------------------------------------- */

static void put_networks(struct mauth_buf *out, const struct mauth_device *device)
{
	struct mauth_buf list = { 0 };
	char text[MAUTH_NETWORK_TEXT_SIZE];

	for (size_t i = 0; i < device->networks_count; i++) {
		mauth_network_format(&device->networks[i], text);
		mauth_buf_puts(&list, i > 0 ? "," : "");
		mauth_buf_puts(&list, text);
	}
	if (list.size > 0)
		mauth_wire_str(out, "networks", list.data);
	mauth_buf_free(&list);
}

static void put_services(struct mauth_buf *out, const struct mauth_device *device)
{
	char list[64] = "";

	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++) {
		size_t used = strlen(list);

		if ((device->services & 1u << service) != 0)
			snprintf(list + used, sizeof(list) - used, "%s%s", used > 0 ? "," : "", mauth_service_name(service));
	}
	if (*list != '\0')
		mauth_wire_str(out, "services", list);
}

void admin_device_row(struct mauth_session *session, uint32_t id, const char *item, const char *tenant, const char *user,
		      const struct mauth_device *device)
{
	struct mauth_buf *out = &session->out;

	admin_begin(session, id, "ROW");
	mauth_wire_str(out, "item", item);
	mauth_wire_str(out, "user", user);
	mauth_wire_str(out, "tenant", tenant);
	mauth_wire_str(out, "device_id", device->id);
	mauth_wire_str(out, "name", device->name);
	mauth_wire_str(out, "origin", device->origin == MAUTH_DEVICE_CHOSEN ? "chosen" : "generated");
	put_networks(out, device);
	put_services(out, device);
	admin_time(session, "created_at", device->created_at);
	admin_time(session, "expires_at", device->expires_at);
	if (device->last_used_at > 0) {
		admin_time(session, "last_used_at", device->last_used_at);
		mauth_wire_str(out, "last_ip", device->last_ip);
		mauth_wire_str(out, "last_service", mauth_service_name(device->last_service));
	}
	admin_end(session);
}

struct listing {
	struct mauth_session *session;
	uint32_t id;
	unsigned int rows;
};

static void list_one(const char *tenant, const char *user, const struct mauth_device *device, void *context)
{
	struct listing *listing = context;

	admin_device_row(listing->session, listing->id, NULL, tenant, user, device);
	listing->rows++;
}

bool admin_device_list(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct listing listing = { .session = session, .id = line->id };
	struct mauth_vault *vault = admin_vault(session, line->id);
	struct mauth_mailbox where;

	if (vault == NULL)
		return true;
	if (mauth_wire_get(line, "user") == NULL) {
		mauth_devices_each(mauth_vault_devices(vault), list_one, &listing);
	} else {
		if (!admin_resolve(session, line, &where))
			return true;
		for (const struct mauth_device *device = mauth_devices_of(mauth_vault_devices(vault), where.tenant->name,
									  where.login);
		     device != NULL; device = device->next)
			list_one(where.tenant->name, where.login, device, &listing);
	}
	admin_begin(session, line->id, "OK");
	mauth_wire_num(&session->out, "rows", listing.rows);
	admin_end(session);
	return true;
}
