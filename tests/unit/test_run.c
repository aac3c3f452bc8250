/* SPDX-License-Identifier: MIT */
/* The admin's programs: what they are given, what they are not, how they may end, and that nobody waits. */
#include "broker/run.h"
#include "fake_sinks.h"
#include "poll_loop.h"

#include "core/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MSECS 20000u

struct site {
	char dir[64];
	struct poll_loop *loop;
	struct fake_sinks sinks;
	struct mauth_runner *runner;
};

static void begin(struct site *site)
{
	*site = (struct site){ .dir = "/tmp/modernauth-run-XXXXXX" };
	assert_non_null(mkdtemp(site->dir));
	site->loop = poll_loop_new();
	fake_sinks_init(&site->sinks);
	site->runner = mauth_runner_new(poll_loop_loop(site->loop), &site->sinks.log);
}

static void end(struct site *site)
{
	char *command = mauth_printf("rm -r %s", site->dir);

	mauth_runner_free(&site->runner);
	assert_int_equal(poll_loop_timers(site->loop), 0);
	assert_int_equal(poll_loop_watches(site->loop), 0);
	poll_loop_free(&site->loop);
	fake_sinks_free(&site->sinks);
	assert_int_equal(system(command), 0);
	free(command);
}

/* Runs a shell script; its $1 is the directory. */
static void start(struct site *site, const char *script, const char *input, unsigned int timeout_msecs)
{
	const char *const argv[] = { "/bin/sh", "-c", script, "sh", site->dir, NULL };
	const char *const env[] = { "MODERNAUTH_RULE=scanners", NULL };
	const struct mauth_run *run = mauth_runner_run(site->runner);

	run->start(run->context, &(struct mauth_run_job){
		.what = "notice", .argv = argv, .env = env, .input = input, .size = strlen(input), .timeout_msecs = timeout_msecs,
	});
}

static const char *lines(const struct site *site)
{
	return site->sinks.lines == NULL ? "" : site->sinks.lines;
}

static unsigned int ended(const struct site *site)
{
	unsigned int count = 0;

	for (const char *at = lines(site); (at = strchr(at, '\n')) != NULL; at++)
		count++;
	return count;
}

/* Each run ends with a line in the log. */
static void wait_for(struct site *site, unsigned int count)
{
	const bool never = false;

	for (unsigned int waited = 0; ended(site) < count && waited < WAIT_MSECS; waited += 20)
		(void)poll_loop_run_until(site->loop, &never, 20);
	assert_int_equal(ended(site), count);
}

static char *content(const struct site *site, const char *name)
{
	char *path = mauth_printf("%s/%s", site->dir, name), *text = mauth_new(65536);
	FILE *file = fopen(path, "r");

	if (file == NULL)
		fail_msg("no %s; log: %s", path, lines(site));
	text[fread(text, 1, 65535, file)] = '\0';
	(void)fclose(file);
	free(path);
	return text;
}

static void expect_line(const struct site *site, const char *text)
{
	if (strstr(lines(site), text) == NULL)
		fail_msg("no \"%s\" in %s", text, lines(site));
}

static void it_gets_the_text_and_the_facts_and_nothing_of_ours(void **state)
{
	struct site site;
	int secret = open("/etc/passwd", O_RDONLY);      /* without O_CLOEXEC */
	char *text;

	begin(&site);
	(void)setenv("MODERNAUTH_SECRET", "x", 1);
	start(&site, "cat > $1/in; env > $1/env; ls /proc/self/fd > $1/fds; echo heard >&2; pwd > $1/cwd", "line\n.\nlast", 5000);
	wait_for(&site, 1);
	expect_line(&site, "info notice: /bin/sh has taken it: heard\n");
	text = content(&site, "in");
	assert_string_equal(text, "line\n.\nlast");
	free(text);
	text = content(&site, "env");
	assert_non_null(strstr(text, "MODERNAUTH_RULE=scanners\n"));
	assert_non_null(strstr(text, "PATH=/usr/local/sbin:"));
	assert_null(strstr(text, "SECRET"));
	assert_null(strstr(text, "HOME"));
	free(text);
	text = content(&site, "fds");
	/* ls has opened the directory itself. */
	assert_string_equal(text, "0\n1\n2\n3\n");
	free(text);
	text = content(&site, "cwd");
	assert_string_equal(text, "/\n");
	free(text);
	(void)close(secret);
	end(&site);
}

static void how_it_fails_is_logged_on_one_clean_line(void **state)
{
	static const char *const nowhere[] = { "/nonexistent/program", NULL }, *const none[] = { NULL };
	struct site site;
	const struct mauth_run *run;

	begin(&site);
	run = mauth_runner_run(site.runner);
	start(&site, "printf 'no \\033[2Jroute\\nmore' >&2; exit 3", "", 5000);
	wait_for(&site, 1);
	expect_line(&site, "error notice: /bin/sh: exit status 3: no ?[2Jroute\n");
	start(&site, "kill -9 $$", "", 5000);
	wait_for(&site, 2);
	expect_line(&site, "error notice: /bin/sh: killed by signal 9\n");
	run->start(run->context, &(struct mauth_run_job){
		.what = "notice", .argv = nowhere, .env = none, .input = "", .timeout_msecs = 5000 });
	wait_for(&site, 3);
	expect_line(&site, "exit status 127: /nonexistent/program: No such file or directory\n");
	end(&site);
}

static void one_that_hangs_is_killed_with_its_children_and_the_next_one_runs(void **state)
{
	struct site site;
	const bool never = false;
	char *text;
	pid_t child;

	begin(&site);
	start(&site, "sleep 600 & echo $! > $1/child; wait", "", 500);
	start(&site, "echo ran > $1/second", "", 5000);
	wait_for(&site, 2);
	expect_line(&site, "error notice: /bin/sh: killed after 0 s\n");
	text = content(&site, "child");
	child = (pid_t)atoi(text);
	free(text);
	for (unsigned int i = 0; i < 500 && kill(child, 0) == 0; i++) {
		char *path = mauth_printf("/proc/%d/stat", (int)child);
		FILE *file = fopen(path, "r");
		char stat[512] = "";

		free(path);
		if (file != NULL) {
			stat[fread(stat, 1, sizeof(stat) - 1, file)] = '\0';
			(void)fclose(file);
		}
		/* Dead, and nobody may have reaped it in this container. */
		if (strstr(stat, ") Z ") != NULL)
			break;
		(void)poll_loop_run_until(site.loop, &never, 10);
		assert_int_not_equal(i, 499);
	}
	text = content(&site, "second");
	assert_string_equal(text, "ran\n");
	free(text);
	end(&site);
}

static void one_at_a_time_and_in_order(void **state)
{
	struct site site;
	char *text;

	begin(&site);
	for (unsigned int i = 0; i < 4; i++)
		start(&site, "test -e $1/busy && echo together >> $1/order; touch $1/busy; cat >> $1/order; sleep 0.05; rm $1/busy",
		      i % 2 == 0 ? "even\n" : "odd\n", 5000);
	wait_for(&site, 4);
	text = content(&site, "order");
	assert_string_equal(text, "even\nodd\neven\nodd\n");
	free(text);
	end(&site);
}

static void a_flood_on_stderr_and_unread_input_block_nobody(void **state)
{
	struct site site;
	char *much = mauth_new(2u << 20);

	begin(&site);
	memset(much, 'x', (2u << 20) - 1);
	start(&site, "head -c 3000000 /dev/zero | tr '\\0' y >&2; exit 1", much, 10000);
	wait_for(&site, 1);
	expect_line(&site, "exit status 1: yyyyyy");
	free(much);
	end(&site);
}

static void there_is_an_end_to_the_queue(void **state)
{
	struct site site;

	begin(&site);
	for (unsigned int i = 0; i < 202; i++)
		start(&site, "exec sleep 5", "", 10000);
	expect_line(&site, "error notice: not run, 200 others are waiting\n");
	assert_int_equal(ended(&site), 2);
	/* The first one is under way, and ends by itself; of the others somebody must hear. */
	mauth_runner_free(&site.runner);
	assert_int_equal(ended(&site), 2 + 199);
	expect_line(&site, "warning notice: /bin/sh was not run, the broker has ended before its turn\n");
	end(&site);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_gets_the_text_and_the_facts_and_nothing_of_ours),
		cmocka_unit_test(how_it_fails_is_logged_on_one_clean_line),
		cmocka_unit_test(one_that_hangs_is_killed_with_its_children_and_the_next_one_runs),
		cmocka_unit_test(one_at_a_time_and_in_order),
		cmocka_unit_test(a_flood_on_stderr_and_unread_input_block_nobody),
		cmocka_unit_test(there_is_an_end_to_the_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
