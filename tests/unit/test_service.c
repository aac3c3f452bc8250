/* SPDX-License-Identifier: MIT */
/* Two brokers in one process: the old one hands over to the new one through a real socket, as at a reload. */
#include "broker/session.h"
#include "core/inventory.h"
#include "core/exceptions.h"
#include "core/mem.h"
#include "fake_sinks.h"
#include "poll_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <pwd.h>
#include <unistd.h>
#include <cmocka.h>

/* Never waited for in full, unless something is wrong: these tests run under valgrind, too. */
#define PATIENCE_MSECS 20000
#define ALICE "alice@contoso.com"
#define RIGHT "correct horse"
#define TOKEN "token-of-alice"

struct site {
	struct poll_loop *loop;
	struct fake_sinks sinks;
	char dir[64], config[96], socket[96], audit[96], lock[96];
	int listener;
	struct mauth_watch *accepting;
	struct mauth_service_state old, new;
	bool old_started, new_started;
};

static struct site *site;
static bool left, stop;

static void client_gone(void)
{
}

static void has_left(void)
{
	left = true;
}

static void write_config(const char *client_id, const char *more)
{
	const char *user = getpwuid(geteuid())->pw_name;
	FILE *file = fopen(site->config, "w");

	fprintf(file,
		"state_dir = \"%s\"\naudit { path = \"%s\" seal = false }\nauth_user = \"%s\"\nlogin_user = \"%s\"\n"
		"tenant \"contoso\" {\n domains = {\"contoso.com\"}\n tenant_id = \"contoso.onmicrosoft.com\"\n"
		" client_id = \"%s\"\n authority = \"https://127.0.0.1:1\"\n}\n%s",
		site->dir, site->audit, user, user, client_id, more);
	fclose(file);
}

#define ID_1 "9e5f94bc-e8a4-4e73-b8be-63364c29d753"
#define ID_2 "9e5f94bc-e8a4-4e73-b8be-63364c29d754"

static void start(struct mauth_service_state *service, bool *started)
{
	struct mauth_service_settings settings = { site->config, site->socket, site->lock, client_gone, has_left };
	struct mauth_error error;

	assert_int_equal(mauth_service_init(service, &settings, poll_loop_loop(site->loop), &site->sinks.log, &error),
			 MAUTH_OK);
	*started = true;
	mauth_service_start(service);
}

/* The master's part: who connects to the handover listener meets the new broker. */
static void accept_handover(bool readable, bool writable, void *context)
{
	struct mauth_error error;
	int fd = accept(site->listener, NULL, NULL);

	if (fd >= 0)
		(void)mauth_session_new(&site->new, MAUTH_ROLE_HANDOVER, fd, &error);
}

static int setup(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	site = calloc(1, sizeof(*site));
	left = stop = false;
	site->loop = poll_loop_new();
	fake_sinks_init(&site->sinks);
	strcpy(site->dir, "/tmp/modernauth-unit.XXXXXX");
	assert_non_null(mkdtemp(site->dir));
	snprintf(site->config, sizeof(site->config), "%s/modernauth.conf", site->dir);
	snprintf(site->socket, sizeof(site->socket), "%s/s", site->dir);
	snprintf(site->lock, sizeof(site->lock), "%s/broker.lock", site->dir);
	snprintf(site->audit, sizeof(site->audit), "%s/audit.jsonl", site->dir);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", site->socket);
	site->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(site->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(site->listener, 8), 0);
	site->accepting = mauth_watch_add(poll_loop_loop(site->loop), site->listener, accept_handover, NULL);
	mauth_watch_set(poll_loop_loop(site->loop), site->accepting, true, false);
	write_config(ID_1, "");
	start(&site->old, &site->old_started);
	return 0;
}

static void remove_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", site->dir, name);
	(void)unlink(path);
}

static int teardown(void **state)
{
	if (site->new_started)
		mauth_service_deinit(&site->new);
	if (site->old_started)
		mauth_service_deinit(&site->old);
	mauth_watch_remove(poll_loop_loop(site->loop), &site->accepting);
	(void)close(site->listener);
	assert_int_equal(poll_loop_timers(site->loop), 0);
	assert_int_equal(poll_loop_watches(site->loop), 0);
	poll_loop_free(&site->loop);
	remove_file("modernauth.conf");
	remove_file("audit.jsonl");
	remove_file("broker.lock");
	remove_file("modernauth.db");
	remove_file("modernauth.db-wal");
	remove_file("modernauth.db-shm");
	remove_file("modernauth.keys");
	remove_file("config.seen");
	remove_file("s");
	assert_int_equal(rmdir(site->dir), 0);
	assert_null(strstr(site->sinks.lines, TOKEN));
	assert_null(strstr(site->sinks.lines, RIGHT));
	fake_sinks_free(&site->sinks);
	free(site);
	return 0;
}

static void run(unsigned int msecs)
{
	poll_loop_run_until(site->loop, &stop, msecs);
}

static struct mauth_secret *secret(const char *str)
{
	return mauth_secret_new(str, strlen(str));
}

static void warm_alice(struct mauth_service_state *service)
{
	struct mauth_secret *password = secret(RIGHT), *token = secret(TOKEN);
	struct mauth_cache_item item = {
		.tenant = service->config->tenants[0]->key, .upn = ALICE, .password = password, .token = token,
		.expires_in = 3600, .refresh_in = 3000,
	};

	mauth_cache_put(mauth_broker_cache(service->broker), &item);
	mauth_secret_free(&password);
	mauth_secret_free(&token);
}

/* Is alice warm, with her password and no other? */
static bool knows_alice(struct mauth_service_state *service)
{
	struct mauth_cache *cache = mauth_broker_cache(service->broker);
	struct mauth_cache_entry *entry = mauth_cache_find(cache, service->config->tenants[0]->key, ALICE);
	struct mauth_secret *password = secret(RIGHT), *wrong = secret("wrong"), *token;

	if (entry == NULL) {
		mauth_secret_free(&password);
		mauth_secret_free(&wrong);
		return false;
	}
	token = mauth_cache_token(entry);
	assert_string_equal(mauth_secret_expose(token), TOKEN);
	assert_true(mauth_cache_verify(cache, entry, password));
	assert_false(mauth_cache_verify(cache, entry, wrong));
	assert_in_range(mauth_cache_life(cache, entry), 3500, 3600);
	mauth_secret_free(&password);
	mauth_secret_free(&wrong);
	mauth_secret_free(&token);
	return true;
}

/* As at a reload: the new one starts while the old one lives, then the old one is told. */
static void reload(void)
{
	start(&site->new, &site->new_started);
	assert_int_equal(site->new.phase, MAUTH_PHASE_WAITING);
	mauth_service_leave(&site->old);
	assert_false(left);
	poll_loop_run_until(site->loop, &left, PATIENCE_MSECS);
	assert_true(left);
	for (unsigned int i = 0; i < PATIENCE_MSECS / 20 && site->new.phase != MAUTH_PHASE_SERVING; i++)
		run(20);
}

static void state_is_handed_over(void **state)
{
	struct mauth_secret *bad = secret("bad");
	struct mauth_refusal refusal;

	warm_alice(&site->old);
	mauth_shield_refused(mauth_broker_shield(site->old.broker), site->old.config->tenants[0]->key, ALICE, bad,
			     MAUTH_BAD_CREDENTIALS, 50126, true, 5);
	reload();
	assert_int_equal(site->new.phase, MAUTH_PHASE_SERVING);
	assert_true(knows_alice(&site->new));
	assert_true(mauth_shield_remembers(mauth_broker_shield(site->new.broker), site->new.config->tenants[0]->key,
					   ALICE, bad, &refusal));
	assert_int_equal(refusal.status, MAUTH_BAD_CREDENTIALS);
	assert_int_equal(refusal.code, 50126);
	mauth_secret_free(&bad);
}

static void many_tokens_are_handed_over(void **state)
{
	struct mauth_secret *password = secret(RIGHT), *token;
	struct mauth_cache_stats stats;
	char upn[64], *text = malloc(MAUTH_TOKEN_MAX + 1);

	memset(text, 't', MAUTH_TOKEN_MAX);
	token = mauth_secret_new(text, MAUTH_TOKEN_MAX);
	for (unsigned int i = 0; i < 1000; i++) {
		struct mauth_cache_item item = {
			.tenant = site->old.config->tenants[0]->key, .upn = upn, .password = password,
			.token = token, .expires_in = 3600, .refresh_in = 3000,
		};

		snprintf(upn, sizeof(upn), "user%u@contoso.com", i);
		mauth_cache_put(mauth_broker_cache(site->old.broker), &item);
	}
	reload();
	mauth_cache_stats(mauth_broker_cache(site->new.broker), &stats);
	assert_int_equal(stats.entries, 1000);
	mauth_secret_free(&password);
	mauth_secret_free(&token);
	free(text);
}

static void broken_file_leaves_old_configuration(void **state)
{
	warm_alice(&site->old);
	write_config(ID_1, "nonsense = yes\n");
	reload();
	assert_int_equal(site->new.phase, MAUTH_PHASE_SERVING);
	assert_non_null(site->new.config);
	assert_string_equal(site->new.config->tenants[0]->client_id, ID_1);
	assert_true(knows_alice(&site->new));
	assert_non_null(strstr(site->sinks.lines, "continuing with the previous configuration"));
	assert_non_null(strstr(site->sinks.lines, "modernauth.conf:"));
}

static void broken_file_can_be_mended_by_the_next_reload(void **state)
{
	warm_alice(&site->old);
	write_config(ID_1, "nonsense = yes\n");
	reload();
	/* The store has been opened meanwhile, which takes its time: the predecessor's last words may be unread. */
	for (unsigned int i = 0; i < PATIENCE_MSECS / 20 && site->new.sessions != NULL; i++)
		run(20);
	assert_null(site->new.sessions);
	mauth_service_deinit(&site->old);
	mauth_service_deinit(&site->new);
	site->old_started = site->new_started = false;
	write_config(ID_2, "");
	start(&site->new, &site->new_started);
	run(50);
	assert_int_equal(site->new.phase, MAUTH_PHASE_SERVING);
	assert_string_equal(site->new.config->tenants[0]->client_id, ID_2);
}

static void changed_tenant_loses_its_tokens(void **state)
{
	warm_alice(&site->old);
	write_config(ID_2, "");
	reload();
	assert_int_equal(site->new.phase, MAUTH_PHASE_SERVING);
	assert_false(knows_alice(&site->new));
}

static void dead_predecessor_leaves_a_cold_start(void **state)
{
	warm_alice(&site->old);
	start(&site->new, &site->new_started);
	run(100);
	assert_int_equal(site->new.phase, MAUTH_PHASE_WAITING);
	mauth_service_deinit(&site->old);
	site->old_started = false;
	for (unsigned int i = 0; i < PATIENCE_MSECS / 20 && site->new.phase != MAUTH_PHASE_SERVING; i++)
		run(20);
	assert_int_equal(site->new.phase, MAUTH_PHASE_SERVING);
	assert_false(knows_alice(&site->new));
}

static void only_one_is_alone(void **state)
{
	start(&site->new, &site->new_started);
	run(200);
	assert_int_equal(site->old.phase, MAUTH_PHASE_SERVING);
	assert_int_equal(site->new.phase, MAUTH_PHASE_WAITING);
}

static void without_successor_it_leaves_anyway(void **state)
{
	(void)unlink(site->socket);
	mauth_service_leave(&site->old);
	poll_loop_run_until(site->loop, &left, PATIENCE_MSECS);
	assert_true(left);
	assert_non_null(strstr(site->sinks.lines, "there is no successor"));
}

/* --- sessions */

static char heard[65536];

/* Adds what the broker has said to the client at fd to what it said before. */
static void hear(int fd)
{
	size_t size = strlen(heard);
	ssize_t got;

	run(20);
	while ((got = recv(fd, heard + size, sizeof(heard) - size - 1, MSG_DONTWAIT)) > 0)
		size += (size_t)got;
	heard[size] = '\0';
}

/* Waits until the broker has said needle. */
static void expect(int fd, const char *needle)
{
	for (unsigned int i = 0; i < PATIENCE_MSECS / 20 && strstr(heard, needle) == NULL; i++)
		hear(fd);
	if (strstr(heard, needle) == NULL)
		fail_msg("no \"%s\" in \"%s\"", needle, heard);
}

static int connect_as(struct mauth_service_state *service, enum mauth_role role)
{
	struct mauth_error error;
	int fds[2];

	heard[0] = '\0';
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(mauth_session_new(service, role, fds[0], &error), MAUTH_OK);
	return fds[1];
}

static void say_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

#define HELLO "VERSION\tmodernauth\t1\t0\nCLIENT\tname=test\tpid=1\n"
#define LOGIN_ALICE "LOGIN\t7\tuser=" ALICE "\tpass=" RIGHT "\tservice=imap\n"

static bool is_closed(int fd, unsigned int msecs)
{
	char c;

	for (unsigned int i = 0; i <= msecs / 20; i++) {
		ssize_t got;

		run(20);
		while ((got = recv(fd, &c, 1, MSG_DONTWAIT)) > 0)
			;
		if (got == 0)
			return true;
	}
	return false;
}

static void warm_login_is_answered(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_AUTH);

	warm_alice(&site->old);
	say_text(fd, HELLO LOGIN_ALICE);
	expect(fd, "READY\trole=auth\n");
	expect(fd, "OK\t7\thost=outlook.office365.com\tport=993\ttls=implicit\tmailbox=" ALICE "\ttoken="
			       TOKEN "\t");
	(void)close(fd);
}

static void leaving_broker_sends_its_clients_on(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_AUTH);

	/* nobody listens at the authority, so this one is open for a while */
	say_text(fd, HELLO "LOGIN\t8\tuser=bob@contoso.com\tpass=x\tservice=imap\n");
	run(20);
	reload();
	expect(fd, "BYE\n");
	assert_null(strstr(heard, "\t8\t"));
	(void)close(fd);
}

static void requests_wait_for_the_handover(void **state)
{
	int fd;

	warm_alice(&site->old);
	start(&site->new, &site->new_started);
	fd = connect_as(&site->new, MAUTH_ROLE_AUTH);
	say_text(fd, HELLO LOGIN_ALICE);
	hear(fd);
	assert_null(strstr(heard, "OK\t7"));
	mauth_service_leave(&site->old);
	poll_loop_run_until(site->loop, &left, PATIENCE_MSECS);
	expect(fd, "OK\t7\t");
	(void)close(fd);
}

/* An inventory of 501 people, all alike. */
static bool everybody(struct mauth_service_state *service, const struct mauth_exception_new *what,
		      mauth_affected_row_fn *row, void *context, struct mauth_affected_counts *counts_r)
{
	assert_ptr_equal(service, &site->old);
	assert_int_equal(what->services, 1u << MAUTH_SERVICE_POP3);
	assert_string_equal(what->user, "*@contoso.com");
	for (unsigned int i = 0; i < 501; i++)
		row(&(struct mauth_affected){ .user = ALICE, .client = "a\tb", .service = MAUTH_SERVICE_POP3, .last_seen = 7 },
		    context);
	*counts_r = (struct mauth_affected_counts){ .users = 400, .clients = 450 };
	return true;
}

#define DRY_RUN "\treason=x\tuser=*@Contoso.com\tcommit=no\n"

static void who_is_affected_is_told_first(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_ADMIN);
	time_t tomorrow = time(NULL) + 86400;
	char line[256], day[16];
	struct tm tm;

	(void)strftime(day, sizeof(day), "%Y-%m-%d", localtime_r(&tomorrow, &tm));
	snprintf(line, sizeof(line), "ALLOW\t8\tprotocol=pop3\tuntil=%s" DRY_RUN, day);
	say_text(fd, HELLO "ALLOW\t7\tprotocol=pop3\tuntil=2001-01-31" DRY_RUN);
	expect(fd, "FAIL\t7\tcode=config\treason=the end of the exception lies in the past\t");
	/* Nobody keeps an inventory, */
	site->old.affected = NULL;
	say_text(fd, line);
	expect(fd, "OK\t8\trows=0\tshown=0\tinventory=no\tusers=0\tclients=0\taction=upgrade\tlast_day=");
	expect(fd, "\ttenant_wide=yes\ttenants_count=1\ttenants=contoso\n");
	/* somebody does. */
	site->old.affected = everybody;
	line[6] = '9';
	say_text(fd, line);
	expect(fd, "ROW\t9\tuser=" ALICE "\tservice=pop3\tclient=a\001tb\tlast_seen=7\n");
	expect(fd, "OK\t9\trows=501\tshown=500\tinventory=yes\tusers=400\tclients=450\t");
	/* Nothing of this has allowed anything. */
	say_text(fd, "POLICY\t10\n");
	expect(fd, "OK\t10\trows=0\tstore=open\n");
	(void)close(fd);
}

static void roles_have_their_own_verbs(void **state)
{
	static const struct {
		enum mauth_role role;
		const char *line;
	} foreign[] = {
		{ MAUTH_ROLE_LOGIN, LOGIN_ALICE },
		{ MAUTH_ROLE_LOGIN, "STATUS\t7\n" },
		{ MAUTH_ROLE_ADMIN, LOGIN_ALICE },
		{ MAUTH_ROLE_AUTH, "UPSTREAM\t7\tuser=" ALICE "\tservice=imap\tresult=refused\n" },
		{ MAUTH_ROLE_AUTH, "TAKE\t7\twhat=end\n" },
		{ MAUTH_ROLE_HANDOVER, LOGIN_ALICE },
		/* the one who is alone has nobody to take over from */
		{ MAUTH_ROLE_HANDOVER, "TAKE\t7\twhat=end\n" },
	};

	warm_alice(&site->old);
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		int fd = connect_as(&site->old, foreign[i].role);

		say_text(fd, HELLO);
		say_text(fd, foreign[i].line);
			expect(fd, "BAD\t");
		assert_null(strstr(heard, "OK\t"));
		assert_null(strstr(heard, "DONE\t"));
		(void)close(fd);
		run(10);
	}
}

static void nonsense_ends_the_connection(void **state)
{
	static const char *const nonsense[] = {
		"GET / HTTP/1.0\n", "VERSION\tother\t1\t0\n", "VERSION\tmodernauth\t2\t0\n", "\n", "\t\t\t\n",
		"VERSION\tmodernauth\t1\t0\nLOGIN\t1\tuser=a\n",
	};

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		int fd = connect_as(&site->old, MAUTH_ROLE_AUTH);

		say_text(fd, nonsense[i]);
		assert_true(is_closed(fd, PATIENCE_MSECS));
		(void)close(fd);
	}
}

static void long_line_ends_the_connection(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_AUTH);
	char *line = malloc(MAUTH_LINE_MAX + 2);

	memset(line, 'x', MAUTH_LINE_MAX + 1);
	line[MAUTH_LINE_MAX + 1] = '\0';
	say_text(fd, HELLO);
	say_text(fd, line);
	assert_true(is_closed(fd, PATIENCE_MSECS));
	(void)close(fd);
	free(line);
}

static void malformed_requests_are_named_then_ended(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_AUTH);

	say_text(fd, HELLO "LOGIN\t1\tuser=a\nLOGIN\tx\nLOGIN\t0\tuser=a\tpass=b\tservice=imap\n");
	expect(fd, "BAD\t0\t");
	assert_false(is_closed(fd, 40));
	for (unsigned int i = 0; i < 20; i++)
		say_text(fd, "WHAT\t1\n");
	assert_true(is_closed(fd, PATIENCE_MSECS));
	(void)close(fd);
}

static void other_configuration_is_refused(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_AUTH);

	warm_alice(&site->old);
	say_text(fd, "VERSION\tmodernauth\t1\t0\nCLIENT\tname=auth\tpid=1\tconfig=/etc/other.conf\n" LOGIN_ALICE);
	expect(fd, "FAIL\t7\tcode=config");
	(void)close(fd);
}

static void same_id_twice_is_malformed(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_AUTH);

	say_text(fd, HELLO "LOGIN\t9\tuser=bob@contoso.com\tpass=x\tservice=imap\n"
		 "LOGIN\t9\tuser=bob@contoso.com\tpass=y\tservice=imap\n");
	expect(fd, "BAD\t0\t");
	(void)close(fd);
}

static void gone_client_cancels_its_logins(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_AUTH);
	struct mauth_broker_stats stats;

	say_text(fd, HELLO "LOGIN\t9\tuser=bob@contoso.com\tpass=x\tservice=imap\n");
	run(10);
	(void)close(fd);
	run(50);
	mauth_broker_stats(site->old.broker, &stats);
	assert_int_equal(stats.open, 0);
	assert_int_equal(stats.logins, 1);
}

static void status_names_what_is_cached(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_ADMIN);

	warm_alice(&site->old);
	say_text(fd, HELLO "STATUS\t3\n");
	expect(fd, "OK\t3\tlogins=0\t");
	expect(fd, "\tcached_identities=1\t");
	(void)close(fd);
}

static void lookup_gives_no_token(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_AUTH);

	warm_alice(&site->old);
	say_text(fd, HELLO "LOOKUP\t4\tuser=" ALICE "\tservice=imap\nLOOKUP\t5\tuser=a@elsewhere.org\tservice=imap\n");
	expect(fd, "OK\t4\n");
	expect(fd, "FAIL\t5\tcode=not_ours");
	assert_null(strstr(heard, TOKEN));
	(void)close(fd);
}

#define REPORT(id) "UPSTREAM\t" id "\tuser=" ALICE "\tservice=imap\tresult=accepted\n"

/* Records in the audit file, without the one of the service's start; 0 if there is none. */
static unsigned int records(void)
{
	FILE *file = fopen(site->audit, "r");
	unsigned int lines = 0;
	char line[4096];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		lines += strstr(line, "service-started") == NULL;
	if (file != NULL)
		fclose(file);
	return lines;
}

static void reports_are_on_record_before_they_are_confirmed(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_LOGIN);

	say_text(fd, HELLO REPORT("1") REPORT("2") "UPSTREAM\t3\tuser=incomplete\n" REPORT("4"));
	expect(fd, "DONE\t4\n");
	assert_non_null(strstr(heard, "BAD\t0\t"));
	assert_non_null(strstr(heard, "DONE\t1\nDONE\t2\nDONE\t4\n"));
	assert_int_equal(records(), 3);
	/* Who reports and goes at once has reported. */
	say_text(fd, REPORT("5"));
	(void)close(fd);
	for (unsigned int i = 0; i < PATIENCE_MSECS / 20 && records() < 4; i++)
		run(20);
	assert_int_equal(records(), 4);
}

static void more_reports_than_are_written_together_are_confirmed_too(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_LOGIN);
	struct mauth_buf text = { 0 };
	char last[32];

	mauth_buf_puts(&text, HELLO);
	for (unsigned int id = 1; id <= 2 * MAUTH_REPORTS_TOGETHER + 1; id++)
		mauth_buf_printf(&text, "UPSTREAM\t%u\tuser=" ALICE "\tservice=imap\tresult=accepted\n", id);
	say_text(fd, text.data);
	snprintf(last, sizeof(last), "DONE\t%u\n", 2 * MAUTH_REPORTS_TOGETHER + 1);
	expect(fd, last);
	assert_int_equal(records(), 2 * MAUTH_REPORTS_TOGETHER + 1);
	mauth_buf_free(&text);
	(void)close(fd);
}

static void reports_that_cannot_be_recorded_fail_each(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_LOGIN);

	assert_int_equal(unlink(site->audit), 0);
	assert_int_equal(mkdir(site->audit, 0700), 0);
	/* Once a second it is looked at whether the file is still the one that is open. */
	run(1100);
	say_text(fd, HELLO REPORT("1") REPORT("2"));
	expect(fd, "FAIL\t1\tcode=audit\n");
	expect(fd, "FAIL\t2\tcode=audit\n");
	assert_null(strstr(heard, "DONE"));
	(void)rmdir(site->audit);
	say_text(fd, REPORT("3"));
	expect(fd, "DONE\t3\n");
	assert_int_equal(records(), 1);
	(void)close(fd);
}

static bool audit_has(const char *text)
{
	FILE *file = fopen(site->audit, "r");
	char line[4096];
	bool found = false;

	while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL)
		found = strstr(line, text) != NULL;
	if (file != NULL)
		fclose(file);
	return found;
}

static void start_that_cannot_be_recorded_is_recorded_later(void **state)
{
	assert_true(audit_has("service-started"));
	mauth_service_deinit(&site->old);
	site->old_started = false;
	assert_int_equal(unlink(site->audit), 0);
	assert_int_equal(mkdir(site->audit, 0700), 0);
	start(&site->new, &site->new_started);
	/* Not at once, and not at the first retry. */
	run(2500);
	assert_int_equal(rmdir(site->audit), 0);
	for (unsigned int i = 0; i < PATIENCE_MSECS / 20 && !audit_has("service-started"); i++)
		run(20);
	assert_true(audit_has("service-started"));
	assert_false(audit_has("configuration-changed"));
}

static void other_configuration_is_recorded_once(void **state)
{
	for (unsigned int i = 0; i < 2; i++) {
		mauth_service_deinit(&site->old);
		write_config(ID_2, "");
		start(&site->old, &site->old_started);
		run(20);
		assert_true(audit_has("\"changes\":[\"tenant contoso: changed\"],\"changes_count\":1"));
	}
	assert_int_equal(records(), 1);
}

/* --- reports */

#define MANY 20000u

static void see_many(struct mauth_service_state *service)
{
	struct mauth_inventory *inventory = mauth_broker_inventory(service->broker);
	char upn[64];

	for (unsigned int i = 0; i < MANY; i++) {
		const struct mauth_attempt_record record = {
			.started_usecs = mauth_wall_usecs(poll_loop_loop(site->loop)), .upn = upn, .tenant_name = "contoso",
			.client_ip = "192.0.2.7", .mechanism = "PLAIN", .decision = "upgrade",
		};

		snprintf(upn, sizeof(upn), "user%u@contoso.com", i);
		mauth_inventory_note(inventory, &record);
	}
}

/* A client that asks for more than it may leave unread and reads nothing for a while: nothing piles up, and nothing is lost. */
static void report_goes_as_its_client_reads(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_ADMIN);
	unsigned int rows = 0, ends = 0, idle = 0;
	char last = '\n';

	see_many(&site->old);
	say_text(fd, HELLO "REPORT\t7\nSTATUS\t8\n");
	run(200);
	assert_in_range(site->old.sessions->out.size, 64 * 1024, 1024 * 1024);
	while (ends < 2 && idle < PATIENCE_MSECS / 20) {
		ssize_t got = recv(fd, heard, sizeof(heard) - 1, MSG_DONTWAIT);

		idle = got > 0 ? 0 : idle + 1;
		if (got <= 0) {
			run(20);
			continue;
		}
		heard[got] = '\0';
		for (ssize_t i = 0; i < got; i++) {
			rows += heard[i] == 'R' && last == '\n';
			ends += heard[i] == 'O' && last == '\n';
			last = heard[i];
		}
	}
	/* One of them is READY. */
	assert_int_equal(rows, MANY + 1);
	assert_int_equal(ends, 2);
	(void)close(fd);
	run(20);
}

static void report_ends_with_its_session(void **state)
{
	int fd = connect_as(&site->old, MAUTH_ROLE_ADMIN);

	see_many(&site->old);
	say_text(fd, HELLO "REPORT\t7\n");
	run(100);
	(void)close(fd);
	run(100);
	assert_null(site->old.sessions);
	fd = connect_as(&site->old, MAUTH_ROLE_ADMIN);
	say_text(fd, HELLO "REPORT\t7\n");
	run(100);
	reload();
	(void)close(fd);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(state_is_handed_over),
		CASE(many_tokens_are_handed_over),
		CASE(broken_file_leaves_old_configuration),
		CASE(broken_file_can_be_mended_by_the_next_reload),
		CASE(changed_tenant_loses_its_tokens),
		CASE(dead_predecessor_leaves_a_cold_start),
		CASE(only_one_is_alone),
		CASE(without_successor_it_leaves_anyway),
		CASE(warm_login_is_answered),
		CASE(leaving_broker_sends_its_clients_on),
		CASE(requests_wait_for_the_handover),
		CASE(who_is_affected_is_told_first),
		CASE(roles_have_their_own_verbs),
		CASE(nonsense_ends_the_connection),
		CASE(long_line_ends_the_connection),
		CASE(malformed_requests_are_named_then_ended),
		CASE(other_configuration_is_refused),
		CASE(same_id_twice_is_malformed),
		CASE(gone_client_cancels_its_logins),
		CASE(status_names_what_is_cached),
		CASE(lookup_gives_no_token),
		CASE(reports_are_on_record_before_they_are_confirmed),
		CASE(more_reports_than_are_written_together_are_confirmed_too),
		CASE(reports_that_cannot_be_recorded_fail_each),
		CASE(start_that_cannot_be_recorded_is_recorded_later),
		CASE(other_configuration_is_recorded_once),
		CASE(report_goes_as_its_client_reads),
		CASE(report_ends_with_its_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
