/* SPDX-License-Identifier: MIT */
#include "core/devices-row.h"

#include "core/json.h"
#include "core/jwt.h"

#include <stdlib.h>
#include <string.h>

#define TIME_MAX 253402300799            /* the last second of the year 9999 */
#define SCRYPT_SCHEME "scrypt-15-8-1"    /* what devices-hash.c computes: log2 of N, r, p */

static const char *const origins[] = { [MAUTH_DEVICE_GENERATED] = "generated", [MAUTH_DEVICE_CHOSEN] = "chosen" };
/* How the verifier was made, so that a later release may make it otherwise. */
static const char *const schemes[] = { [MAUTH_DEVICE_GENERATED] = "hmac-sha256",
				       [MAUTH_DEVICE_CHOSEN] = SCRYPT_SCHEME };

bool mauth_device_row_name_parse(const char *name, struct mauth_device_row_name *parts_r)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	const char *first = strchr(name, '/'), *last = strrchr(name, '/');
	size_t size = strlen(name);

	if (size > MAUTH_STORE_NAME_MAX || first == NULL || first == name || last <= first + 1)
		return false;
	if ((size_t)(last - first) - 1 > MAUTH_USER_MAX || strlen(last + 1) != MAUTH_DEVICE_ID_SIZE - 1 ||
	    strspn(last + 1, allowed) != MAUTH_DEVICE_ID_SIZE - 1)
		return false;
	*parts_r = (struct mauth_device_row_name){ .user = first + 1, .tenant_size = (size_t)(first - name),
						   .user_size = (size_t)(last - first) - 1, .id = last + 1 };
	return true;
}

bool mauth_device_name_is_good(const char *name)
{
	char clean[MAUTH_DEVICE_NAME_MAX + 1];
	size_t size = strnlen(name, MAUTH_DEVICE_NAME_MAX + 1);

	if (size == 0 || size > MAUTH_DEVICE_NAME_MAX)
		return false;
	mauth_clean_copy(clean, sizeof(clean), name, size);
	return strcmp(clean, name) == 0;
}

int64_t mauth_device_clamp_end(int64_t expires_at)
{
	return expires_at < 0 ? 1 : expires_at > TIME_MAX ? TIME_MAX : expires_at;
}

void mauth_device_clear(struct mauth_device *device)
{
	free(device->name);
	free(device->networks);
	mauth_wipe(device->salt, sizeof(device->salt));
	mauth_wipe(device->verifier, sizeof(device->verifier));
	device->name = NULL;
	device->networks = NULL;
	device->networks_count = 0;
}

/* -- writing -- */

static json_t *networks_list(const struct mauth_device *device)
{
	json_t *list = json_array();

	for (size_t i = 0; i < device->networks_count; i++) {
		char text[MAUTH_NETWORK_TEXT_SIZE];

		mauth_network_format(&device->networks[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *services_list(unsigned int services)
{
	json_t *list = json_array();

	for (unsigned int s = 0; s < MAUTH_SERVICE_COUNT; s++) {
		if ((services & 1u << s) != 0)
			json_array_append_new(list, json_string(mauth_service_name((enum mauth_service)s)));
	}
	return list;
}

static int append(const char *data, size_t size, void *buf)
{
	mauth_buf_append(buf, data, size);
	return 0;
}

void mauth_device_encode(const struct mauth_device *device, struct mauth_buf *to)
{
	json_t *row = json_object();

	json_object_set_new(row, "name", json_string(device->name));
	json_object_set_new(row, "origin", json_string(origins[device->origin]));
	json_object_set_new(row, "networks", networks_list(device));
	json_object_set_new(row, "services", services_list(device->services));
	json_object_set_new(row, "created_at", json_integer(device->created_at));
	json_object_set_new(row, "expires_at", json_integer(device->expires_at));
	json_object_set_new(row, "last_used_at", json_integer(device->last_used_at));
	json_object_set_new(row, "last_ip", json_string(device->last_ip));
	json_object_set_new(row, "last_service", json_string(mauth_service_name(device->last_service)));
	json_object_set_new(row, "scheme", json_string(schemes[device->origin]));
	json_object_set_new(row, "salt", mauth_json_octets(device->salt, sizeof(device->salt)));
	json_object_set_new(row, "verifier", mauth_json_octets(device->verifier, sizeof(device->verifier)));
	json_dump_callback(row, append, to, JSON_COMPACT);
	json_decref(row);
}

/* -- reading -- */

struct reader {
	const json_t *row;
	struct mauth_device *device;
};

static bool read_name(struct reader *reader)
{
	const char *name = mauth_json_str(reader->row, "name");

	if (!mauth_device_name_is_good(name))
		return false;
	reader->device->name = mauth_strdup(name);
	return true;
}

static bool read_origin(struct reader *reader)
{
	const char *name = mauth_json_str(reader->row, "origin");
	unsigned int origin;

	for (origin = 0; origin <= MAUTH_DEVICE_CHOSEN && strcmp(origins[origin], name) != 0; origin++)
		;
	if (origin > MAUTH_DEVICE_CHOSEN)
		return false;
	reader->device->origin = (enum mauth_device_origin)origin;
	return true;
}

static bool read_scheme(struct reader *reader)
{
	return strcmp(mauth_json_str(reader->row, "scheme"), schemes[reader->device->origin]) == 0;
}

static bool read_networks(struct reader *reader)
{
	const json_t *list = json_object_get(reader->row, "networks");
	size_t count = json_array_size(list);

	if (!json_is_array(list) || count > MAUTH_DEVICE_NETWORKS_MAX)
		return false;
	reader->device->networks = count == 0 ? NULL : mauth_new_array(count, sizeof(*reader->device->networks));
	reader->device->networks_count = count;
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (text == NULL || !mauth_network_parse(text, &reader->device->networks[i], NULL))
			return false;
	}
	return true;
}

static bool read_services(struct reader *reader)
{
	const json_t *list = json_object_get(reader->row, "services");
	size_t count = json_array_size(list);

	if (!json_is_array(list) || count > MAUTH_SERVICE_COUNT)
		return false;
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(list, i));
		enum mauth_service service;

		if (name == NULL || !mauth_service_parse(name, &service))
			return false;
		reader->device->services |= 1u << service;
	}
	return true;
}

static bool read_time(const struct reader *reader, const char *key, int64_t min, int64_t *time_r)
{
	const json_t *value = json_object_get(reader->row, key);
	int64_t num;

	if (!json_is_number(value) || !mauth_json_num(value, &num))
		return false;
	*time_r = num < min ? min : num > TIME_MAX ? TIME_MAX : num;
	return true;
}

static bool read_created(struct reader *reader)
{
	return read_time(reader, "created_at", 0, &reader->device->created_at);
}

static bool read_expires(struct reader *reader)
{
	if (!read_time(reader, "expires_at", -1, &reader->device->expires_at))
		return false;
	reader->device->expires_at = mauth_device_clamp_end(reader->device->expires_at);
	return true;
}

static bool read_last_used(struct reader *reader)
{
	return read_time(reader, "last_used_at", 0, &reader->device->last_used_at);
}

static bool read_last_ip(struct reader *reader)
{
	const char *ip = mauth_json_str(reader->row, "last_ip");

	mauth_clean_copy(reader->device->last_ip, sizeof(reader->device->last_ip), ip, strlen(ip));
	return true;
}

static bool read_last_service(struct reader *reader)
{
	return mauth_service_parse(mauth_json_str(reader->row, "last_service"), &reader->device->last_service);
}

/* Exactly size octets. */
static bool octets_from_text(const char *text, size_t text_size, unsigned char *octets_r, size_t size)
{
	struct mauth_buf buf = { 0 };
	bool good = text_size <= size * 2 && mauth_base64url_decode(&buf, text, text_size) && buf.size == size;

	if (good)
		memcpy(octets_r, buf.data, size);
	mauth_buf_free(&buf);
	return good;
}

static bool read_salt(struct reader *reader)
{
	const char *text = mauth_json_str(reader->row, "salt");

	return octets_from_text(text, strlen(text), reader->device->salt, sizeof(reader->device->salt));
}

static bool read_verifier(struct reader *reader)
{
	const char *text = mauth_json_str(reader->row, "verifier");

	return octets_from_text(text, strlen(text), reader->device->verifier, sizeof(reader->device->verifier));
}

bool mauth_device_decode(const char *value, size_t size, struct mauth_device *device_r, const char **why_r)
{
	static const struct {
		bool (*read)(struct reader *reader);
		const char *why;
	} members[] = {
		{ read_name, "no name that can be shown" },
		{ read_origin, "unknown origin" },
		{ read_scheme, "unknown scheme of the verifier" },
		{ read_networks, "networks that cannot be read" },
		{ read_services, "services that cannot be read" },
		{ read_created, "created_at is no number" },
		{ read_expires, "expires_at is no number" },
		{ read_last_used, "last_used_at is no number" },
		{ read_last_ip, "last_ip" },
		{ read_last_service, "unknown last_service" },
		{ read_salt, "salt that cannot be read" },
		{ read_verifier, "verifier that cannot be read" },
	};
	struct mauth_device device = { .next = NULL };
	json_t *row = mauth_json_object(value, size);
	struct reader reader = { row, &device };
	size_t i, count = sizeof(members) / sizeof(members[0]);

	for (i = 0; row != NULL && i < count && members[i].read(&reader); i++)
		;
	if (i < count) {
		*why_r = row == NULL ? "no JSON object" : members[i].why;
		json_decref(row);
		mauth_device_clear(&device);
		return false;
	}
	json_decref(row);
	memcpy(device.id, device_r->id, sizeof(device.id));
	*device_r = device;
	mauth_wipe(&device, sizeof(device));
	return true;
}

/* -- hashes -- */

void mauth_device_hash_format(const unsigned char *salt, const unsigned char *verifier, struct mauth_buf *to)
{
	mauth_buf_puts(to, SCRYPT_SCHEME ":");
	mauth_base64url_encode(to, salt, MAUTH_SALT_SIZE);
	mauth_buf_putc(to, ':');
	mauth_base64url_encode(to, verifier, MAUTH_VERIFIER_SIZE);
}

bool mauth_device_hash_parse(const char *hash, unsigned char salt_r[static MAUTH_SALT_SIZE],
			     unsigned char verifier_r[static MAUTH_VERIFIER_SIZE])
{
	static const char prefix[] = SCRYPT_SCHEME ":";
	const char *salt = hash + sizeof(prefix) - 1, *verifier;

	if (strncmp(hash, prefix, sizeof(prefix) - 1) != 0 || (verifier = strchr(salt, ':')) == NULL)
		return false;
	return octets_from_text(salt, (size_t)(verifier - salt), salt_r, MAUTH_SALT_SIZE) &&
	       octets_from_text(verifier + 1, strlen(verifier + 1), verifier_r, MAUTH_VERIFIER_SIZE);
}
