/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "store/key-file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char dir[64], path[96], other[96];
	struct mauth_secret *secret;
	struct mauth_error error;
};

static int set_up(void **state)
{
	struct fixture *f = mauth_new(sizeof(*f));

	strcpy(f->dir, "/tmp/modernauth-test-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/seal.key", f->dir);
	snprintf(f->other, sizeof(f->other), "%s/other", f->dir);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	int rc;

	mauth_secret_free(&f->secret);
	unlink(f->path);
	unlink(f->other);
	rmdir(f->path);
	/* Fails if a temporary file was left behind. */
	rc = rmdir(f->dir);
	free(f);
	return rc;
}

static enum mauth_status put(struct fixture *f, const char *text, bool create_only)
{
	struct mauth_secret *secret = mauth_secret_new(text, strlen(text));
	enum mauth_status status = mauth_key_file_write(f->path, secret, create_only, &f->error);

	mauth_secret_free(&secret);
	return status;
}

static enum mauth_status get(struct fixture *f)
{
	mauth_secret_free(&f->secret);
	return mauth_key_file_read(f->path, &f->secret, &f->error);
}

static void assert_content(struct fixture *f, const char *text)
{
	assert_int_equal(get(f), MAUTH_OK);
	assert_string_equal(mauth_secret_expose(f->secret), text);
	assert_int_equal(mauth_secret_size(f->secret), strlen(text));
}

static void put_plain(const char *path, size_t size, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void what_was_written_is_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, "key 1\n", true), MAUTH_OK);
	assert_content(f, "key 1\n");
	assert_int_equal(put(f, "", false), MAUTH_OK);
	assert_content(f, "");
}

static void a_file_is_private_whatever_the_umask(void **state)
{
	static const mode_t masks[] = { 0, 022, 0777 };
	struct fixture *f = *state;
	struct stat st;

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		mode_t before = umask(masks[i]);

		assert_int_equal(put(f, "key\n", false), MAUTH_OK);
		umask(before);
		assert_int_equal(stat(f->path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
}

static void no_file_is_told_from_a_bad_one(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f), MAUTH_USER_UNKNOWN);
	assert_int_equal(f->error.code, ENOENT);
	assert_null(f->secret);
}

static void a_file_is_replaced_as_a_whole(void **state)
{
	struct fixture *f = *state;
	struct stat before, after;

	assert_int_equal(put(f, "a longer key\n", true), MAUTH_OK);
	assert_int_equal(stat(f->path, &before), 0);
	/* A copy that somebody holds open must not change. */
	assert_int_equal(link(f->path, f->other), 0);
	assert_int_equal(put(f, "key\n", false), MAUTH_OK);
	assert_content(f, "key\n");
	assert_int_equal(stat(f->path, &after), 0);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_int_equal(stat(f->other, &after), 0);
	assert_int_equal(after.st_size, strlen("a longer key\n"));
}

static void what_exists_is_not_replaced_by_create_only(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, "key 1\n", true), MAUTH_OK);
	assert_int_equal(put(f, "key 2\n", true), MAUTH_CONFIG);
	assert_int_equal(f->error.code, EEXIST);
	assert_non_null(strstr(f->error.text, "there is one already"));
	assert_content(f, "key 1\n");
	/* A link that leads nowhere is something, too. */
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(symlink(f->other, f->path), 0);
	assert_int_equal(put(f, "key 2\n", true), MAUTH_CONFIG);
	assert_int_equal(access(f->other, F_OK), -1);
}

static void files_of_others_or_for_others_are_refused(void **state)
{
	static const mode_t modes[] = { 0640, 0620, 0604, 0602, 0601, 0660, 0644 };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		put_plain(f->path, 10, modes[i]);
		assert_int_equal(get(f), MAUTH_CONFIG);
		assert_non_null(strstr(f->error.text, "accessible to others"));
		assert_non_null(strstr(f->error.advice, "chmod 0600"));
	}
	put_plain(f->path, 10, 0400);
	assert_int_equal(get(f), MAUTH_OK);
	if (geteuid() == 0) {
		assert_int_equal(chown(f->path, 65534, 65534), 0);
		assert_int_equal(get(f), MAUTH_CONFIG);
		assert_non_null(strstr(f->error.text, "belongs to uid 65534"));
		assert_non_null(strstr(f->error.advice, "chown modernauth"));
	}
}

static void what_is_no_file_is_refused(void **state)
{
	struct fixture *f = *state;

	put_plain(f->other, 10, 0600);
	assert_int_equal(symlink(f->other, f->path), 0);
	assert_int_equal(get(f), MAUTH_CONFIG);
	assert_non_null(strstr(f->error.text, "symbolic link"));
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(get(f), MAUTH_CONFIG);
	assert_non_null(strstr(f->error.text, "not a regular file"));
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_int_equal(get(f), MAUTH_CONFIG);
	assert_int_equal(put(f, "key\n", false), MAUTH_TEMPORARY);
	assert_int_equal(put(f, "key\n", true), MAUTH_CONFIG);
}

static void a_file_too_large_is_refused(void **state)
{
	struct fixture *f = *state;

	put_plain(f->path, MAUTH_KEY_FILE_MAX, 0600);
	assert_int_equal(get(f), MAUTH_OK);
	assert_int_equal(mauth_secret_size(f->secret), MAUTH_KEY_FILE_MAX);
	put_plain(f->path, MAUTH_KEY_FILE_MAX + 1, 0600);
	assert_int_equal(get(f), MAUTH_CONFIG);
	assert_null(f->secret);
}

static void a_missing_directory_says_what_to_do(void **state)
{
	struct fixture *f = *state;

	snprintf(f->path, sizeof(f->path), "%s/none/seal.key", f->dir);
	assert_int_equal(get(f), MAUTH_USER_UNKNOWN);
	assert_int_equal(put(f, "key\n", true), MAUTH_TEMPORARY);
	assert_non_null(strstr(f->error.advice, "install -d -m 0700"));
}

/* A child, because a limit cannot be raised again by everybody. */
static int fill_up(struct fixture *f)
{
	const struct rlimit limit = { 5, 5 };

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		return 1;
	if (put(f, "more than five octets\n", false) != MAUTH_TEMPORARY || f->error.code != EFBIG)
		return 2;
	return strcmp(f->error.advice, "free some space") == 0 ? 0 : 3;
}

static void a_full_disk_leaves_the_old_file(void **state)
{
	struct fixture *f = *state;
	pid_t child;
	int status;

	assert_int_equal(put(f, "key 1\n", false), MAUTH_OK);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(fill_up(f));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_content(f, "key 1\n");
}

static void roots_hand_does_not_take_the_file_away(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(f->dir, 65534, 65534), 0);
	assert_int_equal(put(f, "key 1\n", true), MAUTH_OK);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_uid, 65534);
	assert_int_equal(chown(f->path, 65533, 65533), 0);
	assert_int_equal(put(f, "key 2\n", false), MAUTH_OK);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_uid, 65533);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_name_without_a_directory_is_in_this_one(void **state)
{
	struct fixture *f = *state;
	char before[512];

	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(f->dir), 0);
	strcpy(f->path, "seal.key");
	assert_int_equal(put(f, "key\n", true), MAUTH_OK);
	assert_content(f, "key\n");
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(chdir(before), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_read),
		TEST(a_file_is_private_whatever_the_umask),
		TEST(no_file_is_told_from_a_bad_one),
		TEST(a_file_is_replaced_as_a_whole),
		TEST(what_exists_is_not_replaced_by_create_only),
		TEST(files_of_others_or_for_others_are_refused),
		TEST(what_is_no_file_is_refused),
		TEST(a_file_too_large_is_refused),
		TEST(a_missing_directory_says_what_to_do),
		TEST(a_full_disk_leaves_the_old_file),
		TEST(roots_hand_does_not_take_the_file_away),
		TEST(a_name_without_a_directory_is_in_this_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
