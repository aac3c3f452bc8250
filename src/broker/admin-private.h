/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ADMIN_PRIVATE_H
#define MAUTH_ADMIN_PRIVATE_H
/* What admin.c and the other files of the admin's verbs share. */

#include "broker/session.h"
#include "broker/storage.h"
#include "store/audit-file.h"
#include "core/record.h"

/* A request whose answer comes later. It outlives its session. */
struct admin_op {
	struct admin_op *next, **link;
	struct mauth_session *session;       /* NULL: gone, nobody listens */
	struct mauth_service_state *service;
	uint32_t id;
	uid_t uid;                           /* of who asks, as the kernel says */
	char asked_by[64];                   /* the same as the client says */
	struct mauth_mailbox where;          /* whom it is about */
	char *device_name;
	char *user;                          /* whom it is about, if that is no mailbox of ours */
	char *by;                            /* who asks, as he says */
	const char *action;                  /* of the record */
	struct mauth_secret *password;
	struct mauth_enrol_listener *listener;
	struct admin_report *report;         /* it ends when all of it has been sent; NULL: another request */
	size_t rows;
	void (*gone)(struct admin_op *op);   /* nobody listens any more: ends and frees it; NULL: it ends by itself */
	void *work;                          /* of who set gone */
};
struct admin_op *admin_op_new(struct mauth_session *session, uint32_t id);
void admin_op_free(struct admin_op *op);

/* Lines of a reply. begin: for "ROW", "NOTE", "CODE" and "OK"; then fields; then admin_end(). */
void admin_begin(struct mauth_session *session, uint32_t id, const char *verb);
void admin_end(struct mauth_session *session);
void admin_fail(struct mauth_session *session, uint32_t id, const struct mauth_error *error);
/* A time, if it is known. */
void admin_time(struct mauth_session *session, const char *key, int64_t at);

/* Who "user" of the line is; false: it has been answered with FAIL. */
bool admin_resolve(struct mauth_session *session, const struct mauth_wire_line *line, struct mauth_mailbox *where_r);
/* The vault; NULL: it has been answered with FAIL. */
struct mauth_vault *admin_vault(struct mauth_session *session, uint32_t id);
/* On record, and in the log. */
struct admin_who {
	const char *by;                      /* as the client says */
	uid_t uid;                           /* as the kernel says */
};
struct admin_who admin_who(const struct mauth_session *session);
void admin_record(struct mauth_service_state *service, struct admin_who who, const char *action, const struct mauth_mailbox *where,
		  const char *device_id, const char *device_name, const struct mauth_error *error);

/* admin-people.c */
bool admin_list(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_show(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_forget(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_revoke(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_enroll(struct mauth_session *session, const struct mauth_wire_line *line);

/* admin-device.c */
bool admin_device_add(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_device_list(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_device_remove(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_device_expire(struct mauth_session *session, const struct mauth_wire_line *line);
/* One ROW; item: "device" in SHOW, else NULL. */
void admin_device_row(struct mauth_session *session, uint32_t id, const char *item, const char *tenant, const char *user,
		      const struct mauth_device *device);
void admin_device_changed(const char *id, const struct mauth_error *error, void *context);

/* admin-policy.c */
bool admin_allow(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_disallow(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_policy(struct mauth_session *session, const struct mauth_wire_line *line);
/* admin-relay.c */
bool admin_relay_add(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_relay_list(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_relay_remove(struct mauth_session *session, const struct mauth_wire_line *line);
/* admin-audit.c */
bool admin_audit(struct mauth_session *session, const struct mauth_wire_line *line);
/* admin-privacy.c */
bool admin_reveal(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_erase(struct mauth_session *session, const struct mauth_wire_line *line);

/* admin-store.c */
bool admin_rekey(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_export(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_import_line(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_import(struct mauth_session *session, const struct mauth_wire_line *line);

/* admin-report.c */
bool admin_report(struct mauth_session *session, const struct mauth_wire_line *line);
bool admin_inventory_forget(struct mauth_session *session, const struct mauth_wire_line *line);
/* The client has read most of what was sent to it: there may be more. */
void admin_report_drained(struct admin_op *op);
void admin_report_free(struct admin_op *op);
/* admin-explain.c */
bool admin_explain(struct mauth_session *session, const struct mauth_wire_line *line);
/* diagnose.c */
bool admin_diagnose(struct mauth_session *session, const struct mauth_wire_line *line);

#endif
