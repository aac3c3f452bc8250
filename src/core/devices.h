/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DEVICES_H
#define MAUTH_DEVICES_H
/* Device passwords: several for a login, each with a name, optional networks, protocols and an end. What is kept is a
 * verifier: of a generated one an HMAC under a key of the store, of one that a person chose scrypt (RFC 7914), computed
 * outside of the loop and only once per process and password. The picture in memory decides; the store follows. */

#include "core/network.h"
#include "core/verifier.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/store.h"
#include "modernauth/worker.h"

#define MAUTH_DEVICE_ID_SIZE 13u         /* 12 lower-case letters and digits, NUL */
#define MAUTH_DEVICE_NAME_MAX 64u
#define MAUTH_DEVICE_NETWORKS_MAX 16u
#define MAUTH_DEVICES_PER_USER_MAX 50u
#define MAUTH_DEVICE_KIND "device"       /* rows of the store: name is "tenant/user/id" */

enum mauth_device_origin { MAUTH_DEVICE_GENERATED, MAUTH_DEVICE_CHOSEN };

struct mauth_device {
	struct mauth_device *next;           /* of the same user, in order of creation */
	char id[MAUTH_DEVICE_ID_SIZE];
	char *name;
	enum mauth_device_origin origin;
	struct mauth_network *networks;      /* none: any */
	size_t networks_count;
	unsigned int services;               /* bit 1 << enum mauth_service; 0: any */
	int64_t created_at;                  /* wall clock, seconds, as all of them */
	int64_t expires_at;                  /* the first second after; 0: never */
	int64_t last_used_at;                /* 0: never; with what follows */
	char last_ip[64];
	enum mauth_service last_service;
	/* private */
	unsigned char salt[MAUTH_SALT_SIZE], verifier[MAUTH_VERIFIER_SIZE];
};

struct mauth_devices;
struct mauth_devices_deps {
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_store *store;
	const struct mauth_worker *worker;           /* for scrypt */
	const struct mauth_verifier_key *key;        /* of the store: the same at every start */
	const struct mauth_verifier_key *process_key;/* of this process: for tables and remembered scrypt results */
};
/* What deps points to must outlive the devices; store and worker also what they have been given to do. */
struct mauth_devices *mauth_devices_new(const struct mauth_devices_deps *deps);
/* Writes last uses that are not in the store yet. Checks under way must have been cancelled; changes under way go on,
 * and their callbacks come; those of hashes come with none. */
void mauth_devices_free(struct mauth_devices **devices);
/* Reads one row of the store, at start. MAUTH_CONFIG: it cannot be read; the text names it. */
enum mauth_status mauth_devices_load(struct mauth_devices *devices, const struct mauth_store_row *row,
				     struct mauth_error *error_r);

/* tenant is the name of a mauth_tenant, user a login as mauth_upn.name has it. NULL: none. Valid until a change. */
const struct mauth_device *mauth_devices_of(const struct mauth_devices *devices, const char *tenant, const char *user);
bool mauth_devices_has(const struct mauth_devices *devices, const char *tenant, const char *user);
size_t mauth_devices_count(const struct mauth_devices *devices);
/* Calls fn, which must not change them, for every device in no particular order, but user by user. */
void mauth_devices_each(const struct mauth_devices *devices,
			void (*fn)(const char *tenant, const char *user, const struct mauth_device *device,
				   void *context),
			void *context);

/* Who asks, and with what. */
struct mauth_device_question {
	const char *tenant, *user;
	const struct mauth_secret *password;
	enum mauth_service service;
	const char *client_ip;               /* NULL: unknown, in no network */
};
enum mauth_device_answer {
	MAUTH_DEVICE_MATCH,
	MAUTH_DEVICE_NO_MATCH,
	MAUTH_DEVICE_REFUSED,                /* right, but not here: error_r says which (MAUTH_EXPIRED, MAUTH_POLICY) */
	MAUTH_DEVICE_WAIT,                   /* a chosen one comes first: ask with mauth_devices_compute() */
};
/* Constant time for each verifier; looks at all of them, a match first. *device_r (valid until the next change) only on
 * MATCH and REFUSED, *error_r only on REFUSED. A generated password is recognised as a person types it: in any case,
 * with or without its hyphens and blanks. */
enum mauth_device_answer mauth_devices_check(struct mauth_devices *devices,
					     const struct mauth_device_question *question,
					     const struct mauth_device **device_r, struct mauth_error *error_r);
/* Computes what check() waits for and calls back once, never before this returns, none after cancel: ask check() again
 * then, which may WAIT again if a device has been added meanwhile. Equal questions share the work. NULL, with
 * MAUTH_TEMPORARY: too many are being computed already, or scrypt has just failed. */
struct mauth_device_waiter;
typedef void mauth_device_fn(void *context);
struct mauth_device_waiter *mauth_devices_compute(struct mauth_devices *devices,
						  const struct mauth_device_question *question, mauth_device_fn *done,
						  void *context, struct mauth_error *error_r);
/* What is being computed is computed to its end, and remembered. NULL is allowed; *waiter is NULL afterwards. */
void mauth_device_cancel(struct mauth_device_waiter **waiter);
/* Notes the use, if there still is such a device; goes to the store with others, at most once a minute. */
void mauth_devices_used(struct mauth_devices *devices, const struct mauth_device_question *question, const char *id);

/* A new one. name, networks and services are copied. */
struct mauth_device_new {
	const char *tenant, *user, *name;
	const struct mauth_network *networks;
	size_t networks_count;
	unsigned int services;               /* bit 1 << enum mauth_service; 0: any */
	int64_t expires_at;                  /* 0: never */
};
/* id: of the device. error: NULL once the store has it; otherwise the text says what holds now. */
typedef void mauth_device_change_fn(const char *id, const struct mauth_error *error, void *context);
/* With a generated password: *password_r is shown once and the caller's. It works when done, never called before this
 * returns, is called without error. MAUTH_CONFIG at once: no name, name taken, too many, an end in the past. */
enum mauth_status mauth_devices_add(struct mauth_devices *devices, const struct mauth_device_new *device,
				    struct mauth_secret **password_r, mauth_device_change_fn *done, void *context,
				    struct mauth_error *error_r);
/* The scrypt verifier of a chosen password, so that it can be kept before it is added: salt and hash as one text. NULL:
 * it could not be computed. */
typedef void mauth_device_hash_fn(const char *hash, void *context);
/* Not cancellable. MAUTH_TEMPORARY: too many, or scrypt has just failed; MAUTH_CONFIG: empty or too long. */
enum mauth_status mauth_devices_hash(struct mauth_devices *devices, const struct mauth_secret *password,
				     mauth_device_hash_fn *done, void *context, struct mauth_error *error_r);
/* A device whose password is known by its hash only. MAUTH_CONFIG also for what is no hash of ours. */
enum mauth_status mauth_devices_add_hashed(struct mauth_devices *devices, const struct mauth_device_new *device,
					   const char *hash, mauth_device_change_fn *done, void *context,
					   struct mauth_error *error_r);
/* Another process has written this row, or deleted it (value NULL): it holds, or does no longer, when this returns. */
enum mauth_status mauth_devices_follow(struct mauth_devices *devices, const struct mauth_store_row *row,
				       struct mauth_error *error_r);
/* By id or name (in any ASCII case). They take effect at once, whatever the store says; done is called when the store
 * has it, or has refused it: then it is tried again every minute. MAUTH_USER_UNKNOWN: no such device. */
enum mauth_status mauth_devices_remove(struct mauth_devices *devices, const char *tenant, const char *user,
				       const char *which, mauth_device_change_fn *done, void *context,
				       struct mauth_error *error_r);
enum mauth_status mauth_devices_expire(struct mauth_devices *devices, const char *tenant, const char *user,
				       const char *which, int64_t expires_at, mauth_device_change_fn *done,
				       void *context, struct mauth_error *error_r);

/* 17 characters of 31 (no 0 1 I O L, no case), 84 bits: "K7QM-3XPD-9RTA-VW2HE". The caller frees. */
struct mauth_secret *mauth_device_generate(void);
/* A generated password as it was meant: upper case, without hyphens and blanks. The caller frees. */
struct mauth_secret *mauth_device_typed(const struct mauth_secret *password);
void mauth_device_id_new(char id_r[static MAUTH_DEVICE_ID_SIZE]);

#endif
