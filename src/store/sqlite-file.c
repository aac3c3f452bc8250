/* SPDX-License-Identifier: MIT */
#include "store/sqlite-private.h"

#include "store/advise.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BUSY_MSECS 100     /* the loop stands still meanwhile */
#define WRITE_BUSY_MSECS 1000   /* only the worker does */

/* Of the file's first page (https://www.sqlite.org/fileformat.html, section 1.3). */
#define HEADER_SIZE 100u
#define HEADER_MAGIC "SQLite format 3"
#define HEADER_APPLICATION_ID 68u

const char *const mauth_sqlite_schema[] = {
	"CREATE TABLE records (kind TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, name))"
	" STRICT, WITHOUT ROWID",
};
const int mauth_sqlite_schema_version = sizeof(mauth_sqlite_schema) / sizeof(mauth_sqlite_schema[0]);

/* -- what is wrong, and what to do -- */

/* All of them: an old log beside a restored database would be played into it. */
static enum mauth_status advise_restore(struct mauth_error *error_r, const char *path)
{
	return mauth_advise(error_r, MAUTH_CONFIG, "stop the service, move %.200s, -wal and -shm away, and put a "
			    "backup there; without one the service begins with an empty database, and users must enrol "
			    "again", path);
}

static bool is_full(int code)
{
	return code == ENOSPC || code == EDQUOT || code == EFBIG;
}

static enum mauth_status advise_rc(struct mauth_error *error_r, int rc, int code, const char *path)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		return mauth_advise(error_r, MAUTH_TEMPORARY, "another process holds it (a backup, sqlite3?): fuser %.300s "
				    "names it; end it", path);
	case SQLITE_FULL:
		return mauth_advise(error_r, MAUTH_TEMPORARY, "free some space");
	case SQLITE_IOERR:
		return mauth_advise(error_r, MAUTH_TEMPORARY, is_full(code) ? "free some space" :
				    "look in the kernel's log (dmesg) for what ails the disk");
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
	case SQLITE_CANTOPEN:
		return mauth_advise(error_r, MAUTH_TEMPORARY, "the file system must be writable, and the file and its "
				    "directory belong to the user of the service");
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
	case SQLITE_ERROR:      /* a table that is not as it must be */
		return advise_restore(error_r, path);
	default:
		return mauth_advise(error_r, MAUTH_TEMPORARY, "mend what the error says");
	}
}

/* The errno behind an I/O error, 0 if it is not known. sqlite3_system_errno() does not know it when a COMMIT failed. */
static int find_errno(sqlite3 *db)
{
	sqlite3_file *log = NULL;
	int code = sqlite3_system_errno(db);

	if (code == 0 && sqlite3_file_control(db, NULL, SQLITE_FCNTL_JOURNAL_POINTER, (void *)&log) == SQLITE_OK &&
	    log != NULL && log->pMethods != NULL)
		(void)log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &code);
	if (code == 0)
		(void)sqlite3_file_control(db, NULL, SQLITE_FCNTL_LAST_ERRNO, &code);
	return code;
}

enum mauth_status mauth_sqlite_fail(sqlite3 *db, int rc, const char *path, const char *what,
				    struct mauth_error *error_r)
{
	bool by_system = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN;
	int code = db != NULL && by_system ? find_errno(db) : 0;
	/* errmsg() is of the last call, which may have been another one. */
	bool same = db != NULL && (sqlite3_errcode(db) & 0xff) == (rc & 0xff);
	struct mauth_error error = { 0 };

	mauth_fail(&error, MAUTH_TEMPORARY, code != 0 ? code : rc, "%.300s cannot be %s: %.100s%s%s", path, what,
		   same ? sqlite3_errmsg(db) : sqlite3_errstr(rc), code != 0 ? ": " : "",
		   code != 0 ? strerror(code) : "");
	error.status = advise_rc(&error, rc, code, path);
	if (error_r != NULL)
		*error_r = error;
	return error.status;
}

static enum mauth_status refuse(const char *path, const char *why, struct mauth_error *error_r)
{
	mauth_fail(error_r, MAUTH_CONFIG, 0, "%.300s %s", path, why);
	return advise_restore(error_r, path);
}

/* -- the directory -- */

static enum mauth_status check_directory(const char *dir, const struct stat *st, struct mauth_error *error_r)
{
	if (st->st_uid != geteuid())
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0,
							"state directory %.200s belongs to uid %u, we are uid %u", dir,
							(unsigned int)st->st_uid, (unsigned int)geteuid()),
				    "chown modernauth:modernauth %.300s", dir);
	if ((st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0,
							"state directory %.200s is open to others (mode %04o)", dir,
							(unsigned int)st->st_mode & 07777), "chmod 0700 %.300s", dir);
	return MAUTH_OK;
}

static enum mauth_status lock(const char *dir, int fd, struct mauth_error *error_r)
{
	struct stat st;
	enum mauth_status status;
	int code;

	if (fstat(fd, &st) < 0)
		return mauth_fail(error_r, MAUTH_TEMPORARY, errno, "state directory %.200s: %s", dir, strerror(errno));
	status = check_directory(dir, &st, error_r);
	if (status != MAUTH_OK || flock(fd, LOCK_EX | LOCK_NB) == 0)
		return status;
	code = errno;
	if (code == EWOULDBLOCK)
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_TEMPORARY, code,
							"state directory %.200s is in use by another process", dir),
				    "only one may: fuser -v %.300s names it; wait for its end, or end it", dir);
	return mauth_advise(error_r, mauth_fail(error_r, MAUTH_TEMPORARY, code,
						"state directory %.200s cannot be locked: %s", dir, strerror(code)),
			    "it must be on a local file system");
}

enum mauth_status mauth_sqlite_lock(const char *dir, int *fd_r, struct mauth_error *error_r)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code = errno;
	enum mauth_status status;

	if (fd < 0) {
		status = code == ENOENT || code == ENOTDIR || code == EACCES ? MAUTH_CONFIG : MAUTH_TEMPORARY;
		mauth_fail(error_r, status, code, "state directory %.200s: %s", dir, strerror(code));
		return mauth_advise(error_r, status, "install -d -m 0700 -o modernauth -g modernauth %.300s", dir);
	}
	/* The directory itself: no lock file to leave behind, and backups that open the database are not locked out. */
	status = lock(dir, fd, error_r);
	if (status != MAUTH_OK) {
		close(fd);
		return status;
	}
	*fd_r = fd;
	return MAUTH_OK;
}

/* -- before SQLite sees the file -- */

static enum mauth_status check_header(const char *path, int fd, struct mauth_error *error_r)
{
	unsigned char header[HEADER_SIZE];
	ssize_t got = pread(fd, header, sizeof(header), 0);
	const unsigned char *id = header + HEADER_APPLICATION_ID;

	if (got < 0)
		return mauth_sqlite_fail(NULL, SQLITE_IOERR_READ, path, "read", error_r);
	if (got < (ssize_t)sizeof(header) || memcmp(header, HEADER_MAGIC, sizeof(HEADER_MAGIC)) != 0)
		return refuse(path, got == 0 ? "is empty" : "is not a database, or no longer", error_r);
	if (((uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3]) !=
	    MAUTH_SQLITE_APPLICATION_ID)
		return refuse(path, "is the database of another program", error_r);
	return MAUTH_OK;
}

/* SQLite itself would mend, or finish, whatever it finds: a file that is not ours must not come so far. Ours never
 * lacks its header, since it gets its name when it is complete. */
static enum mauth_status check_file(const char *path, const struct stat *st, struct mauth_error *error_r)
{
	enum mauth_status status;
	int fd;

	if (!S_ISREG(st->st_mode))
		return refuse(path, "is not a regular file", error_r);
	if (st->st_uid != geteuid() || (st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0,
							"%.300s belongs to somebody else or is open to others (uid "
							"%u, mode %04o)", path, (unsigned int)st->st_uid,
							(unsigned int)st->st_mode & 07777),
				    "chown modernauth:modernauth %.200s && chmod 0600 %.200s", path, path);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return mauth_sqlite_fail(NULL, SQLITE_CANTOPEN, path, "opened", error_r);
	/* Closing it would drop the locks of a connection of this process to the same file. There is none: we have the
	   directory's lock. */
	status = check_header(path, fd, error_r);
	close(fd);
	return status;
}

/* -- connections -- */

static enum mauth_status exec(sqlite3 *db, const char *path, const char *sql, const char *what,
			      struct mauth_error *error_r)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? MAUTH_OK : mauth_sqlite_fail(db, rc, path, what, error_r);
}

static enum mauth_status open_db(const char *path, int flags, int busy_msecs, sqlite3 **db_r,
				 struct mauth_error *error_r)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
				 SQLITE_OPEN_EXRESCODE, NULL);
	enum mauth_status status;

	if (rc != SQLITE_OK) {
		status = mauth_sqlite_fail(db, rc, path, "opened", error_r);
		(void)sqlite3_close(db);
		return status;
	}
	(void)sqlite3_busy_timeout(db, busy_msecs);
	/* The file is a file: what somebody else wrote into its schema is not run. */
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	*db_r = db;
	return exec(db, path, "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY", "opened", error_r);
}

/* The first column of the first row of sql. */
static enum mauth_status query(sqlite3 *db, const char *path, const char *sql, char *text_r, size_t text_size,
			       struct mauth_error *error_r)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
	enum mauth_status status = MAUTH_OK;
	const char *text;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW) {
		status = mauth_sqlite_fail(db, rc, path, "read", error_r);
	} else {
		text = (const char *)sqlite3_column_text(stmt, 0);
		if (text == NULL)
			text = "";
		mauth_clean_copy(text_r, text_size, text, strlen(text));
	}
	(void)sqlite3_finalize(stmt);
	return status;
}

static enum mauth_status read_version(sqlite3 *db, const char *path, int *version_r, struct mauth_error *error_r)
{
	char text[16];
	enum mauth_status status = query(db, path, "PRAGMA user_version", text, sizeof(text), error_r);

	if (status == MAUTH_OK)
		*version_r = (int)strtol(text, NULL, 10);
	return status;
}

enum mauth_status mauth_sqlite_open_reader(const char *path, sqlite3 **reader_r, struct mauth_error *error_r)
{
	enum mauth_status status = open_db(path, SQLITE_OPEN_READONLY, READ_BUSY_MSECS, reader_r, error_r);

	if (status == MAUTH_OK)
		(void)sqlite3_db_config(*reader_r, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return status;
}

static enum mauth_status check_content(sqlite3 *reader, const char *path, struct mauth_error *error_r)
{
	char text[200];
	int version = 0;
	enum mauth_status status = read_version(reader, path, &version, error_r);

	if (status != MAUTH_OK)
		return status;
	if (version < 0 || version > mauth_sqlite_schema_version)
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0,
							"%.300s has been written by a newer version (schema %d, this "
							"version knows %d)", path, version,
							mauth_sqlite_schema_version),
				    "install that version again, or restore the backup made before the upgrade");
	status = query(reader, path, "PRAGMA quick_check(1)", text, sizeof(text), error_r);
	if (status != MAUTH_OK || strcmp(text, "ok") == 0)
		return status;
	mauth_fail(error_r, MAUTH_CONFIG, 0, "%.200s is damaged: %s", path, text);
	return advise_restore(error_r, path);
}

static enum mauth_status open_writer(const char *path, sqlite3 **writer_r, struct mauth_error *error_r)
{
	char mode[16] = "";
	enum mauth_status status = open_db(path, SQLITE_OPEN_READWRITE, WRITE_BUSY_MSECS, writer_r, error_r);

	if (status == MAUTH_OK)
		status = query(*writer_r, path, "PRAGMA journal_mode = WAL", mode, sizeof(mode), error_r);
	if (status != MAUTH_OK)
		return status;
	if (strcmp(mode, "wal") != 0)
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0, "%.300s cannot have a write-ahead log",
							path), "it must be on a local file system");
	/* FULL: fsync with every commit. The log is cut after it has once grown beyond what is usual (4 MB). */
	return exec(*writer_r, path,
		    "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA journal_size_limit = 8388608", "opened",
		    error_r);
}

/* -- schema -- */

static enum mauth_status take_step(sqlite3 *db, const char *path, const char *step, int version,
				   struct mauth_error *error_r)
{
	char set_version[64];
	enum mauth_status status = exec(db, path, "BEGIN IMMEDIATE", "upgraded", error_r);

	if (status != MAUTH_OK)
		return status;
	(void)sqlite3_snprintf(sizeof(set_version), set_version, "PRAGMA user_version = %d", version);
	status = exec(db, path, step, "upgraded", error_r);
	if (status == MAUTH_OK)
		status = exec(db, path, set_version, "upgraded", error_r);
	if (status == MAUTH_OK)
		status = exec(db, path, "COMMIT", "upgraded", error_r);
	if (sqlite3_get_autocommit(db) == 0)
		(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return status;
}

enum mauth_status mauth_sqlite_migrate(sqlite3 *db, const char *path, const char *const *steps, int count,
				       struct mauth_error *error_r)
{
	int version = 0;
	enum mauth_status status = read_version(db, path, &version, error_r);

	for (; status == MAUTH_OK && version < count; version++)
		status = take_step(db, path, steps[version], version + 1, error_r);
	return status;
}

/* -- creation -- */

static enum mauth_status fill_new(const char *temporary, struct mauth_error *error_r)
{
	char set_id[64];
	sqlite3 *db = NULL;
	enum mauth_status status = open_db(temporary, SQLITE_OPEN_READWRITE, WRITE_BUSY_MSECS, &db, error_r);

	(void)sqlite3_snprintf(sizeof(set_id), set_id, "PRAGMA application_id = %d", MAUTH_SQLITE_APPLICATION_ID);
	/* No journal on disk: after a crash the file is thrown away. */
	if (status == MAUTH_OK)
		status = exec(db, temporary, "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = FULL", "created", error_r);
	if (status == MAUTH_OK)
		status = exec(db, temporary, set_id, "created", error_r);
	if (status == MAUTH_OK)
		status = mauth_sqlite_migrate(db, temporary, mauth_sqlite_schema, mauth_sqlite_schema_version, error_r);
	(void)sqlite3_close(db);
	return status;
}

static enum mauth_status cannot_create(const char *path, struct mauth_error *error_r)
{
	int code = errno;
	enum mauth_status status = mauth_fail(error_r, MAUTH_TEMPORARY, code, "%.300s cannot be created: %s", path,
					      strerror(code));

	return mauth_advise(error_r, status, is_full(code) ? "free some space" : "mend what the error says");
}

static enum mauth_status put_in_place(const char *temporary, const char *path, int dir_fd, struct mauth_error *error_r)
{
	/* Not rename(): nothing that has come there in the meantime is overwritten. */
	if (link(temporary, path) < 0 || unlink(temporary) < 0 || fsync(dir_fd) < 0)
		return cannot_create(path, error_r);
	return MAUTH_OK;
}

static enum mauth_status create(const char *path, int dir_fd, struct mauth_error *error_r)
{
	char *temporary = mauth_printf("%s.new", path);
	enum mauth_status status;
	int fd;

	/* One that died left it; with the directory's lock it is ours. */
	(void)unlink(temporary);
	/* Not SQLite's to create, which would leave the mode to the umask. -wal and -shm get the mode of the file. */
	fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fchmod(fd, 0600) < 0) {
		status = cannot_create(path, error_r);
		if (fd >= 0)
			close(fd);
	} else {
		close(fd);
		status = fill_new(temporary, error_r);
		if (status == MAUTH_OK)
			status = put_in_place(temporary, path, dir_fd, error_r);
	}
	if (status != MAUTH_OK)
		(void)unlink(temporary);
	free(temporary);
	return status;
}

/* A log without its database holds commits that were acknowledged: to begin anew beside it would delete them. */
static enum mauth_status check_no_log(const char *path, struct mauth_error *error_r)
{
	char *wal = mauth_printf("%s-wal", path);
	struct stat st;
	bool there = lstat(wal, &st) == 0 && st.st_size > 0;

	free(wal);
	if (!there)
		return MAUTH_OK;
	return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0, "%.300s is missing, but its log (-wal) is there",
						path),
			    "put the file back, which belongs to it; or move the log away as well");
}

static enum mauth_status find_or_create(const char *path, int dir_fd, const struct mauth_log *log,
					struct mauth_error *error_r)
{
	enum mauth_status status;
	struct stat st;

	if (lstat(path, &st) == 0)
		return check_file(path, &st, error_r);
	if (errno != ENOENT)
		return cannot_create(path, error_r);
	status = check_no_log(path, error_r);
	if (status == MAUTH_OK)
		status = create(path, dir_fd, error_r);
	if (status == MAUTH_OK)
		mauth_log(log, MAUTH_INFO, "database %s: created", path);
	return status;
}

enum mauth_status mauth_sqlite_connect(const char *path, int dir_fd, const struct mauth_log *log, sqlite3 **reader_r,
				       sqlite3 **writer_r, struct mauth_error *error_r)
{
	sqlite3 *reader = NULL, *writer = NULL;
	enum mauth_status status = find_or_create(path, dir_fd, log, error_r);

	if (status == MAUTH_OK)
		status = mauth_sqlite_open_reader(path, &reader, error_r);
	if (status == MAUTH_OK)
		status = check_content(reader, path, error_r);
	if (status == MAUTH_OK)
		status = open_writer(path, &writer, error_r);
	if (status == MAUTH_OK)
		status = mauth_sqlite_migrate(writer, path, mauth_sqlite_schema, mauth_sqlite_schema_version, error_r);
	if (status != MAUTH_OK) {
		(void)sqlite3_close(reader);
		(void)sqlite3_close(writer);
		return status;
	}
	*reader_r = reader;
	*writer_r = writer;
	return MAUTH_OK;
}

/* -- somebody else's -- */

static enum mauth_status check_same_version(sqlite3 *reader, const char *path, struct mauth_error *error_r)
{
	int version = 0;
	enum mauth_status status = read_version(reader, path, &version, error_r);

	if (status != MAUTH_OK || version == mauth_sqlite_schema_version)
		return status;
	return mauth_advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0,
						"%.300s is kept by another version (schema %d, this version knows %d)", path,
						version, mauth_sqlite_schema_version),
			    "install the same version on all front ends that share the store");
}

enum mauth_status mauth_sqlite_join(const char *path, sqlite3 **reader_r, sqlite3 **writer_r, struct mauth_error *error_r)
{
	sqlite3 *reader = NULL, *writer = NULL;
	enum mauth_status status;
	struct stat st;

	if (lstat(path, &st) < 0)
		return mauth_advise(error_r, mauth_fail(error_r, MAUTH_TEMPORARY, errno, "%.300s: %s", path, strerror(errno)),
				    "the process that has locked its directory makes it; wait for that");
	status = check_file(path, &st, error_r);
	if (status == MAUTH_OK)
		status = mauth_sqlite_open_reader(path, &reader, error_r);
	if (status == MAUTH_OK)
		status = check_same_version(reader, path, error_r);
	if (status == MAUTH_OK)
		status = open_writer(path, &writer, error_r);
	if (status != MAUTH_OK) {
		(void)sqlite3_close(reader);
		(void)sqlite3_close(writer);
		return status;
	}
	/* Its owner does that. */
	(void)sqlite3_db_config(writer, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	*reader_r = reader;
	*writer_r = writer;
	return MAUTH_OK;
}

bool mauth_sqlite_is_free(const char *dir)
{
	struct mauth_error error;
	int fd = -1;

	if (mauth_sqlite_lock(dir, &fd, &error) != MAUTH_OK)
		return false;
	close(fd);
	return true;
}
