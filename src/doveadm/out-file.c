/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "doveadm/out-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum mauth_status fail(struct mauth_error *error_r, const char *what, const char *path)
{
	return mauth_fail(error_r, MAUTH_CONFIG, errno, "%s %s failed: %s", what, path, strerror(errno));
}

enum mauth_status mauth_out_file_begin(struct mauth_out_file *out, const char *path, struct mauth_error *error_r)
{
	char *temp;
	struct stat st;
	int fd;

	/* A link or a device would be replaced by a file. */
	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s exists and is not a file", path);
	temp = mauth_printf("%s.tmp.XXXXXX", path);
	/* O_EXCL and 0600, as always with mkstemp(). */
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0) {
		enum mauth_status status = fail(error_r, "creating", temp);

		free(temp);
		return status;
	}
	out->file = fdopen(fd, "w");
	if (out->file == NULL)
		abort();
	out->path = mauth_strdup(path);
	out->temp = temp;
	return MAUTH_OK;
}

static void out_free(struct mauth_out_file *out)
{
	free(out->path);
	free(out->temp);
	memset(out, 0, sizeof(*out));
}

void mauth_out_file_abort(struct mauth_out_file *out)
{
	if (out->file == NULL)
		return;
	(void)fclose(out->file);
	(void)unlink(out->temp);
	out_free(out);
}

static bool sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash == NULL ? mauth_strdup(".") :
		slash == path ? mauth_strdup("/") : mauth_strndup(path, (size_t)(slash - path));
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool good = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		(void)close(fd);
	free(dir);
	return good;
}

/* Gives the temporary file its name. A file that is there already is kept if link() can see to it; where there are no
 * hard links the window of a moment has to do. */
static bool give_name(const struct mauth_out_file *out, bool replace)
{
	struct stat st;

	if (!replace) {
		if (link(out->temp, out->path) == 0)
			return unlink(out->temp) == 0;
		if (errno == EEXIST)
			return false;
		if (lstat(out->path, &st) == 0) {
			errno = EEXIST;
			return false;
		}
	}
	return rename(out->temp, out->path) == 0;
}

enum mauth_status mauth_out_file_commit(struct mauth_out_file *out, bool replace, struct mauth_error *error_r)
{
	enum mauth_status status = MAUTH_OK;
	bool failed;

	errno = 0;
	failed = fflush(out->file) != 0 || ferror(out->file) != 0 || fsync(fileno(out->file)) != 0;
	if (failed && errno == 0)
		errno = EIO;
	if (failed) {
		status = fail(error_r, "writing", out->temp);
		mauth_out_file_abort(out);
		return status;
	}
	(void)fclose(out->file);
	if (!give_name(out, replace)) {
		status = fail(error_r, "creating", out->path);
		(void)unlink(out->temp);
	} else if (!sync_directory(out->path)) {
		status = fail(error_r, "syncing the directory of", out->path);
	}
	out_free(out);
	return status;
}
