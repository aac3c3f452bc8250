/* SPDX-License-Identifier: MIT */
#ifndef DEVICES_WORLD_H
#define DEVICES_WORLD_H
/* Device passwords with everything around them faked, for the tests of core/devices*.c. */

#include "core/devices.h"
#include "fake_loop.h"
#include "fake_sinks.h"
#include "fake_store.h"
#include "fake_worker.h"

#define NOW 1700000000
#define CONTOSO "contoso"
#define ALICE "alice@contoso.com"
#define BOB "bob@contoso.com"
#define ID_SIZE MAUTH_DEVICE_ID_SIZE

struct devices_world {
	struct fake_loop *loop;
	struct fake_sinks sinks;
	struct fake_store *store;        /* writes end with the loop unless held */
	struct fake_worker *worker;      /* held: a test sees each scrypt */
	struct mauth_verifier_key key, process_key;
	struct mauth_devices *devices;
	/* The last change that was done. */
	unsigned int changes;
	char id[ID_SIZE];
	struct mauth_error error;        /* status MAUTH_OK: none */
	/* The last check or hash that was done. */
	unsigned int calls;
	char *hash;
	const struct mauth_device *device;   /* of the last check() that gave one */
	struct mauth_error refusal;
};

void devices_begin(struct devices_world *world);
/* Lets what is under way end, then frees everything. */
void devices_end(struct devices_world *world);
/* Another process with the same store and the same key of it. */
void devices_restart(struct devices_world *world);

void devices_sleep(struct devices_world *world, unsigned int secs);

/* mauth_device_change_fn and mauth_device_fn: context is the world. */
void devices_changed(const char *id, const struct mauth_error *error, void *context);
void devices_called(void *context);

/* An answer to password (a text), over IMAP from 192.0.2.7. */
enum mauth_device_answer devices_ask(struct devices_world *world, const char *tenant, const char *user,
				     const char *password);
/* The same from elsewhere, or over something else. */
enum mauth_device_answer devices_ask_from(struct devices_world *world, const char *user, const char *password,
					  enum mauth_service service, const char *client_ip);
/* The same for a secret. */
enum mauth_device_answer devices_ask_secret(struct devices_world *world, const char *user,
					    const struct mauth_secret *password);
struct mauth_device_waiter *devices_compute(struct devices_world *world, const char *user, const char *password);
void devices_use(struct devices_world *world, const char *user, const char *id, const char *client_ip);

/* Adds and waits for the store. The generated password, which the caller frees; world->id is the device. */
char *devices_add(struct devices_world *world, const char *tenant, const char *user, const char *name);
char *devices_add_new(struct devices_world *world, const struct mauth_device_new *new);
/* The hash of password: one scrypt. The caller frees. */
char *devices_hash(struct devices_world *world, const char *password);
/* Adds and waits for the store. */
void devices_add_hashed(struct devices_world *world, const char *user, const char *name, const char *hash);
/* Removes and does not wait. */
void devices_remove(struct devices_world *world, const char *user, const char *which);

#endif
