/* SPDX-License-Identifier: MIT */
#ifndef SASL_WORLD_H
#define SASL_WORLD_H
/* A broker's relay listener in a thread, which says what a test wants it to: what the SASL plugin asks blocks its caller. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16
#define HELLO "VERSION\tmodernauth\t1\t0\nREADY\trole=relay\n"
#define TOKEN "eyJ0.fake.token-of-the-fake-broker"
#define GRANTED "OK\t1\tuser=scans@contoso.com\ttoken=" TOKEN "\ttoken_id=00112233445566778899aabbccddeeff\tcached=no\texpires_in=3600\n"

/* What becomes of one connection. */
struct scene {
	const char *greeting;     /* said at once; NULL: nothing */
	const char *answer;       /* said when the question has been read; NULL: nothing */
	bool shut;                /* closed after that, else kept until the client goes */
	bool unread;              /* closed before anything is read */
};

struct fake_relay {
	char directory[64], path[108];
	int listener;
	pthread_t thread;
	struct scene scenes[CONNECTIONS_MAX];
	size_t scenes_count;
	/* To be looked at when the thread has been stopped. */
	char questions[CONNECTIONS_MAX][32768];
	size_t connections;
};

static size_t read_question(int fd, char *text, size_t size)
{
	size_t have = 0;

	/* Three lines: VERSION, CLIENT, the question. */
	for (;;) {
		size_t lines = 0;
		ssize_t got;

		for (size_t i = 0; i < have; i++)
			lines += text[i] == '\n';
		if (lines >= 3 || have == size - 1)
			break;
		got = read(fd, text + have, size - 1 - have);
		if (got <= 0)
			break;
		have += (size_t)got;
	}
	text[have] = '\0';
	return have;
}

static void say_all(int fd, const char *text)
{
	size_t size = text == NULL ? 0 : strlen(text);

	while (size > 0) {
		ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		text += sent;
		size -= (size_t)sent;
	}
}

static void *relay_main(void *context)
{
	struct fake_relay *relay = context;

	for (;;) {
		int fd = accept(relay->listener, NULL, NULL);
		const struct scene *scene;
		char byte;

		if (fd < 0)
			return NULL;
		if (relay->connections == relay->scenes_count) {
			close(fd);
			return NULL;
		}
		scene = &relay->scenes[relay->connections];
		if (!scene->unread) {
			say_all(fd, scene->greeting);
			(void)read_question(fd, relay->questions[relay->connections], sizeof(relay->questions[0]));
			say_all(fd, scene->answer);
			while (!scene->shut && read(fd, &byte, 1) > 0)
				continue;
		}
		relay->connections++;
		close(fd);
	}
}

static void relay_listen(struct fake_relay *relay)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(addr.sun_path, relay->path);
	relay->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(relay->listener >= 0);
	assert_int_equal(bind(relay->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(relay->listener, 16), 0);
}

static struct fake_relay *relay_new(void)
{
	struct fake_relay *relay = calloc(1, sizeof(*relay));

	assert_non_null(relay);
	strcpy(relay->directory, "/tmp/ma-relay-XXXXXX");
	assert_non_null(mkdtemp(relay->directory));
	snprintf(relay->path, sizeof(relay->path), "%s/relay", relay->directory);
	relay->listener = -1;
	return relay;
}

static void relay_scene(struct fake_relay *relay, const char *greeting, const char *answer, bool shut)
{
	assert_true(relay->scenes_count < CONNECTIONS_MAX);
	relay->scenes[relay->scenes_count++] = (struct scene){ .greeting = greeting, .answer = answer, .shut = shut };
}

static void relay_start(struct fake_relay *relay)
{
	relay_listen(relay);
	assert_int_equal(pthread_create(&relay->thread, NULL, relay_main, relay), 0);
}

/* Afterwards what it has seen may be looked at. */
static void relay_stop(struct fake_relay *relay)
{
	if (relay->listener < 0)
		return;
	shutdown(relay->listener, SHUT_RDWR);
	pthread_join(relay->thread, NULL);
	close(relay->listener);
	relay->listener = -1;
}

static void relay_free(struct fake_relay *relay)
{
	relay_stop(relay);
	unlink(relay->path);
	rmdir(relay->directory);
	free(relay);
}

#endif
