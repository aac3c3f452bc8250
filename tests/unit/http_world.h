/* SPDX-License-Identifier: MIT */
#ifndef HTTP_WORLD_H
#define HTTP_WORLD_H
/* The servers of http_server.py, and an HTTP client on a real loop that asks them. */

#include "core/mem.h"
#include "net/http-curl.h"
#include "poll_loop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum server { SERVER_H2, SERVER_H1, SERVER_WRONGHOST, SERVER_PROXIED, SERVER_PROXY, SERVER_DROP, SERVER_SILENT,
	      SERVER_NONE, SERVER_COUNT };

extern const char *const server_names[];
extern unsigned int ports[SERVER_COUNT];
extern char ca_file[64], other_ca_file[64];

/* cmocka's set-up and tear-down of the servers. */
int start_server(void **state);
int stop_server(void **state);

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

void bench_begin(struct bench *bench, unsigned int max_connections);
/* Checks that nothing is left on the loop. */
void bench_end(struct bench *bench);
void url_of(char url_r[static 128], enum server server, const char *path);
/* result is filled by the callback. */
void start(struct bench *bench, struct result *result, const struct mauth_http_request *request);
void start_path(struct bench *bench, struct result *result, enum server server, const char *path,
		unsigned int timeout_msecs);
void wait_for(struct bench *bench, const struct result *result);
void idle(struct bench *bench, unsigned int msecs);
/* One POST, start to end. */
struct result post(struct bench *bench, enum server server, const char *path);
/* The number that the server says at path. */
unsigned int number_of(struct bench *bench, const char *path);
/* Starts count calls at once and waits for all. The number of those with a reply of 200. */
unsigned int storm(struct bench *bench, enum server server, const char *path, unsigned int count,
		   struct result *results);

#endif
