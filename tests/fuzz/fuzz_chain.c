/* SPDX-License-Identifier: MIT */
/* An audit as somebody might have left it, and the texts of its keys. Verified with a key of no file in two manners: as it comes, and
 * with the words of the input put into records that are sealed, where nobody can forge but a record may say anything. */

#include "core/chain-note.h"
#include "core/chain-verify.h"

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static struct mauth_chain_key *key, *public_key;

static void check_report(const struct mauth_chain_report *report, void *context)
{
	uint64_t *reports = context;

	(*reports)++;
	MUST(report->fault < MAUTH_CHAIN_FAULT_COUNT && mauth_chain_fault_name(report->fault)[0] != '\0');
	MUST(report->writer == NULL || strlen(report->writer) == MAUTH_CHAIN_WRITER_SIZE - 1);
}

static uint64_t verify(const struct mauth_chain_key *with, const char *data, size_t size, size_t step)
{
	uint64_t reports = 0;
	struct mauth_chain_verify *verifying = mauth_chain_verify_new(with, check_report, &reports);
	struct mauth_chain_summary summary;

	mauth_chain_verify_file(verifying, "input");
	for (size_t at = 0; at < size; at += step)
		mauth_chain_verify_data(verifying, data + at, step < size - at ? step : size - at);
	mauth_chain_verify_end(verifying, &summary);
	mauth_chain_verify_free(&verifying);
	MUST(summary.octets == size && summary.sealed <= summary.lines);
	MUST(summary.findings + summary.notes == reports);
	return summary.findings;
}

static void make_keys(void)
{
	struct mauth_secret *text;
	char *pem;

	if (key != NULL)
		return;
	key = mauth_chain_key_new();
	pem = mauth_chain_key_public(key);
	text = mauth_secret_new(pem, strlen(pem));
	MUST(mauth_chain_key_read(text, &public_key, NULL) == MAUTH_OK);
	mauth_secret_free(&text);
	free(pem);
}

/* A sealed record whose body is the input up to a newline. */
static void check_sealed(const char *data, size_t size)
{
	struct mauth_chain_writer writer;
	struct mauth_buf line = { 0 }, out = { 0 };
	const char *newline = memchr(data, '\n', size);
	struct mauth_chain_note note;
	size_t body = newline == NULL ? size : (size_t)(newline - data);

	if (body > 32768)
		body = 32768;
	mauth_buf_append(&line, "{", 1);
	mauth_buf_append(&line, data, body);
	mauth_buf_puts(&line, "}\n");
	mauth_chain_begin(&writer, key);
	mauth_chain_checkpoint(&writer, line.data, line.size, &out);
	mauth_chain_seal(&writer, line.data, line.size, &out);
	/* What a record says of other writers may be a finding; it is never one of itself. */
	if (!mauth_chain_note_read(out.data, (size_t)((char *)memchr(out.data, '\n', out.size) - out.data), &note))
		MUST(verify(key, out.data, out.size, 4096) == 0 && verify(public_key, out.data, out.size, 4096) == 0);
	mauth_buf_free(&line);
	mauth_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mauth_secret *text = mauth_secret_new(data, size);
	struct mauth_chain_key *other = NULL;
	struct mauth_error error;

	make_keys();
	if (mauth_chain_key_read(text, &other, &error) == MAUTH_OK)
		(void)verify(other, (const char *)data, size, 7);
	else
		MUST(other == NULL && error.status == MAUTH_CONFIG && error.text[0] != '\0');
	mauth_chain_key_free(&other);
	mauth_secret_free(&text);
	MUST(verify(key, (const char *)data, size, 4096) == verify(key, (const char *)data, size, 5));
	(void)verify(public_key, (const char *)data, size, 4096);
	check_sealed((const char *)data, size);
	return 0;
}
