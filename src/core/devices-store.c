/* SPDX-License-Identifier: MIT */
#include "core/devices-private.h"

#include <stdlib.h>
#include <string.h>

#define ROUND_MSECS 60000u
/* Rows of one write; what is more follows when it is done, so that other writes get their turn. */
#define BATCH_ROWS_MAX 1000u

/* A row that the store would not delete. */
struct device_erased {
	struct device_erased *next;
	char *name;
};

struct batch_row {
	char *name;
	struct mauth_buf value;              /* data NULL: to be deleted */
};

struct device_batch {
	struct mauth_devices *devices;       /* NULL: they have been freed */
	size_t count;
	struct batch_row rows[BATCH_ROWS_MAX];
};

char *device_row_name(const struct device *device)
{
	return mauth_printf("%s/%s", device->user->name, device->pub.id);
}

/* -- what is to be written -- */

static void round_start(void *context);

static void arm(struct mauth_devices *devices)
{
	bool work = devices->changed != NULL || devices->due != NULL || devices->erased != NULL;

	if (work && devices->timer == NULL && devices->batch == NULL)
		devices->timer = mauth_timer_add(devices->deps.loop, ROUND_MSECS, round_start, devices);
}

void device_mark(struct mauth_devices *devices, struct device *device)
{
	/* Whose rows they are writes them. */
	if (devices->deps.store->follows)
		return;
	if (device->changed_link == NULL) {
		device->changed_next = devices->changed;
		device->changed_link = &devices->changed;
		if (device->changed_next != NULL)
			device->changed_next->changed_link = &device->changed_next;
		devices->changed = device;
	}
	arm(devices);
}

void device_unmark(struct device *device)
{
	if (device->changed_link == NULL)
		return;
	*device->changed_link = device->changed_next;
	if (device->changed_next != NULL)
		device->changed_next->changed_link = device->changed_link;
	device->changed_next = NULL;
	device->changed_link = NULL;
}

void device_erase_later(struct mauth_devices *devices, const char *name)
{
	struct device_erased *erased = mauth_new(sizeof(*erased));

	erased->name = mauth_strdup(name);
	erased->next = devices->erased;
	devices->erased = erased;
	arm(devices);
}

/* The one in effect that has this row, or NULL. */
static struct device *device_named(const struct mauth_devices *devices, const char *name)
{
	const char *slash = strrchr(name, '/');
	char *user_name = mauth_strndup(name, (size_t)(slash - name));
	const struct device_user *user = device_user_named(devices, user_name);

	free(user_name);
	return user == NULL ? NULL : device_of_user(user, slash + 1);
}

void device_mark_named(struct mauth_devices *devices, const char *name)
{
	struct device *device = device_named(devices, name);

	if (device != NULL)
		device_mark(devices, device);
}

/* -- writing it -- */

static void take_erased(struct mauth_devices *devices, struct device_batch *batch)
{
	struct device_erased *erased;

	while ((erased = devices->erased) != NULL && batch->count < BATCH_ROWS_MAX) {
		devices->erased = erased->next;
		batch->rows[batch->count++].name = erased->name;
		free(erased);
	}
}

/* Only devices that are in effect are ever marked, and a removal is written after whatever was written before it: no
 * use can bring a removed device back. */
static void take_due(struct mauth_devices *devices, struct device_batch *batch)
{
	struct device *device;

	while ((device = devices->due) != NULL && batch->count < BATCH_ROWS_MAX) {
		struct batch_row *row = &batch->rows[batch->count++];

		device_unmark(device);
		row->name = device_row_name(device);
		mauth_device_encode(&device->pub, &row->value);
	}
}

static struct device_batch *batch_take(struct mauth_devices *devices)
{
	struct device_batch *batch;

	if (devices->erased == NULL && devices->due == NULL)
		return NULL;
	batch = mauth_new(sizeof(*batch));
	batch->devices = devices;
	take_erased(devices, batch);
	take_due(devices, batch);
	return batch;
}

static void batch_free(struct device_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		free(batch->rows[i].name);
		mauth_buf_free(&batch->rows[i].value);
	}
	free(batch);
}

static void batch_write(struct device_batch *batch);

/* Everything in it is still to be written; a device that is gone by now is not. */
static void batch_again(const struct device_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->rows[i].value.data == NULL)
			device_erase_later(batch->devices, batch->rows[i].name);
		else
			device_mark_named(batch->devices, batch->rows[i].name);
	}
}

static void batch_done(const struct mauth_error *error, void *context)
{
	struct device_batch *batch = context;
	struct mauth_devices *devices = batch->devices;

	if (devices != NULL) {
		devices->batch = NULL;
		if (error != NULL) {
			mauth_log(devices->deps.log, MAUTH_WARNING, "device passwords: %zu rows could not be written, "
				  "they are tried again in a minute: %s", batch->count, error->text);
			batch_again(batch);
		} else {
			devices->batch = batch_take(devices);
		}
		if (devices->batch != NULL)
			batch_write(devices->batch);
		else
			arm(devices);
	}
	batch_free(batch);
}

static void batch_write(struct device_batch *batch)
{
	const struct mauth_store *store = batch->devices->deps.store;
	struct mauth_store_row *rows = mauth_new_array(batch->count, sizeof(*rows));

	for (size_t i = 0; i < batch->count; i++) {
		const struct batch_row *row = &batch->rows[i];

		rows[i] = (struct mauth_store_row){ MAUTH_DEVICE_KIND, row->name, row->value.data, row->value.size };
	}
	mauth_store_write(store, rows, batch->count, batch_done, batch);
	free(rows);
}

/* Uses from now on belong to the next round: this one ends, however busy everybody is. */
static void changed_are_due(struct mauth_devices *devices)
{
	if (devices->due != NULL)
		return;
	devices->due = devices->changed;
	devices->changed = NULL;
	if (devices->due != NULL)
		devices->due->changed_link = &devices->due;
}

static void round_start(void *context)
{
	struct mauth_devices *devices = context;

	devices->timer = NULL;
	changed_are_due(devices);
	devices->batch = batch_take(devices);
	if (devices->batch != NULL)
		batch_write(devices->batch);
}

void devices_store_close(struct mauth_devices *devices)
{
	struct device_batch *batch;

	mauth_timer_remove(devices->deps.loop, &devices->timer);
	if (devices->batch != NULL)
		devices->batch->devices = NULL;
	do {
		changed_are_due(devices);
		batch = batch_take(devices);
		if (batch == NULL)
			continue;
		batch_write(batch);
		batch->devices = NULL;
	} while (batch != NULL);
}

void mauth_devices_used(struct mauth_devices *devices, const struct mauth_device_question *question, const char *id)
{
	const struct device_user *user = device_user_find(devices, question->tenant, question->user);
	struct device *device = user == NULL ? NULL : device_of_user(user, id);
	const char *ip = question->client_ip == NULL ? "" : question->client_ip;

	if (device == NULL)
		return;
	device->pub.last_used_at = mauth_wall_secs(devices->deps.loop);
	device->pub.last_service = question->service;
	mauth_clean_copy(device->pub.last_ip, sizeof(device->pub.last_ip), ip, strlen(ip));
	device_mark(devices, device);
}

/* -- following ---------------------------------------------------------------------------------------------- */

enum mauth_status mauth_devices_follow(struct mauth_devices *devices, const struct mauth_store_row *row,
				       struct mauth_error *error_r)
{
	struct device *device = strchr(row->name, '/') == NULL ? NULL : device_named(devices, row->name);
	struct mauth_device image = { .name = NULL };
	const char *why;

	if (row->value == NULL) {
		if (device != NULL)
			device_drop(devices, device);
		return MAUTH_OK;
	}
	if (device == NULL)
		return mauth_devices_load(devices, row, error_r);
	if (!mauth_device_decode(row->value, row->size, &image, &why))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "device password %s in the store cannot be read: %s", row->name, why);
	image.next = device->pub.next;
	memcpy(image.id, device->pub.id, sizeof(image.id));
	/* Its last use has changed, in most cases: what scrypt has said of it remains true. */
	if (memcmp(image.verifier, device->pub.verifier, sizeof(image.verifier)) != 0)
		device->is_known = false;
	mauth_device_clear(&device->pub);
	device->pub = image;
	return MAUTH_OK;
}
