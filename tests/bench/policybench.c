/* SPDX-License-Identifier: MIT */
/* What a decision by the rules costs, and loading them.
 *
 * usage: policybench [RULES]...        also with 200,000 names in files of groups */
#include "core/config.h"
#include "core/mem.h"
#include "core/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DECISIONS 100000u
#define GROUPS 20u
#define NAMES_OF_GROUP 10000u

enum shape { EXACT, NETWORKS, GLOBS, GROUP_FILES, SHAPES };
static const char *const shapes[SHAPES] = { "exact users", "domains and networks", "globs", "group files" };

static const char TENANT[] = "tenant \"bench\" {\ndomains = {\"bench.test\"}\ntenant_id = \"bench.test\"\n"
			     "client_id = \"00000000-0000-0000-0000-000000000000\"\n}\n";

/* Of this process: others may share the machine. */
static int64_t cpu_usecs(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void write_rule(struct mauth_buf *buf, enum shape shape, unsigned int i)
{
	mauth_buf_printf(buf, "rule \"r%u\" { action = \"deny\" ", i);
	switch (shape) {
	case EXACT:
		mauth_buf_printf(buf, "users = {\"user%u@bench.test\"}", i);
		break;
	case NETWORKS:
		mauth_buf_printf(buf, "users = {\"*@bench.test\"} networks = {\"10.%u.%u.0/24\"}", i / 256 % 256, i % 256);
		break;
	case GLOBS:
		mauth_buf_printf(buf, "users = {\"u%u-*@bench.test\"}", i);
		break;
	case GROUP_FILES:
		mauth_buf_printf(buf, "users_file = \"/group%u\"", i);
		break;
	case SHAPES:
		break;
	}
	mauth_buf_puts(buf, " }\n");
}

/* The configuration, or a group's file, out of memory. */
static enum mauth_status read_file(void *context, const char *path, bool secret, struct mauth_secret **content_r,
				   struct mauth_error *error_r)
{
	struct mauth_buf buf = { 0 };
	unsigned int group;

	(void)secret;
	(void)error_r;
	if (sscanf(path, "/group%u", &group) != 1) {
		const char *text = context;

		mauth_buf_puts(&buf, text);
	} else {
		for (unsigned int i = 0; i < NAMES_OF_GROUP; i++)
			mauth_buf_printf(&buf, "user%u@bench.test\n", group * NAMES_OF_GROUP + i);
	}
	*content_r = mauth_secret_new(buf.data, buf.size);
	mauth_buf_free(&buf);
	return MAUTH_OK;
}

static void decide(const struct mauth_config *config, enum shape shape, unsigned int range,
		   double load_secs)
{
	struct mauth_policy_question question = { .service = MAUTH_SERVICE_IMAP, .mechanism = "PLAIN" };
	unsigned int state = 1, denied = 0;
	char user[64], address[32];
	int64_t begin, end;

	begin = cpu_usecs();
	for (unsigned int n = 0; n < DECISIONS; n++) {
		struct mauth_verdict verdict;
		unsigned int i;

		state = state * 1664525u + 1013904223u;
		/* Every second login meets no rule. */
		i = (unsigned int)(((uint64_t)state * range * 2) >> 32);
		snprintf(user, sizeof(user), shape == GLOBS ? "u%u-x@bench.test" : "user%u@bench.test", i);
		snprintf(address, sizeof(address), "10.%u.%u.7", i / 256 % 256, i % 256);
		question.user = user;
		question.client_ip = address;
		mauth_policy_decide(config, &question, &verdict);
		denied += verdict.action == MAUTH_ACTION_DENY;
	}
	end = cpu_usecs();
	printf("{\"rules\": %zu, \"shape\": \"%s\", \"denied\": %u, \"us\": %.2f, \"load_secs\": %.3f}\n", config->rules_count,
	       shapes[shape], denied, (double)(end - begin) / DECISIONS, load_secs);
	fflush(stdout);
}

static void measure(enum shape shape, unsigned int rules)
{
	struct mauth_config *config = NULL;
	struct mauth_buf text = { 0 };
	struct mauth_error error;
	int64_t begin = 0, end;

	mauth_buf_puts(&text, TENANT);
	for (unsigned int i = 0; i < rules; i++)
		write_rule(&text, shape, i);
	begin = cpu_usecs();
	if (mauth_config_load("/bench", read_file, text.data, NULL, NULL, &config, &error) != MAUTH_OK) {
		fprintf(stderr, "%s\n", error.text);
		exit(1);
	}
	end = cpu_usecs();
	decide(config, shape, shape == GROUP_FILES ? rules * NAMES_OF_GROUP : rules, (double)(end - begin) / 1e6);
	mauth_config_unref(&config);
	mauth_buf_free(&text);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		for (enum shape shape = EXACT; shape < GROUP_FILES; shape++)
			measure(shape, (unsigned int)strtoul(argv[i], NULL, 10));
	}
	measure(GROUP_FILES, GROUPS);
	return 0;
}
