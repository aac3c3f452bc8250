/* SPDX-License-Identifier: MIT */
/* Replays every file of the directories given as arguments through a fuzz target, without libFuzzer: what a fuzzer
 * has found once is tested in every run. Fails if there is nothing to replay, so that a lost corpus is noticed. */

#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX (4u * 1024u * 1024u)

static void give_up(const char *what, const char *path)
{
	fprintf(stderr, "%s: %s\n", path, what);
	exit(1);
}

/* In a block of its own size: a sanitizer then sees the first octet that is read behind the end. */
static void replay_file(const char *path, const struct stat *st)
{
	FILE *file = fopen(path, "rb");
	size_t size = (size_t)st->st_size;
	uint8_t *data = malloc(size > 0 ? size : 1);

	if (size > INPUT_MAX || data == NULL)
		give_up("too large", path);
	if (file == NULL || fread(data, 1, size, file) != size)
		give_up("cannot be read", path);
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

static size_t replay_directory(const char *directory)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	size_t count = 0;

	if (dir == NULL)
		give_up("no directory", directory);
	while ((entry = readdir(dir)) != NULL) {
		char path[4096];
		struct stat st;

		if (snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name) >= (int)sizeof(path))
			give_up("path too long", directory);
		if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		replay_file(path, &st);
		count++;
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	size_t total = 0;

	for (int i = 1; i < argc; i++) {
		size_t count = replay_directory(argv[i]);

		if (count == 0)
			give_up("nothing to replay", argv[i]);
		total += count;
	}
	if (total == 0)
		give_up("expected directories of inputs", argv[0]);
	printf("%zu inputs replayed\n", total);
	return 0;
}
