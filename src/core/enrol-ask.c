/* SPDX-License-Identifier: MIT */
#include "core/enrol-private.h"

#include <stdio.h>
#include <string.h>

#define REQUEST_MSECS 15000u
/* RFC 8628, section 3.5: what slow_down asks for. */
#define SLOW_DOWN_SECS 5
#define INTERVAL_MAX_SECS 60
/* Entra or the network fails: so many times in a row before the enrolment is given up, waiting longer each time. */
#define FAILURES_MAX 20u

static void ask(struct enrol *enrol, const char *url, struct mauth_secret *form, mauth_http_fn *done)
{
	const struct mauth_enrols_deps *deps = &enrol->enrols->deps;
	char guid[MAUTH_GUID_SIZE];

	mauth_guid(guid);
	const struct mauth_http_header headers[] = {
		{ "client-request-id", guid }, { "return-client-request-id", "true" },
	};
	const struct mauth_http_request request = {
		.url = url, .form = form, .headers = headers, .headers_count = 2,
		.ca_file = enrol->tenant->ca_file, .proxy = enrol->tenant->proxy, .timeout_msecs = REQUEST_MSECS,
	};

	mauth_secret_free(&enrol->form);
	enrol->form = form;
	enrol->call = mauth_http_start(deps->http, &request, done, enrol);
}

static void fail(struct enrol *enrol, const struct mauth_error *error)
{
	const struct mauth_error copy = *error;

	enrol_end(enrol, NULL, &copy);
}

/* -- the code ----------------------------------------------------------------------------------------------- */

static void code_answered(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct enrol *enrol = context;
	const struct mauth_enrols_deps *deps = &enrol->enrols->deps;
	struct mauth_entra_reply parts;
	struct mauth_error failure;

	enrol->call = NULL;
	if (reply == NULL) {
		fail(enrol, error);
		return;
	}
	if (mauth_entra_parse_device_code(deps->config->aadsts, reply->status, reply->body, reply->body_size, &enrol->code,
					  &parts, &failure) != MAUTH_OK) {
		fail(enrol, &failure);
		return;
	}
	enrol->expires_at = mauth_wall_secs(deps->loop) + enrol->code.expires_in;
	enrol_write(enrol);
}

void enrol_ask_code(struct enrol *enrol)
{
	ask(enrol, enrol->tenant->device_code_url, mauth_entra_device_code_form(enrol->tenant), code_answered);
}

/* -- has it been entered? ----------------------------------------------------------------------------------- */

static void ran_out(struct enrol *enrol)
{
	struct mauth_error error;

	mauth_fail(&error, MAUTH_EXPIRED, 0, "the code was not entered in time");
	snprintf(error.advice, sizeof(error.advice), "start the enrolment again");
	enrol_end(enrol, NULL, &error);
}

/* Nobody has entered it yet, or Entra cannot say: true if it is to be asked again. */
static bool is_to_be_asked_again(struct enrol *enrol, const struct mauth_entra_reply *parts, enum mauth_status status)
{
	/* RFC 8628, section 3.5; the codes are Entra's words for the first. */
	if (strcmp(parts->error, "slow_down") == 0) {
		enrol->code.interval += SLOW_DOWN_SECS;
		if (enrol->code.interval > INTERVAL_MAX_SECS)
			enrol->code.interval = INTERVAL_MAX_SECS;
		enrol->failures = 0;
		return true;
	}
	if (strcmp(parts->error, "authorization_pending") == 0 || parts->verdict.code == 70016) {
		enrol->failures = 0;
		return true;
	}
	return (status == MAUTH_TEMPORARY || status == MAUTH_PROTOCOL) && ++enrol->failures <= FAILURES_MAX;
}

static void poll_answered(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct enrol *enrol = context;
	const struct mauth_enrols_deps *deps = &enrol->enrols->deps;
	struct mauth_entra_reply parts;
	enum mauth_status status;
	struct mauth_error failure;

	enrol->call = NULL;
	enrol->polls++;
	if (reply == NULL) {
		if (++enrol->failures <= FAILURES_MAX && error->status != MAUTH_CONFIG)
			enrol_poll_later(enrol);
		else
			fail(enrol, error);
		return;
	}
	status = mauth_entra_parse(deps->config->aadsts, reply->status, reply->body, reply->body_size, &parts, &failure);
	if (reply->status != 401)
		enrol->credentials_refused = 0;
	if (status == MAUTH_OK) {
		enrol_keep(enrol, &parts);
	} else if (reply->status == 401 && mauth_flights_proof_refused(deps->flights, enrol->tenant, enrol->credential,
								       &failure, &enrol->credentials_refused)) {
		enrol_poll_later(enrol);
	} else if (is_to_be_asked_again(enrol, &parts, status)) {
		enrol_tell(enrol, MAUTH_ENROL_PENDING);
		enrol_poll_later(enrol);
	} else {
		fail(enrol, &failure);
	}
	mauth_entra_reply_clear(&parts);
}

static void poll(void *context)
{
	struct enrol *enrol = context;
	struct mauth_entra_proof proof;
	struct mauth_error error;

	enrol->timer = NULL;
	if (mauth_wall_secs(enrol->enrols->deps.loop) >= enrol->expires_at) {
		ran_out(enrol);
		return;
	}
	if (mauth_flights_proof(enrol->enrols->deps.flights, enrol->tenant, &proof, &enrol->credential, &error) !=
	    MAUTH_OK) {
		fail(enrol, &error);
		return;
	}
	ask(enrol, enrol->tenant->token_url, mauth_entra_device_poll_form(enrol->tenant, enrol->code.device_code, &proof),
	    poll_answered);
}

void enrol_poll_later(struct enrol *enrol)
{
	int64_t secs = enrol->code.interval + enrol->failures * SLOW_DOWN_SECS;
	uint32_t random;

	mauth_random(&random, sizeof(random));
	/* Never sooner than asked for; a little later, so that a batch does not knock as one. */
	enrol->timer = mauth_timer_add(enrol->enrols->deps.loop, (unsigned int)secs * 1000 + random % 500, poll, enrol);
}
