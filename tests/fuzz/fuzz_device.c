/* SPDX-License-Identifier: MIT */
/* Rows of device passwords, and networks: the first line is the name of a row, a network, a pattern and a hash; the
 * rest is the row's value, and a text for the pattern. */

#include "core/devices-row.h"

#include "fuzz.h"

#include <string.h>

static void check_network(const struct mauth_network *network)
{
	struct mauth_network again = { .bits = 0 };
	char text[MAUTH_NETWORK_TEXT_SIZE], *slash;

	mauth_network_format(network, text);
	MUST(strlen(text) < sizeof(text));
	MUST(mauth_network_parse(text, &again, NULL) && memcmp(&again, network, sizeof(again)) == 0);
	slash = strchr(text, '/');
	if (slash != NULL)
		*slash = '\0';
	MUST(mauth_network_contains(network, text));
}

static void read_network(const char *text)
{
	struct mauth_network network = { .bits = 0 };
	const char *why = NULL;

	if (mauth_network_parse(text, &network, &why))
		check_network(&network);
	else
		MUST(why != NULL);
}

static void check_device(const struct mauth_device *device)
{
	MUST(mauth_device_name_is_good(device->name));
	MUST(device->origin == MAUTH_DEVICE_GENERATED || device->origin == MAUTH_DEVICE_CHOSEN);
	MUST(device->networks_count <= MAUTH_DEVICE_NETWORKS_MAX);
	for (size_t i = 0; i < device->networks_count; i++)
		check_network(&device->networks[i]);
	MUST(device->services < 1u << MAUTH_SERVICE_COUNT);
	MUST(device->created_at >= 0 && device->expires_at >= 0 && device->last_used_at >= 0);
	MUST(mauth_is_utf8(device->last_ip, strnlen(device->last_ip, sizeof(device->last_ip))));
	MUST((unsigned int)device->last_service < MAUTH_SERVICE_COUNT);
}

/* What was read must survive being written and read again. */
static void round_trip(const struct mauth_device *device)
{
	struct mauth_buf once = { 0 }, twice = { 0 };
	struct mauth_device again = { .next = NULL };
	const char *why;

	mauth_device_encode(device, &once);
	MUST(once.size > 0 && once.size <= MAUTH_STORE_VALUE_MAX);
	MUST(mauth_device_decode(once.data, once.size, &again, &why));
	mauth_device_encode(&again, &twice);
	MUST(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
	mauth_device_clear(&again);
	mauth_buf_free(&once);
	mauth_buf_free(&twice);
}

static void read_value(const char *data, size_t size)
{
	struct mauth_device device = { .next = NULL };
	const char *why = NULL;

	if (mauth_device_decode(data, size, &device, &why)) {
		check_device(&device);
		round_trip(&device);
	} else {
		MUST(why != NULL && device.name == NULL && device.networks == NULL);
	}
	mauth_device_clear(&device);
}

static void read_name(const char *name)
{
	struct mauth_device_row_name parts;

	if (!mauth_device_row_name_parse(name, &parts))
		return;
	MUST(parts.tenant_size > 0 && memchr(name, '/', parts.tenant_size) == NULL);
	MUST(parts.user_size > 0 && parts.user_size <= MAUTH_USER_MAX);
	MUST(parts.user == name + parts.tenant_size + 1 && parts.id == parts.user + parts.user_size + 1);
	MUST(strlen(parts.id) == MAUTH_DEVICE_ID_SIZE - 1);
}

static void read_hash(const char *text)
{
	unsigned char salt[MAUTH_SALT_SIZE], verifier[MAUTH_VERIFIER_SIZE];
	struct mauth_buf again = { 0 };

	if (!mauth_device_hash_parse(text, salt, verifier))
		return;
	mauth_device_hash_format(salt, verifier, &again);
	MUST(strcmp(again.data, text) == 0);
	mauth_buf_free(&again);
}

/* Every text matches itself: a wildcard matches at least what it looks like. */
static void match(const char *pattern, const char *text)
{
	(void)mauth_glob_match(pattern, text);
	MUST(mauth_glob_match(text, text));
	MUST(mauth_glob_match("*", text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *begin = (const char *)data, *lf = size > 0 ? memchr(data, '\n', size) : NULL;
	size_t first = lf == NULL ? size : (size_t)(lf - begin);
	size_t rest = lf == NULL ? 0 : size - first - 1;
	char *line = mauth_strndup(begin, first);
	char *text = mauth_strndup(begin + size - rest, rest < MAUTH_USER_MAX ? rest : MAUTH_USER_MAX);

	read_network(line);
	read_name(line);
	read_hash(line);
	match(line, text);
	read_value(begin + size - rest, rest);
	free(line);
	free(text);
	return 0;
}
