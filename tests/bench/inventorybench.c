/* SPDX-License-Identifier: MIT */
/* What the inventory costs: one more login of somebody who is in it, memory, writing all of it, and reading it at a start.
 *
 * usage: inventorybench DIRECTORY [ROWS]    (the directory is used for the store and must be 0700) */
#include "core/inventory.h"
#include "core/mem.h"
#include "poll_loop.h"
#include "store/sqlite.h"
#include "store/worker.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LOGINS 1000000u
#define CROWD 20000u

static void quiet(void *context, enum mauth_level level, const char *text)
{
	if (level >= MAUTH_WARNING)
		fprintf(stderr, "%s\n", text);
}

static const struct mauth_log bench_log = { .line = quiet };

struct person {
	char upn[40], ip[24];
};

/* Three clients each. */
static void make_up(struct person *person, unsigned int number)
{
	snprintf(person->upn, sizeof(person->upn), "user%u@bench.test", number / 3);
	snprintf(person->ip, sizeof(person->ip), "10.%u.%u.7", number >> 8 & 255, number & 255);
}

static void note(struct mauth_inventory *inventory, const struct person *person, int64_t now)
{
	const struct mauth_attempt_record record = {
		.started_usecs = now, .upn = person->upn, .tenant_name = "contoso", .mechanism = "PLAIN",
		.client_ip = person->ip, .tls = true,
		.client_id = "\"name\" \"Thunderbird\" \"version\" \"115.1\"", .decision = "upgrade",
	};

	mauth_inventory_note(inventory, &record);
}

static struct mauth_inventory *make(const struct mauth_loop *loop, const struct mauth_verifier_key *key, size_t rows)
{
	return mauth_inventory_new(&(struct mauth_inventory_deps){
		.loop = loop, .log = &bench_log, .process_key = key, .max = rows, .keep_secs = 400 * 86400 });
}

static void measure(struct poll_loop *poll, const char *dir, unsigned int rows)
{
	const struct mauth_loop *loop = poll_loop_loop(poll);
	struct mauth_worker_thread *worker = mauth_worker_thread_new(loop, &bench_log);
	struct person *crowd = mauth_new_array(CROWD, sizeof(*crowd)), person;
	struct mauth_verifier_key key;
	struct mauth_inventory *inventory;
	struct mauth_sqlite *sqlite;
	struct mauth_error error;
	size_t before;
	int64_t begin, end, now;
	unsigned int state = 1;

	mauth_verifier_key_new(&key);
	before = mallinfo2().uordblks;
	inventory = make(loop, &key, rows);
	for (unsigned int i = 0; i < rows; i++) {
		make_up(&person, i);
		note(inventory, &person, mauth_wall_usecs(loop));
	}
	printf("%zu rows, %zu octets each\n", mauth_inventory_count(inventory), (mallinfo2().uordblks - before) / rows);
	for (unsigned int i = 0; i < CROWD; i++) {
		state = state * 1664525u + 1013904223u;
		make_up(&crowd[i], (state >> 8) % rows);
	}
	now = mauth_wall_usecs(loop);
	/* Of this process alone: it is a matter of a microsecond. */
	begin = (int64_t)clock();
	for (unsigned int i = 0; i < LOGINS; i++)
		note(inventory, &crowd[i % CROWD], now);
	end = (int64_t)clock();
	printf("a login of somebody in it: %.3f us\n", (double)(end - begin) / LOGINS);
	if (mauth_sqlite_open(dir, mauth_worker_thread_worker(worker), &bench_log, &sqlite, &error) != MAUTH_OK ||
	    mauth_inventory_open(inventory, mauth_sqlite_store(sqlite), &error) != MAUTH_OK) {
		fprintf(stderr, "%s\n", error.text);
		exit(1);
	}
	begin = mauth_mono_usecs(loop);
	mauth_inventory_close(inventory);
	end = mauth_mono_usecs(loop);
	printf("handing all of it to the store: %lld ms\n", (long long)(end - begin) / 1000);
	begin = mauth_mono_usecs(loop);
	mauth_sqlite_close(&sqlite);
	end = mauth_mono_usecs(loop);
	printf("all of it on disk: %lld ms\n", (long long)(end - begin) / 1000);
	mauth_inventory_free(&inventory);
	if (mauth_sqlite_open(dir, mauth_worker_thread_worker(worker), &bench_log, &sqlite, &error) != MAUTH_OK)
		exit(1);
	inventory = make(loop, &key, rows);
	begin = mauth_mono_usecs(loop);
	if (mauth_inventory_open(inventory, mauth_sqlite_store(sqlite), &error) != MAUTH_OK)
		exit(1);
	end = mauth_mono_usecs(loop);
	printf("reading %zu rows: %lld ms\n", mauth_inventory_count(inventory), (long long)(end - begin) / 1000);
	mauth_inventory_close(inventory);
	mauth_inventory_free(&inventory);
	mauth_sqlite_close(&sqlite);
	mauth_worker_thread_free(&worker);
	free(crowd);
}

int main(int argc, char *argv[])
{
	struct poll_loop *loop = poll_loop_new();

	if (argc < 2) {
		fprintf(stderr, "usage: inventorybench DIRECTORY [ROWS]\n");
		return 64;
	}
	measure(loop, argv[1], argc > 2 ? (unsigned int)atoi(argv[2]) : 100000u);
	poll_loop_free(&loop);
	return 0;
}
