/* SPDX-License-Identifier: MIT */
#include "core/record-json.h"
#include "core/record-parts.h"

/* Exchange's words at the end of a token's life, in the middle of a session. */
#define TOKEN_EXPIRED "AccessTokenExpired"

bool mauth_session_is_token_end(const struct mauth_session_end *end)
{
	return end->by == MAUTH_ENDED_BY_SERVER && end->said != NULL && strstr(end->said, TOKEN_EXPIRED) != NULL;
}

static bool has_text(const char *text)
{
	return text != NULL && *text != '\0';
}

void mauth_record_session_end(struct mauth_buf *buf, const struct mauth_upstream_record *record,
			      const struct mauth_session_end *end)
{
	int64_t at = end->at_usecs > 0 ? end->at_usecs : record->wall_usecs, began = at - end->duration_usecs;
	/* That a mail program goes is no failure, however it does it. */
	const char *outcome = has_text(end->reason) && end->by != MAUTH_ENDED_BY_CLIENT ? "unknown" : "success";
	size_t event = mauth_record_begin(buf, record->wall_usecs, "\"event\",\"category\":[\"session\"],\"type\":[\"end\"]",
					  "session-ended", outcome);
	size_t own;

	put_str(buf, "reason", has_text(end->reason) ? end->reason : end->said);
	put_num(buf, "duration", end->duration_usecs * 1000);
	put_time(buf, "start", began / 1000000, began % 1000000);
	put_time(buf, "end", at / 1000000, at % 1000000);
	put_close(buf, event);
	mauth_record_put_session(buf, record, (int64_t)end->bytes_in, (int64_t)end->bytes_out);
	own = put_open(buf, "modernauth");
	mauth_record_put_own_session(buf, record);
	put_str(buf, "status", mauth_session_is_token_end(end) ? "token-expired" : mauth_ended_by_name(end->by));
	put_str(buf, "reply", end->said);
	put_close(buf, own);
	mauth_record_end(buf);
}

void mauth_record_unconnected(struct mauth_buf *buf, const struct mauth_upstream_record *record)
{
	size_t event = mauth_record_begin(buf, record->wall_usecs, "\"event\",\"category\":[\"session\"],\"type\":[\"info\"]",
					  "mailbox-not-connected", "failure");
	size_t own;

	put_str(buf, "reason", record->advice);
	put_close(buf, event);
	mauth_record_put_session(buf, record, -1, -1);
	own = put_open(buf, "error");
	put_str(buf, "message", record->report->reply);
	put_close(buf, own);
	own = put_open(buf, "modernauth");
	mauth_record_put_own_session(buf, record);
	put_str(buf, "status", "not-connected");
	put_str(buf, "reply", record->report->reply);
	put_close(buf, own);
	mauth_record_end(buf);
}
