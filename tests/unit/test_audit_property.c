/* SPDX-License-Identifier: MIT */
/* Thousands of random lives of an audit: those that nobody touched are never called tampered with, and whatever somebody does to one of
 * them is named. The lives are real ones: two brokers at a reload, kills, half lines, full disks, rotations at any point, retention. */
#include "core/chain-verify.h"
#include "core/mem.h"
#include "fake_loop.h"
#include "fake_sinks.h"
#include "fake_worker.h"
#include "store/audit-file.h"
#include "store/audit-files.h"
#include "store/audit-keep.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define FILES_MAX 24u

static uint64_t random_state;

static unsigned int below(unsigned int limit)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned int)(random_state >> 33) % limit;
}

struct world {
	char dir[64], path[96], head[96], torn[112];
	struct fake_loop *loop;
	struct fake_worker *worker;
	struct fake_sinks sinks;
	struct mauth_chain_key *key, *pub;
	struct mauth_audit_file *now, *before;       /* the broker, and its predecessor during a reload; NULL */
	bool ended;                          /* nobody was killed since the last one began */
	unsigned int rotations, deleted, records;
	bool careful;                        /* only what leaves nothing that an honest crash could have lost */
};

/* -- files -------------------------------------------------------------------------------------------------- */

struct files {
	struct mauth_buf content[FILES_MAX];
	char name[FILES_MAX][96];
	size_t count;
};

static bool take(void *context, const char *data, size_t size)
{
	mauth_buf_append(context, data, size);
	return true;
}

static void files_load(const struct world *w, struct files *files)
{
	char **paths;
	size_t count = mauth_audit_list(w->path, &paths);

	assert_true(count <= FILES_MAX);
	memset(files, 0, sizeof(*files));
	for (size_t i = 0; i < count; i++) {
		const struct mauth_audit_reader reader = { .data = take, .context = &files->content[i] };

		assert_int_equal(mauth_audit_read(paths[i], &reader, NULL), MAUTH_OK);
		snprintf(files->name[i], sizeof(files->name[i]), "%s", paths[i] + strlen(w->dir) + 1);
		/* "dir//name" */
		if (files->name[i][0] == '/')
			memmove(files->name[i], files->name[i] + 1, strlen(files->name[i]));
		free(paths[i]);
	}
	files->count = count;
	free(paths);
}

static void files_free(struct files *files)
{
	for (size_t i = 0; i < FILES_MAX; i++)
		mauth_buf_free(&files->content[i]);
	memset(files, 0, sizeof(*files));
}

static void files_copy(const struct files *from, struct files *to)
{
	memset(to, 0, sizeof(*to));
	to->count = from->count;
	for (size_t i = 0; i < from->count; i++) {
		mauth_buf_append(&to->content[i], from->content[i].data == NULL ? "" : from->content[i].data, from->content[i].size);
		memcpy(to->name[i], from->name[i], sizeof(to->name[i]));
	}
}

static void empty(const char *dir)
{
	DIR *handle = opendir(dir);
	struct dirent *entry;
	char path[400];

	assert_non_null(handle);
	while ((entry = readdir(handle)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (entry->d_name[0] != '.')
			unlink(path);
	}
	closedir(handle);
}

static void write_whole(const char *path, const void *data, size_t size)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	if (size > 0)
		assert_int_equal(fwrite(data, 1, size, file), size);
	fclose(file);
}

/* The directory becomes this; the head, which is elsewhere, stays. */
static void files_store(const struct world *w, const struct files *files)
{
	char path[200], head[64] = "";
	FILE *file = fopen(w->head, "r");

	if (file != NULL) {
		(void)!fgets(head, sizeof(head), file);
		fclose(file);
	}
	empty(w->dir);
	if (head[0] != '\0')
		write_whole(w->head, head, strlen(head));
	for (size_t i = 0; i < files->count; i++) {
		snprintf(path, sizeof(path), "%s/%s", w->dir, files->name[i]);
		write_whole(path, files->content[i].data, files->content[i].size);
	}
}

/* -- verifying, as doveadm does ----------------------------------------------------------------------------- */

struct verdict {
	char text[4096];
	size_t size;
	const char *writer;                  /* of the broker that runs; NULL: none does */
	uint64_t number;
	bool seen;
	unsigned int deletions;
	struct mauth_chain_summary summary;
};

static void remember(const struct mauth_chain_report *report, void *context)
{
	struct verdict *v = context;
	int size;

	if (report->fault == MAUTH_CHAIN_OPEN_END && v->writer != NULL && strcmp(v->writer, report->writer) == 0)
		return;
	v->deletions += report->fault == MAUTH_CHAIN_DELETED;
	size = snprintf(v->text + v->size, sizeof(v->text) - v->size, "%s %s:%u %s %u-%u\n", mauth_chain_fault_name(report->fault),
			report->file, (unsigned int)report->line, report->writer == NULL ? "?" : report->writer,
			(unsigned int)report->from, (unsigned int)report->to);
	if (size > 0 && v->size + (size_t)size < sizeof(v->text))
		v->size += (size_t)size;
}

static void look_for_writer(const struct mauth_chain_range *range, void *context)
{
	struct verdict *v = context;

	if (v->writer != NULL && strcmp(range->writer, v->writer) == 0)
		v->seen = range->last.number >= v->number;
}

/* How many findings. */
static uint64_t verify(const struct world *w, const struct mauth_chain_key *key, const struct files *files, struct verdict *v)
{
	const struct mauth_chain_writer *writer = w->now == NULL ? NULL : mauth_audit_file_writer(w->now);
	struct mauth_chain_verify *verify = mauth_chain_verify_new(key, remember, v);

	*v = (struct verdict){ .size = 0 };
	if (writer != NULL && writer->state.number > 0) {
		v->writer = writer->name;
		v->number = writer->state.number;
	}
	mauth_chain_verify_all(verify);
	for (size_t i = 0; i < files->count; i++) {
		mauth_chain_verify_file(verify, files->name[i]);
		mauth_chain_verify_data(verify, files->content[i].data == NULL ? "" : files->content[i].data, files->content[i].size);
	}
	mauth_chain_verify_end(verify, &v->summary);
	mauth_chain_verify_ranges(verify, look_for_writer, v);
	mauth_chain_verify_free(&verify);
	return v->summary.findings + (v->writer != NULL && !v->seen);
}

static bool is_misplaced(const struct world *w, const struct files *files)
{
	char *paths[FILES_MAX];
	bool misplaced;

	for (size_t i = 0; i < files->count; i++)
		paths[i] = mauth_printf("%s/%s", w->dir, files->name[i]);
	misplaced = mauth_audit_misplaced(w->path, (const char *const *)paths, files->count) != NULL;
	for (size_t i = 0; i < files->count; i++)
		free(paths[i]);
	return misplaced;
}

/* -- a life ------------------------------------------------------------------------------------------------- */

static void begin(struct world *w, bool careful)
{
	memset(w, 0, sizeof(*w));
	/* In memory: retention waits for the disk. */
	strcpy(w->dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/modernauth-test-XXXXXX" : "/tmp/modernauth-test-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/audit.jsonl", w->dir);
	snprintf(w->head, sizeof(w->head), "%s/head", w->dir);
	snprintf(w->torn, sizeof(w->torn), "%s.torn", w->path);
	w->loop = fake_loop_new(1700000000);
	w->worker = fake_worker_new(fake_loop_loop(w->loop));
	fake_sinks_init(&w->sinks);
	w->key = mauth_chain_key_new();
	{
		char *pem = mauth_chain_key_public(w->key);
		struct mauth_secret *text = mauth_secret_new(pem, strlen(pem));

		assert_int_equal(mauth_chain_key_read(text, &w->pub, NULL), MAUTH_OK);
		mauth_secret_free(&text);
		free(pem);
	}
	w->careful = careful;
	w->ended = true;
}

static void end(struct world *w)
{
	mauth_audit_file_free(&w->before);
	mauth_audit_file_free(&w->now);
	empty(w->dir);
	assert_int_equal(rmdir(w->dir), 0);
	mauth_chain_key_free(&w->key);
	mauth_chain_key_free(&w->pub);
	fake_sinks_free(&w->sinks);
	fake_worker_free(&w->worker);
	fake_loop_free(&w->loop);
}

static struct mauth_audit_file *open_writer(struct world *w)
{
	struct mauth_audit_file *file = mauth_audit_file_new(w->path, fake_loop_loop(w->loop), &w->sinks.log);

	mauth_audit_file_seal(file, w->key, w->head);
	return file;
}

/* Records as the broker writes them begin with their time, by which files are put in order. */
static void append_to(struct world *w, struct mauth_audit_file *file, unsigned int count)
{
	const struct mauth_audit_sink *sink = mauth_audit_file_sink(file);
	const int64_t now = mauth_wall_usecs(fake_loop_loop(w->loop));
	time_t secs = (time_t)(now / 1000000);
	struct mauth_buf lines = { 0 };
	char stamp[40];
	struct tm tm;

	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", gmtime_r(&secs, &tm));
	for (unsigned int i = 0; i < count; i++)
		mauth_buf_printf(&lines, "{\"@timestamp\":\"%s.%06uZ\",\"n\":%u,\"user\":{\"name\":\"user%u@contoso.com\"}}\n", stamp,
				 (unsigned int)(now % 1000000), w->records++, below(50));
	/* The end of whoever was killed has been found by the one who is here now. */
	if (sink->append(sink->context, lines.data, lines.size, NULL) == MAUTH_OK && file == w->now)
		w->ended = true;
	mauth_buf_free(&lines);
}

static struct rlimit set_limit(rlim_t size)
{
	struct rlimit before, limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	return before;
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : 0;
}

/* kill -9: nothing is written any more. */
static void kill_writer(struct world *w, struct mauth_audit_file **file)
{
	struct rlimit before = set_limit(0);

	mauth_audit_file_free(file);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	w->ended = false;
}

static void fill_disk(struct world *w)
{
	struct rlimit before = set_limit((rlim_t)size_of(w->path) + below(700));
	unsigned int count = 1 + below(3);

	while (count-- > 0)
		append_to(w, w->now, 1 + below(3));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
}

static void rotate(struct world *w)
{
	char name[160];

	if (size_of(w->path) == 0)
		return;
	snprintf(name, sizeof(name), "%s-%08u", w->path, 20260000 + w->rotations++);
	assert_int_equal(rename(w->path, name), 0);
	if (!w->careful || w->now == NULL)
		return;
	/* Whoever is killed before he has noticed leaves an end that only the last signature protects. */
	fake_loop_run(w->loop, 1100);
	append_to(w, w->now, 1);
}

/* The machine goes down: what came after the last signature may be lost, in the middle of a line. */
static void crash_machine(struct world *w)
{
	/* And what retention has recorded is on disk before it deletes. */
	static const char *const safes[] = { "\"sig\":\"", "audit-deleted" };
	struct mauth_buf content = { 0 };
	const struct mauth_audit_reader reader = { .data = take, .context = &content };
	size_t safe = 0;

	if (w->before != NULL)
		kill_writer(w, &w->before);
	if (w->now != NULL)
		kill_writer(w, &w->now);
	if (mauth_audit_read(w->path, &reader, NULL) == MAUTH_OK && content.size > 0) {
		for (size_t i = 0; i < 2; i++) {
			for (const char *at = content.data; (at = strstr(at, safes[i])) != NULL; at++) {
				size_t line_end = (size_t)(strchr(at, '\n') + 1 - content.data);

				safe = line_end > safe ? line_end : safe;
			}
		}
		if (safe < content.size)
			assert_int_equal(truncate(w->path, (off_t)(safe + below((unsigned int)(content.size - safe)))), 0);
	}
	mauth_buf_free(&content);
}

/* The oldest file, or a few, if there are some. */
static void keep_less(struct world *w)
{
	struct mauth_audit_keep *keep;
	uint64_t total = 0, oldest;
	char **paths;
	size_t count;

	/* Nobody has a file open that was renamed ten minutes ago. */
	fake_loop_run(w->loop, 1100);
	if (w->before != NULL)
		append_to(w, w->before, 1);
	if (w->now != NULL)
		append_to(w, w->now, 1);
	count = mauth_audit_list(w->path, &paths);
	oldest = count == 0 ? 0 : (uint64_t)size_of(paths[0]);
	for (size_t i = 0; i < count; i++) {
		total += (uint64_t)size_of(paths[i]);
		free(paths[i]);
	}
	free(paths);
	if (count < 2 || w->now == NULL)
		return;
	keep = mauth_audit_keep_new(&(struct mauth_audit_keep_settings){
		.path = w->path, .max_size = total - oldest + below(2) * (oldest / 2), .key = w->key, .loop = fake_loop_loop(w->loop),
		.log = &w->sinks.log, .worker = fake_worker_worker(w->worker), .sink = mauth_audit_file_sink(w->now) });
	fake_loop_run(w->loop, MAUTH_AUDIT_KEEP_FIRST_MSECS + 10);
	w->deleted++;
	mauth_audit_keep_free(&keep);
}

static void reload(struct world *w)
{
	if (w->before != NULL || w->now == NULL)
		return;
	w->before = w->now;
	w->now = open_writer(w);
}

static void live(struct world *w, unsigned int steps)
{
	while (steps-- > 0) {
		const unsigned int what = below(100);
		const bool can_rotate = !w->careful || (w->ended && w->before == NULL);

		fake_loop_run(w->loop, 1 + below(900));
		if (w->now == NULL && below(3) > 0)
			w->now = open_writer(w);
		if (what < 55 && w->now != NULL)
			append_to(w, w->before != NULL && below(2) == 0 ? w->before : w->now, 1 + below(4));
		else if (what < 65 && can_rotate)
			rotate(w);
		else if (what < 72)
			reload(w);
		else if (what < 82 && w->before != NULL && !w->careful && below(3) == 0)
			kill_writer(w, &w->before);
		else if (what < 82)
			mauth_audit_file_free(&w->before);
		else if (what < 85 && w->before == NULL && w->now != NULL)
			kill_writer(w, &w->now);
		else if (what < 88 && w->before == NULL)
			mauth_audit_file_free(&w->now);
		else if (what < 91 && w->now != NULL)
			fill_disk(w);
		else if (what < 93 && (!w->careful || w->before == NULL))
			crash_machine(w);
		else if (what < 95)
			fake_loop_run(w->loop, 61000);
		else if (what < 98)
			keep_less(w);
	}
}

/* A sanitizer makes each of them five times slower. */
static unsigned int many(unsigned int count)
{
	return getenv("SLOW_TESTS") == NULL ? count : count / 4;
}

/* -- honest ------------------------------------------------------------------------------------------------- */

static void show(const struct files *files, const struct verdict *v)
{
	fprintf(stderr, "%srunning: %s %u, %s\n", v->text, v->writer == NULL ? "nobody" : v->writer, (unsigned int)v->number,
		v->seen ? "all of it is here" : "not all of it is here");
	if (getenv("MODERNAUTH_TEST_SHOW") == NULL)
		return;
	for (size_t i = 0; i < files->count; i++)
		fprintf(stderr, "== %s\n%s", files->name[i], files->content[i].data == NULL ? "" : files->content[i].data);
}

static void no_honest_life_is_an_alarm(void **state)
{
	unsigned int deletions = 0, kills = 0;
	(void)state;

	for (unsigned int round = 0; round < many(280); round++) {
		struct files files;
		struct verdict v;
		struct world w;

		begin(&w, false);
		/* Looked at again and again, each time in the middle of it. */
		for (unsigned int look = 0; look < 8; look++) {
			live(&w, 5 + below(20));
			files_load(&w, &files);
			if (is_misplaced(&w, &files) || verify(&w, w.key, &files, &v) > 0 || (look == 7 && verify(&w, w.pub, &files, &v) > 0)) {
				show(&files, &v);
				fail_msg("round %u, look %u: an alarm", round, look);
			}
			deletions += v.deletions;
			kills += strstr(v.text, "open-end") != NULL;
			files_free(&files);
		}
		end(&w);
	}
	/* It has been what it is meant to be. */
	assert_true(deletions > many(30) && kills > many(30));
}

/* -- not ---------------------------------------------------------------------------------------------------- */

static const char *const tampering[] = { "one bit", "a record deleted", "the last 100 deleted", "two files swapped", "an old file again",
					 "cut in a line", "an old copy of a file", "an old copy of all", "a line put in",
					 "two lines swapped", "a file deleted", "a line of another key" };
#define KINDS (sizeof(tampering) / sizeof(tampering[0]))

static size_t lines_of(const struct mauth_buf *file)
{
	size_t count = 0;

	for (size_t i = 0; i < file->size; i++)
		count += file->data[i] == '\n';
	return count;
}

/* Where line number begins, from 0 on; the end if there are not so many. */
static size_t begin_of(const struct mauth_buf *file, size_t number)
{
	const char *at = file->data, *end = file->data + file->size;

	while (number-- > 0 && at < end)
		at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
	return (size_t)(at - file->data);
}

static void cut(struct mauth_buf *file, size_t from, size_t to)
{
	memmove(file->data + from, file->data + to, file->size - to + 1);
	file->size -= to - from;
}

static void put_in(struct mauth_buf *file, size_t at, const char *data, size_t size)
{
	struct mauth_buf whole = { 0 };

	mauth_buf_append(&whole, file->data, at);
	mauth_buf_append(&whole, data, size);
	mauth_buf_append(&whole, file->data + at, file->size - at);
	mauth_buf_free(file);
	*file = whole;
}

static void drop_file(struct files *files, size_t i)
{
	mauth_buf_free(&files->content[i]);
	files->count--;
	memmove(&files->content[i], &files->content[i + 1], (files->count - i) * sizeof(files->content[0]));
	memmove(&files->name[i], &files->name[i + 1], (files->count - i) * sizeof(files->name[0]));
	files->content[files->count] = (struct mauth_buf){ 0 };
}

static void cut_last(struct files *files, size_t lines)
{
	while (lines > 0 && files->count > 0) {
		struct mauth_buf *file = &files->content[files->count - 1];
		size_t has = lines_of(file);

		if (has > lines) {
			cut(file, begin_of(file, has - lines), file->size);
			return;
		}
		lines -= has;
		drop_file(files, files->count - 1);
	}
	/* What is left is the file that was in use then. */
}

static bool swap_lines(struct mauth_buf *file)
{
	struct mauth_chain_line first, second;
	size_t lines = lines_of(file), a = below((unsigned int)lines), b = below((unsigned int)lines), at[4];
	struct mauth_buf whole = { 0 };

	if (a > b) {
		size_t other = a;

		a = b;
		b = other;
	}
	at[0] = begin_of(file, a);
	at[1] = begin_of(file, a + 1);
	at[2] = begin_of(file, b);
	at[3] = begin_of(file, b + 1);
	/* The order between two writers is not sealed. */
	if (a == b || !mauth_chain_parse(file->data + at[0], at[1] - at[0] - 1, &first) ||
	    !mauth_chain_parse(file->data + at[2], at[3] - at[2] - 1, &second) || strcmp(first.writer, second.writer) != 0)
		return false;
	mauth_buf_append(&whole, file->data, at[0]);
	mauth_buf_append(&whole, file->data + at[2], at[3] - at[2]);
	mauth_buf_append(&whole, file->data + at[1], at[2] - at[1]);
	mauth_buf_append(&whole, file->data + at[0], at[1] - at[0]);
	mauth_buf_append(&whole, file->data + at[3], file->size - at[3]);
	mauth_buf_free(file);
	*file = whole;
	return true;
}

static void put_foreign(struct mauth_buf *file, size_t at, bool sealed)
{
	static const char line[] = "{\"@timestamp\":\"2026-11-26T10:00:00.000000Z\",\"user\":{\"name\":\"nobody@contoso.com\"}}\n";
	struct mauth_chain_key *key = mauth_chain_key_new();
	struct mauth_chain_writer writer;
	struct mauth_buf out = { 0 };

	mauth_chain_begin(&writer, key);
	if (sealed)
		mauth_chain_checkpoint(&writer, line, sizeof(line) - 1, &out);
	else
		mauth_buf_puts(&out, line);
	put_in(file, at, out.data, out.size);
	mauth_buf_free(&out);
	mauth_chain_key_free(&key);
}

/* false: there was nothing to do it to. on_disk: files get their order from their records again. */
static bool tamper(struct files *files, unsigned int kind, bool on_disk)
{
	size_t i = below((unsigned int)files->count), j = below((unsigned int)files->count), lines, from, at;
	struct mauth_buf *file = &files->content[i], other;

	if (file->size == 0)
		return false;
	lines = lines_of(file);
	at = below((unsigned int)file->size);
	from = below((unsigned int)lines);
	switch (kind) {
	case 0:
		file->data[at] = (char)(file->data[at] ^ (1 << below(8)));
		return true;
	case 1:
		cut(file, begin_of(file, from), begin_of(file, from + 1));
		return true;
	case 2:
		cut_last(files, 100);
		return true;
	case 3:
		if (i == j || files->content[j].size == 0)
			return false;
		other = files->content[i];
		files->content[i] = files->content[j];
		files->content[j] = other;
		return true;
	case 4:
		if (i == j || (j == files->count - 1 && on_disk))
			return false;
		mauth_buf_clear(&files->content[j]);
		mauth_buf_append(&files->content[j], file->data, file->size);
		return true;
	case 5:
	case 6:
		if (kind == 6)
			at = begin_of(file, from);
		cut(file, at, file->size);
		return true;
	case 7:
		cut_last(files, 1 + below(60));
		return true;
	case 8:
		at = begin_of(file, from);
		if (below(2) == 0) {
			put_foreign(file, at, false);
		} else {
			const struct mauth_buf *source = &files->content[j];
			size_t line, end;
			char *copy;

			if (source->size == 0)
				return false;
			line = begin_of(source, below((unsigned int)lines_of(source)));
			end = (size_t)((const char *)memchr(source->data + line, '\n', source->size - line) + 1 - source->data);
			copy = mauth_strndup(source->data + line, end - line);
			put_in(file, at, copy, end - line);
			free(copy);
		}
		return true;
	case 9:
		return swap_lines(file);
	case 10:
		drop_file(files, i);
		return true;
	default:
		put_foreign(file, begin_of(file, from), true);
		return true;
	}
}

static void expect_found(const struct world *w, const struct mauth_chain_key *key, const struct files *files, unsigned int kind,
			 unsigned int round, const char *how)
{
	struct verdict v;

	if (verify(w, key, files, &v) > 0 || is_misplaced(w, files))
		return;
	show(files, &v);
	fail_msg("round %u, %s, %s: nothing was found", round, tampering[kind], how);
}

/* A broker begins on what it finds, and everything is looked at. */
static void restart_and_look(struct world *w, const struct files *tampered, unsigned int kind, unsigned int round)
{
	char head[64] = "", *line = head;
	FILE *file = fopen(w->head, "r");
	struct files found;

	assert_non_null(file);
	assert_non_null(fgets(head, sizeof(head), file));
	fclose(file);
	files_store(w, tampered);
	w->now = open_writer(w);
	append_to(w, w->now, 1);
	mauth_audit_file_free(&w->now);
	files_load(w, &found);
	expect_found(w, w->key, &found, kind, round, "after a restart");
	if (round % 4 == 0)
		expect_found(w, w->pub, &found, kind, round, "after a restart, with the public key");
	files_free(&found);
	write_whole(w->head, line, strlen(line));
}

static void whatever_somebody_does_is_named(void **state)
{
	unsigned int counts[KINDS] = { 0 };
	(void)state;

	for (unsigned int round = 0; round < many(128); round++) {
		const bool running = round % 2 == 0;
		struct files files;
		struct verdict v;
		struct world w;

		begin(&w, true);
		do
			live(&w, 40 + below(60));
		while (w.now == NULL || mauth_audit_file_writer(w.now)->state.number == 0);
		mauth_audit_file_free(&w.before);
		fake_loop_run(w.loop, 1500);
		append_to(&w, w.now, 1);
		/* A signature that covers what others have left. */
		fake_loop_run(w.loop, 61000);
		append_to(&w, w.now, 1);
		if (!running)
			mauth_audit_file_free(&w.now);
		files_load(&w, &files);
		if (verify(&w, w.key, &files, &v) > 0) {
			show(&files, &v);
			fail_msg("round %u: an alarm before anything was done", round);
		}
		/* Somebody was killed, and nobody has found his end: what is cut off there nobody can know. */
		for (unsigned int edit = 0; edit < (strstr(v.text, "open-end") != NULL ? 0 : 24); edit++) {
			const unsigned int kind = edit % KINDS;
			struct files tampered;

			files_copy(&files, &tampered);
			if (tamper(&tampered, kind, !running)) {
				counts[kind]++;
				if (running)
					expect_found(&w, w.key, &tampered, kind, round, "while the broker runs");
				else
					restart_and_look(&w, &tampered, kind, round);
			}
			files_free(&tampered);
		}
		files_free(&files);
		end(&w);
	}
	for (size_t i = 0; i < KINDS; i++)
		assert_true(counts[i] > 5);
}

static int set_up(void **state)
{
	const char *seed = getenv("MODERNAUTH_TEST_SEED");

	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN);
	if (seed != NULL)
		random_state = strtoull(seed, NULL, 10);
	else
		mauth_random(&random_state, sizeof(random_state));
	/* To have the same lives again. */
	fprintf(stderr, "MODERNAUTH_TEST_SEED=%llu\n", (unsigned long long)random_state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(no_honest_life_is_an_alarm, set_up),
		cmocka_unit_test_setup(whatever_somebody_does_is_named, set_up),
	};

	/* "*named*": with a seed, one of them is enough. */
	if (getenv("MODERNAUTH_TEST_ONLY") != NULL)
		cmocka_set_test_filter(getenv("MODERNAUTH_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
