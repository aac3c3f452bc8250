/* SPDX-License-Identifier: MIT */
#include "broker/diagnose-private.h"

#include <stdio.h>
#include <string.h>


/* Checks that go to the mail hosts, as Dovecot's login processes do: directly, and trusting whom they trust. */

static void probe(struct diagnosis *diagnosis, enum mauth_service service, const char *mailbox,
		  const struct mauth_secret *token, mauth_probe_fn *done)
{
	const struct mauth_probe_request request = {
		.service = service,
		.endpoint = diagnosis->tenant->endpoints[service],
		.mailbox = mailbox,
		.token = token,
		.ca_file = diagnosis->login_ca,
		.timeout_msecs = DIAG_MAIL_TIMEOUT_MSECS,
	};

	diagnosis->probe = mauth_probe_start(mauth_prober_curl_prober(diagnosis->prober), &request, done, diagnosis);
}

/* -- hosts -------------------------------------------------------------------------------------------------- */

static void host_answered(const struct mauth_probe_result *result, const struct mauth_error *error, void *context)
{
	struct diagnosis *diagnosis = context;
	const enum mauth_service service = (enum mauth_service)diagnosis->part;
	struct mauth_diag_row row;

	diagnosis->probe = NULL;
	mauth_diag_host(&row, &diagnosis->tenant->endpoints[service], result, error, diagnosis->login_ca);
	diagnosis_say(diagnosis, "mail host", mauth_service_name(service), &row);
	diagnosis->answers[service].asked = error == NULL && result->logged_in;
	if (++diagnosis->part < MAUTH_SERVICE_COUNT)
		diagnosis_part(diagnosis);
	else
		diagnosis_next(diagnosis);
}

void diag_hosts(struct diagnosis *diagnosis)
{
	probe(diagnosis, (enum mauth_service)diagnosis->part, NULL, NULL, host_answered);
}

/* -- mailboxes ---------------------------------------------------------------------------------------------- */

/* The first of the grants that a login with this service has of which there is a token. */
static bool find_token(const struct diagnosis *diagnosis, enum mauth_service service, enum mauth_grant_type *grant_r)
{
	const struct mauth_tenant *tenant = diagnosis->tenant;
	const struct mauth_policy_question question = {
		.user = diagnosis->where.login, .service = service, .tls = true,
		.now = mauth_wall_secs(diagnosis->service->loop),
	};
	const struct mauth_rule *rule = mauth_policy_find(diagnosis->config, &question);
	size_t count;
	const enum mauth_grant_type *grants = mauth_rule_grants(rule, tenant, &count);

	for (size_t i = 0; i < count; i++) {
		if (diagnosis->tokens[grants[i]] == NULL)
			continue;
		*grant_r = grants[i];
		return true;
	}
	return false;
}

/* Once all are there, so that each can be judged in the light of the others. */
static void say_mailbox(struct diagnosis *diagnosis, enum mauth_service service)
{
	const struct diag_answer *answer = &diagnosis->answers[service];
	const struct mauth_probe_result result = {
		.logged_in = answer->logged_in, .completed = answer->completed, .reply = answer->reply,
		.address = answer->address,
	};
	struct mauth_diag_mailbox facts = {
		.where = &diagnosis->where, .service = service, .grant = answer->grant,
		.token_fits = (diagnosis->rights[answer->grant] & 1u << service) != 0,
		.client_id = diagnosis->tenant->client_id,
	};
	struct mauth_diag_row row;

	if (!answer->asked) {
		mauth_diag_skip(&row, "not opened: there is no token for it, or the host does not answer");
	} else {
		if (answer->error.status == MAUTH_OK)
			facts.probe = &result;
		else
			facts.error = &answer->error;
		for (enum mauth_service other = 0; other < MAUTH_SERVICE_SUBMISSION; other++) {
			const struct diag_answer *its = &diagnosis->answers[other];

			if (other == service || !its->asked || its->grant != answer->grant)
				continue;
			facts.other_service_takes_token |= its->logged_in;
			facts.other_service_works |= its->completed;
		}
		mauth_diag_mailbox(&row, &facts);
	}
	diagnosis_say(diagnosis, "mailbox", mauth_service_name(service), &row);
}

static void next_mailbox(struct diagnosis *diagnosis)
{
	if (++diagnosis->part < MAUTH_SERVICE_COUNT) {
		diagnosis_part(diagnosis);
		return;
	}
	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++)
		say_mailbox(diagnosis, service);
	diagnosis_next(diagnosis);
}

static void mailbox_answered(const struct mauth_probe_result *result, const struct mauth_error *error, void *context)
{
	struct diagnosis *diagnosis = context;
	struct diag_answer *answer = &diagnosis->answers[diagnosis->part];

	diagnosis->probe = NULL;
	if (error != NULL) {
		answer->error = *error;
	} else {
		answer->logged_in = result->logged_in;
		answer->completed = result->completed;
		(void)snprintf(answer->reply, sizeof(answer->reply), "%s", result->reply);
		(void)snprintf(answer->address, sizeof(answer->address), "%s", result->address);
	}
	next_mailbox(diagnosis);
}

void diag_mailboxes(struct diagnosis *diagnosis)
{
	const enum mauth_service service = (enum mauth_service)diagnosis->part;
	struct diag_answer *answer = &diagnosis->answers[service];

	/* A host that does not answer has been waited for once. */
	if (!answer->asked || !find_token(diagnosis, service, &answer->grant)) {
		answer->asked = false;
		next_mailbox(diagnosis);
		return;
	}
	probe(diagnosis, service, diagnosis->where.mailbox, diagnosis->tokens[answer->grant], mailbox_answered);
}
