/* SPDX-License-Identifier: MIT */
#include "broker/admin-private.h"

#include "core/inventory.h"
#include "core/mem.h"

#include <string.h>

/* -- rekey -------------------------------------------------------------------------------------------------- */

static void rekey_progress(const struct mauth_rekey_progress *progress, void *context)
{
	struct admin_op *op = context;
	struct mauth_session *session = op->session;

	if (session != NULL && progress->error != NULL) {
		admin_fail(session, op->id, progress->error);
	} else if (session != NULL) {
		admin_begin(session, op->id, progress->finished ? "OK" : "NOTE");
		mauth_wire_num(&session->out, progress->finished ? "resealed" : "done", (int64_t)progress->done);
		if (progress->finished)
			mauth_wire_str(&session->out, "key_id", progress->key_id);
		else
			mauth_wire_num(&session->out, "total", (int64_t)progress->total);
		admin_end(session);
	}
	if (!progress->finished)
		return;
	admin_record(op->service, (struct admin_who){ op->asked_by, op->uid }, "store-rekeyed", NULL, NULL, NULL, progress->error);
	admin_op_free(op);
}

bool admin_rekey(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_vault *vault = admin_vault(session, line->id);
	struct mauth_error error;
	struct admin_op *op;

	if (vault == NULL)
		return true;
	op = admin_op_new(session, line->id);
	if (mauth_vault_rekey(vault, rekey_progress, op, &error) != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		admin_op_free(op);
	}
	return true;
}

/* -- export and import -------------------------------------------------------------------------------------- */

struct exporting {
	struct mauth_session *session;
	uint32_t id;
	unsigned int lines;
};

static void export_line(const char *text, void *context)
{
	struct exporting *exporting = context;

	admin_begin(exporting->session, exporting->id, "ROW");
	mauth_wire_str(&exporting->session->out, "data", text);
	admin_end(exporting->session);
	exporting->lines++;
}

bool admin_export(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct exporting exporting = { .session = session, .id = line->id };
	struct mauth_vault *vault = admin_vault(session, line->id);
	struct mauth_error error;
	enum mauth_status status;
	size_t rows = 0;

	if (vault == NULL)
		return true;
	status = mauth_vault_export(vault, export_line, &exporting, &rows, &error);
	admin_record(session->service, admin_who(session), "store-exported", NULL, NULL, NULL, status == MAUTH_OK ? NULL : &error);
	if (status != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		return true;
	}
	admin_begin(session, line->id, "OK");
	mauth_wire_num(&session->out, "rows", exporting.lines);
	admin_end(session);
	return true;
}

bool admin_import_line(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *data = mauth_wire_get(line, "data");
	struct mauth_vault *vault;
	struct mauth_error error;

	if (data == NULL)
		return false;
	vault = admin_vault(session, line->id);
	if (vault == NULL)
		return true;
	if (session->import == NULL)
		session->import = mauth_import_new();
	if (mauth_import_line(session->import, vault, data, &error) != MAUTH_OK) {
		mauth_import_free(&session->import);
		admin_fail(session, line->id, &error);
		return true;
	}
	admin_begin(session, line->id, "OK");
	admin_end(session);
	return true;
}

static void reopen(void *context)
{
	struct mauth_service_state *service = context;

	service->reopen = NULL;
	mauth_storage_close(service->storage);
	mauth_storage_open(service->storage);
}

static void imported(const struct mauth_error *error, void *context)
{
	struct admin_op *op = context;
	struct mauth_service_state *service = op->service;

	admin_record(service, (struct admin_who){ op->asked_by, op->uid }, "store-imported", NULL, NULL, NULL, error);
	if (op->session != NULL && error != NULL) {
		admin_fail(op->session, op->id, error);
	} else if (op->session != NULL) {
		admin_begin(op->session, op->id, "OK");
		mauth_wire_num(&op->session->out, "rows", (int64_t)op->rows);
		admin_end(op->session);
	}
	admin_op_free(op);
	/* What is in memory is of the store that was. */
	if (error == NULL && service->broker != NULL && mauth_broker_inventory(service->broker) != NULL)
		mauth_inventory_discard(mauth_broker_inventory(service->broker));
	/* Not from within the store's own callback. */
	if (error == NULL && service->reopen == NULL)
		service->reopen = mauth_timer_add(service->loop, 0, reopen, service);
}

bool admin_import(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_vault *vault = admin_vault(session, line->id);
	struct mauth_error error;
	struct admin_op *op;

	if (vault == NULL)
		return true;
	if (session->import == NULL)
		session->import = mauth_import_new();
	op = admin_op_new(session, line->id);
	if (mauth_import_finish(session->import, vault, mauth_wire_is_yes(line, "replace"), imported, op, &op->rows, &error) != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		admin_op_free(op);
	}
	mauth_import_free(&session->import);
	return true;
}
