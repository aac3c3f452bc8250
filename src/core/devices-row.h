/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DEVICES_ROW_H
#define MAUTH_DEVICES_ROW_H
/* A device as a row of the store, and the hash of a chosen password as a text. */

#include "core/devices.h"
#include "core/mem.h"

/* What "tenant/user/id" consists of; pointers into the name. The user may have slashes, the tenant cannot. */
struct mauth_device_row_name {
	const char *user;
	size_t tenant_size, user_size;
	const char *id;
};
bool mauth_device_row_name_parse(const char *name, struct mauth_device_row_name *parts_r);

/* The value of a device's row. */
void mauth_device_encode(const struct mauth_device *device, struct mauth_buf *to);
/* Reads the size octets at value into *device_r, but for its id; mauth_device_clear() frees what belongs to it. false,
 * and *device_r untouched: it cannot be read, and only then *why_r says why. A member that is missing is never taken
 * for "any" or "never". */
bool mauth_device_decode(const char *value, size_t size, struct mauth_device *device_r, const char **why_r);
void mauth_device_clear(struct mauth_device *device);
/* An end that can be kept: what ended before the epoch has ended, and 0 is "never". */
int64_t mauth_device_clamp_end(int64_t expires_at);
/* A name that can be shown: 1 to MAUTH_DEVICE_NAME_MAX octets of UTF-8 without control characters. */
bool mauth_device_name_is_good(const char *name);

/* "scrypt-15-8-1:SALT:HASH". */
void mauth_device_hash_format(const unsigned char *salt, const unsigned char *verifier, struct mauth_buf *to);
bool mauth_device_hash_parse(const char *hash, unsigned char salt_r[static MAUTH_SALT_SIZE],
			     unsigned char verifier_r[static MAUTH_VERIFIER_SIZE]);

#endif
