/* SPDX-License-Identifier: MIT */
#ifndef HTTP_WORLD_H
#define HTTP_WORLD_H
/* The servers of http_server.py, and an HTTP client on a real loop that asks them. For one program: it has state. */

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

enum server { SERVER_H2, SERVER_H1, SERVER_WRONGHOST, SERVER_PROXIED, SERVER_PROXY, SERVER_DROP, SERVER_SILENT,
	      SERVER_IMAP, SERVER_POP3, SERVER_SMTP, SERVER_NONE, SERVER_COUNT };

static const char *const server_names[] = { "h2", "h1", "wronghost", "proxied", "proxy", "drop", "silent",
					   "imap", "pop3", "smtp" };
static unsigned int ports[SERVER_COUNT];
static char ca_file[64], other_ca_file[64];
static char directory[] = "/tmp/test_http_curl.XXXXXX";
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
	char body[256], retry_after[64], date[64], request_id[64], content_type[64], location[64];
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

/* connect_msecs 0: as in the service. */
static void bench_begin_with(struct bench *bench, unsigned int max_connections, unsigned int connect_msecs)
{
	const struct mauth_http_curl_settings settings = {
		.user_agent = "test/1", .max_connections = max_connections, .connect_msecs = connect_msecs,
	};

	*bench = (struct bench){ .log = { .line = on_line, .context = bench, .debug = true } };
	bench->loop = poll_loop_new();
	bench->curl = mauth_http_curl_new(&settings, poll_loop_loop(bench->loop), &bench->log);
	bench->http = mauth_http_curl_http(bench->curl);
}

static void bench_begin(struct bench *bench, unsigned int max_connections)
{
	bench_begin_with(bench, max_connections, 0);
}

/* Checks that nothing is left on the loop. */
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
		snprintf(result->location, sizeof(result->location), "%s", reply->location);
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

/* result is filled by the callback. */
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

/* The number that the server says at path. */
static inline unsigned int number_of(struct bench *bench, const char *path)
{
	struct result result = post(bench, SERVER_H1, path);

	assert_int_equal(result.status, 200);
	return (unsigned int)strtoul(result.body, NULL, 10);
}

/* Starts count calls at once and waits for all. The number of those with a reply of 200. */
static inline unsigned int storm(struct bench *bench, enum server server, const char *path, unsigned int count,
			  struct result *results)
{
	unsigned int left = count, good = 0;
	bool done = false;

	for (unsigned int i = 0; i < count; i++) {
		results[i] = (struct result){ .countdown = &left, .all_done = &done };
		start_path(bench, &results[i], server, path, 60000);
	}
	if (!poll_loop_run_until(bench->loop, &done, 65000))
		fail_msg("%u of %u calls were never answered", left, count);
	for (unsigned int i = 0; i < count; i++) {
		assert_int_equal(results[i].calls, 1);
		if (results[i].status == 200)
			good++;
	}
	return good;
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

#endif
