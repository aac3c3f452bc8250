/* SPDX-License-Identifier: MIT */
#include "core/enrol-private.h"

#include "core/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell_end(struct enrol *enrol, const char *device_id, const struct mauth_error *error);

struct mauth_enrols *mauth_enrols_new(const struct mauth_enrols_deps *deps)
{
	struct mauth_enrols *enrols = mauth_new(sizeof(*enrols));

	enrols->deps = *deps;
	return enrols;
}

void mauth_enrols_stop(struct mauth_enrols *enrols)
{
	static const struct mauth_error closed = {
		.status = MAUTH_TEMPORARY, .text = "the store is closed; what was begun goes on when it is open again",
	};

	for (struct enrol *enrol = enrols->list, *next; enrol != NULL; enrol = next) {
		/* Listeners are logins and doveadm: they begin nothing now. */
		tell_end(enrol, NULL, &closed);
		next = enrol->next;
		enrol_free(enrol);
	}
}

void mauth_enrols_free(struct mauth_enrols **enrols)
{
	if (*enrols == NULL)
		return;
	mauth_enrols_stop(*enrols);
	free(*enrols);
	*enrols = NULL;
}

size_t mauth_enrols_count(const struct mauth_enrols *enrols)
{
	return enrols->count;
}

/* -- one ---------------------------------------------------------------------------------------------------- */

struct enrol_hold *enrol_hold(struct enrol *enrol)
{
	enrol->hold = mauth_new(sizeof(*enrol->hold));
	enrol->hold->enrol = enrol;
	return enrol->hold;
}

struct enrol *enrol_unhold(struct enrol_hold *hold)
{
	struct enrol *enrol = hold->enrol;

	if (enrol != NULL)
		enrol->hold = NULL;
	free(hold);
	return enrol;
}

void mauth_enrol_unlisten(struct mauth_enrol_listener **listener)
{
	struct mauth_enrol_listener *l = *listener;

	if (l == NULL)
		return;
	mauth_timer_remove(l->enrol->enrols->deps.loop, &l->first);
	*l->link = l->next;
	if (l->next != NULL)
		l->next->link = l->link;
	free(l);
	*listener = NULL;
}

void enrol_free(struct enrol *enrol)
{
	struct mauth_enrols *enrols = enrol->enrols;

	while (enrol->listeners != NULL) {
		struct mauth_enrol_listener *listener = enrol->listeners;

		mauth_enrol_unlisten(&listener);
	}
	*enrol->link = enrol->next;
	if (enrol->next != NULL)
		enrol->next->link = enrol->link;
	enrols->count--;
	if (enrol->hold != NULL)
		enrol->hold->enrol = NULL;
	mauth_http_cancel(enrols->deps.http, &enrol->call);
	mauth_timer_remove(enrols->deps.loop, &enrol->timer);
	mauth_secret_free(&enrol->form);
	mauth_secret_free(&enrol->device_password);
	mauth_device_code_clear(&enrol->code);
	mauth_wipe(enrol->verifier, sizeof(enrol->verifier));
	free(enrol->login);
	free(enrol->account);
	free(enrol->mailbox);
	free(enrol->device);
	free(enrol->ip);
	free(enrol->hash);
	free(enrol);
}

static struct mauth_enrol_news news_of(const struct enrol *enrol, enum mauth_enrol_event event)
{
	return (struct mauth_enrol_news){
		.event = event, .user_code = enrol->code.user_code, .uri = enrol->code.uri, .expires_at = enrol->expires_at,
		.interval = enrol->code.interval, .polls = enrol->polls, .account = enrol->account,
		.mailbox = enrol->mailbox,
	};
}

void enrol_tell(struct enrol *enrol, enum mauth_enrol_event event)
{
	const struct mauth_enrol_news news = news_of(enrol, event);
	struct mauth_enrol_listener *listener, *next;

	/* A listener may go in its callback, but only itself. */
	for (listener = enrol->listeners; listener != NULL; listener = next) {
		next = listener->next;
		listener->fn(&news, listener->context);
	}
}

static void record(const struct enrol *enrol, const char *device_id, const struct mauth_error *error)
{
	const struct mauth_enrols_deps *deps = &enrol->enrols->deps;
	const struct mauth_change_record change = {
		.wall_usecs = mauth_wall_usecs(deps->loop), .action = "enrolment-finished",
		.actor = enrol->ip != NULL ? "self-service" : "doveadm", .client_ip = enrol->ip,
		.login = enrol->login, .account = enrol->account, .mailbox = enrol->mailbox,
		.tenant_name = enrol->tenant->name, .tenant_id = enrol->tenant->tenant_id, .device_id = device_id,
		.device_name = device_id == NULL ? NULL : enrol->device, .error = error,
	};

	mauth_record_and_log_change(deps->audit, deps->log, &change);
}

static void tell_end(struct enrol *enrol, const char *device_id, const struct mauth_error *error)
{
	struct mauth_enrol_news news = news_of(enrol, error == NULL ? MAUTH_ENROL_DONE : MAUTH_ENROL_FAILED);
	struct mauth_enrol_listener *listener;

	news.error = error;
	news.device_id = device_id;
	news.device_password = enrol->device_password;
	while ((listener = enrol->listeners) != NULL) {
		mauth_enrol_fn *fn = listener->fn;
		void *context = listener->context;

		mauth_enrol_unlisten(&listener);
		fn(&news, context);
		news.device_password = NULL;
	}
}

void enrol_end(struct enrol *enrol, const char *device_id, const struct mauth_error *error)
{
	record(enrol, device_id, error);
	enrol_erase(enrol);
	tell_end(enrol, device_id, error);
	enrol_free(enrol);
}

/* -- beginning ---------------------------------------------------------------------------------------------- */

static bool same_place(const struct enrol *enrol, const char *ip)
{
	return enrol->ip == NULL ? ip == NULL : ip != NULL && strcmp(enrol->ip, ip) == 0;
}

static struct enrol *enrol_find(const struct mauth_enrols *enrols, const struct mauth_tenant *tenant, const char *login,
				const char *ip)
{
	for (struct enrol *enrol = enrols->list; enrol != NULL; enrol = enrol->next) {
		if (enrol->tenant == tenant && strcmp(enrol->login, login) == 0 && same_place(enrol, ip))
			return enrol;
	}
	return NULL;
}

static void tell_code(void *context)
{
	struct mauth_enrol_listener *listener = context;
	const struct mauth_enrol_news news = news_of(listener->enrol, MAUTH_ENROL_CODE);

	listener->first = NULL;
	listener->fn(&news, listener->context);
}

static struct mauth_enrol_listener *listen_to(struct enrol *enrol, mauth_enrol_fn *fn, void *context)
{
	struct mauth_enrol_listener *listener = mauth_new(sizeof(*listener));

	listener->enrol = enrol;
	listener->fn = fn;
	listener->context = context;
	listener->next = enrol->listeners;
	listener->link = &enrol->listeners;
	if (listener->next != NULL)
		listener->next->link = &listener->next;
	enrol->listeners = listener;
	if (enrol->shown)
		listener->first = mauth_timer_add(enrol->enrols->deps.loop, 0, tell_code, listener);
	return listener;
}

/* Under the store's key, which is the same after a restart; it is kept sealed, and no longer than its code. */
static void make_verifier(const struct enrol *enrol, const struct mauth_secret *password,
			  unsigned char verifier_r[static MAUTH_VERIFIER_SIZE])
{
	mauth_verifier(mauth_vault_device_key(*enrol->enrols->deps.vault), enrol->salt, 0, enrol->login, password, verifier_r);
}

static bool is_same_password(const struct enrol *enrol, const struct mauth_secret *password)
{
	unsigned char verifier[MAUTH_VERIFIER_SIZE];

	make_verifier(enrol, password, verifier);
	return mauth_equal_secret(verifier, enrol->verifier, sizeof(verifier));
}

static enum mauth_status refuse_other_password(const struct enrol *enrol, struct mauth_error *error_r)
{
	int64_t left = enrol->expires_at - mauth_wall_secs(enrol->enrols->deps.loop);

	return mauth_fail(error_r, MAUTH_INTERACTION, 0, "another password for this mailbox is waiting for its code to be entered; "
			  "try again in %d minutes", left <= 0 ? 1 : (int)(left / 60 + 1));
}

static void refuse_other_account(const struct enrol *enrol, struct mauth_error *error_r)
{
	mauth_fail(error_r, MAUTH_CONFIG, 0,
		   "an enrolment of %.120s is under way with the account %.120s and the mailbox %.120s", enrol->login,
		   enrol->account, enrol->mailbox);
	if (error_r != NULL)
		snprintf(error_r->advice, sizeof(error_r->advice),
			 "wait until its code has run out, or: doveadm modernauth revoke %.320s", enrol->login);
}

static enum mauth_status may_begin(struct mauth_enrols *enrols, const struct mauth_enrol_want *want,
				   struct mauth_error *error_r)
{
	int64_t hour = mauth_wall_secs(enrols->deps.loop) / 3600;

	if (enrols->count >= MAUTH_ENROLS_MAX)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "%u enrolments are under way already", MAUTH_ENROLS_MAX);
	if (want->ip == NULL)
		return MAUTH_OK;
	if (hour != enrols->hour)
		enrols->codes_this_hour = 0;
	enrols->hour = hour;
	if (enrols->codes_this_hour >= enrols->deps.config->self_service_per_hour)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "self-service has shown %u codes within this hour already "
				  "(self_service_codes_per_hour)", enrols->codes_this_hour);
	enrols->codes_this_hour++;
	return MAUTH_OK;
}

static struct enrol *enrol_new(struct mauth_enrols *enrols, const struct mauth_enrol_want *want)
{
	struct enrol *enrol = mauth_new(sizeof(*enrol));

	enrol->enrols = enrols;
	enrol->tenant = want->tenant;
	enrol->login = mauth_strdup(want->login);
	enrol->account = mauth_strdup(want->account);
	enrol->mailbox = mauth_strdup(want->mailbox);
	enrol->device = mauth_strdup(want->device);
	enrol->ip = mauth_strdup(want->ip);
	enrol->next = enrols->list;
	enrol->link = &enrols->list;
	if (enrol->next != NULL)
		enrol->next->link = &enrol->next;
	enrols->list = enrol;
	enrols->count++;
	return enrol;
}

static void hashed(const char *hash, void *context)
{
	struct enrol *enrol = enrol_unhold(context);
	struct mauth_error error;

	if (enrol == NULL)
		return;
	if (hash == NULL) {
		mauth_fail(&error, MAUTH_TEMPORARY, 0, "the hash of the password could not be computed");
		enrol_end(enrol, NULL, &error);
		return;
	}
	enrol->hash = mauth_strdup(hash);
	enrol_ask_code(enrol);
}

struct mauth_enrol_listener *mauth_enrol_start(struct mauth_enrols *enrols, const struct mauth_enrol_want *want,
					       mauth_enrol_fn *fn, void *context, struct mauth_error *error_r)
{
	struct enrol *enrol = enrol_find(enrols, want->tenant, want->login, want->ip);
	struct mauth_enrol_listener *listener;

	if (*enrols->deps.vault == NULL) {
		mauth_fail(error_r, MAUTH_CONFIG, 0, "the store is not open");
		return NULL;
	}
	if (mauth_vault_follows(*enrols->deps.vault)) {
		mauth_fail(error_r, MAUTH_TEMPORARY, 0, "the store belongs to another front end: enrol there");
		return NULL;
	}
	if (enrol != NULL &&
	    (strcmp(enrol->account, want->account) != 0 || strcmp(enrol->mailbox, want->mailbox) != 0)) {
		refuse_other_account(enrol, error_r);
		return NULL;
	}
	if (enrol != NULL) {
		if (want->password == NULL || is_same_password(enrol, want->password))
			return listen_to(enrol, fn, context);
		refuse_other_password(enrol, error_r);
		return NULL;
	}
	if (may_begin(enrols, want, error_r) != MAUTH_OK)
		return NULL;
	enrol = enrol_new(enrols, want);
	listener = listen_to(enrol, fn, context);
	if (want->password == NULL) {
		enrol_ask_code(enrol);
		return listener;
	}
	mauth_random(enrol->salt, sizeof(enrol->salt));
	make_verifier(enrol, want->password, enrol->verifier);
	enrol_hold(enrol);
	if (mauth_devices_hash(mauth_vault_devices(*enrols->deps.vault), want->password, hashed, enrol->hold, error_r) == MAUTH_OK)
		return listener;
	free(enrol->hold);
	enrol->hold = NULL;
	enrol_free(enrol);
	return NULL;
}

const struct mauth_error enrol_revoked = {
	.status = MAUTH_POLICY, .text = "revoked while its code was waited for",
};

void mauth_enrol_forget(struct mauth_enrols *enrols, const struct mauth_tenant *tenant, const char *login)
{
	struct enrol *enrol = enrols->list, *next;

	for (; enrol != NULL; enrol = next) {
		next = enrol->next;
		if (enrol->tenant != tenant || strcmp(enrol->login, login) != 0)
			continue;
		/* What is being written is undone when it has been. */
		enrol->revoked = true;
		if (enrol->storing)
			continue;
		enrol_end(enrol, NULL, &enrol_revoked);
		/* Listeners' code has run. */
		next = enrols->list;
	}
}

void mauth_enrols_each(const struct mauth_enrols *enrols,
		       void (*fn)(const char *tenant, const char *login, const struct mauth_enrol_news *news, void *context),
		       void *context)
{
	for (const struct enrol *enrol = enrols->list; enrol != NULL; enrol = enrol->next) {
		const struct mauth_enrol_news news = news_of(enrol, MAUTH_ENROL_PENDING);

		fn(enrol->tenant->name, enrol->login, &news, context);
	}
}

/* -- taking up what was begun ------------------------------------------------------------------------------- */

static enum mauth_status take_up(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	struct mauth_enrols *enrols = context;
	struct enrol *enrol = enrol_from_row(enrols, row);

	if (enrol != NULL)
		enrol_poll_later(enrol);
	return MAUTH_OK;
}

void mauth_enrols_load(struct mauth_enrols *enrols)
{
	struct mauth_error error;

	if (mauth_store_each(mauth_vault_store(*enrols->deps.vault), MAUTH_PENDING_KIND, take_up, enrols, &error) != MAUTH_OK)
		mauth_log(enrols->deps.log, MAUTH_ERROR, "enrolments under way cannot be taken up: %s", error.text);
}
