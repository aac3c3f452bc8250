/* SPDX-License-Identifier: MIT */
/* A diagnosis in a service where nothing can be reached: every check has its turn, whoever goes away meanwhile. */
#include "broker/session.h"
#include "core/mem.h"
#include "fake_sinks.h"
#include "poll_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <pwd.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MSECS 20000
#define HELLO "VERSION\tmodernauth\t1\t0\nCLIENT\tname=test\tpid=1\n"
#define PASSWORD "correct horse"

static struct poll_loop *loop;
static struct fake_sinks sinks;
static struct mauth_service_state service;
static char directory[64], config[96], socket_path[96], audit[96], lock[96];
static char heard[65536];
static bool stop, has_left;
static int silent = -1;                  /* takes connections and says nothing */
static unsigned int authority_port = 1;  /* nobody listens there */

static void client_gone(void)
{
}

static void left(void)
{
	has_left = true;
}

static int setup(void **state)
{
	const struct mauth_service_settings settings = { config, socket_path, lock, client_gone, left };
	const char *user = getpwuid(geteuid())->pw_name;
	struct mauth_error error;
	FILE *file;

	loop = poll_loop_new();
	fake_sinks_init(&sinks);
	stop = has_left = false;
	heard[0] = '\0';
	strcpy(directory, "/tmp/modernauth-unit.XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(config, sizeof(config), "%s/modernauth.conf", directory);
	snprintf(socket_path, sizeof(socket_path), "%s/s", directory);
	snprintf(audit, sizeof(audit), "%s/audit.jsonl", directory);
	snprintf(lock, sizeof(lock), "%s/lock", directory);
	file = fopen(config, "w");
	fprintf(file, "state_dir = \"%s\"\naudit { path = \"%s\" seal = false }\nauth_user = \"%s\"\nlogin_user = \"%s\"\n",
		directory, audit, user, user);
	for (const char *const *name = (const char *const[]){ "contoso", "fabrikam", NULL }; *name != NULL; name++)
		fprintf(file,
			"tenant \"%s\" {\n domains = {\"%s.com\"}\n tenant_id = \"%s.com\"\n authority = "
			"\"https://127.0.0.1:%u\"\n"
			" client_id = \"9e5f94bc-e8a4-4e73-b8be-63364c29d753\"\n imap = \"imaps://127.0.0.1:1\"\n"
			" pop3 = \"pop3s://127.0.0.1:1\"\n submission = \"smtp://127.0.0.1:1\"\n}\n",
			*name, *name, *name, authority_port);
	fclose(file);
	assert_int_equal(mauth_service_init(&service, &settings, poll_loop_loop(loop), &sinks.log, &error), MAUTH_OK);
	mauth_service_start(&service);
	return 0;
}

/* The same with an authority that never answers. */
static int setup_silent(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(addr);

	silent = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(silent, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(silent, 8), 0);
	assert_int_equal(getsockname(silent, (struct sockaddr *)&addr, &size), 0);
	authority_port = ntohs(addr.sin_port);
	return setup(state);
}

static int teardown(void **state)
{
	static const char *const names[] = { "modernauth.conf", "audit.jsonl", "lock" };
	char path[128];

	mauth_service_deinit(&service);
	if (silent != -1)
		(void)close(silent);
	silent = -1;
	authority_port = 1;
	assert_int_equal(poll_loop_timers(loop), 0);
	assert_int_equal(poll_loop_watches(loop), 0);
	poll_loop_free(&loop);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(directory);
	assert_null(strstr(sinks.lines, PASSWORD));
	fake_sinks_free(&sinks);
	return 0;
}

static void run(unsigned int msecs)
{
	poll_loop_run_until(loop, &stop, msecs);
}

static int ask(const char *request)
{
	struct mauth_error error;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(mauth_session_new(&service, MAUTH_ROLE_ADMIN, fds[0], &error), MAUTH_OK);
	assert_int_equal(send(fds[1], HELLO, strlen(HELLO), MSG_NOSIGNAL), (ssize_t)strlen(HELLO));
	assert_int_equal(send(fds[1], request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	return fds[1];
}

/* Until the broker has said needle. */
static void hear(int fd, const char *needle)
{
	size_t size = strlen(heard);
	ssize_t got;

	for (unsigned int i = 0; i < PATIENCE_MSECS / 5 && strstr(heard, needle) == NULL; i++) {
		run(5);
		while ((got = recv(fd, heard + size, sizeof(heard) - size - 1, MSG_DONTWAIT)) > 0)
			size += (size_t)got;
		heard[size] = '\0';
	}
	if (strstr(heard, needle) == NULL)
		fail_msg("no \"%s\" in \"%s\"", needle, heard);
}

static unsigned int count(const char *needle)
{
	unsigned int found = 0;

	for (const char *at = strstr(heard, needle); at != NULL; at = strstr(at + 1, needle))
		found++;
	return found;
}

static void what_depends_on_what_fails_is_not_tested(void **state)
{
	int fd = ask("DIAGNOSE\t7\ttenant=contoso\n");

	hear(fd, "OK\t7\trows=");
	assert_int_equal(count("ROW\t7\tcheck=authority\ttenant=contoso\tresult=fail"), 1);
	assert_int_equal(count("check=mail host\ttenant=contoso\tsubject="), 3);
	assert_int_equal(count("check=protocol\ttenant=contoso\tsubject="), 3);
	assert_int_equal(count("check=application\ttenant=contoso\tresult=skip"), 1);
	assert_int_equal(count("check=realm\ttenant=contoso\tresult=skip"), 1);
	assert_int_equal(count("check=token\ttenant=contoso\tresult=skip"), 1);
	assert_int_equal(count("check=mailbox\ttenant=contoso\tresult=skip"), 1);
	assert_int_equal(count("check=configuration\tresult=pass"), 1);
	assert_null(strstr(heard, "fabrikam"));
	(void)close(fd);
}

static void every_tenant_has_its_turn(void **state)
{
	int fd = ask("DIAGNOSE\t7\n");

	hear(fd, "OK\t7\trows=");
	assert_int_equal(count("check=authority\ttenant=contoso\tresult=fail"), 1);
	assert_int_equal(count("check=authority\ttenant=fabrikam\tresult=fail"), 1);
	assert_int_equal(count("check=files\tresult="), 1);
	(void)close(fd);
}

static void a_user_is_of_one_tenant(void **state)
{
	int fd = ask("DIAGNOSE\t7\tuser=bob@fabrikam.com\tpassword=" PASSWORD "\n");

	hear(fd, "OK\t7\trows=");
	assert_int_equal(count("check=authority\ttenant=fabrikam\tresult=fail"), 1);
	assert_int_equal(count("check=mailbox\ttenant=fabrikam\tsubject="), 3);
	assert_null(strstr(heard, "contoso"));
	assert_null(strstr(heard, PASSWORD));
	(void)close(fd);
}

static void nonsense_is_refused(void **state)
{
	int fd = ask("DIAGNOSE\t7\ttenant=nobody\nDIAGNOSE\t8\tuser=x@elsewhere.example\n");

	hear(fd, "FAIL\t8\tcode=user_unknown");
	assert_int_equal(count("FAIL\t7\tcode=config\treason=modernauth.conf has no tenant \"nobody\""), 1);
	(void)close(fd);
}

static void whoever_asked_may_go_at_any_time(void **state)
{
	static const char *const stages[] = {
		"NOTE\t7\tcheck=configuration", "NOTE\t7\tcheck=authority", "check=authority\ttenant=contoso\tresult",
		"NOTE\t7\tcheck=mail host", "check=mail host\ttenant=contoso\tsubject=pop3", "NOTE\t7\tcheck=protocol",
		"NOTE\t7\tcheck=authority\ttenant=fabrikam",
	};

	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		int fd = ask("DIAGNOSE\t7\n");

		heard[0] = '\0';
		hear(fd, stages[i]);
		(void)close(fd);
		run(20);
	}
}

static void several_at_once(void **state)
{
	int first = ask("DIAGNOSE\t7\ttenant=contoso\nDIAGNOSE\t8\ttenant=contoso\n");

	hear(first, "OK\t7\trows=");
	hear(first, "OK\t8\trows=");
	(void)close(first);
}

static void a_broker_that_leaves_drops_it(void **state)
{
	int fd = ask("DIAGNOSE\t7\n");

	hear(fd, "NOTE\t7\tcheck=authority");
	mauth_service_leave(&service);
	hear(fd, "BYE\n");
	assert_null(strstr(heard, "OK\t7"));
	for (unsigned int i = 0; i < PATIENCE_MSECS / 5 && !has_left; i++)
		run(5);
	assert_true(has_left);
	(void)close(fd);
}

static void a_broker_that_ends_drops_it(void **state)
{
	int fd = ask("DIAGNOSE\t7\n");

	hear(fd, "NOTE\t7\tcheck=authority");
	(void)close(fd);
	/* teardown() ends it */
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_depends_on_what_fails_is_not_tested),
		CASE(every_tenant_has_its_turn),
		CASE(a_user_is_of_one_tenant),
		CASE(nonsense_is_refused),
		CASE(whoever_asked_may_go_at_any_time),
		CASE(several_at_once),
		cmocka_unit_test_setup_teardown(a_broker_that_leaves_drops_it, setup_silent, teardown),
		cmocka_unit_test_setup_teardown(a_broker_that_ends_drops_it, setup_silent, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
