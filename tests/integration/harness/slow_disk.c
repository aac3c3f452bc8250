/* SPDX-License-Identifier: MIT */
/* Preloaded into the broker: a disk that takes its time, or fails, when asked to have everything. A disk that is slow on demand
 * needs device mapper or FUSE, which not every machine that runs tests has. SLOW_DISK names a file with "MSECS ERRNO", read for
 * each sync and again while it lasts; an octet is added to SLOW_DISK.count for each. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int fd);

static void read_settings(const char *path, int *msecs, int *code)
{
	FILE *file = fopen(path, "re");

	*msecs = *code = 0;
	if (file == NULL)
		return;
	if (fscanf(file, "%d %d", msecs, code) != 2)
		*msecs = *code = 0;
	fclose(file);
}

static void count(const char *path)
{
	char name[4096];
	int fd;

	snprintf(name, sizeof(name), "%s.count", path);
	fd = open(name, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd >= 0) {
		(void)!write(fd, "x", 1);
		close(fd);
	}
}

int fdatasync(int fd)
{
	const char *path = getenv("SLOW_DISK");
	int msecs, code, waited = 0;

	if (path == NULL)
		return fsync(fd);
	count(path);
	for (;;) {
		read_settings(path, &msecs, &code);
		if (waited >= msecs)
			break;
		usleep(10000);
		waited += 10;
	}
	if (code == 0)
		return fsync(fd);
	errno = code;
	return -1;
}
