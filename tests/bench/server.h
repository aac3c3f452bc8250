/* SPDX-License-Identifier: MIT */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H
/* What the benchmark's stand-ins share: one process, one epoll, TLS servers, commands on standard input. */

#include "core/mem.h"
#include "tally.h"

#include <openssl/ssl.h>

struct peer {
	int fd;
	SSL *ssl;                /* NULL: plain */
	struct mauth_buf in, out;
	size_t out_offset;       /* of what has been sent */
	bool handshaken, wants_write, closed;
	unsigned int refs;       /* the descriptor's one and one per reply that is still due */
	void *context;           /* the protocol's */
	struct peer *next_closed;
};

struct server_handlers {
	void (*opened)(struct peer *peer);       /* after the handshake */
	void (*data)(struct peer *peer);         /* something came into peer->in */
	void (*freed)(struct peer *peer);
	/* A line of standard input, without its end. */
	void (*command)(const char *line);
	/* Microseconds until it wants to be called again, -1: not at all. */
	int64_t (*tick)(void);
};

struct server_settings {
	const char *cert_file;                   /* certificate and key, PEM; NULL: no TLS */
	const unsigned char *alpn;               /* in the order of preference, as in TLS */
	unsigned int alpn_size;
	unsigned int port;                       /* 0: any */
};

/* Listens on 127.0.0.1, prints the port and runs until standard input ends. */
void server_run(const struct server_settings *settings, const struct server_handlers *handlers);
/* Sends peer->out as far as it goes. */
void peer_flush(struct peer *peer);
void peer_close(struct peer *peer);
void peer_ref(struct peer *peer);
void peer_unref(struct peer *peer);

#endif
