/* SPDX-License-Identifier: MIT */
#include "core/devices-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum change_kind { CHANGE_ADD, CHANGE_REMOVE, CHANGE_EXPIRE };

/* A change that the store is writing. */
struct device_change {
	struct device_change *next, **link;
	struct mauth_devices *devices;       /* NULL: they have been freed */
	enum change_kind kind;
	struct device *added;                /* of an ADD: among those that are being added */
	char *name;                          /* of the row */
	mauth_device_change_fn *done;
	void *context;
};

/* -- writing a change -- */

static void change_free(struct device_change *change)
{
	free(change->name);
	free(change);
}

static void change_unlink(struct device_change *change)
{
	*change->link = change->next;
	if (change->next != NULL)
		change->next->link = change->link;
}

static void adding_unlink(struct device *device)
{
	struct device_user *user = device->user;
	struct device *before = NULL;

	for (struct device *d = user->adding; d != device; d = device_next(d))
		before = d;
	if (before == NULL)
		user->adding = device_next(device);
	else
		before->pub.next = device->pub.next;
	device->pub.next = NULL;
	user->count--;
}

static void added_give_up(struct mauth_devices *devices, struct device *device)
{
	struct device_user *user = device->user;

	adding_unlink(device);
	device_free(device);
	device_user_release(devices, user);
}

static void change_succeeded(struct device_change *change)
{
	if (change->kind != CHANGE_ADD)
		return;
	adding_unlink(change->added);
	device_insert(change->devices, change->added);
}

/* What holds now. */
static const char *change_failed(struct device_change *change)
{
	switch (change->kind) {
	case CHANGE_ADD:
		added_give_up(change->devices, change->added);
		return "the device password has not been added";
	case CHANGE_REMOVE:
		device_erase_later(change->devices, change->name);
		return "the device password is removed and does not work any more, but would be back after a restart: "
		       "the store is tried again every minute";
	case CHANGE_EXPIRE:
		device_mark_named(change->devices, change->name);
		return "the end of the device password is in effect, but would be forgotten by a restart: the store is "
		       "tried again every minute";
	}
	return "";
}

static void change_done(const struct mauth_error *error, void *context)
{
	struct device_change *change = context;
	struct mauth_error reported;
	char id[MAUTH_DEVICE_ID_SIZE];

	if (change->devices != NULL)
		change_unlink(change);
	if (change->devices == NULL && error != NULL) {
		reported = *error;
	} else if (change->devices != NULL && error == NULL) {
		change_succeeded(change);
	} else if (error != NULL) {
		mauth_fail(&reported, error->status, error->code, "%s: %s", change_failed(change), error->text);
		memcpy(reported.advice, error->advice, sizeof(reported.advice));
		mauth_log(change->devices->deps.log, MAUTH_ERROR, "device password %s: %s", change->name,
			  reported.text);
	}
	snprintf(id, sizeof(id), "%s", strrchr(change->name, '/') + 1);
	if (change->done != NULL)
		change->done(id, error == NULL ? NULL : &reported, change->context);
	change_free(change);
}

/* value NULL: the row goes. */
static void change_start(struct mauth_devices *devices, struct device_change *change, const struct mauth_buf *value)
{
	struct mauth_store_row row = { MAUTH_DEVICE_KIND, change->name, value == NULL ? NULL : value->data,
				       value == NULL ? 0 : value->size };

	change->devices = devices;
	change->next = devices->changes;
	change->link = &devices->changes;
	if (change->next != NULL)
		change->next->link = &change->next;
	devices->changes = change;
	mauth_store_write(devices->deps.store, &row, 1, change_done, change);
}

static struct device_change *change_new(enum change_kind kind, const struct device *device,
					mauth_device_change_fn *done, void *context)
{
	struct device_change *change = mauth_new(sizeof(*change));

	change->kind = kind;
	change->name = device_row_name(device);
	change->done = done;
	change->context = context;
	return change;
}

static void change_start_device(struct mauth_devices *devices, struct device_change *change,
				const struct device *device)
{
	struct mauth_buf value = { 0 };

	mauth_device_encode(&device->pub, &value);
	change_start(devices, change, &value);
	mauth_buf_free(&value);
}

void devices_change_close(struct mauth_devices *devices)
{
	for (struct device_change *change = devices->changes; change != NULL; change = change->next) {
		change->devices = NULL;
		if (change->kind == CHANGE_ADD)
			added_give_up(devices, change->added);
	}
}

/* -- adding -- */

static bool has_name(const struct device *list, const char *name)
{
	for (; list != NULL; list = device_next(list)) {
		if (strcasecmp(list->pub.name, name) == 0)
			return true;
	}
	return false;
}

/* Can the user be part of the name of a row, and can that be taken apart again? */
static bool is_user_good(const struct mauth_device_new *device)
{
	size_t tenant_size = strnlen(device->tenant, MAUTH_STORE_NAME_MAX);
	size_t user_size = strnlen(device->user, MAUTH_USER_MAX + 1);

	return tenant_size > 0 && strchr(device->tenant, '/') == NULL && user_size > 0 && user_size <= MAUTH_USER_MAX &&
	       tenant_size + user_size + MAUTH_DEVICE_ID_SIZE + 1 <= MAUTH_STORE_NAME_MAX;
}

/* What can be wrong with a new one, whoever the user is. */
static enum mauth_status check_new(const struct mauth_devices *devices, const struct mauth_device_new *device,
				   struct mauth_error *error_r)
{
	const unsigned int all = (1u << MAUTH_SERVICE_COUNT) - 1;

	if (!is_user_good(device))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the names of tenant and user are too long");
	if (device->name == NULL || !mauth_device_name_is_good(device->name))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "a device password needs a name of 1 to %u octets without "
				  "control characters", MAUTH_DEVICE_NAME_MAX);
	if (device->networks_count > MAUTH_DEVICE_NETWORKS_MAX)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "a device password has at most %u networks",
				  MAUTH_DEVICE_NETWORKS_MAX);
	if ((device->services & ~all) != 0)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "unknown services");
	if (device->expires_at != 0 && device->expires_at <= mauth_wall_secs(devices->deps.loop))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the end of the device password lies in the past");
	return MAUTH_OK;
}

static enum mauth_status check_room(const struct device_user *user, const char *name, struct mauth_error *error_r)
{
	if (user == NULL)
		return MAUTH_OK;
	if (has_name(user->devices, name) || has_name(user->adding, name))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "there is a device password \"%s\" already", name);
	if (user->count >= MAUTH_DEVICES_PER_USER_MAX)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "a user has at most %u device passwords",
				  MAUTH_DEVICES_PER_USER_MAX);
	return MAUTH_OK;
}

/* Of 36^12: the loop is for form's sake. */
static void new_id(const struct device_user *user, char id_r[static MAUTH_DEVICE_ID_SIZE])
{
	do
		mauth_device_id_new(id_r);
	while (device_of_user(user, id_r) != NULL);
}

/* One without a verifier yet, among those that are being added. NULL: error_r. */
static struct device *device_new(struct mauth_devices *devices, const struct mauth_device_new *from,
				 enum mauth_device_origin origin, struct mauth_error *error_r)
{
	struct device_user *user;
	struct device *device;

	if (check_new(devices, from, error_r) != MAUTH_OK ||
	    check_room(device_user_find(devices, from->tenant, from->user), from->name, error_r) != MAUTH_OK)
		return NULL;
	user = device_user_get(devices, from->tenant, strlen(from->tenant), from->user, strlen(from->user));
	device = mauth_new(sizeof(*device));
	device->user = user;
	new_id(user, device->pub.id);
	device->pub.name = mauth_strdup(from->name);
	device->pub.origin = origin;
	if (from->networks_count > 0) {
		device->pub.networks = mauth_new_array(from->networks_count, sizeof(*from->networks));
		memcpy(device->pub.networks, from->networks, from->networks_count * sizeof(*from->networks));
	}
	device->pub.networks_count = from->networks_count;
	device->pub.services = from->services;
	device->pub.created_at = mauth_wall_secs(devices->deps.loop);
	device->pub.expires_at = mauth_device_clamp_end(from->expires_at);
	device->pub.next = user->adding == NULL ? NULL : &user->adding->pub;
	user->adding = device;
	user->count++;
	return device;
}

static void add_start(struct mauth_devices *devices, struct device *device, mauth_device_change_fn *done, void *context)
{
	struct device_change *change = change_new(CHANGE_ADD, device, done, context);

	change->added = device;
	change_start_device(devices, change, device);
}

enum mauth_status mauth_devices_add(struct mauth_devices *devices, const struct mauth_device_new *from,
				    struct mauth_secret **password_r, mauth_device_change_fn *done, void *context,
				    struct mauth_error *error_r)
{
	struct device *device = device_new(devices, from, MAUTH_DEVICE_GENERATED, error_r);
	struct mauth_secret *password, *typed;

	if (device == NULL)
		return MAUTH_CONFIG;
	password = mauth_device_generate();
	typed = mauth_device_typed(password);
	mauth_random(device->pub.salt, sizeof(device->pub.salt));
	mauth_verifier(devices->deps.key, device->pub.salt, 0, device->user->bound, typed, device->pub.verifier);
	mauth_secret_free(&typed);
	add_start(devices, device, done, context);
	*password_r = password;
	return MAUTH_OK;
}

enum mauth_status mauth_devices_add_hashed(struct mauth_devices *devices, const struct mauth_device_new *from,
					   const char *hash, mauth_device_change_fn *done, void *context,
					   struct mauth_error *error_r)
{
	unsigned char salt[MAUTH_SALT_SIZE], verifier[MAUTH_VERIFIER_SIZE];
	struct device *device;

	if (!mauth_device_hash_parse(hash, salt, verifier))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "this is no hash of a device password");
	device = device_new(devices, from, MAUTH_DEVICE_CHOSEN, error_r);
	if (device == NULL)
		return MAUTH_CONFIG;
	memcpy(device->pub.salt, salt, sizeof(salt));
	memcpy(device->pub.verifier, verifier, sizeof(verifier));
	add_start(devices, device, done, context);
	return MAUTH_OK;
}

/* -- removing, ending -- */

/* An id is nobody's choice: it comes first. NULL: error_r. */
static struct device *find(const struct mauth_devices *devices, const char *tenant, const char *user, const char *which,
			   struct mauth_error *error_r)
{
	const struct device_user *entry = device_user_find(devices, tenant, user);
	struct device *device = entry == NULL ? NULL : device_of_user(entry, which);

	if (device == NULL && entry != NULL) {
		for (device = entry->devices; device != NULL && strcasecmp(device->pub.name, which) != 0;
		     device = device_next(device))
			;
	}
	if (device == NULL)
		mauth_fail(error_r, MAUTH_USER_UNKNOWN, 0, "%s has no device password \"%s\"", user, which);
	return device;
}

enum mauth_status mauth_devices_remove(struct mauth_devices *devices, const char *tenant, const char *user,
				       const char *which, mauth_device_change_fn *done, void *context,
				       struct mauth_error *error_r)
{
	struct device *device = find(devices, tenant, user, which, error_r);
	struct device_change *change;

	if (device == NULL)
		return MAUTH_USER_UNKNOWN;
	change = change_new(CHANGE_REMOVE, device, done, context);
	device_drop(devices, device);
	change_start(devices, change, NULL);
	return MAUTH_OK;
}

enum mauth_status mauth_devices_expire(struct mauth_devices *devices, const char *tenant, const char *user,
				       const char *which, int64_t expires_at, mauth_device_change_fn *done,
				       void *context, struct mauth_error *error_r)
{
	struct device *device = find(devices, tenant, user, which, error_r);

	if (device == NULL)
		return MAUTH_USER_UNKNOWN;
	device->pub.expires_at = mauth_device_clamp_end(expires_at);
	/* The whole row is written: its last use goes with it. */
	device_unmark(device);
	change_start_device(devices, change_new(CHANGE_EXPIRE, device, done, context), device);
	return MAUTH_OK;
}
