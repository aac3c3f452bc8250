/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	const struct server_settings *settings;
	const struct server_handlers *handlers;
	SSL_CTX *tls;
	int epoll, listener;
	struct mauth_buf input;
} server;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	ERR_print_errors_fp(stderr);
	exit(1);
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *size_r, const unsigned char *in,
		       unsigned int size, void *context)
{
	unsigned char *chosen = NULL;

	if (SSL_select_next_proto(&chosen, size_r, server.settings->alpn, server.settings->alpn_size, in, size) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static void tls_begin(void)
{
	const struct server_settings *settings = server.settings;

	if (settings->cert_file == NULL)
		return;
	server.tls = SSL_CTX_new(TLS_server_method());
	if (server.tls == NULL || SSL_CTX_use_certificate_chain_file(server.tls, settings->cert_file) != 1 ||
	    SSL_CTX_use_PrivateKey_file(server.tls, settings->cert_file, SSL_FILETYPE_PEM) != 1)
		die(settings->cert_file);
	SSL_CTX_set_mode(server.tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				     SSL_MODE_RELEASE_BUFFERS);
	if (settings->alpn != NULL)
		SSL_CTX_set_alpn_select_cb(server.tls, choose_alpn, NULL);
}

static void listen_begin(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)server.settings->port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(addr);
	int one = 1;

	server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(server.listener, (struct sockaddr *)&addr, size) < 0 || listen(server.listener, 4096) < 0 ||
	    getsockname(server.listener, (struct sockaddr *)&addr, &size) < 0)
		die("listen");
	printf("port %u\n", ntohs(addr.sin_port));
	fflush(stdout);
}

static void watch(int operation, int fd, uint32_t events, void *context)
{
	struct epoll_event event = { .events = events, .data.ptr = context };

	if (epoll_ctl(server.epoll, operation, fd, &event) < 0)
		die("epoll_ctl");
}

void peer_ref(struct peer *peer)
{
	peer->refs++;
}

void peer_unref(struct peer *peer)
{
	if (--peer->refs > 0)
		return;
	server.handlers->freed(peer);
	SSL_free(peer->ssl);
	mauth_buf_free(&peer->in);
	mauth_buf_free(&peer->out);
	free(peer);
}

void peer_close(struct peer *peer)
{
	if (peer->closed)
		return;
	peer->closed = true;
	close(peer->fd);
	peer_unref(peer);
}

static void accept_peers(void)
{
	int fd, one = 1;

	while ((fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct peer *peer = mauth_new(sizeof(*peer));

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		peer->fd = fd;
		peer->refs = 1;
		watch(EPOLL_CTL_ADD, fd, EPOLLIN, peer);
		if (server.tls != NULL) {
			peer->ssl = SSL_new(server.tls);
			SSL_set_fd(peer->ssl, fd);
			SSL_set_accept_state(peer->ssl);
			continue;
		}
		peer->handshaken = true;
		server.handlers->opened(peer);
	}
}

static ssize_t peer_io(struct peer *peer, bool read_it, void *data, size_t size)
{
	ssize_t got;
	int error;

	if (peer->ssl == NULL) {
		got = read_it ? recv(peer->fd, data, size, 0) : send(peer->fd, data, size, MSG_NOSIGNAL);
		return got < 0 && errno == EAGAIN ? -1 : got <= 0 ? -2 : got;
	}
	ERR_clear_error();
	got = read_it ? SSL_read(peer->ssl, data, (int)size) : SSL_write(peer->ssl, data, (int)size);
	if (got > 0)
		return got;
	error = SSL_get_error(peer->ssl, (int)got);
	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : -2;
}

static void want_write(struct peer *peer, bool want)
{
	if (peer->wants_write == want)
		return;
	peer->wants_write = want;
	watch(EPOLL_CTL_MOD, peer->fd, want ? EPOLLIN | EPOLLOUT : EPOLLIN, peer);
}

void peer_flush(struct peer *peer)
{
	while (!peer->closed && peer->out_offset < peer->out.size) {
		ssize_t sent = peer_io(peer, false, peer->out.data + peer->out_offset,
				       peer->out.size - peer->out_offset);

		if (sent == -1) {
			want_write(peer, true);
			return;
		}
		if (sent < 0) {
			peer_close(peer);
			return;
		}
		peer->out_offset += (size_t)sent;
	}
	if (peer->closed)
		return;
	peer->out.size = peer->out_offset = 0;
	want_write(peer, false);
}

static void peer_read(struct peer *peer)
{
	static char data[65536];
	ssize_t got;

	if (!peer->handshaken) {
		int result = SSL_do_handshake(peer->ssl);
		int error = SSL_get_error(peer->ssl, result);

		if (result != 1) {
			if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
				peer_close(peer);
			return;
		}
		peer->handshaken = true;
		server.handlers->opened(peer);
	}
	while (!peer->closed && (got = peer_io(peer, true, data, sizeof(data))) != -1) {
		if (got < 0) {
			peer_close(peer);
			return;
		}
		mauth_buf_append(&peer->in, data, (size_t)got);
		server.handlers->data(peer);
	}
}

static void peer_event(struct peer *peer, uint32_t events)
{
	peer_ref(peer);
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		peer_read(peer);
	if (!peer->closed && (events & EPOLLOUT) != 0)
		peer_flush(peer);
	peer_unref(peer);
}

static void read_commands(void)
{
	char data[1024], *end;
	ssize_t got = read(STDIN_FILENO, data, sizeof(data));

	if (got <= 0)
		exit(0);
	mauth_buf_append(&server.input, data, (size_t)got);
	while ((end = memchr(server.input.data, '\n', server.input.size)) != NULL) {
		*end = '\0';
		server.handlers->command(server.input.data);
		mauth_buf_consume(&server.input, (size_t)(end - server.input.data) + 1);
		fflush(stdout);
		if (server.input.size == 0)
			break;
	}
}

void server_run(const struct server_settings *settings, const struct server_handlers *handlers)
{
	struct epoll_event events[256];
	struct rlimit files;

	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	server.settings = settings;
	server.handlers = handlers;
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	tls_begin();
	listen_begin();
	watch(EPOLL_CTL_ADD, server.listener, EPOLLIN, &server.listener);
	watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &server.input);
	for (;;) {
		int64_t wait = handlers->tick();
		int count = epoll_wait(server.epoll, events, 256, wait < 0 ? -1 : (int)((wait + 999) / 1000));

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == &server.listener)
				accept_peers();
			else if (events[i].data.ptr == &server.input)
				read_commands();
			else
				peer_event(events[i].data.ptr, events[i].events);
		}
	}
}
