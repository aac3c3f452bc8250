/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "net/http-curl.h"
#include "poll_loop.h"

#include <libgen.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The servers of http_server.py. */
enum server { SERVER_H2, SERVER_H1, SERVER_WRONGHOST, SERVER_PROXIED, SERVER_PROXY, SERVER_DROP, SERVER_SILENT,
	      SERVER_NONE, SERVER_COUNT };
static const char *const server_names[] = { "h2", "h1", "wronghost", "proxied", "proxy", "drop", "silent" };
static unsigned int ports[SERVER_COUNT];
static char directory[] = "/tmp/test_http_curl.XXXXXX";
static char ca_file[64], other_ca_file[64];
static pid_t server_pid;
static int server_stdin;

struct bench {
	struct poll_loop *loop;
	struct mauth_http_curl *curl;
	const struct mauth_http *http;
	struct mauth_log log;
	struct mauth_buf lines;
};

struct result {
	bool done;
	unsigned int calls;
	struct mauth_http_call *call;
	unsigned int status, version;
	char body[256], retry_after[64], date[64], request_id[64], content_type[64];
	size_t body_size;
	struct mauth_error error;
	/* what to do in the callback */
	struct bench *bench;
	struct result *cancel;
	unsigned int *countdown;
	bool *all_done;
};

static void on_line(void *context, enum mauth_level level, const char *text)
{
	struct bench *bench = context;

	mauth_buf_puts(&bench->lines, text);
	mauth_buf_putc(&bench->lines, '\n');
}

static void bench_begin(struct bench *bench, unsigned int max_connections)
{
	const struct mauth_http_curl_settings settings = { .user_agent = "test/1", .max_connections = max_connections };

	*bench = (struct bench){ .log = { .line = on_line, .context = bench, .debug = true } };
	bench->loop = poll_loop_new();
	bench->curl = mauth_http_curl_new(&settings, poll_loop_loop(bench->loop), &bench->log);
	bench->http = mauth_http_curl_http(bench->curl);
}

static void bench_end(struct bench *bench)
{
	mauth_http_curl_free(&bench->curl);
	assert_int_equal(poll_loop_timers(bench->loop), 0);
	assert_int_equal(poll_loop_watches(bench->loop), 0);
	poll_loop_free(&bench->loop);
	mauth_buf_free(&bench->lines);
}

static void on_reply(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct result *result = context;

	result->done = true;
	result->calls++;
	result->call = NULL;
	assert_true((reply == NULL) != (error == NULL));
	if (error != NULL)
		result->error = *error;
	if (reply != NULL) {
		result->status = reply->status;
		result->version = reply->http_version;
		result->body_size = reply->body_size;
		snprintf(result->body, sizeof(result->body), "%s", reply->body);
		snprintf(result->retry_after, sizeof(result->retry_after), "%s", reply->retry_after);
		snprintf(result->date, sizeof(result->date), "%s", reply->date);
		snprintf(result->request_id, sizeof(result->request_id), "%s", reply->request_id);
		snprintf(result->content_type, sizeof(result->content_type), "%s", reply->content_type);
		assert_true(reply->duration_usecs >= 0);
	}
	if (result->cancel != NULL)
		mauth_http_cancel(result->bench->http, &result->cancel->call);
	if (result->countdown != NULL && --*result->countdown == 0)
		*result->all_done = true;
}

static void url_of(char url_r[static 128], enum server server, const char *path)
{
	snprintf(url_r, 128, "https://%s:%u%s", server == SERVER_PROXIED ? "secret.test" : "localhost", ports[server],
		 path);
}

static void start(struct bench *bench, struct result *result, const struct mauth_http_request *request)
{
	result->bench = bench;
	result->call = mauth_http_start(bench->http, request, on_reply, result);
	assert_false(result->done);
}

static void start_path(struct bench *bench, struct result *result, enum server server, const char *path,
		       unsigned int timeout_msecs)
{
	struct mauth_secret *form = mauth_secret_new("a=b", 3);
	char url[128];

	url_of(url, server, path);
	start(bench, result, &(struct mauth_http_request){
		.url = url, .form = form, .ca_file = ca_file, .timeout_msecs = timeout_msecs });
	mauth_secret_free(&form);
}

static void wait_for(struct bench *bench, const struct result *result)
{
	if (!poll_loop_run_until(bench->loop, &result->done, 20000))
		fail_msg("no callback");
}

static void idle(struct bench *bench, unsigned int msecs)
{
	bool never = false;

	poll_loop_run_until(bench->loop, &never, msecs);
}

/* One POST, start to end. */
static struct result post(struct bench *bench, enum server server, const char *path)
{
	struct result result = { 0 };

	start_path(bench, &result, server, path, 10000);
	wait_for(bench, &result);
	assert_int_equal(result.calls, 1);
	result.bench = NULL;
	return result;
}

static unsigned int number_of(struct bench *bench, const char *path)
{
	struct result result = post(bench, SERVER_H1, path);

	assert_int_equal(result.status, 200);
	return (unsigned int)strtoul(result.body, NULL, 10);
}

static void reply_is_complete(void **state)
{
	static const struct {
		enum server server;
		unsigned int version;
	} table[] = { { SERVER_H2, 20 }, { SERVER_H1, 11 } };

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct bench bench;
		struct result result;

		bench_begin(&bench, 0);
		result = post(&bench, table[i].server, "/ok");
		assert_int_equal(result.status, 200);
		assert_int_equal(result.version, table[i].version);
		assert_string_equal(result.body, "{\"ok\":true}");
		assert_string_equal(result.retry_after, "7");
		assert_string_equal(result.date, "Thu, 01 Jan 2026 00:00:00 GMT");
		assert_string_equal(result.request_id, "r-1");
		assert_string_equal(result.content_type, "application/json");
		bench_end(&bench);
	}
}

static void request_is_as_asked(void **state)
{
	static const struct mauth_http_header header = { "client-request-id", "guid" };
	struct mauth_secret *form = mauth_secret_new("username=u&password=p", 21);
	struct result result = { 0 };
	struct bench bench;
	char url[128];

	bench_begin(&bench, 0);
	url_of(url, SERVER_H1, "/echo");
	start(&bench, &result, &(struct mauth_http_request){ .url = url, .form = form, .headers = &header,
		.headers_count = 1, .ca_file = ca_file, .timeout_msecs = 10000 });
	mauth_secret_free(&form);
	wait_for(&bench, &result);
	assert_non_null(strstr(result.body, "\"content-type\": \"application/x-www-form-urlencoded\""));
	assert_non_null(strstr(result.body, "\"client-request-id\": \"guid\""));
	assert_non_null(strstr(result.body, "\"accept\": \"application/json\""));
	assert_non_null(strstr(result.body, "\"user-agent\": \"test/1\""));
	assert_non_null(strstr(result.body, "\"body\": \"username=u&password=p\""));
	assert_null(strstr(result.body, "accept-encoding"));
	assert_null(strstr(result.body, "expect"));
	assert_null(strstr(bench.lines.data, "password"));
	bench_end(&bench);
}

static void without_form_it_is_a_get(void **state)
{
	struct result result = { 0 };
	struct bench bench;
	char url[128];

	bench_begin(&bench, 0);
	url_of(url, SERVER_H2, "/echo");
	start(&bench, &result, &(struct mauth_http_request){ .url = url, .ca_file = ca_file, .timeout_msecs = 10000 });
	wait_for(&bench, &result);
	assert_non_null(strstr(result.body, "\":method\": \"GET\""));
	bench_end(&bench);
}

/* What the server does, and what the caller is told. */
static const struct fault {
	const char *name;
	enum server server;
	const char *path;
	enum mauth_status status;       /* MAUTH_OK: a reply */
	unsigned int http_status;
	const char *text, *advice;      /* must be in the error */
} faults[] = {
	{ "a redirect is a reply", SERVER_H2, "/redirect", MAUTH_OK, 302, "", "" },
	{ "an error status is a reply", SERVER_H2, "/status/503", MAUTH_OK, 503, "", "" },
	{ "64 KiB fit", SERVER_H2, "/big/65536", MAUTH_OK, 200, "", "" },
	{ "64 KiB fit over HTTP/1.1", SERVER_H1, "/big/65536", MAUTH_OK, 200, "", "" },
	{ "70 KiB do not", SERVER_H2, "/big/71680", MAUTH_PROTOCOL, 0, "more than 65536 octets", "" },
	{ "70 KiB do not over HTTP/1.1", SERVER_H1, "/big/71680", MAUTH_PROTOCOL, 0, "more than 65536 octets", "" },
	{ "20 KiB of headers do not fit", SERVER_H2, "/headers/20", MAUTH_PROTOCOL, 0, "of headers", "" },
	{ "20 KiB of headers do not fit over HTTP/1.1", SERVER_H1, "/headers/20", MAUTH_PROTOCOL, 0, "of headers", "" },
	{ "a reset", SERVER_H2, "/reset", MAUTH_TEMPORARY, 0, "localhost:", "" },
	{ "a reset over HTTP/1.1", SERVER_H1, "/reset", MAUTH_TEMPORARY, 0, "localhost:", "" },
	{ "a close", SERVER_H2, "/close", MAUTH_TEMPORARY, 0, "localhost:", "" },
	{ "a close over HTTP/1.1", SERVER_H1, "/close", MAUTH_TEMPORARY, 0, "localhost:", "" },
	{ "half a body", SERVER_H2, "/truncated", MAUTH_TEMPORARY, 0, "localhost:", "" },
	{ "half a body over HTTP/1.1", SERVER_H1, "/truncated", MAUTH_TEMPORARY, 0, "before the reply was complete", "" },
	{ "a stream given up", SERVER_H2, "/give-up", MAUTH_TEMPORARY, 0, "gave the request up", "" },
	{ "something that is not HTTP", SERVER_H1, "/garbage", MAUTH_PROTOCOL, 0, "not HTTP", "" },
	{ "nobody listens", SERVER_NONE, "/ok", MAUTH_TEMPORARY, 0, "Connection refused", "firewall" },
	{ "dropped before TLS", SERVER_DROP, "/ok", MAUTH_TEMPORARY, 0, "TLS handshake", "" },
	{ "another host's certificate", SERVER_WRONGHOST, "/ok", MAUTH_CONFIG, 0, "not trusted: SSL: no alternative",
	  "CA that signed" },
};

static void faults_are_named(void **state)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const struct fault *fault = &faults[i];
		struct result result;
		struct bench bench;

		bench_begin(&bench, 0);
		result = post(&bench, fault->server, fault->path);
		if (result.error.status != fault->status || result.status != fault->http_status ||
		    strstr(result.error.text, fault->text) == NULL ||
		    strstr(result.error.advice, fault->advice) == NULL)
			fail_msg("%s: status %s, HTTP %u, \"%s\", \"%s\"", fault->name,
				 mauth_status_name(result.error.status), result.status, result.error.text,
				 result.error.advice);
		bench_end(&bench);
	}
}

static void unknown_ca_is_a_configuration_error(void **state)
{
	const char *const files[] = { other_ca_file, NULL, "/nonexistent/ca.pem" };
	const char *const words[] = { other_ca_file, "ca_file of the tenant", "/nonexistent/ca.pem" };

	for (size_t i = 0; i < 3; i++) {
		struct result result = { 0 };
		struct bench bench;
		char url[128];

		bench_begin(&bench, 0);
		url_of(url, SERVER_H2, "/ok?secret=1");
		start(&bench, &result, &(struct mauth_http_request){ .url = url, .ca_file = files[i],
								     .timeout_msecs = 10000 });
		wait_for(&bench, &result);
		assert_int_equal(result.error.status, MAUTH_CONFIG);
		assert_non_null(strstr(result.error.advice, words[i]));
		assert_null(strstr(result.error.text, "secret=1"));
		assert_null(strstr(bench.lines.data, "secret=1"));
		bench_end(&bench);
	}
}

static void a_sound_connection_is_not_shared_across_trust(void **state)
{
	struct result good = { 0 }, bad = { 0 };
	struct bench bench;
	char url[128];

	bench_begin(&bench, 0);
	url_of(url, SERVER_H2, "/ok");
	start(&bench, &good, &(struct mauth_http_request){ .url = url, .ca_file = ca_file, .timeout_msecs = 10000 });
	wait_for(&bench, &good);
	assert_int_equal(good.status, 200);
	start(&bench, &bad, &(struct mauth_http_request){ .url = url, .ca_file = other_ca_file,
							  .timeout_msecs = 10000 });
	wait_for(&bench, &bad);
	assert_int_equal(bad.error.status, MAUTH_CONFIG);
	bench_end(&bench);
}

static void bad_requests_fail_later_and_clearly(void **state)
{
	static const struct mauth_http_header split = { "a", "b\r\nc: d" };
	static const struct {
		const char *url, *proxy;
		const struct mauth_http_header *header;
	} table[] = {
		{ "http://localhost/ok", NULL, NULL },
		{ "ftp://localhost/ok", NULL, NULL },
		{ "https://me:sesame@localhost/ok", NULL, NULL },
		{ "https://", NULL, NULL },
		{ "", NULL, NULL },
		{ "https://localhost/ok", "socks5://me:sesame@localhost:1", NULL },
		{ "https://localhost/ok", "http://me:sesame@local host:1", NULL },
		{ "https://localhost/ok", NULL, &split },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct result result = { 0 };
		struct bench bench;

		bench_begin(&bench, 0);
		start(&bench, &result, &(struct mauth_http_request){
			.url = table[i].url, .proxy = table[i].proxy, .headers = table[i].header,
			.headers_count = table[i].header != NULL, .timeout_msecs = 10000 });
		wait_for(&bench, &result);
		assert_int_equal(result.error.status, MAUTH_CONFIG);
		assert_null(strstr(result.error.text, "sesame"));
		assert_null(strstr(result.error.advice, "sesame"));
		assert_null(strstr(bench.lines.data, "sesame"));
		bench_end(&bench);
	}
}

static void timeout_is_measured_from_start(void **state)
{
	static const struct {
		enum server server;
		const char *text;
	} table[] = { { SERVER_H2, "no answer within 0.3 s" }, { SERVER_H1, "no answer within 0.3 s" },
		      { SERVER_SILENT, "no free connection within 0.3 s" } };

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct result result = { 0 };
		struct bench bench;
		int64_t begin;

		bench_begin(&bench, 0);
		begin = mauth_mono_msecs(poll_loop_loop(bench.loop));
		start_path(&bench, &result, table[i].server, "/hang", 300);
		wait_for(&bench, &result);
		assert_int_equal(result.error.status, MAUTH_TIMEOUT);
		assert_non_null(strstr(result.error.text, table[i].text));
		assert_in_range(mauth_mono_msecs(poll_loop_loop(bench.loop)) - begin, 299, 2000);
		bench_end(&bench);
	}
}

static void after_a_timeout_others_use_a_new_connection(void **state)
{
	struct result slow = { 0 }, hanging = { 0 };
	struct bench bench;
	unsigned int before, after;

	bench_begin(&bench, 0);
	(void)post(&bench, SERVER_H2, "/ok");
	before = number_of(&bench, "/connections/h2");
	start_path(&bench, &slow, SERVER_H2, "/delay/700", 10000);
	start_path(&bench, &hanging, SERVER_H2, "/hang", 300);
	wait_for(&bench, &hanging);
	assert_int_equal(hanging.error.status, MAUTH_TIMEOUT);
	assert_int_equal(post(&bench, SERVER_H2, "/ok").status, 200);
	after = number_of(&bench, "/connections/h2");
	assert_int_equal(after, before + 1);
	/* What is under way on the suspect connection still gets its answer. */
	assert_false(slow.done);
	wait_for(&bench, &slow);
	assert_string_equal(slow.body, "late");
	/* The new one stays. */
	assert_int_equal(post(&bench, SERVER_H2, "/ok").status, 200);
	assert_int_equal(number_of(&bench, "/connections/h2"), after);
	bench_end(&bench);
}

static void cancelled_calls_stay_silent(void **state)
{
	static const enum server servers[] = { SERVER_H2, SERVER_H1, SERVER_SILENT, SERVER_NONE };

	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
		struct result early = { 0 }, late = { 0 };
		struct bench bench;

		bench_begin(&bench, 0);
		start_path(&bench, &early, servers[i], "/delay/100", 10000);
		mauth_http_cancel(bench.http, &early.call);
		assert_null(early.call);
		start_path(&bench, &late, SERVER_H2, "/delay/100", 10000);
		idle(&bench, 50);
		mauth_http_cancel(bench.http, &late.call);
		idle(&bench, 150);
		assert_int_equal(early.calls + late.calls, 0);
		assert_int_equal(post(&bench, SERVER_H2, "/ok").status, 200);
		bench_end(&bench);
	}
}

static void a_failed_start_can_be_cancelled(void **state)
{
	struct result result = { 0 };
	struct bench bench;

	bench_begin(&bench, 0);
	start(&bench, &result, &(struct mauth_http_request){ .url = "http://localhost/", .timeout_msecs = 1000 });
	mauth_http_cancel(bench.http, &result.call);
	idle(&bench, 20);
	assert_int_equal(result.calls, 0);
	bench_end(&bench);
}

static void a_callback_may_cancel_others(void **state)
{
	static const enum server servers[] = { SERVER_H2, SERVER_H1 };

	for (size_t i = 0; i < 2; i++) {
		struct result first = { 0 }, second = { 0 };
		struct bench bench;

		bench_begin(&bench, 0);
		/* Both are answered in the same instant: one callback must keep the other one from being called. */
		start_path(&bench, &first, servers[i], "/delay/100", 10000);
		start_path(&bench, &second, servers[i], "/delay/100", 10000);
		first.cancel = &second;
		second.cancel = &first;
		idle(&bench, 400);
		assert_int_equal(first.calls + second.calls, 1);
		bench_end(&bench);
	}
}

static void on_reply_start_next(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct result *result = context;

	assert_non_null(reply);
	/* Cancelling oneself is harmless. */
	mauth_http_cancel(result->bench->http, &result->call);
	if (++result->calls == 20) {
		result->done = true;
		return;
	}
	char url[128];

	url_of(url, SERVER_H2, "/ok");
	result->call = mauth_http_start(result->bench->http,
					&(struct mauth_http_request){ .url = url, .ca_file = ca_file,
								      .timeout_msecs = 10000 },
					on_reply_start_next, result);
}

static void a_callback_may_start_calls(void **state)
{
	struct result result = { 0 };
	struct bench bench;
	char url[128];

	bench_begin(&bench, 0);
	result.bench = &bench;
	url_of(url, SERVER_H2, "/ok");
	result.call = mauth_http_start(bench.http, &(struct mauth_http_request){ .url = url, .ca_file = ca_file,
										 .timeout_msecs = 10000 },
				       on_reply_start_next, &result);
	wait_for(&bench, &result);
	assert_int_equal(result.calls, 20);
	bench_end(&bench);
}

/* Starts count calls at once and waits for all. The number of those with a reply of 200. */
static unsigned int storm(struct bench *bench, enum server server, const char *path, unsigned int count,
			  struct result *results)
{
	unsigned int left = count, good = 0;
	bool done = false;

	for (unsigned int i = 0; i < count; i++) {
		results[i] = (struct result){ .countdown = &left, .all_done = &done };
		start_path(bench, &results[i], server, path, 20000);
	}
	if (!poll_loop_run_until(bench->loop, &done, 25000))
		fail_msg("%u of %u calls were never answered", left, count);
	for (unsigned int i = 0; i < count; i++) {
		assert_int_equal(results[i].calls, 1);
		if (results[i].status == 200)
			good++;
	}
	return good;
}

/* Asks with a client of its own: the one under test is not to see that server. */
static unsigned int connections_of(enum server server)
{
	struct bench bench;
	char path[64];
	unsigned int count;

	bench_begin(&bench, 0);
	snprintf(path, sizeof(path), "/connections/%s", server_names[server]);
	count = number_of(&bench, path);
	bench_end(&bench);
	return count;
}

static void storm_of_replies(struct bench *bench, enum server server, const char *path, unsigned int count,
			     struct result *results)
{
	if (storm(bench, server, path, count, results) == count)
		return;
	for (unsigned int i = 0; i < count; i++)
		if (results[i].status != 200)
			print_message("call %u: %u \"%s\"\n", i, results[i].status, results[i].error.text);
	fail_msg("not every call was answered with 200");
}

/* Hundreds of handshakes take valgrind longer than a connection may take. */
static unsigned int slowness(void)
{
	return getenv("SLOW_TESTS") == NULL ? 1 : 10;
}

static void many_calls_share_connections(void **state)
{
	static const struct {
		enum server server;
		unsigned int count, connections;
	} table[] = { { SERVER_H2, 2000, 20 }, { SERVER_H1, 300, 100 } };
	struct result *results = mauth_new_array(2000, sizeof(*results));

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct bench bench;
		unsigned int before;

		bench_begin(&bench, 0);
		before = connections_of(table[i].server);
		storm_of_replies(&bench, table[i].server, "/delay/200", table[i].count / slowness(), results);
		/* Asking over HTTP/1.1 was one connection, too. */
		assert_in_range(connections_of(table[i].server) - before, 1, table[i].connections + 1);
		bench_end(&bench);
	}
	free(results);
}

static void max_connections_is_kept(void **state)
{
	struct result *results = mauth_new_array(40, sizeof(*results));
	struct bench bench;
	unsigned int before;

	bench_begin(&bench, 3);
	before = number_of(&bench, "/connections/h1");
	storm_of_replies(&bench, SERVER_H1, "/delay/20", 40, results);
	assert_in_range(number_of(&bench, "/connections/h1") - before, 0, 3);
	bench_end(&bench);
	free(results);
}

static void dropped_fresh_connections_stall_nobody(void **state)
{
	struct result *results = mauth_new_array(50, sizeof(*results));
	static const enum server servers[] = { SERVER_H2, SERVER_H1, SERVER_DROP };
	static const char *const paths[] = { "/reset", "/close" };
	unsigned int count = 50 / slowness();

	for (size_t i = 0; i < 6; i++) {
		struct bench bench;
		int64_t begin;

		bench_begin(&bench, 0);
		begin = mauth_mono_msecs(poll_loop_loop(bench.loop));
		assert_int_equal(storm(&bench, servers[i / 2], paths[i % 2], count, results), 0);
		for (unsigned int j = 0; j < count; j++)
			assert_int_equal(results[j].error.status, MAUTH_TEMPORARY);
		assert_int_equal(post(&bench, SERVER_H2, "/ok").status, 200);
		assert_in_range(mauth_mono_msecs(poll_loop_loop(bench.loop)) - begin, 0, 5000);
		bench_end(&bench);
	}
	free(results);
}

/* A second request is a second bad password in the eyes of the tenant. */
static void what_the_server_may_have_seen_is_not_sent_again(void **state)
{
	static const struct {
		enum server server;
		const char *fault;
		bool shared_end;
	} table[] = { { SERVER_H1, "reset", false }, { SERVER_H1, "close", false }, { SERVER_H2, "reset", true },
		      { SERVER_H2, "close", true }, { SERVER_H2, "give-up", false } };

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		for (unsigned int company = 0; company < 2; company++) {
			struct result other = { 0 }, result;
			struct bench bench;
			char path[64], count[80];

			bench_begin(&bench, 0);
			snprintf(path, sizeof(path), "/once/%s/%zu-%u", table[i].fault, i, company);
			snprintf(count, sizeof(count), "/count%s", path);
			assert_int_equal(post(&bench, table[i].server, "/ok").status, 200);
			if (company > 0)
				start_path(&bench, &other, table[i].server, "/hang", 9000);
			result = post(&bench, table[i].server, path);
			if (result.error.status != MAUTH_TEMPORARY || number_of(&bench, count) != 1)
				fail_msg("%s %u: sent %u times, \"%s\" %u", table[i].fault, company,
					 number_of(&bench, count), result.error.text, result.status);
			/* Who shared the connection hears of its end at once. */
			if (company > 0 && table[i].shared_end) {
				wait_for(&bench, &other);
				assert_int_equal(other.error.status, MAUTH_TEMPORARY);
			}
			mauth_http_cancel(bench.http, &other.call);
			bench_end(&bench);
		}
	}
}

static void what_the_server_refused_unseen_is_sent_once_more(void **state)
{
	static const char *const paths[] = { "/once/refuse/", "/once/goaway/" };

	for (size_t i = 0; i < 2; i++) {
		for (unsigned int company = 0; company < 3; company++) {
			struct result other = { 0 }, result;
			struct bench bench;
			char path[64], count[80];

			bench_begin(&bench, 0);
			snprintf(path, sizeof(path), "%s%u", paths[i], company);
			snprintf(count, sizeof(count), "/count%s", path);
			if (company > 0)
				assert_int_equal(post(&bench, SERVER_H2, "/ok").status, 200);
			if (company > 1)
				start_path(&bench, &other, SERVER_H2, "/delay/2000", 1000);
			result = post(&bench, SERVER_H2, path);
			if (result.status != 200)
				fail_msg("%s: %u %s %u \"%s\"", path, result.status, result.body,
					 number_of(&bench, count), result.error.text);
			assert_string_equal(result.body, "second");
			assert_int_equal(number_of(&bench, count), 2);
			mauth_http_cancel(bench.http, &other.call);
			bench_end(&bench);
		}
	}
}

static void an_ever_refusing_server_gets_three_tries(void **state)
{
	struct bench bench;
	struct result result;

	bench_begin(&bench, 0);
	assert_int_equal(post(&bench, SERVER_H2, "/ok").status, 200);
	result = post(&bench, SERVER_H2, "/refuse/always");
	assert_int_equal(result.error.status, MAUTH_TEMPORARY);
	assert_int_equal(number_of(&bench, "/count/refuse/always"), 3);
	bench_end(&bench);
}

static struct result through_proxy(struct bench *bench, const char *proxy, const char *url)
{
	struct result result = { 0 };

	start(bench, &result, &(struct mauth_http_request){ .url = url, .ca_file = ca_file, .proxy = proxy,
							    .timeout_msecs = 10000 });
	wait_for(bench, &result);
	assert_null(strstr(bench->lines.data, "sesame"));
	assert_null(strstr(result.error.text, "sesame"));
	result.bench = NULL;
	return result;
}

static void proxy_is_used(void **state)
{
	char with[128], without[128], url[128], forbidden[128];
	struct result result;
	struct bench bench;

	bench_begin(&bench, 0);
	snprintf(with, sizeof(with), "http://me:sesame@localhost:%u", ports[SERVER_PROXY]);
	snprintf(without, sizeof(without), "http://localhost:%u", ports[SERVER_PROXY]);
	snprintf(forbidden, sizeof(forbidden), "https://forbidden.test:%u/ok", ports[SERVER_PROXIED]);
	url_of(url, SERVER_PROXIED, "/ok");
	result = through_proxy(&bench, without, url);
	assert_int_equal(result.error.status, MAUTH_CONFIG);
	assert_int_equal(result.error.code, 407);
	assert_non_null(strstr(result.error.advice, "password"));
	result = through_proxy(&bench, with, forbidden);
	assert_int_equal(result.error.status, MAUTH_CONFIG);
	assert_int_equal(result.error.code, 403);
	result = through_proxy(&bench, with, url);
	assert_int_equal(result.status, 200);
	assert_int_equal(result.version, 20);
	snprintf(with, sizeof(with), "http://me:sesame@localhost:%u", ports[SERVER_NONE]);
	result = through_proxy(&bench, with, url);
	assert_int_equal(result.error.status, MAUTH_TEMPORARY);
	assert_non_null(strstr(result.error.text, "through proxy localhost:"));
	bench_end(&bench);
}

static void proxy_of_the_environment_is_used(void **state)
{
	char proxy[128], url[128];
	struct result result;
	struct bench bench;

	bench_begin(&bench, 0);
	snprintf(proxy, sizeof(proxy), "me:sesame@localhost:%u", ports[SERVER_PROXY]);
	setenv("https_proxy", proxy, 1);
	setenv("no_proxy", "localhost", 1);
	url_of(url, SERVER_PROXIED, "/ok");
	result = through_proxy(&bench, NULL, url);
	unsigned int used = number_of(&bench, "/connections/proxy");
	assert_int_equal(number_of(&bench, "/connections/proxy"), used);
	unsetenv("no_proxy");
	assert_int_equal(number_of(&bench, "/connections/proxy"), used + 1);
	unsetenv("https_proxy");
	assert_int_equal(result.status, 200);
	/* A proxy of the configuration is meant, whatever the environment exempts. */
	setenv("no_proxy", "*", 1);
	snprintf(proxy, sizeof(proxy), "http://me:sesame@localhost:%u", ports[SERVER_PROXY]);
	assert_int_equal(through_proxy(&bench, proxy, url).status, 200);
	unsetenv("no_proxy");
	bench_end(&bench);
}

static bool read_ports(int fd)
{
	char line[512] = "";
	size_t used = 0;

	while (strchr(line, '\n') == NULL && used < sizeof(line) - 1) {
		ssize_t got = read(fd, line + used, sizeof(line) - 1 - used);

		if (got <= 0)
			return false;
		used += (size_t)got;
	}
	for (int i = 0; i < SERVER_NONE; i++) {
		char name[32];
		const char *at;

		snprintf(name, sizeof(name), "%s=", server_names[i]);
		at = strstr(line, name);
		if (at == NULL)
			return false;
		ports[i] = (unsigned int)strtoul(at + strlen(name), NULL, 10);
	}
	ports[SERVER_NONE] = 1;
	return true;
}

static int start_server(void **state)
{
	char source[] = __FILE__, script[4096];
	int in[2], out[2];

	/* The machine's own proxy settings must not be used, nor may they stand in the way. */
	unsetenv("https_proxy");
	unsetenv("HTTPS_PROXY");
	unsetenv("no_proxy");
	unsetenv("NO_PROXY");
	signal(SIGPIPE, SIG_IGN);
	snprintf(script, sizeof(script), "%s/http_server.py", dirname(source));
	if (mkdtemp(directory) == NULL || pipe(in) < 0 || pipe(out) < 0)
		return -1;
	snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", directory);
	snprintf(other_ca_file, sizeof(other_ca_file), "%s/other-ca.pem", directory);
	server_pid = fork();
	if (server_pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		close(in[1]);
		close(out[0]);
		execl("/usr/bin/python3", "python3", script, directory, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	server_stdin = in[1];
	if (server_pid < 0 || !read_ports(out[0]))
		return -1;
	close(out[0]);
	return 0;
}

static int stop_server(void **state)
{
	static const char *const files[] = { "ca.pem", "other-ca.pem", "localhost.pem", "elsewhere.test.pem",
					     "secret.test.pem" };
	char path[128];

	close(server_stdin);
	waitpid(server_pid, NULL, 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, files[i]);
		unlink(path);
	}
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reply_is_complete),
		cmocka_unit_test(request_is_as_asked),
		cmocka_unit_test(without_form_it_is_a_get),
		cmocka_unit_test(faults_are_named),
		cmocka_unit_test(unknown_ca_is_a_configuration_error),
		cmocka_unit_test(a_sound_connection_is_not_shared_across_trust),
		cmocka_unit_test(bad_requests_fail_later_and_clearly),
		cmocka_unit_test(timeout_is_measured_from_start),
		cmocka_unit_test(after_a_timeout_others_use_a_new_connection),
		cmocka_unit_test(cancelled_calls_stay_silent),
		cmocka_unit_test(a_failed_start_can_be_cancelled),
		cmocka_unit_test(a_callback_may_cancel_others),
		cmocka_unit_test(a_callback_may_start_calls),
		cmocka_unit_test(many_calls_share_connections),
		cmocka_unit_test(max_connections_is_kept),
		cmocka_unit_test(dropped_fresh_connections_stall_nobody),
		cmocka_unit_test(what_the_server_may_have_seen_is_not_sent_again),
		cmocka_unit_test(what_the_server_refused_unseen_is_sent_once_more),
		cmocka_unit_test(an_ever_refusing_server_gets_three_tries),
		cmocka_unit_test(proxy_is_used),
		cmocka_unit_test(proxy_of_the_environment_is_used),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
