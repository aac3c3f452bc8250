/* SPDX-License-Identifier: MIT */
#include "core/devices-private.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct device_user *user_of(struct mauth_node *node)
{
	return (struct device_user *)node;
}

static const char *node_name(const struct mauth_node *node)
{
	return ((const struct device_user *)node)->name;
}

/* -- users -- */

struct device_user *device_user_named(const struct mauth_devices *devices, const char *name)
{
	struct mauth_node *node = mauth_table_find(&devices->users, 0, name);

	return node == NULL ? NULL : user_of(node);
}

struct device_user *device_user_find(const struct mauth_devices *devices, const char *tenant, const char *user)
{
	char name[MAUTH_STORE_NAME_MAX + 1];
	int size = snprintf(name, sizeof(name), "%s/%s", tenant, user);

	return size < 0 || (size_t)size >= sizeof(name) ? NULL : device_user_named(devices, name);
}

static void bind(const char *name, char bound_r[static DEVICE_BOUND_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)name, strlen(name), digest);
	for (size_t i = 0; i < sizeof(digest); i++) {
		bound_r[2 * i] = hex[digest[i] >> 4];
		bound_r[2 * i + 1] = hex[digest[i] & 15];
	}
	bound_r[DEVICE_BOUND_SIZE - 1] = '\0';
}

struct device_user *device_user_get(struct mauth_devices *devices, const char *tenant, size_t tenant_size,
				    const char *user, size_t user_size)
{
	char *name = mauth_printf("%.*s/%.*s", (int)tenant_size, tenant, (int)user_size, user);
	struct device_user *entry = device_user_named(devices, name);
	size_t size = strlen(name) + 1;

	if (entry == NULL) {
		entry = mauth_new(sizeof(*entry) + size);
		memcpy(entry->name, name, size);
		entry->tenant = mauth_strndup(tenant, tenant_size);
		entry->user = entry->name + tenant_size + 1;
		bind(name, entry->bound);
		mauth_table_insert(&devices->users, &entry->node, 0, entry->name);
	}
	free(name);
	return entry;
}

void device_user_release(struct mauth_devices *devices, struct device_user *user)
{
	if (user->count > 0)
		return;
	mauth_table_remove(&devices->users, &user->node);
	free(user->tenant);
	free(user);
}

/* -- devices -- */

struct device *device_of_user(const struct device_user *user, const char *id)
{
	struct device *device;

	for (device = user->devices; device != NULL && strcmp(device->pub.id, id) != 0; device = device_next(device))
		;
	return device;
}

static bool is_older(const struct device *a, const struct device *b)
{
	if (a->pub.created_at != b->pub.created_at)
		return a->pub.created_at < b->pub.created_at;
	return strcmp(a->pub.id, b->pub.id) < 0;
}

void device_insert(struct mauth_devices *devices, struct device *device)
{
	struct device_user *user = device->user;
	struct device *before = NULL, *after = user->devices;

	for (; after != NULL && is_older(after, device); after = device_next(after))
		before = after;
	device->pub.next = after == NULL ? NULL : &after->pub;
	if (before == NULL)
		user->devices = device;
	else
		before->pub.next = &device->pub;
	user->count++;
	devices->count++;
}

void device_free(struct device *device)
{
	mauth_device_clear(&device->pub);
	mauth_wipe(device, sizeof(*device));
	free(device);
}

void device_drop(struct mauth_devices *devices, struct device *device)
{
	struct device_user *user = device->user;
	struct device *before = NULL;

	for (struct device *d = user->devices; d != device; d = device_next(d))
		before = d;
	if (before == NULL)
		user->devices = device_next(device);
	else
		before->pub.next = device->pub.next;
	device_unmark(device);
	user->count--;
	devices->count--;
	device_free(device);
	device_user_release(devices, user);
}

/* -- the whole -- */

struct mauth_devices *mauth_devices_new(const struct mauth_devices_deps *deps)
{
	struct mauth_devices *devices = mauth_new(sizeof(*devices));

	devices->deps = *deps;
	mauth_table_init(&devices->users, deps->process_key, node_name);
	devices_hash_open(devices);
	return devices;
}

void mauth_devices_free(struct mauth_devices **devices)
{
	if (*devices == NULL)
		return;
	devices_hash_close(*devices);
	devices_change_close(*devices);
	devices_store_close(*devices);
	while ((*devices)->users.oldest != NULL)
		device_drop(*devices, user_of((*devices)->users.oldest)->devices);
	mauth_table_free(&(*devices)->users);
	free(*devices);
	*devices = NULL;
}

enum mauth_status mauth_devices_load(struct mauth_devices *devices, const struct mauth_store_row *row,
				     struct mauth_error *error_r)
{
	struct device *device = mauth_new(sizeof(*device));
	struct mauth_device_row_name name;
	const char *why = NULL;

	if (!mauth_device_row_name_parse(row->name, &name))
		why = "the name is not tenant/user/id";
	else if (mauth_device_decode(row->value, row->size, &device->pub, &why)) {
		device->user = device_user_get(devices, row->name, name.tenant_size, name.user, name.user_size);
		memcpy(device->pub.id, name.id, MAUTH_DEVICE_ID_SIZE);
		if (device_of_user(device->user, name.id) != NULL)
			why = "it is there already";
		else if (device->user->count >= MAUTH_DEVICES_PER_USER_MAX)
			why = "the user has too many";
	}
	if (why != NULL) {
		device_free(device);
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "device password %s in the store cannot be read: %s",
				  row->name, why);
	}
	device_insert(devices, device);
	return MAUTH_OK;
}

const struct mauth_device *mauth_devices_of(const struct mauth_devices *devices, const char *tenant, const char *user)
{
	const struct device_user *entry = device_user_find(devices, tenant, user);

	return entry == NULL || entry->devices == NULL ? NULL : &entry->devices->pub;
}

bool mauth_devices_has(const struct mauth_devices *devices, const char *tenant, const char *user)
{
	return mauth_devices_of(devices, tenant, user) != NULL;
}

size_t mauth_devices_count(const struct mauth_devices *devices)
{
	return devices->count;
}

void mauth_devices_each(const struct mauth_devices *devices,
			void (*fn)(const char *tenant, const char *user, const struct mauth_device *device,
				   void *context),
			void *context)
{
	for (struct mauth_node *node = devices->users.oldest; node != NULL; node = node->newer) {
		const struct device_user *user = user_of(node);

		for (const struct device *device = user->devices; device != NULL; device = device_next(device))
			fn(user->tenant, user->user, &device->pub, context);
	}
}

/* -- who matches -- */

static bool is_generated_match(const struct mauth_devices *devices, const struct device *device,
			       const struct mauth_secret *typed)
{
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	bool equal;

	mauth_verifier(devices->deps.key, device->pub.salt, 0, device->user->bound, typed, verifier);
	equal = mauth_equal_secret(verifier, device->pub.verifier, sizeof(verifier));
	mauth_wipe(verifier, sizeof(verifier));
	return equal;
}

/* MAUTH_OK: may be used like this. */
static enum mauth_status usable(const struct mauth_devices *devices, const struct mauth_device *device,
				const struct mauth_device_question *question, struct mauth_error *error_r)
{
	if (device->expires_at != 0 && mauth_wall_secs(devices->deps.loop) >= device->expires_at)
		return mauth_fail(error_r, MAUTH_EXPIRED, 0, "the device password \"%s\" has expired", device->name);
	if (device->services != 0 && (device->services & 1u << question->service) == 0)
		return mauth_fail(error_r, MAUTH_POLICY, 0, "the device password \"%s\" is not for %s", device->name,
				  mauth_service_name(question->service));
	if (device->networks_count > 0 &&
	    !mauth_networks_contain(device->networks, device->networks_count, question->client_ip))
		return mauth_fail(error_r, MAUTH_POLICY, 0, "the device password \"%s\" is not for clients at %s",
				  device->name, question->client_ip == NULL ? "an unknown address" :
				  question->client_ip);
	return MAUTH_OK;
}

enum mauth_device_answer mauth_devices_check(struct mauth_devices *devices,
					     const struct mauth_device_question *question,
					     const struct mauth_device **device_r, struct mauth_error *error_r)
{
	const struct device_user *user = device_user_find(devices, question->tenant, question->user);
	const struct mauth_device *match = NULL, *refused = NULL;
	struct mauth_secret *typed;
	bool wait = false;

	/* A longer one has no verifier that could be remembered. */
	if (user == NULL || !device_password_is_good(question->password))
		return MAUTH_DEVICE_NO_MATCH;
	typed = mauth_device_typed(question->password);
	for (const struct device *device = user->devices; device != NULL; device = device_next(device)) {
		enum device_verdict verdict = DEVICE_WRONG;

		if (device->pub.origin == MAUTH_DEVICE_CHOSEN)
			verdict = device_recall(devices, device, question->password);
		else if (is_generated_match(devices, device, typed))
			verdict = DEVICE_RIGHT;
		wait = wait || verdict == DEVICE_UNKNOWN;
		if (verdict != DEVICE_RIGHT)
			continue;
		if (usable(devices, &device->pub, question, NULL) == MAUTH_OK)
			match = &device->pub;
		else
			refused = &device->pub;
	}
	mauth_secret_free(&typed);
	if (match != NULL) {
		*device_r = match;
		return MAUTH_DEVICE_MATCH;
	}
	/* Before a refusal: somebody may have chosen the password of an expired device for a new one. */
	if (wait)
		return MAUTH_DEVICE_WAIT;
	if (refused == NULL)
		return MAUTH_DEVICE_NO_MATCH;
	*device_r = refused;
	usable(devices, refused, question, error_r);
	return MAUTH_DEVICE_REFUSED;
}
