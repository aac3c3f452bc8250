/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_FORWARD_H
#define MAUTH_FORWARD_H
/* Audit records to syslog and to journald, as they are written. The file comes first and is the record of truth: what it does
 * not take is not forwarded, and what cannot be forwarded is in the file. Nobody waits for a collector: lines are queued, up to a bound,
 * and what finds no room is counted, said in the log and recorded. */

#include "core/format.h"
#include "core/forward-target.h"
#include "modernauth/audit.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/worker.h"

#define MAUTH_FORWARD_QUEUE_MAX ((size_t)8 << 20)       /* octets of lines, for each of them */
#define MAUTH_FORWARD_JOURNAL "/run/systemd/journal/socket"

struct mauth_forward;
/* file, worker (for names; may be NULL) and the rest outlive it. host: how this machine is called; NULL: unknown. */
struct mauth_forward *mauth_forward_new(const struct mauth_audit_sink *file, const struct mauth_loop *loop, const struct mauth_log *log,
					const struct mauth_worker *worker, const char *host);
/* Tries to send what waits, once, and says what was left. */
void mauth_forward_free(struct mauth_forward **forward);
/* RFC 5424 to target; TCP with octet counting (RFC 6587). message as in struct mauth_format_source. */
void mauth_forward_syslog(struct mauth_forward *forward, const struct mauth_forward_target *target, enum mauth_format message);
/* journald's native protocol, to the socket at path. */
void mauth_forward_journal(struct mauth_forward *forward, const char *path);
/* The sink that writes to file and forwards. */
const struct mauth_audit_sink *mauth_forward_sink(struct mauth_forward *forward);

#endif
