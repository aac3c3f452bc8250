/* SPDX-License-Identifier: MIT */
#include "http_world.h"

static void reply_is_complete(void **state)
{
	static const struct {
		enum server server;
		unsigned int version;
	} table[] = { { SERVER_H2, 20 }, { SERVER_H1, 11 } };

	for (size_t i = 0; i < 2; i++) {
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

static void a_redirect_says_where_to(void **state)
{
	struct bench bench;
	struct result result;

	bench_begin(&bench, 0);
	result = post(&bench, SERVER_H2, "/redirect");
	assert_int_equal(result.status, 302);
	assert_string_equal(result.location, "/ok");
	result = post(&bench, SERVER_H2, "/ok");
	assert_string_equal(result.location, "");
	bench_end(&bench);
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
	assert_null(strstr(result.body, "authorization"));
	bench_end(&bench);
}

static void a_bearer_token_is_sent_and_not_logged(void **state)
{
	struct mauth_secret *token = mauth_secret_new("t0ken.of.ours", 13);
	struct mauth_secret *split = mauth_secret_new("t0ken\r\nX-Other: 1", 18);
	struct result result = { 0 }, other = { 0 };
	struct bench bench;
	char url[128];

	bench_begin(&bench, 0);
	url_of(url, SERVER_H2, "/echo");
	start(&bench, &result, &(struct mauth_http_request){ .url = url, .bearer = token, .ca_file = ca_file,
		.timeout_msecs = 10000 });
	start(&bench, &other, &(struct mauth_http_request){ .url = url, .bearer = split, .ca_file = ca_file,
		.timeout_msecs = 10000 });
	mauth_secret_free(&token);
	mauth_secret_free(&split);
	wait_for(&bench, &result);
	wait_for(&bench, &other);
	assert_non_null(strstr(result.body, "\"authorization\": \"Bearer t0ken.of.ours\""));
	assert_int_equal(other.error.status, MAUTH_CONFIG);
	assert_null(strstr(bench.lines.data, "t0ken"));
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
	{ "half a body over HTTP/1.1", SERVER_H1, "/truncated", MAUTH_TEMPORARY, 0, "before the reply was complete",
	  "" },
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
	start_path(&bench, &good, SERVER_H2, "/ok", 10000);
	wait_for(&bench, &good);
	assert_int_equal(good.status, 200);
	start(&bench, &bad, &(struct mauth_http_request){ .url = url, .ca_file = other_ca_file, .timeout_msecs = 10000 });
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
	char url[128];

	assert_non_null(reply);
	/* Cancelling oneself is harmless. */
	mauth_http_cancel(result->bench->http, &result->call);
	if (++result->calls == 20) {
		result->done = true;
		return;
	}
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

		/* A hundred handshakes may take a server on a busy machine longer than the service would wait for one. */
		bench_begin_with(&bench, 0, 40000);
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
	unsigned int used;

	bench_begin(&bench, 0);
	snprintf(proxy, sizeof(proxy), "me:sesame@localhost:%u", ports[SERVER_PROXY]);
	setenv("https_proxy", proxy, 1);
	setenv("no_proxy", "localhost", 1);
	url_of(url, SERVER_PROXIED, "/ok");
	result = through_proxy(&bench, NULL, url);
	used = number_of(&bench, "/connections/proxy");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reply_is_complete),
		cmocka_unit_test(a_redirect_says_where_to),
		cmocka_unit_test(request_is_as_asked),
		cmocka_unit_test(without_form_it_is_a_get),
		cmocka_unit_test(a_bearer_token_is_sent_and_not_logged),
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
