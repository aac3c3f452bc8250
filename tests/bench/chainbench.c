/* SPDX-License-Identifier: MIT */
/* chainbench DIR MB: writes DIR/audit.jsonl with so many megabytes of sealed records and DIR/key, for "audit verify", and says what sealing
 * costs. */
#include "core/chain-note.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char record[] =
	"{\"@timestamp\":\"2026-11-26T10:00:00.123456Z\",\"ecs\":{\"version\":\"9.0.0\"},\"event\":{\"kind\":\"event\",\"category\":"
	"[\"authentication\"],\"type\":[\"start\"],\"action\":\"basic-auth-intercepted\",\"outcome\":\"success\",\"provider\":\"dovecot-modernauth\","
	"\"dataset\":\"dovecot.modernauth\",\"id\":\"0f3a8d9c1b2e4f5a6b7c8d9e0000000000000001\",\"duration\":123000},\"user\":{\"name\":"
	"\"alice@contoso.com\",\"email\":\"alice@contoso.com\",\"domain\":\"contoso.com\"},\"source\":{\"ip\":\"192.0.2.7\",\"port\":50123},"
	"\"destination\":{\"ip\":\"192.0.2.1\",\"port\":993},\"network\":{\"protocol\":\"imap\",\"transport\":\"tcp\"},\"service\":{\"type\":"
	"\"dovecot\",\"name\":\"imap\"},\"tls\":{\"established\":true},\"cloud\":{\"account\":{\"id\":\"contoso.onmicrosoft.com\"}},"
	"\"modernauth\":{\"session\":\"Zk3b5Q8LxX8AAAAB\",\"protocol\":\"IMAP4\",\"mechanism\":\"PLAIN\",\"tenant\":\"contoso\",\"decision\":"
	"\"upgrade\",\"rule\":\"tenant\",\"verified_by\":\"entra\",\"grant\":\"password\",\"token_source\":\"cache\",\"status\":\"ok\"}}\n";

static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct mauth_chain_key *key = mauth_chain_key_new();
	struct mauth_secret *text = mauth_chain_key_text(key);
	struct mauth_chain_writer writer;
	struct mauth_buf out = { 0 };
	unsigned long long left, records = 0;
	double spent = 0;
	char path[4096];
	FILE *file;
	int fd;

	if (argc != 3)
		return 64;
	snprintf(path, sizeof(path), "%s/key", argv[1]);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, mauth_secret_expose(text), mauth_secret_size(text)) < 0)
		return 1;
	close(fd);
	snprintf(path, sizeof(path), "%s/audit.jsonl", argv[1]);
	file = fopen(path, "w");
	if (file == NULL)
		return 1;
	mauth_chain_begin(&writer, key);
	for (left = strtoull(argv[2], NULL, 10) * 1000000; left > out.size; left -= out.size) {
		double begin = now();

		mauth_buf_clear(&out);
		for (unsigned int i = 0; i < 1000; i++)
			mauth_chain_seal(&writer, record, sizeof(record) - 1, &out);
		mauth_chain_checkpoint(&writer, record, sizeof(record) - 1, &out);
		spent += now() - begin;
		records += 1001;
		(void)fwrite(out.data, 1, out.size, file);
	}
	fclose(file);
	printf("%llu records of %zu octets, %.2f us each to seal\n", records, sizeof(record) - 1, spent * 1e6 / (double)records);
	mauth_buf_free(&out);
	mauth_secret_free(&text);
	mauth_chain_key_free(&key);
	return 0;
}
