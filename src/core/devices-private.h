/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DEVICES_PRIVATE_H
#define MAUTH_DEVICES_PRIVATE_H
/* What devices.c (the picture in memory, and who matches), devices-change.c (adding, removing, ending), devices-store.c
 * (last uses, and what the store would not have), devices-hash.c (scrypt) and device-generate.c (passwords as people
 * see them) share. */

#include "core/devices-row.h"
#include "core/devices.h"
#include "core/mem.h"
#include "core/table.h"

#define DEVICE_BOUND_SIZE 65u            /* SHA-256 in hex, NUL */

struct device_user;

struct device {
	struct mauth_device pub;             /* must be first */
	struct device_user *user;
	struct device *changed_next, **changed_link;   /* its last use is not in the store yet; link NULL: it is */
	/* Of a chosen one, once its password has been seen: a verifier under the process's key. Every other password is
	   wrong then, and needs no scrypt. */
	unsigned char known[MAUTH_VERIFIER_SIZE];
	bool is_known;
};

/* Somebody who has devices, or is about to have one. */
struct device_user {
	struct mauth_node node;              /* must be first */
	struct device *devices;              /* in effect */
	struct device *adding;               /* not in the store yet */
	size_t count;                        /* of both */
	/* What verifiers are bound to: names may be longer than a UPN, which is all that mauth_verifier() takes. */
	char bound[DEVICE_BOUND_SIZE];
	char *tenant;
	const char *user;                    /* within name */
	char name[];                         /* "tenant/user": a tenant's name has no slash */
};

struct device_job;
struct device_change;
struct device_batch;
struct device_erased;

struct mauth_devices {
	struct mauth_devices_deps deps;
	struct mauth_table users;
	size_t count;                        /* devices in effect */
	/* devices-hash.c */
	struct mauth_table wrong;
	struct device_job *jobs;
	size_t hashes;                       /* being computed */
	int64_t broken_until;                /* monotonic msecs; scrypt has failed */
	/* devices-change.c */
	struct device_change *changes;       /* being written */
	/* devices-store.c */
	struct device *changed, *due;        /* for the next round of writes; for the one that has begun */
	struct device_erased *erased;        /* removed, but the store would not have it */
	struct device_batch *batch;          /* being written */
	struct mauth_timer *timer;           /* for the next round */
};

/* Neither empty nor longer than anything that mauth_verifier() takes. */
static inline bool device_password_is_good(const struct mauth_secret *password)
{
	return mauth_secret_size(password) > 0 && mauth_secret_size(password) <= MAUTH_PASSWORD_MAX;
}

static inline struct device *device_next(const struct device *device)
{
	return (struct device *)device->pub.next;
}

/* devices.c */
struct device_user *device_user_find(const struct mauth_devices *devices, const char *tenant, const char *user);
/* name is "tenant/user". */
struct device_user *device_user_named(const struct mauth_devices *devices, const char *name);
/* Finds or makes it. */
struct device_user *device_user_get(struct mauth_devices *devices, const char *tenant, size_t tenant_size,
				    const char *user, size_t user_size);
/* Frees user if there is nothing left of him. */
void device_user_release(struct mauth_devices *devices, struct device_user *user);
struct device *device_of_user(const struct device_user *user, const char *id);
/* Puts device among those of its user that are in effect, in order of creation. */
void device_insert(struct mauth_devices *devices, struct device *device);
/* Takes device, which is in effect, out of the picture and frees it. */
void device_drop(struct mauth_devices *devices, struct device *device);
/* Wipes and frees one that is nowhere. */
void device_free(struct device *device);

/* devices-change.c: lets go of what is being written. */
void devices_change_close(struct mauth_devices *devices);

/* devices-store.c */
/* "tenant/user/id", which the caller frees. */
char *device_row_name(const struct device *device);
/* The row of device, or of the one that is called name if it still is in effect, is written with the next round. */
void device_mark(struct mauth_devices *devices, struct device *device);
void device_mark_named(struct mauth_devices *devices, const char *name);
void device_unmark(struct device *device);
/* The row called name is deleted with the next round. */
void device_erase_later(struct mauth_devices *devices, const char *name);
/* Writes what is left to write, and lets go of what is being written. */
void devices_store_close(struct mauth_devices *devices);

/* devices-hash.c */
enum device_verdict { DEVICE_WRONG, DEVICE_RIGHT, DEVICE_UNKNOWN };
/* What is remembered of this password for this chosen device. */
enum device_verdict device_recall(struct mauth_devices *devices, const struct device *device,
				  const struct mauth_secret *password);
void devices_hash_open(struct mauth_devices *devices);
void devices_hash_close(struct mauth_devices *devices);

#endif
