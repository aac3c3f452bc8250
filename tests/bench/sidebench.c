/* SPDX-License-Identifier: MIT */
/* What it costs to know where a mailbox is: loading a map file in the worker, how long the loop is kept from its timers
 * meanwhile, and one decision (login name, rules, map).
 *
 * usage: sidebench [ENTRIES]... */
#include "core/hybrid.h"
#include "core/mem.h"
#include "core/policy.h"
#include "poll_loop.h"
#include "store/text-file.h"
#include "store/worker.h"
#include "test_config_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DECISIONS 1000000u
#define TICK_MSECS 1u

struct bench {
	struct poll_loop *loop;
	const struct mauth_loop *l;
	struct mauth_hybrid *hybrid;
	struct mauth_mailbox where;
	struct mauth_timer *tick;
	int64_t begun, last, stall, loaded;
	clock_t cpu;                         /* of loading, all threads */
	bool done;
};

static void quiet(void *context, enum mauth_level level, const char *text)
{
	(void)context;
	if (level != MAUTH_INFO)
		fprintf(stderr, "%s\n", text);
}

/* A login would be answered between two of these. */
static void tick(void *context)
{
	struct bench *bench = context;
	struct mauth_hybrid_answer answer;
	int64_t now = mauth_mono_usecs(bench->l);

	bench->tick = mauth_timer_add(bench->l, TICK_MSECS, tick, bench);
	if (now - bench->last > bench->stall)
		bench->stall = now - bench->last;
	bench->last = now;
	if (bench->loaded == 0 && mauth_hybrid_peek(bench->hybrid, &bench->where, NULL, &answer) &&
	    answer.error.status == MAUTH_OK) {
		bench->loaded = now;
		bench->cpu = clock() - bench->cpu;
	}
	bench->done = bench->loaded != 0;
}

static char *write_map(unsigned int entries)
{
	char *path = mauth_strdup("/tmp/sidebench.XXXXXX");
	int fd = mkstemp(path);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	if (file == NULL) {
		perror(path);
		exit(1);
	}
	for (unsigned int i = 0; i < entries; i++)
		fprintf(file, "user%u@contoso.com %s\n", i, i % 3 == 0 ? "onprem" : "cloud 2020-12-01T22:00:00Z");
	fclose(file);
	return path;
}

static double decide(struct bench *bench, const struct mauth_config *config, unsigned int entries, unsigned int *local_r)
{
	int64_t begin = mauth_mono_usecs(bench->l);
	unsigned int state = 1;
	char name[64];

	*local_r = 0;
	for (unsigned int i = 0; i < DECISIONS; i++) {
		struct mauth_policy_question question = { .service = MAUTH_SERVICE_IMAP, .client_ip = "192.0.2.7" };
		struct mauth_hybrid_answer answer;
		struct mauth_mailbox where;

		state = state * 1664525u + 1013904223u;
		snprintf(name, sizeof(name), "user%u@contoso.com", (unsigned int)(((uint64_t)state * entries) >> 32));
		if (mauth_mailbox_resolve(config, name, &where, NULL) != MAUTH_OK)
			abort();
		question.user = where.login;
		(void)mauth_policy_find(config, &question);
		if (mauth_hybrid_look(bench->hybrid, &where, NULL, &answer) && answer.side == MAUTH_SIDE_ONPREM)
			(*local_r)++;
	}
	return (double)(mauth_mono_usecs(bench->l) - begin) * 1000 / DECISIONS;
}

static void measure(unsigned int entries)
{
	struct mauth_config *config = test_config_new();
	struct mauth_log log = { .line = quiet };
	struct bench bench = { .loop = poll_loop_new() };
	struct mauth_worker_thread *thread;
	struct mauth_verifier_key key;
	unsigned int local;
	double ns;

	bench.l = poll_loop_loop(bench.loop);
	thread = mauth_worker_thread_new(bench.l, &log);
	mauth_verifier_key_new(&key);
	config->tenants[0]->side_by_map = true;
	config->tenants[0]->mailbox_map = write_map(entries);
	if (mauth_mailbox_resolve(config, "user0@contoso.com", &bench.where, NULL) != MAUTH_OK)
		abort();
	bench.cpu = clock();
	bench.begun = bench.last = mauth_mono_usecs(bench.l);
	bench.hybrid = mauth_hybrid_new(&(struct mauth_hybrid_deps){
		.loop = bench.l, .log = &log, .files = &mauth_text_files, .worker = mauth_worker_thread_worker(thread),
		.config = config, .key = &key,
	});
	tick(&bench);
	if (!poll_loop_run_until(bench.loop, &bench.done, 60000))
		fprintf(stderr, "not loaded within a minute\n");
	ns = decide(&bench, config, entries, &local);
	printf("{\"entries\": %u, \"load_ms\": %.1f, \"load_cpu_ms\": %.1f, \"longest_stall_ms\": %.1f, \"decision_ns\": %.0f, \"local\": %u}\n", entries,
	       (double)(bench.loaded - bench.begun) / 1000, (double)bench.cpu * 1000 / CLOCKS_PER_SEC,
	       (double)bench.stall / 1000, ns, local);
	(void)unlink(config->tenants[0]->mailbox_map);
	mauth_timer_remove(bench.l, &bench.tick);
	mauth_hybrid_free(&bench.hybrid);
	mauth_worker_thread_free(&thread);
	poll_loop_free(&bench.loop);
	mauth_config_unref(&config);
}

int main(int argc, char *argv[])
{
	if (argc == 1)
		measure(200000);
	for (int i = 1; i < argc; i++)
		measure((unsigned int)strtoul(argv[i], NULL, 10));
	return 0;
}
