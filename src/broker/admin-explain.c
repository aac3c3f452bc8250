/* SPDX-License-Identifier: MIT */
#include "broker/admin-private.h"

#include "core/explain.h"
#include "core/network.h"

#include <stdlib.h>
#include <string.h>

struct explanation {
	struct mauth_session *session;
	uint32_t id;
	unsigned int rows;
};

static void put_row(const char *item, const char *name, const char *value, void *context)
{
	struct explanation *explanation = context;
	struct mauth_buf *out = &explanation->session->out;

	admin_begin(explanation->session, explanation->id, "ROW");
	mauth_wire_str(out, "item", item);
	mauth_wire_str(out, "name", name);
	mauth_wire_str(out, "value", value);
	admin_end(explanation->session);
	explanation->rows++;
}

static bool is_tls_version(const char *text)
{
	static const char *const versions[] = { "TLSv1", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3" };

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		if (strcmp(text, versions[i]) == 0)
			return true;
	}
	return false;
}

/* What rules would silently never match is refused. */
static enum mauth_status read_question(const struct mauth_wire_line *line, struct mauth_explain_question *question_r,
				       struct mauth_error *error_r)
{
	const char *service = mauth_wire_get(line, "service"), *at = mauth_wire_get(line, "at");
	struct mauth_address address;

	*question_r = (struct mauth_explain_question){
		.user = mauth_wire_get(line, "user"), .service = MAUTH_SERVICE_SUBMISSION,
		.client_ip = mauth_wire_get(line, "rip"), .mechanism = mauth_wire_get(line, "mech"),
		.client_id = mauth_wire_get(line, "client_id"), .tls = mauth_wire_is_yes(line, "tls"),
		.tls_protocol = mauth_wire_get(line, "tls_protocol"), .at = at == NULL ? 0 : strtoll(at, NULL, 10),
		.verbose = mauth_wire_is_yes(line, "verbose"),
	};
	if (strcmp(service, "smtp") != 0 && !mauth_service_parse(service, &question_r->service))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "protocol \"%.60s\"; imap, pop3 or submission was expected", service);
	if (question_r->client_ip != NULL && !mauth_address_parse(question_r->client_ip, &address))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "\"%.60s\" is no IP address", question_r->client_ip);
	if (question_r->tls_protocol != NULL && !is_tls_version(question_r->tls_protocol))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "tls \"%.60s\"; none, TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3 was expected",
				  question_r->tls_protocol);
	return MAUTH_OK;
}

bool admin_explain(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct explanation explanation = { .session = session, .id = line->id };
	struct mauth_explain_question question;
	struct mauth_error error = { .status = MAUTH_OK };

	if (mauth_wire_get(line, "user") == NULL || mauth_wire_get(line, "service") == NULL)
		return false;
	if (read_question(line, &question, &error) != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		return true;
	}
	mauth_broker_explain(session->service->broker, &question, put_row, &explanation);
	admin_begin(session, line->id, "OK");
	mauth_wire_num(&session->out, "rows", explanation.rows);
	admin_end(session);
	return true;
}
