/* SPDX-License-Identifier: MIT */
#include "broker/admin-private.h"

/* Where the audit is, and how far it has come: whoever verifies it can tell whether its end is there. */
bool admin_audit(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const struct mauth_service_state *service = session->service;
	const struct mauth_chain_writer *writer = service->audit == NULL ? NULL : mauth_audit_file_writer(service->audit);

	admin_begin(session, line->id, "OK");
	mauth_wire_str(&session->out, "path", service->config->audit_path);
	if (writer != NULL) {
		mauth_wire_str(&session->out, "key_file", service->config->audit_key_file);
		mauth_wire_str(&session->out, "writer", writer->name);
		mauth_wire_num(&session->out, "number", writer->state.number);
	}
	admin_end(session);
	return true;
}
