/* SPDX-License-Identifier: MIT */
/* What the rules say to an attempt, and doing it. */
#include "core/request-private.h"

#include "core/jwt.h"

#include <stdio.h>
#include <string.h>

void login_decide(struct mauth_login *login)
{
	struct mauth_policy_question question = {
		.user = login->where.login, .service = login->service, .client_ip = login->client_ip,
		.mechanism = login->mechanism, .client_id = login->client_id, .tls = login->tls,
		.tls_protocol = login->tls_protocol, .now = mauth_wall_secs(login->broker->host.loop),
	};

	/* A socket of this machine is not what rules about connections without TLS mean. */
	if (login->relay != NULL) {
		question.tls = true;
		question.tls_protocol = "TLSv1.3";
	}
	mauth_policy_decide(login->broker->config, &question, &login->verdict);
	mauth_exceptions_apply(login->broker->vault == NULL ? NULL : mauth_vault_exceptions(login->broker->vault),
			       &question, &login->verdict);
	login->policy = login->verdict.rule;
}

/* -- upgrade ------------------------------------------------------------------------------------------------ */

/* An empty password is never right (AADSTS50056), and a sign-in attempt without one is noise in Entra's log. */
static enum mauth_status check_password(const struct mauth_login *login, struct mauth_error *error_r)
{
	size_t size = mauth_secret_size(login->password);
	unsigned int max = login->password_is_token ? MAUTH_TOKEN_MAX : MAUTH_PASSWORD_MAX;

	if (size > 0 && size <= max)
		return MAUTH_OK;
	return mauth_fail(error_r, MAUTH_BAD_CREDENTIALS, 0, size == 0 ? "empty password" : "password longer than %u octets",
			  max);
}

enum mauth_status login_check_mailbox(const struct mauth_login *login, struct mauth_error *error_r)
{
	const struct mauth_mailbox *where = &login->where;

	if (!where->asked_mailbox || (login->policy != NULL && mauth_rule_allows_mailbox(login->policy, where->mailbox)))
		return MAUTH_OK;
	mauth_fail(error_r, MAUTH_POLICY, 0, "no rule lets %s open the mailbox %s", where->login, where->mailbox);
	if (error_r != NULL)
		snprintf(error_r->advice, sizeof(error_r->advice), "add it to \"mailboxes\" of the rule that matches this login%s%s",
			 login->policy != NULL ? ": " : "", login->policy != NULL ? login->policy->name : "");
	return MAUTH_POLICY;
}

/* The client's own token: Exchange judges it, we only pass it on and write it down. */
static enum step pass_token(struct mauth_login *login)
{
	struct mauth_error error;
	struct mauth_jwt jwt;

	if (!login->where.tenant->client_tokens) {
		mauth_fail(&error, MAUTH_POLICY, 0, "client_tokens is off for the tenant");
		return login_refuse(login, "client_tokens", &error);
	}
	if (!mauth_token_is_printable(login->password)) {
		mauth_fail(&error, MAUTH_BAD_CREDENTIALS, 0, "the client's token is not printable ASCII");
		return login_refuse(login, "token form", &error);
	}
	login->verified = MAUTH_VERIFIED_CLIENT_TOKEN;
	login->token = mauth_secret_dup(login->password);
	mauth_token_id(mauth_secret_expose(login->token), mauth_secret_size(login->token), login->token_id);
	if (mauth_jwt_read(mauth_secret_expose(login->token), mauth_secret_size(login->token), &jwt))
		login->expires_at = jwt.exp;
	login->decision = "pass";
	login->rule = "client_tokens";
	login->source = "client";
	return STEP_FINISH;
}

void login_take_grants(struct mauth_login *login)
{
	mauth_follow_link(login->broker, &login->where);
	login->grants = mauth_rule_grants(login->policy, login->where.tenant, &login->grants_count);
}

static enum step upgrade(struct mauth_login *login)
{
	struct mauth_error error;

	if (check_password(login, &error) != MAUTH_OK)
		return login_refuse(login, "password form", &error);
	if (login_check_mailbox(login, &error) != MAUTH_OK)
		return login_refuse(login, "mailboxes", &error);
	login_take_grants(login);
	return login->password_is_token ? pass_token(login) : STEP_VERIFY;
}

/* -- the others --------------------------------------------------------------------------------------------- */

/* Not ours, as far as the front end is concerned: the next passdb decides. */
static enum step leave(struct mauth_login *login, const char *why)
{
	struct mauth_error error;

	login->decision = mauth_action_name(login->verdict.action);
	mauth_fail(&error, MAUTH_NOT_OURS, 0, "rule \"%s\": %s", login->policy->name, why);
	return login_refuse(login, login->policy->name, &error);
}

static void default_message(const struct mauth_login *login, char *text, size_t size)
{
	char day[MAUTH_DAY_TEXT_SIZE];

	mauth_policy_last_day(login->policy->until, day);
	if (login->verdict.expired && day[0] != '\0')
		snprintf(text, size, "Logging in with a password alone ended here on %s. Ask your administrator.", day);
	else
		snprintf(text, size, "Logging in with a password alone is switched off here. Ask your administrator.");
}

void login_denied(const struct mauth_login *login, struct mauth_error *error_r)
{
	const struct mauth_rule *rule = login->policy;

	mauth_fail(error_r, MAUTH_POLICY, 0, "rule \"%s\" denies %s%s", rule->name, mauth_service_name(login->service),
		   login->verdict.expired ? " since its \"until\" is over" : "");
	/* Also where other passdbs follow: that they know the password, too, is no reason. */
	error_r->is_final = true;
	if (rule->message != NULL)
		snprintf(error_r->tell, sizeof(error_r->tell), "%s", rule->message);
	else if (login->broker->config->explain_to_client)
		default_message(login, error_r->tell, sizeof(error_r->tell));
}

static enum step deny(struct mauth_login *login)
{
	struct mauth_error error;

	/* A successor opens the store, and sees the exceptions, when its predecessor has left. */
	if (login->broker->vault == NULL && login->broker->paused)
		return login_wait(login);
	login->decision = "deny";
	login_denied(login, &error);
	return login_refuse(login, login->policy->name, &error);
}

/* Nobody here looks at the password: Exchange does, as it always did. */
static enum step pass_password(struct mauth_login *login)
{
	struct mauth_error error;

	if (check_password(login, &error) != MAUTH_OK)
		return login_refuse(login, "password form", &error);
	if (login->where.asked_mailbox) {
		mauth_fail(&error, MAUTH_POLICY, 0, "rule \"%s\": a password opens nobody else's mailbox", login->policy->name);
		return login_refuse(login, "mailboxes", &error);
	}
	/* Exchange would have to verify it: an OK would let anybody in. */
	if (login->check_only)
		return leave(login, "Exchange verifies this password, and this client opens no session there");
	login->decision = "basic";
	login->rule = login->policy->name;
	login->source = "client";
	login->basic = true;
	snprintf(login->token_id, sizeof(login->token_id), "basic");
	memset(&login->error, 0, sizeof(login->error));
	return STEP_FINISH;
}

enum mauth_action login_action(const struct mauth_login *login)
{
	/* A client with a token of its own does what everybody is to do at last. Only a rule that names its mechanism is about
	   it, or one that says where the mailbox is. */
	if (login->password_is_token && login->verdict.action != MAUTH_ACTION_LOCAL &&
	    !(mauth_rule_names_mechanism(login->policy) && login->verdict.action != MAUTH_ACTION_BASIC))
		return MAUTH_ACTION_UPGRADE;
	/* An MTA shows a key that an admin has made for this identity, and no password that could go upstream: there is nothing to be
	   watched or passed on. */
	if (login->relay != NULL &&
	    (login->verdict.action == MAUTH_ACTION_BASIC || login->verdict.action == MAUTH_ACTION_MONITOR))
		return MAUTH_ACTION_UPGRADE;
	return login->verdict.action;
}

enum step login_step_act(struct mauth_login *login)
{
	switch (login_action(login)) {
	case MAUTH_ACTION_UPGRADE:
	case MAUTH_ACTION_COUNT:
		break;
	case MAUTH_ACTION_MONITOR:
		return leave(login, "only watched");
	case MAUTH_ACTION_LOCAL:
		return leave(login, "not in Exchange Online");
	case MAUTH_ACTION_DENY:
		return deny(login);
	case MAUTH_ACTION_BASIC:
		return pass_password(login);
	}
	return upgrade(login);
}
