/* SPDX-License-Identifier: MIT */
#include "core/vault-private.h"

#include "core/entra.h"
#include "core/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first line says what this is, under which key it is sealed, and the name of this export; then rows, each sealed with its
 * number and that name, so that no line of another export can take its place; the last one says how many there were. */
#define HEADER "modernauth-export 1 "
#define ROWS_MAX 2000000u

struct number {
	char text[24];
};

static struct mauth_seal_context line_seal(const char *id, size_t number, struct number *scratch)
{
	snprintf(scratch->text, sizeof(scratch->text), "%zu", number);
	return (struct mauth_seal_context){ "export", scratch->text, id };
}

/* -- out ---------------------------------------------------------------------------------------------------- */

struct export {
	const struct mauth_vault *vault;
	mauth_export_fn *line;
	void *context;
	char id[MAUTH_GUID_SIZE];
	size_t rows;
};

/* Sealed and with what the wire adds it is one of its lines. */
#define LINE_PLAIN_MAX 11000u

static enum mauth_status put_line(struct export *export, json_t *root, struct mauth_error *error_r)
{
	struct number number;
	const struct mauth_seal_context seal = line_seal(export->id, export->rows, &number);
	char *text = mauth_json_text(root);
	struct mauth_secret *plain = mauth_secret_new(text, strlen(text));
	struct mauth_buf sealed = { 0 };
	bool fits = strlen(text) <= LINE_PLAIN_MAX;

	if (fits) {
		mauth_seal(export->vault->keyring, &seal, plain, &sealed);
		export->line(sealed.data, export->context);
	}
	mauth_buf_free(&sealed);
	mauth_secret_free(&plain);
	mauth_wipe(text, strlen(text));
	free(text);
	json_decref(root);
	return fits ? MAUTH_OK : mauth_fail(error_r, MAUTH_CONFIG, 0, "a row of the store is too large to be exported");
}

static enum mauth_status export_row(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	struct export *export = context;
	json_t *value = json_stringn(row->value, row->size);

	if (value == NULL || export->rows >= ROWS_MAX) {
		json_decref(value);
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the row %s \"%.100s\" cannot be exported", row->kind, row->name);
	}
	/* Codes that people were shown a while ago are of no use elsewhere. */
	if (strcmp(row->kind, MAUTH_PENDING_KIND) == 0) {
		json_decref(value);
		return MAUTH_OK;
	}
	if (put_line(export, json_pack("{s:s, s:s, s:o}", "kind", row->kind, "name", row->name, "value", value), error_r) !=
	    MAUTH_OK)
		return MAUTH_CONFIG;
	export->rows++;
	return MAUTH_OK;
}

enum mauth_status mauth_vault_export(struct mauth_vault *vault, mauth_export_fn *line, void *context, size_t *rows_r,
				     struct mauth_error *error_r)
{
	struct export export = { .vault = vault, .line = line, .context = context };
	char header[128];
	enum mauth_status status;

	mauth_guid(export.id);
	snprintf(header, sizeof(header), HEADER "%s %s", mauth_keyring_id(vault->keyring), export.id);
	line(header, context);
	status = mauth_store_each(vault->deps.store, NULL, export_row, &export, error_r);
	if (status != MAUTH_OK)
		return status;
	*rows_r = export.rows;
	return put_line(&export, json_pack("{s:I}", "end", (json_int_t)export.rows), error_r);
}

/* -- in ----------------------------------------------------------------------------------------------------- */

struct import_row {
	char *kind, *name, *value;
	size_t size;
};

struct mauth_import {
	struct import_row *rows;
	size_t count;
	char id[MAUTH_GUID_SIZE];
	bool begun, ended;
};

struct mauth_import *mauth_import_new(void)
{
	return mauth_new(sizeof(struct mauth_import));
}

void mauth_import_free(struct mauth_import **import)
{
	if (*import == NULL)
		return;
	for (size_t i = 0; i < (*import)->count; i++) {
		free((*import)->rows[i].kind);
		free((*import)->rows[i].name);
		mauth_wipe((*import)->rows[i].value, (*import)->rows[i].size);
		free((*import)->rows[i].value);
	}
	free((*import)->rows);
	free(*import);
	*import = NULL;
}

static enum mauth_status take_row(struct mauth_import *import, const json_t *root, struct mauth_error *error_r)
{
	static const char *const kinds[] = {
		MAUTH_META_KIND, MAUTH_ENROLMENT_KIND, MAUTH_REFRESH_TOKEN_KIND, MAUTH_DEVICE_KIND, MAUTH_LINK_KIND,
		MAUTH_EXCEPTION_KIND, MAUTH_RELAY_KEY_KIND,
	};
	const char *kind = mauth_json_str(root, "kind"), *name = mauth_json_str(root, "name");
	const json_t *value = json_object_get(root, "value");
	bool known = vault_is_summary(kind) || vault_is_pseudonym(kind);

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		known = known || strcmp(kind, kinds[i]) == 0;
	if (!known || *name == '\0' || !json_is_string(value) || import->count >= ROWS_MAX)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "line %zu of the export has a row that this version does not know",
				  import->count + 2);
	if (import->count % 256 == 0)
		import->rows = mauth_grow(import->rows, import->count + 256, sizeof(*import->rows));
	import->rows[import->count++] = (struct import_row){
		mauth_strdup(kind), mauth_strdup(name),
		mauth_strndup(json_string_value(value), json_string_length(value)), json_string_length(value),
	};
	return MAUTH_OK;
}

static enum mauth_status take_line(struct mauth_import *import, const struct mauth_secret *plain, struct mauth_error *error_r)
{
	json_t *root = mauth_json_object(mauth_secret_expose(plain), mauth_secret_size(plain));
	enum mauth_status status = MAUTH_OK;
	int64_t count;

	if (mauth_json_num(json_object_get(root, "end"), &count)) {
		if (count != (int64_t)import->count)
			status = mauth_fail(error_r, MAUTH_CONFIG, 0, "the export has %zu rows and should have %lld",
					    import->count, (long long)count);
		import->ended = status == MAUTH_OK;
	} else {
		status = take_row(import, root, error_r);
	}
	json_decref(root);
	return status;
}

static enum mauth_status take_header(struct mauth_import *import, const char *line, struct mauth_error *error_r)
{
	const char *id = strrchr(line, ' ');

	if (strncmp(line, HEADER, strlen(HEADER)) != 0 || id == NULL || strlen(id + 1) != sizeof(import->id) - 1)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "this is no export of ours: its first line should be \"" HEADER
				  "KEY-ID EXPORT-ID\"");
	memcpy(import->id, id + 1, sizeof(import->id));
	import->begun = true;
	return MAUTH_OK;
}

enum mauth_status mauth_import_line(struct mauth_import *import, struct mauth_vault *vault, const char *line,
				    struct mauth_error *error_r)
{
	struct mauth_secret *plain = NULL;
	enum mauth_status status;
	struct number number;
	struct mauth_seal_context seal = line_seal(import->id, import->count, &number);
	struct mauth_error error;

	if (!import->begun)
		return take_header(import, line, error_r);
	if (import->ended)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the export goes on after its end");
	status = mauth_unseal(vault->keyring, &seal, line, strlen(line), &plain, &error);
	if (status != MAUTH_OK) {
		mauth_fail(error_r, status, 0, "line %zu of the export: %s", import->count + 2, error.text);
		if (error_r != NULL)
			snprintf(error_r->advice, sizeof(error_r->advice), "put the key file that was in force at the time of the "
				 "export to %s", vault->deps.key_file->name);
		return status;
	}
	status = take_line(import, plain, error_r);
	mauth_secret_free(&plain);
	return status;
}

/* Rows of the store that the export does not have. */
struct others {
	const struct mauth_import *import;
	struct import_row *rows;
	size_t count;
	bool in_use;
};

static int compare_rows(const void *a, const void *b)
{
	const struct import_row *row_a = a, *row_b = b;
	int order = strcmp(row_a->kind, row_b->kind);

	return order != 0 ? order : strcmp(row_a->name, row_b->name);
}

static enum mauth_status note_other(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	struct others *others = context;
	const struct mauth_import *import = others->import;
	struct import_row key = { .kind = mauth_strdup(row->kind), .name = mauth_strdup(row->name) };

	others->in_use = others->in_use || (strcmp(row->kind, MAUTH_META_KIND) != 0 && !vault_is_summary(row->kind) &&
					      !vault_is_pseudonym(row->kind));
	if (import->count > 0 && bsearch(&key, import->rows, import->count, sizeof(key), compare_rows) != NULL) {
		free(key.kind);
		free(key.name);
		return MAUTH_OK;
	}
	if (others->count % 256 == 0)
		others->rows = mauth_grow(others->rows, others->count + 256, sizeof(*others->rows));
	others->rows[others->count++] = key;
	return MAUTH_OK;
}

static void write_all(struct mauth_import *import, struct mauth_vault *vault, const struct others *others,
		      mauth_store_done_fn *done, void *context)
{
	size_t count = others->count + import->count;
	struct mauth_store_row *rows = mauth_new_array(count > 0 ? count : 1, sizeof(*rows));

	for (size_t i = 0; i < others->count; i++)
		rows[i] = (struct mauth_store_row){ .kind = others->rows[i].kind, .name = others->rows[i].name };
	for (size_t i = 0; i < import->count; i++) {
		const struct import_row *row = &import->rows[i];

		rows[others->count + i] = (struct mauth_store_row){ row->kind, row->name, row->value, row->size };
	}
	mauth_store_write(vault->deps.store, rows, count, done, context);
	free(rows);
}

enum mauth_status mauth_import_finish(struct mauth_import *import, struct mauth_vault *vault, bool replace,
				      mauth_store_done_fn *done, void *context, size_t *rows_r, struct mauth_error *error_r)
{
	struct others others = { .import = import };
	enum mauth_status status;

	if (!import->ended)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the export is not complete: its last line is missing");
	/* It would write rows that it has read before over those of the import. */
	if (vault->rekey != NULL)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "the store is being sealed anew; try again when that is done");
	if (import->count > 0)
		qsort(import->rows, import->count, sizeof(*import->rows), compare_rows);
	status = mauth_store_each(vault->deps.store, NULL, note_other, &others, error_r);
	if (status == MAUTH_OK && others.in_use && !replace)
		status = mauth_fail(error_r, MAUTH_CONFIG, 0, "the store has something in it; with --replace it is deleted");
	if (status == MAUTH_OK) {
		*rows_r = import->count;
		write_all(import, vault, &others, done, context);
	}
	for (size_t i = 0; i < others.count; i++) {
		free(others.rows[i].kind);
		free(others.rows[i].name);
	}
	free(others.rows);
	return status;
}
