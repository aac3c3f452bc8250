/* SPDX-License-Identifier: MIT */
#include "lib.h"

#include "doveadm/progress.h"

#define PROGRESS_MSECS 200

void mauth_progress_begin(struct mauth_progress *progress, uint64_t total)
{
	i_zero(progress);
	mauth_live_init(&progress->live);
	progress->total = total;
}

void mauth_progress_draw(struct mauth_progress *progress, uint64_t octets)
{
	int64_t now = mauth_monotonic_msecs();
	uint64_t done = progress->before + octets;
	char bar[41];
	const char *line;

	if (!progress->live.is_tty || progress->total == 0 || now < progress->drawn_at + PROGRESS_MSECS)
		return;
	/* The file that is written to grows while it is read. */
	if (done > progress->total)
		done = progress->total;
	progress->drawn_at = now;
	for (unsigned int i = 0; i < sizeof(bar) - 1; i++)
		bar[i] = i < done * (sizeof(bar) - 1) / progress->total ? '#' : '.';
	bar[sizeof(bar) - 1] = '\0';
	T_BEGIN {
		line = t_strdup_printf("[%s] %3u %%  %llu of %llu MB", bar, (unsigned int)(done * 100 / progress->total),
				       (unsigned long long)(done / 1000000), (unsigned long long)(progress->total / 1000000));
		mauth_live_draw(&progress->live, &line, 1);
	} T_END;
}

void mauth_progress_file(struct mauth_progress *progress, uint64_t size)
{
	progress->before += size;
}

void mauth_progress_end(struct mauth_progress *progress)
{
	mauth_live_end(&progress->live, TRUE);
}
