/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_TERM_H
#define MAUTH_DOVEADM_TERM_H
/* The terminal: what may be shown on it, times as texts, a picture that is drawn over itself, and Ctrl-C. */

#include "modernauth/modernauth.h"

/* str without control characters, broken UTF-8 and characters that turn the direction of what follows; on the data
 * stack. Nothing that came from outside is shown without this. */
const char *mauth_show(const char *str);

#define MAUTH_TIME_SIZE 21u              /* "2026-11-26T10:00:00Z" */
/* UTC. "" for what is not a time between 1970 and 9999. */
void mauth_time_text(int64_t time, char text_r[static MAUTH_TIME_SIZE]);
/* "10:00:00 UTC", with the date before it if that is not today's; on the data stack. */
const char *mauth_time_short(int64_t time);
/* "14:32", or "1:02:03". On the data stack. */
const char *mauth_duration_text(int64_t secs);
/* "2026-11-26": the first second of that day, UTC. */
bool mauth_date_parse(const char *text, int64_t *time_r);
/* "2026-11-26T10:00:00Z"; or without "Z", without seconds, without the time of day (midnight): in this machine's zone. */
bool mauth_when_parse(const char *text, int64_t *time_r);
/* "90s", "30m", "12h", "14d", "2w". */
bool mauth_interval_parse(const char *text, int64_t *secs_r);

int64_t mauth_monotonic_msecs(void);

/* From here on SIGINT, SIGTERM and SIGHUP only make *fd readable; until stop_end(), which must follow. */
const int *mauth_stop_begin(void);
void mauth_stop_end(void);

/* A picture of a few lines at the end of what stderr shows. */
struct mauth_live {
	bool is_tty;
	unsigned int drawn;              /* lines */
	unsigned int *widths;            /* of them, in columns */
};
void mauth_live_init(struct mauth_live *live);
/* How many lines a picture may have now. */
unsigned int mauth_live_rows(void);
/* Draws lines, cut to the terminal's width, over the last picture. Nothing without a terminal. */
void mauth_live_draw(struct mauth_live *live, const char *const *lines, unsigned int count);
/* Leaves the last picture where it is, or takes it away. */
void mauth_live_end(struct mauth_live *live, bool remove);

#endif
