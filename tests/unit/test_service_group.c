/* SPDX-License-Identifier: MIT */
/* A broker whose audit is on disk before it answers: what its clients hear while the disk takes its time, and when it fails. */
#include "broker/session.h"
#include "core/mem.h"
#include "fake_sinks.h"
#include "poll_loop.h"

#include <errno.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MSECS 20000
#define ALICE "alice@contoso.com"
#define RIGHT "correct horse"
#define HELLO "VERSION\tmodernauth\t1\t0\nCLIENT\tname=test\tpid=1\n"
#define LOGIN_ALICE(id) "LOGIN\t" id "\tuser=" ALICE "\tpass=" RIGHT "\tservice=imap\n"
#define REPORT(id) "UPSTREAM\t" id "\tuser=" ALICE "\tservice=imap\tresult=accepted\n"

/* The disk below the audit: holds those that ask while held, then answers with an errno. */
static atomic_bool held;
static atomic_int answer;
static atomic_uint asked;

int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
	atomic_fetch_add(&asked, 1);
	while (atomic_load(&held))
		usleep(1000);
	errno = atomic_load(&answer);
	return errno == 0 ? 0 : -1;
}

static struct {
	struct poll_loop *loop;
	struct fake_sinks sinks;
	char dir[64], config[96], lock[96], socket[96], audit[96];
	struct mauth_service_state service;
} *site;
static bool left, never;
static char heard[65536];

static void client_gone(void)
{
}

static void has_left(void)
{
	left = true;
}

static void run(unsigned int msecs)
{
	poll_loop_run_until(site->loop, &never, msecs);
}

static int setup(void **state)
{
	const char *user = getpwuid(geteuid())->pw_name;
	struct mauth_service_settings settings = { .client_gone = client_gone, .left = has_left };
	struct mauth_error error;
	FILE *file;

	site = calloc(1, sizeof(*site));
	left = false;
	atomic_store(&held, false);
	atomic_store(&answer, 0);
	atomic_store(&asked, 0);
	site->loop = poll_loop_new();
	fake_sinks_init(&site->sinks);
	strcpy(site->dir, "/tmp/modernauth-unit.XXXXXX");
	assert_non_null(mkdtemp(site->dir));
	snprintf(site->config, sizeof(site->config), "%s/modernauth.conf", site->dir);
	snprintf(site->lock, sizeof(site->lock), "%s/broker.lock", site->dir);
	snprintf(site->socket, sizeof(site->socket), "%s/s", site->dir);
	snprintf(site->audit, sizeof(site->audit), "%s/audit.jsonl", site->dir);
	file = fopen(site->config, "w");
	fprintf(file,
		"state_dir = \"%s\"\naudit { path = \"%s\" seal = false durability = \"group\" keep = \"400d\" }\nauth_user = \"%s\"\n"
		"login_user = \"%s\"\ntenant \"contoso\" {\n domains = {\"contoso.com\"}\n tenant_id = \"contoso.onmicrosoft.com\"\n"
		" client_id = \"9e5f94bc-e8a4-4e73-b8be-63364c29d753\"\n authority = \"https://127.0.0.1:1\"\n}\n",
		site->dir, site->audit, user, user);
	fclose(file);
	settings.config_path = site->config;
	settings.lock_path = site->lock;
	settings.handover_path = site->socket;
	assert_int_equal(mauth_service_init(&site->service, &settings, poll_loop_loop(site->loop), &site->sinks.log, &error),
			 MAUTH_OK);
	mauth_service_start(&site->service);
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "modernauth.conf", "audit.jsonl", "broker.lock", "config.seen", "modernauth.db", "modernauth.db-wal",
					     "modernauth.db-shm", "modernauth.keys" };
	char path[128];

	atomic_store(&held, false);
	mauth_service_deinit(&site->service);
	assert_int_equal(poll_loop_timers(site->loop), 0);
	assert_int_equal(poll_loop_watches(site->loop), 0);
	poll_loop_free(&site->loop);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", site->dir, names[i]);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(site->dir), 0);
	fake_sinks_free(&site->sinks);
	free(site);
	return 0;
}

static void warm_alice(void)
{
	struct mauth_secret *password = mauth_secret_new(RIGHT, strlen(RIGHT)), *token = mauth_secret_new("token", 5);
	struct mauth_cache_item item = {
		.tenant = site->service.config->tenants[0]->key, .upn = ALICE, .password = password, .token = token,
		.expires_in = 3600, .refresh_in = 3000,
	};

	mauth_cache_put(mauth_broker_cache(site->service.broker), &item);
	mauth_secret_free(&password);
	mauth_secret_free(&token);
}

static void hear(int fd)
{
	size_t size = strlen(heard);
	ssize_t got;

	run(5);
	while ((got = recv(fd, heard + size, sizeof(heard) - size - 1, MSG_DONTWAIT)) > 0)
		size += (size_t)got;
	heard[size] = '\0';
}

static void expect(int fd, const char *needle)
{
	for (unsigned int i = 0; i < PATIENCE_MSECS / 5 && strstr(heard, needle) == NULL; i++)
		hear(fd);
	if (strstr(heard, needle) == NULL)
		fail_msg("no \"%s\" in \"%s\"", needle, heard);
}

/* A client that has said hello and been greeted. */
static int connect_as(enum mauth_role role)
{
	struct mauth_error error;
	int fds[2];

	heard[0] = '\0';
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(mauth_session_new(&site->service, role, fds[0], &error), MAUTH_OK);
	assert_int_equal(send(fds[1], HELLO, strlen(HELLO), MSG_NOSIGNAL), (ssize_t)strlen(HELLO));
	expect(fds[1], "READY");
	return fds[1];
}

static void say_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Until the disk is being waited for. */
static void wait_asked(unsigned int more_than)
{
	for (unsigned int i = 0; i < PATIENCE_MSECS / 5 && atomic_load(&asked) <= more_than; i++)
		run(5);
	assert_true(atomic_load(&asked) > more_than);
}

static unsigned int records(const char *word)
{
	FILE *file = fopen(site->audit, "r");
	char line[16384];
	unsigned int lines = 0;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		lines += strstr(line, word) != NULL;
	if (file != NULL)
		fclose(file);
	return lines;
}

static void a_login_waits_for_the_disk(void **state)
{
	int fd = connect_as(MAUTH_ROLE_AUTH);

	warm_alice();
	atomic_store(&held, true);
	say_text(fd, LOGIN_ALICE("7") LOGIN_ALICE("8"));
	wait_asked(0);
	hear(fd);
	assert_int_equal(records("basic-auth-intercepted"), 2);
	assert_null(strstr(heard, "OK\t"));
	atomic_store(&held, false);
	expect(fd, "OK\t7\t");
	expect(fd, "OK\t8\t");
	assert_int_equal(atomic_load(&asked), 1);
	(void)close(fd);
}

static void a_login_whose_record_is_not_on_disk_fails_for_a_while(void **state)
{
	int fd = connect_as(MAUTH_ROLE_AUTH);

	warm_alice();
	atomic_store(&answer, EIO);
	say_text(fd, LOGIN_ALICE("7"));
	expect(fd, "FAIL\t7\tcode=audit");
	assert_int_equal(records("basic-auth-withdrawn"), 1);
	atomic_store(&answer, 0);
	say_text(fd, LOGIN_ALICE("8"));
	expect(fd, "OK\t8\t");
	assert_non_null(strstr(site->sinks.lines, "Input/output error"));
	(void)close(fd);
}

static void a_client_that_goes_while_the_disk_is_waited_for_harms_nobody(void **state)
{
	int fd = connect_as(MAUTH_ROLE_AUTH), login = connect_as(MAUTH_ROLE_LOGIN), admin = connect_as(MAUTH_ROLE_ADMIN);
	struct mauth_broker_stats stats;

	warm_alice();
	/* The record of the start is on disk: the admin's session has waited for it. */
	atomic_store(&asked, 0);
	atomic_store(&held, true);
	say_text(fd, LOGIN_ALICE("7"));
	wait_asked(0);
	say_text(login, REPORT("1"));
	say_text(admin, "FORGET\t1\tuser=" ALICE "\n");
	wait_asked(0);
	run(20);
	(void)close(fd);
	(void)close(login);
	(void)close(admin);
	run(20);
	mauth_broker_stats(site->service.broker, &stats);
	assert_int_equal(stats.open, 0);
	atomic_store(&held, false);
	for (unsigned int i = 0; i < PATIENCE_MSECS / 5 && records("withdrawn") == 0; i++)
		run(5);
	assert_int_equal(records("basic-auth-withdrawn"), 1);
	assert_null(site->service.sessions);
}

static void a_report_is_confirmed_when_it_is_on_disk(void **state)
{
	int fd = connect_as(MAUTH_ROLE_LOGIN);

	atomic_store(&held, true);
	say_text(fd, REPORT("1") REPORT("2"));
	wait_asked(0);
	hear(fd);
	assert_int_equal(records("upstream-session-opened"), 2);
	say_text(fd, REPORT("3"));
	hear(fd);
	assert_null(strstr(heard, "DONE"));
	atomic_store(&held, false);
	expect(fd, "DONE\t1\nDONE\t2\n");
	expect(fd, "DONE\t3\n");
	atomic_store(&answer, EIO);
	say_text(fd, REPORT("4"));
	expect(fd, "FAIL\t4\tcode=audit\n");
	(void)close(fd);
}

static void a_change_is_told_when_its_record_is_on_disk(void **state)
{
	int fd = connect_as(MAUTH_ROLE_ADMIN);

	warm_alice();
	atomic_store(&held, true);
	say_text(fd, "FORGET\t1\tuser=" ALICE "\nSTATUS\t2\n");
	wait_asked(0);
	hear(fd);
	assert_int_equal(records("cache-forgotten"), 1);
	assert_null(strstr(heard, "OK\t"));
	atomic_store(&held, false);
	expect(fd, "OK\t1\t");
	expect(fd, "OK\t2\t");
	(void)close(fd);
}

static void a_change_whose_record_is_not_on_disk_is_not_told_as_done(void **state)
{
	int fd = connect_as(MAUTH_ROLE_ADMIN);

	atomic_store(&answer, ENOSPC);
	say_text(fd, "FORGET\t1\tuser=" ALICE "\n");
	expect(fd, "FAIL\t1\tcode=audit\treason=it was done, but its record is not on disk: fdatasync(): No space left on device\t"
		   "advice=free some space\n");
	/* Who only asks is answered, whatever the disk says. */
	say_text(fd, "STATUS\t2\n");
	expect(fd, "OK\t2\tlogins=");
	expect(fd, "\taudit_durability=group\t");
	/* Who is alone looks after old files. */
	assert_non_null(site->service.keep);
	assert_null(strstr(heard, "OK\t1"));
	(void)close(fd);
}

static void who_leaves_answers_first_what_is_on_record(void **state)
{
	int fd = connect_as(MAUTH_ROLE_AUTH);

	warm_alice();
	atomic_store(&held, true);
	say_text(fd, LOGIN_ALICE("7"));
	wait_asked(0);
	/* Another one whose turn has not come when the disk answers. */
	atomic_store(&held, false);
	mauth_service_leave(&site->service);
	expect(fd, "BYE\n");
	assert_non_null(strstr(heard, "OK\t7\t"));
	assert_true(strstr(heard, "OK\t7\t") < strstr(heard, "BYE\n"));
	poll_loop_run_until(site->loop, &left, PATIENCE_MSECS);
	assert_true(left);
	assert_int_equal(records("basic-auth"), 1);
	(void)close(fd);
}

static void who_ends_with_somebody_waiting_ends(void **state)
{
	int fd = connect_as(MAUTH_ROLE_AUTH), admin = connect_as(MAUTH_ROLE_ADMIN);

	warm_alice();
	atomic_store(&held, true);
	say_text(fd, LOGIN_ALICE("7"));
	say_text(admin, "FORGET\t1\tuser=" ALICE "\n");
	wait_asked(0);
	(void)close(fd);
	(void)close(admin);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_login_waits_for_the_disk),
		TEST(a_login_whose_record_is_not_on_disk_fails_for_a_while),
		TEST(a_client_that_goes_while_the_disk_is_waited_for_harms_nobody),
		TEST(a_report_is_confirmed_when_it_is_on_disk),
		TEST(a_change_is_told_when_its_record_is_on_disk),
		TEST(a_change_whose_record_is_not_on_disk_is_not_told_as_done),
		TEST(who_leaves_answers_first_what_is_on_record),
		TEST(who_ends_with_somebody_waiting_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
