/* SPDX-License-Identifier: MIT */
#include "core/enrolments-private.h"

#include "core/json.h"
#include "core/upn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CODE_MAX 999999999
#define ROWS_MAX 8u

static char *to_json(const struct mauth_enrolment *enrolment)
{
	json_t *root = json_pack("{s:s, s:s, s:I, s:I}", "oid", enrolment->oid, "app", enrolment->app,
				 "enrolled_at", (json_int_t)enrolment->enrolled_at,
				 "refreshed_at", (json_int_t)enrolment->refreshed_at);
	char *text;

	if (enrolment->code != 0) {
		json_object_set_new(root, "code", json_integer(enrolment->code));
		json_object_set_new(root, "reason", json_string(enrolment->reason));
		json_object_set_new(root, "dead_since", json_integer(enrolment->dead_since));
	}
	text = mauth_json_text(root);
	json_decref(root);
	return text;
}

void enrolment_write_rows(struct mauth_enrolments *enrolments, const struct mauth_enrolment *enrolment,
			  const struct mauth_secret *token, const struct mauth_store_row *more, size_t more_count,
			  mauth_store_done_fn *done, void *context)
{
	struct mauth_store_row rows[ROWS_MAX];
	struct mauth_buf sealed = { 0 };
	char *name = NULL, *json = NULL;
	size_t count = 0;

	if (enrolment != NULL) {
		const struct mauth_seal_context seal = { MAUTH_REFRESH_TOKEN_KIND, enrolment->tenant, enrolment->account };

		name = mauth_store_name(enrolment->tenant, enrolment->account);
		json = to_json(enrolment);
		rows[count++] = (struct mauth_store_row){ MAUTH_ENROLMENT_KIND, name, json, strlen(json) };
		if (token != NULL) {
			mauth_seal(*enrolments->deps.keyring, &seal, token, &sealed);
			rows[count++] = (struct mauth_store_row){ MAUTH_REFRESH_TOKEN_KIND, name, sealed.data, sealed.size };
		}
	}
	for (size_t i = 0; i < more_count && count < ROWS_MAX; i++)
		rows[count++] = more[i];
	mauth_store_write(enrolments->deps.store, rows, count, done, context);
	mauth_buf_free(&sealed);
	free(json);
	free(name);
}

/* "tenant/account": the account has no slash before its "@" that could be taken for the tenant's, whose name has none. */
bool enrolment_split_name(const char *name, char **tenant_r, const char **account_r)
{
	const char *slash = strchr(name, '/');

	if (slash == NULL || slash == name || slash[1] == '\0' || strlen(slash + 1) > MAUTH_USER_MAX)
		return false;
	*tenant_r = mauth_strndup(name, (size_t)(slash - name));
	*account_r = slash + 1;
	return true;
}

static int64_t read_time(const json_t *root, const char *key)
{
	int64_t value;

	if (!mauth_json_num(json_object_get(root, key), &value) || value < 0 || value > INT64_C(1) << 40)
		return 0;
	return value;
}

enum mauth_status mauth_enrolments_load(struct mauth_enrolments *enrolments, const struct mauth_store_row *row,
					struct mauth_error *error_r)
{
	json_t *root = mauth_json_object(row->value, row->size);
	struct mauth_enrolment *enrolment;
	const char *account;
	int64_t code = 0;
	char *tenant;

	if (root == NULL || !enrolment_split_name(row->name, &tenant, &account)) {
		json_decref(root);
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the store's enrolment \"%.100s\" cannot be read", row->name);
	}
	enrolment = enrolment_get(enrolments, tenant, account);
	free(tenant);
	snprintf(enrolment->oid, sizeof(enrolment->oid), "%s", mauth_json_str(root, "oid"));
	snprintf(enrolment->app, sizeof(enrolment->app), "%s", mauth_json_str(root, "app"));
	mauth_clean_copy(enrolment->reason, sizeof(enrolment->reason), mauth_json_str(root, "reason"),
			 strlen(mauth_json_str(root, "reason")));
	enrolment->enrolled_at = read_time(root, "enrolled_at");
	enrolment->refreshed_at = read_time(root, "refreshed_at");
	enrolment->dead_since = read_time(root, "dead_since");
	if (mauth_json_num(json_object_get(root, "code"), &code))
		enrolment->code = code < 0 || code > CODE_MAX ? CODE_MAX : (int)code;
	json_decref(root);
	return MAUTH_OK;
}
