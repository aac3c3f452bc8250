/* SPDX-License-Identifier: MIT */
#include "core/devices-private.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* 32 MiB and about a tenth of a second each, while a login waits. Another cost needs another scheme in
 * devices-row.c. */
#define SCRYPT_N 32768u
#define SCRYPT_R 8u
#define SCRYPT_P 1u
#define SCRYPT_MEMORY_MAX (64u * 1024 * 1024)

/* The worker needs several seconds for as many. What comes beyond that is told to come again. */
#define HASHES_MAX 64u
/* One mailbox under attack leaves room for the others. */
#define JOBS_PER_USER_MAX 16u
/* Passwords found wrong; right ones are remembered with their device. */
#define WRONG_MAX 20000u
#define BROKEN_MSECS 1000

struct mauth_device_waiter {
	struct mauth_device_waiter *next, **link;
	mauth_device_fn *done;
	void *context;
};

struct device_hash {
	char id[MAUTH_DEVICE_ID_SIZE];
	unsigned char salt[MAUTH_SALT_SIZE], computed[MAUTH_VERIFIER_SIZE];
};

struct device_job {
	struct device_job *next, **link;
	struct mauth_devices *devices;       /* NULL: they have been freed */
	/* For a check: who asks with what, and who wants to know. */
	char *user;                          /* "tenant/user"; NULL: for mauth_devices_hash() */
	unsigned char question[MAUTH_VERIFIER_SIZE];
	struct mauth_device_waiter *waiters;
	mauth_device_hash_fn *hashed;
	void *hashed_context;
	/* From here on the worker's, until it is done. */
	atomic_bool abandoned;
	bool failed;
	struct mauth_secret *password;
	size_t count;
	struct device_hash hashes[];
};

/* -- what is remembered -- */

struct wrong {
	struct mauth_node node;              /* must be first */
	char name[2 * MAUTH_VERIFIER_SIZE + 1];
};

static const char *wrong_name(const struct mauth_node *node)
{
	return ((const struct wrong *)node)->name;
}

/* Of this password for this device: its salt tells it from all others. */
static void process_verifier(const struct mauth_devices *devices, const struct device *device,
			     const struct mauth_secret *password, unsigned char verifier_r[static MAUTH_VERIFIER_SIZE])
{
	mauth_verifier(devices->deps.process_key, device->pub.salt, 0, device->user->bound, password, verifier_r);
}

/* A name for the table. Nobody can choose it without the key, so that looking it up need not take constant time. */
static void name_wrong(const unsigned char *verifier, char name_r[static 2 * MAUTH_VERIFIER_SIZE + 1])
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < MAUTH_VERIFIER_SIZE; i++) {
		name_r[2 * i] = hex[verifier[i] >> 4];
		name_r[2 * i + 1] = hex[verifier[i] & 15];
	}
	name_r[2 * MAUTH_VERIFIER_SIZE] = '\0';
}

enum device_verdict device_recall(struct mauth_devices *devices, const struct device *device,
				  const struct mauth_secret *password)
{
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	char name[2 * MAUTH_VERIFIER_SIZE + 1];
	struct mauth_node *node;

	process_verifier(devices, device, password, verifier);
	if (device->is_known)
		return mauth_equal_secret(verifier, device->known, sizeof(verifier)) ? DEVICE_RIGHT : DEVICE_WRONG;
	name_wrong(verifier, name);
	node = mauth_table_find(&devices->wrong, 0, name);
	if (node == NULL)
		return DEVICE_UNKNOWN;
	mauth_table_touch(&devices->wrong, node);
	return DEVICE_WRONG;
}

static void wrong_free(struct mauth_devices *devices, struct mauth_node *node)
{
	struct wrong *wrong = (struct wrong *)node;

	mauth_table_remove(&devices->wrong, node);
	mauth_wipe(wrong, sizeof(*wrong));
	free(wrong);
}

static void remember_wrong(struct mauth_devices *devices, const unsigned char *verifier)
{
	struct wrong *wrong = mauth_new(sizeof(*wrong));

	name_wrong(verifier, wrong->name);
	if (mauth_table_find(&devices->wrong, 0, wrong->name) != NULL) {
		free(wrong);
		return;
	}
	mauth_table_insert(&devices->wrong, &wrong->node, 0, wrong->name);
	if (devices->wrong.count > WRONG_MAX)
		wrong_free(devices, devices->wrong.oldest);
}

static void remember(struct mauth_devices *devices, const struct device_job *job)
{
	const struct device_user *user = device_user_named(devices, job->user);
	unsigned char verifier[MAUTH_VERIFIER_SIZE];

	for (size_t i = 0; user != NULL && i < job->count; i++) {
		const struct device_hash *hash = &job->hashes[i];
		struct device *device = device_of_user(user, hash->id);

		/* Removed meanwhile. */
		if (device == NULL || memcmp(device->pub.salt, hash->salt, sizeof(hash->salt)) != 0)
			continue;
		process_verifier(devices, device, job->password, verifier);
		if (mauth_equal_secret(hash->computed, device->pub.verifier, sizeof(hash->computed))) {
			memcpy(device->known, verifier, sizeof(verifier));
			device->is_known = true;
		} else {
			remember_wrong(devices, verifier);
		}
	}
}

/* -- jobs -- */

static struct device_job *job_new(struct mauth_devices *devices, const struct mauth_secret *password, size_t count)
{
	struct device_job *job = mauth_new(sizeof(*job) + count * sizeof(job->hashes[0]));

	job->devices = devices;
	job->password = mauth_secret_dup(password);
	job->next = devices->jobs;
	job->link = &devices->jobs;
	if (job->next != NULL)
		job->next->link = &job->next;
	devices->jobs = job;
	return job;
}

static void job_unlink(struct device_job *job)
{
	*job->link = job->next;
	if (job->next != NULL)
		job->next->link = job->link;
}

static void job_free(struct device_job *job)
{
	mauth_secret_free(&job->password);
	free(job->user);
	mauth_wipe(job, sizeof(*job) + job->count * sizeof(job->hashes[0]));
	free(job);
}

/* In the worker's thread. */
static void job_work(void *context)
{
	struct device_job *job = context;

	for (size_t i = 0; i < job->count && !job->failed; i++) {
		struct device_hash *hash = &job->hashes[i];

		/* Nobody waits for a service that is going to stop. */
		job->failed = atomic_load(&job->abandoned) ||
			EVP_PBE_scrypt(mauth_secret_expose(job->password), mauth_secret_size(job->password), hash->salt,
				       sizeof(hash->salt), SCRYPT_N, SCRYPT_R, SCRYPT_P, SCRYPT_MEMORY_MAX,
				       hash->computed, sizeof(hash->computed)) != 1;
	}
}

/* Those who wait, or the one who wanted a hash. They may change or free anything but the job. */
static void job_answer(struct device_job *job)
{
	struct mauth_device_waiter *waiter;
	struct mauth_buf hash = { 0 };

	while ((waiter = job->waiters) != NULL) {
		mauth_device_fn *done = waiter->done;
		void *context = waiter->context;

		mauth_device_cancel(&waiter);
		done(context);
	}
	if (job->hashed == NULL)
		return;
	if (!job->failed)
		mauth_device_hash_format(job->hashes[0].salt, job->hashes[0].computed, &hash);
	job->hashed(hash.data, job->hashed_context);
	mauth_buf_free(&hash);
}

static void job_done(void *context)
{
	struct device_job *job = context;
	struct mauth_devices *devices = job->devices;

	if (devices != NULL) {
		/* Before anybody is called: who asks again must not join what is over. */
		job_unlink(job);
		devices->hashes -= job->count;
		if (job->failed) {
			devices->broken_until = mauth_mono_msecs(devices->deps.loop) + BROKEN_MSECS;
			mauth_log(devices->deps.log, MAUTH_ERROR, "scrypt cannot be computed (OpenSSL has no memory, "
				  "or does not offer it): device passwords that users chose do not work");
		} else if (job->user != NULL) {
			remember(devices, job);
		}
		job_answer(job);
	} else if (job->hashed != NULL) {
		job->hashed(NULL, job->hashed_context);
	}
	job_free(job);
}

/* Is there room for count more? */
static enum mauth_status admit(const struct mauth_devices *devices, size_t count, struct mauth_error *error_r)
{
	if (devices->hashes + count > HASHES_MAX)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "too many passwords are being checked at once");
	if (mauth_mono_msecs(devices->deps.loop) < devices->broken_until)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "scrypt cannot be computed on this machine");
	return MAUTH_OK;
}

static void job_submit(struct device_job *job)
{
	const struct mauth_worker *worker = job->devices->deps.worker;

	job->devices->hashes += job->count;
	worker->submit(worker->context, job_work, job_done, job);
}

/* -- checks -- */

/* The job that answers this question already; *jobs_r: how many there are of the user. */
static struct device_job *job_find(const struct mauth_devices *devices, const char *user, const unsigned char *question,
				   unsigned int *jobs_r)
{
	struct device_job *found = NULL;

	*jobs_r = 0;
	for (struct device_job *job = devices->jobs; job != NULL; job = job->next) {
		if (job->user == NULL || strcmp(job->user, user) != 0)
			continue;
		++*jobs_r;
		if (mauth_equal_secret(job->question, question, sizeof(job->question)))
			found = job;
	}
	return found;
}

/* The chosen ones of user for which nothing is remembered of password. hashes_r may be NULL: counts them only. */
static size_t unknown(struct mauth_devices *devices, const struct device_user *user,
		      const struct mauth_secret *password, struct device_hash *hashes_r)
{
	size_t count = 0;

	for (const struct device *device = user->devices; device != NULL; device = device_next(device)) {
		if (device->pub.origin != MAUTH_DEVICE_CHOSEN ||
		    device_recall(devices, device, password) != DEVICE_UNKNOWN)
			continue;
		if (hashes_r != NULL) {
			memcpy(hashes_r[count].id, device->pub.id, sizeof(device->pub.id));
			memcpy(hashes_r[count].salt, device->pub.salt, sizeof(device->pub.salt));
		}
		count++;
	}
	return count;
}

static struct device_job *job_start(struct mauth_devices *devices, const struct device_user *user,
				    const struct mauth_secret *password, const unsigned char *question,
				    struct mauth_error *error_r)
{
	size_t count = unknown(devices, user, password, NULL);
	struct device_job *job;

	if (admit(devices, count, error_r) != MAUTH_OK)
		return NULL;
	job = job_new(devices, password, count);
	job->count = unknown(devices, user, password, job->hashes);
	job->user = mauth_strdup(user->name);
	memcpy(job->question, question, sizeof(job->question));
	job_submit(job);
	return job;
}

static struct mauth_device_waiter *wait_for(struct device_job *job, mauth_device_fn *done, void *context)
{
	struct mauth_device_waiter *waiter = mauth_new(sizeof(*waiter));

	waiter->done = done;
	waiter->context = context;
	waiter->next = job->waiters;
	waiter->link = &job->waiters;
	if (waiter->next != NULL)
		waiter->next->link = &waiter->next;
	job->waiters = waiter;
	return waiter;
}

struct mauth_device_waiter *mauth_devices_compute(struct mauth_devices *devices,
						  const struct mauth_device_question *question, mauth_device_fn *done,
						  void *context, struct mauth_error *error_r)
{
	static const unsigned char no_salt[MAUTH_SALT_SIZE];
	const struct device_user *user = device_user_find(devices, question->tenant, question->user);
	unsigned char key[MAUTH_VERIFIER_SIZE];
	struct device_job *job;
	unsigned int jobs;

	/* His last device has been removed since he was told to wait. */
	if (user == NULL) {
		mauth_fail(error_r, MAUTH_TEMPORARY, 0, "the device passwords have just been removed");
		return NULL;
	}
	mauth_verifier(devices->deps.process_key, no_salt, 0, user->bound, question->password, key);
	job = job_find(devices, user->name, key, &jobs);
	if (job == NULL && jobs >= JOBS_PER_USER_MAX) {
		mauth_fail(error_r, MAUTH_TEMPORARY, 0, "too many passwords of this user are being checked at once");
		return NULL;
	}
	if (job == NULL)
		job = job_start(devices, user, question->password, key, error_r);
	return job == NULL ? NULL : wait_for(job, done, context);
}

void mauth_device_cancel(struct mauth_device_waiter **waiter)
{
	if (*waiter == NULL)
		return;
	*(*waiter)->link = (*waiter)->next;
	if ((*waiter)->next != NULL)
		(*waiter)->next->link = (*waiter)->link;
	free(*waiter);
	*waiter = NULL;
}

/* -- hashes for later -- */

enum mauth_status mauth_devices_hash(struct mauth_devices *devices, const struct mauth_secret *password,
				     mauth_device_hash_fn *done, void *context, struct mauth_error *error_r)
{
	struct device_job *job;

	if (!device_password_is_good(password))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "a password has 1 to %u octets", MAUTH_PASSWORD_MAX);
	if (admit(devices, 1, error_r) != MAUTH_OK)
		return MAUTH_TEMPORARY;
	job = job_new(devices, password, 1);
	job->count = 1;
	job->hashed = done;
	job->hashed_context = context;
	mauth_random(job->hashes[0].salt, sizeof(job->hashes[0].salt));
	job_submit(job);
	return MAUTH_OK;
}

/* -- the whole -- */

void devices_hash_open(struct mauth_devices *devices)
{
	mauth_table_init(&devices->wrong, devices->deps.process_key, wrong_name);
	devices->broken_until = INT64_MIN;
}

void devices_hash_close(struct mauth_devices *devices)
{
	for (struct device_job *job = devices->jobs; job != NULL; job = job->next) {
		job->devices = NULL;
		atomic_store(&job->abandoned, true);
	}
	while (devices->wrong.oldest != NULL)
		wrong_free(devices, devices->wrong.oldest);
	mauth_table_free(&devices->wrong);
}
