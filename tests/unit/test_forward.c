/* SPDX-License-Identifier: MIT */
/* Records on their way to collectors: real sockets, a real loop; what a login sees of it, which is nothing. */
#include "core/record.h"
#include "fake_sinks.h"
#include "net/forward.h"
#include "poll_loop.h"
#include "store/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MSECS 20000

struct fixture {
	struct poll_loop *loop;
	struct fake_sinks sinks;
	struct mauth_worker_thread *thread;
	struct mauth_forward *forward;
	const struct mauth_audit_sink *sink;
	char directory[64], path[96];
	struct mauth_buf got;                /* by the collector, datagrams end in "\n" */
	int collector, session;
};

static int set_up(void **state)
{
	struct fixture *f = mauth_new(sizeof(*f));

	fake_sinks_init(&f->sinks);
	f->loop = poll_loop_new();
	f->thread = mauth_worker_thread_new(poll_loop_loop(f->loop), &f->sinks.log);
	f->forward = mauth_forward_new(&f->sinks.audit, poll_loop_loop(f->loop), &f->sinks.log, mauth_worker_thread_worker(f->thread), "front");
	f->sink = mauth_forward_sink(f->forward);
	snprintf(f->directory, sizeof(f->directory), "/tmp/test-forward-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/log", f->directory);
	f->collector = f->session = -1;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	unsigned int left;

	mauth_forward_free(&f->forward);
	mauth_worker_thread_free(&f->thread);
	left = poll_loop_timers(f->loop) + poll_loop_watches(f->loop);
	poll_loop_free(&f->loop);
	fake_sinks_free(&f->sinks);
	mauth_buf_free(&f->got);
	if (f->collector >= 0)
		close(f->collector);
	if (f->session >= 0)
		close(f->session);
	(void)unlink(f->path);
	(void)rmdir(f->directory);
	free(f);
	return left == 0 ? 0 : -1;
}

/* -- collectors -- */

static void listen_unix(struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
	f->collector = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(f->collector, (struct sockaddr *)&address, sizeof(address)), 0);
}

static unsigned int listen_inet(struct fixture *f, int type, unsigned int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };
	socklen_t size = sizeof(address);
	int on = 1;

	f->collector = socket(AF_INET, type | SOCK_NONBLOCK, 0);
	(void)setsockopt(f->collector, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(f->collector, (struct sockaddr *)&address, sizeof(address)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(f->collector, 5), 0);
	assert_int_equal(getsockname(f->collector, (struct sockaddr *)&address, &size), 0);
	return ntohs(address.sin_port);
}

static void receive(struct fixture *f, int fd, bool datagrams)
{
	static char data[262144];
	ssize_t got;

	while ((got = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		mauth_buf_append(&f->got, data, (size_t)got);
		if (datagrams)
			mauth_buf_putc(&f->got, '\n');
	}
}

static void run(struct fixture *f, unsigned int msecs)
{
	bool never = false;

	(void)poll_loop_run_until(f->loop, &never, msecs);
}

/* strstr() again and again measures the whole text each time under ASan. */
static unsigned int count(const char *text, const char *what)
{
	size_t size = strlen(what);
	unsigned int n = 0;

	for (; text != NULL && (text = strchrnul(text, *what)) != NULL && *text != '\0'; text++)
		n += strncmp(text, what, size) == 0;
	return n;
}

/* Runs until the collector has what, that often. Each octet is looked at once. */
static void wait_for(struct fixture *f, bool stream, const char *what, unsigned int times)
{
	size_t seen = 0, size = strlen(what);
	unsigned int n = 0;

	for (unsigned int i = 0; i < PATIENCE_MSECS / 10; i++) {
		if (stream && f->session < 0)
			f->session = accept(f->collector, NULL, NULL);
		if (!stream || f->session >= 0)
			receive(f, stream ? f->session : f->collector, !stream);
		for (; seen + size <= f->got.size; seen++)
			n += f->got.data[seen] == *what && memcmp(f->got.data + seen, what, size) == 0;
		if (n >= times)
			return;
		run(f, 10);
	}
	fail_msg("waited in vain for %u times %s; log: %s", times, what, f->sinks.lines);
}

static void wait_log(struct fixture *f, const char *what)
{
	for (unsigned int i = 0; i < PATIENCE_MSECS / 10; i++) {
		if (f->sinks.lines != NULL && strstr(f->sinks.lines, what) != NULL)
			return;
		run(f, 10);
	}
	fail_msg("waited in vain for \"%s\" in: %s", what, f->sinks.lines);
}

/* -- records -- */

static void record(struct fixture *f, unsigned int number)
{
	char user[32];
	struct mauth_attempt_record attempt = { .started_usecs = INT64_C(1795326540000042), .session = "s", .user = user, .decision = "upgrade",
						.service = MAUTH_SERVICE_IMAP, .status = MAUTH_OK };
	struct mauth_buf line = { 0 };

	snprintf(user, sizeof(user), "u%05u]", number);
	mauth_record_attempt(&line, &attempt);
	assert_int_equal(f->sink->append(f->sink->context, line.data, line.size, NULL), MAUTH_OK);
	mauth_buf_free(&line);
}

static void to(struct fixture *f, enum mauth_transport transport, const char *host, unsigned int port)
{
	mauth_forward_syslog(f->forward, &(struct mauth_forward_target){ .transport = transport, .host = host, .port = port },
			     MAUTH_FORMAT_SYSLOG);
}

/* -- tests -- */

static void a_socket_of_this_machine_gets_a_datagram_for_each_record(void **state)
{
	struct fixture *f = *state;

	listen_unix(f);
	to(f, MAUTH_TRANSPORT_UNIX, f->path, 0);
	for (unsigned int i = 0; i < 500; i++)
		record(f, i);
	wait_for(f, false, "<86>1 ", 500);
	assert_int_equal(count(f->got.data, "<86>1 "), 500);
	assert_non_null(strstr(f->got.data, " front dovecot-modernauth "));
	assert_non_null(strstr(f->got.data, "user.name=\"u00499\\]\""));
	assert_int_equal(f->sinks.records_count, 500);
	assert_string_equal(f->sinks.lines, "");
}

static void udp_has_no_frame(void **state)
{
	struct fixture *f = *state;

	to(f, MAUTH_TRANSPORT_UDP, "127.0.0.1", listen_inet(f, SOCK_DGRAM, 0));
	record(f, 1);
	wait_for(f, false, "<86>1 ", 1);
	assert_memory_equal(f->got.data, "<86>1 2026-11-22T05:49:00.000042Z front ", 40);
}

/* Each frame is "SIZE MESSAGE". */
static unsigned int count_frames(const struct mauth_buf *got)
{
	const char *at = got->data, *end = got->data + got->size;
	unsigned int n = 0;

	while (at < end) {
		char *message;
		unsigned long size = strtoul(at, &message, 10);

		if (*message != ' ' || message + 1 + size > end)
			break;
		assert_memory_equal(message + 1, "<86>1 ", 6);
		at = message + 1 + size;
		n++;
	}
	return n;
}

static void tcp_counts_octets(void **state)
{
	struct fixture *f = *state;

	to(f, MAUTH_TRANSPORT_TCP, "127.0.0.1", listen_inet(f, SOCK_STREAM, 0));
	for (unsigned int i = 0; i < 1500; i++)
		record(f, i);
	wait_for(f, true, "<86>1 ", 1500);
	run(f, 20);
	receive(f, f->session, false);
	assert_int_equal(count_frames(&f->got), 1500);
}

static void a_name_is_resolved_beside_the_loop(void **state)
{
	struct fixture *f = *state;

	to(f, MAUTH_TRANSPORT_TCP, "localhost", listen_inet(f, SOCK_STREAM, 0));
	record(f, 1);
	wait_for(f, true, "<86>1 ", 1);
}

static void a_name_that_nobody_knows_is_said_and_tried_again(void **state)
{
	struct fixture *f = *state;

	to(f, MAUTH_TRANSPORT_UDP, "no-such-host.invalid", 514);
	record(f, 1);
	wait_log(f, "warning syslog udp:no-such-host.invalid:514: ");
	assert_int_equal(count(f->sinks.lines, "records wait"), 1);
	/* What is still there at the end is counted. */
	mauth_forward_free(&f->forward);
	assert_non_null(strstr(f->sinks.lines, "1 records were not forwarded"));
	assert_non_null(strstr(f->sinks.records, "\"action\":\"forwarding-lost\""));
	assert_int_equal(f->sinks.records_count, 2);
}

static void records_wait_for_a_collector_that_comes_later(void **state)
{
	struct fixture *f = *state;
	unsigned int port = listen_inet(f, SOCK_STREAM, 0);

	close(f->collector);
	f->collector = -1;
	to(f, MAUTH_TRANSPORT_TCP, "127.0.0.1", port);
	for (unsigned int i = 0; i < 100; i++)
		record(f, i);
	wait_log(f, "Connection refused; records wait");
	(void)listen_inet(f, SOCK_STREAM, port);
	wait_for(f, true, "<86>1 ", 100);
	wait_log(f, "it takes records again");
	assert_int_equal(count(f->sinks.lines, "\n"), 2);
}

static void a_collector_that_was_restarted_gets_whole_frames(void **state)
{
	struct fixture *f = *state;
	unsigned int port = listen_inet(f, SOCK_STREAM, 0);

	to(f, MAUTH_TRANSPORT_TCP, "127.0.0.1", port);
	record(f, 1);
	wait_for(f, true, "u00001", 1);
	close(f->session);
	close(f->collector);
	f->session = f->collector = -1;
	wait_log(f, "records wait");
	mauth_buf_clear(&f->got);
	record(f, 2);
	(void)listen_inet(f, SOCK_STREAM, port);
	wait_for(f, true, "u00002", 1);
	run(f, 20);
	receive(f, f->session, false);
	assert_int_equal(count_frames(&f->got), 1);
}

/* One that remembers nothing: the other needs ever longer for that. */
static enum mauth_status take_and_forget(void *context, const char *lines, size_t size, struct mauth_error *error_r)
{
	(void)lines;
	(void)size;
	(void)error_r;
	++*(unsigned int *)context;
	return MAUTH_OK;
}

static void a_collector_that_does_not_read_costs_nobody_anything(void **state)
{
	struct fixture *f = *state;
	unsigned int taken = 0;
	const struct mauth_audit_sink file = { .append = take_and_forget, .context = &taken };
	struct mauth_buf big = { 0 };
	unsigned int sent = 0;

	mauth_forward_free(&f->forward);
	f->forward = mauth_forward_new(&file, poll_loop_loop(f->loop), &f->sinks.log, NULL, NULL);
	f->sink = mauth_forward_sink(f->forward);
	to(f, MAUTH_TRANSPORT_TCP, "127.0.0.1", listen_inet(f, SOCK_STREAM, 0));
	/* Records of 8 KiB: four times what the queue holds. */
	mauth_buf_puts(&big, "{\"@timestamp\":\"2026-11-22T05:49:00Z\",\"event\":{\"action\":\"big\",\"outcome\":\"success\"},\"x\":\"");
	while (big.size < 8188)
		mauth_buf_putc(&big, 'x');
	mauth_buf_puts(&big, "\"}\n");
	for (; sent < 4 * MAUTH_FORWARD_QUEUE_MAX / big.size; sent++) {
		assert_int_equal(f->sink->append(f->sink->context, big.data, big.size, NULL), MAUTH_OK);
		if (sent % 64 == 0)
			run(f, 0);
	}
	assert_int_equal(taken, sent);
	assert_int_equal(count(f->sinks.lines, "some are in the audit file only"), 1);
	assert_int_equal(count(f->sinks.lines, "\n"), 1);
	/* It reads again: the loss is told once, with its number, and is a record that reaches it, too. */
	wait_for(f, true, "forwarding-lost", 1);
	assert_int_equal(count(f->sinks.lines, "records were not forwarded"), 1);
	assert_non_null(strstr(f->sinks.events, "modernauth_audit_not_forwarded to=syslog tcp:"));
	assert_int_equal(taken, sent + 1);
	mauth_forward_free(&f->forward);
	mauth_buf_free(&big);
}

static void what_the_file_does_not_take_is_not_forwarded(void **state)
{
	struct fixture *f = *state;
	struct mauth_error error;

	listen_unix(f);
	to(f, MAUTH_TRANSPORT_UNIX, f->path, 0);
	f->sinks.audit_broken = true;
	assert_int_not_equal(f->sink->append(f->sink->context, "{}\n", 3, &error), MAUTH_OK);
	f->sinks.audit_broken = false;
	record(f, 1);
	wait_for(f, false, "u00001", 1);
	assert_int_equal(count(f->got.data, "<86>1 "), 1);
}

static void journald_gets_fields(void **state)
{
	struct fixture *f = *state;

	listen_unix(f);
	mauth_forward_journal(f->forward, f->path);
	record(f, 7);
	wait_for(f, false, "MODERNAUTH_SESSION=s\n", 1);
	assert_memory_equal(f->got.data, "MESSAGE=basic-auth-intercepted: success user=u00007]", 52);
	assert_non_null(strstr(f->got.data, "\nPRIORITY=6\nSYSLOG_FACILITY=10\nSYSLOG_IDENTIFIER=dovecot-modernauth\n"));
	assert_non_null(strstr(f->got.data, "\nECS_USER_NAME=u00007]\n"));
}

static void commit_pass_through(void *context, mauth_audit_commit_fn *done, void *done_context)
{
	(void)context;
	done(NULL, done_context);
}

static void committed(const struct mauth_error *error, void *context)
{
	assert_null(error);
	*(bool *)context = true;
}

static void durability_is_that_of_the_file(void **state)
{
	struct fixture *f = *state;
	struct mauth_audit_sink file = f->sinks.audit;
	bool done = false;

	assert_false(mauth_audit_commit(f->sink, committed, &done));
	mauth_forward_free(&f->forward);
	file.commit = commit_pass_through;
	f->forward = mauth_forward_new(&file, poll_loop_loop(f->loop), &f->sinks.log, NULL, NULL);
	assert_true(mauth_audit_commit(mauth_forward_sink(f->forward), committed, &done));
	assert_true(done);
	mauth_forward_free(&f->forward);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_socket_of_this_machine_gets_a_datagram_for_each_record),
		TEST(udp_has_no_frame),
		TEST(tcp_counts_octets),
		TEST(a_name_is_resolved_beside_the_loop),
		TEST(a_name_that_nobody_knows_is_said_and_tried_again),
		TEST(records_wait_for_a_collector_that_comes_later),
		TEST(a_collector_that_was_restarted_gets_whole_frames),
		TEST(a_collector_that_does_not_read_costs_nobody_anything),
		TEST(what_the_file_does_not_take_is_not_forwarded),
		TEST(journald_gets_fields),
		TEST(durability_is_that_of_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
