/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_RECORD_PARTS_H
#define MAUTH_RECORD_PARTS_H
/* What records of several files have in common. */

#include "core/record.h"

/* Begins a record; its object "event" stays open: put_close(buf, what this returns). kind: JSON of event.kind, and of what
 * every record of its sort has besides. */
size_t mauth_record_begin(struct mauth_buf *buf, int64_t wall_usecs, const char *kind, const char *action, const char *outcome);
/* The user, the two ends of the client's connection with the octets that came from each (< 0: not counted), the protocol. */
void mauth_record_put_session(struct mauth_buf *buf, const struct mauth_upstream_record *record, int64_t octets_in,
			      int64_t octets_out);
/* The same in our own object, which is open. */
void mauth_record_put_own_session(struct mauth_buf *buf, const struct mauth_upstream_record *record);
void mauth_record_end(struct mauth_buf *buf);

#endif
