/* SPDX-License-Identifier: MIT */
/* Drives src/net alone: COUNT token requests at once, again ROUNDS times on the same client.
 *
 * usage: httpload CA.PEM URL COUNT ROUNDS [CONNECTIONS]
 *
 * Prints per round: milliseconds until all are answered, the slowest one, CPU milliseconds, failures. */
#include "core/mem.h"
#include "net/http-curl.h"
#include "poll_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static unsigned int left, failed;
static int64_t slowest_usecs;
static bool done;

static void on_reply(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	if (reply == NULL || reply->status != 200) {
		if (failed++ == 0)
			fprintf(stderr, "%s\n", error == NULL ? "status" : error->text);
	} else if (reply->duration_usecs > slowest_usecs)
		slowest_usecs = reply->duration_usecs;
	done = --left == 0;
}

static void on_line(void *context, enum mauth_level level, const char *text)
{
	fprintf(stderr, "%s\n", text);
}

static int64_t cpu_usecs(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void run_round(const struct mauth_http *http, struct poll_loop *loop, const struct mauth_http_request *request,
		      unsigned int count)
{
	int64_t begin = mauth_mono_usecs(poll_loop_loop(loop)), cpu = cpu_usecs(), started;

	left = count;
	failed = 0;
	slowest_usecs = 0;
	done = false;
	for (unsigned int i = 0; i < count; i++)
		(void)mauth_http_start(http, request, on_reply, NULL);
	started = mauth_mono_usecs(poll_loop_loop(loop));
	(void)poll_loop_run_until(loop, &done, 60000);
	printf("%u requests: %.1f ms (starting %.1f), slowest %.1f ms, cpu %.1f ms, failed %u, left %u\n", count,
	       (double)(mauth_mono_usecs(poll_loop_loop(loop)) - begin) / 1000, (double)(started - begin) / 1000,
	       (double)slowest_usecs / 1000, (double)(cpu_usecs() - cpu) / 1000, failed, left);
}

int main(int argc, char **argv)
{
	const struct mauth_log log = { .line = on_line, .debug = getenv("DEBUG") != NULL };
	struct mauth_http_curl_settings settings = { .user_agent = "httpload" };
	struct poll_loop *loop = poll_loop_new();
	struct mauth_secret *form = mauth_secret_new("username=u&password=p", 21);
	struct mauth_http_request request = { .form = form, .timeout_msecs = 15000 };
	struct mauth_http_curl *curl;

	if (argc < 5) {
		fprintf(stderr, "usage: httpload CA.PEM URL COUNT ROUNDS [CONNECTIONS]\n");
		return 2;
	}
	request.ca_file = argv[1][0] == '\0' ? NULL : argv[1];
	request.url = argv[2];
	settings.max_connections = argc > 5 ? (unsigned int)strtoul(argv[5], NULL, 10) : 0;
	curl = mauth_http_curl_new(&settings, poll_loop_loop(loop), &log);
	for (unsigned long round = strtoul(argv[4], NULL, 10); round > 0; round--)
		run_round(mauth_http_curl_http(curl), loop, &request, (unsigned int)strtoul(argv[3], NULL, 10));
	if (left > 0)
		return 1;
	mauth_http_curl_free(&curl);
	poll_loop_free(&loop);
	mauth_secret_free(&form);
	return failed > 0;
}
