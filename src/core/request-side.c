/* SPDX-License-Identifier: MIT */
/* One step of an attempt: a mailbox that is not in Exchange Online is the next passdb's. */
#include "core/request-private.h"

static enum step take_side(struct mauth_login *login, const struct mauth_hybrid_answer *answer)
{
	struct mauth_error error;

	if (answer->error.status != MAUTH_OK)
		return login_refuse(login, "mailbox side", &answer->error);
	login->side = answer->side;
	login->side_source = answer->source;
	if (answer->side == MAUTH_SIDE_CLOUD)
		return STEP_ACT;
	login->decision = "local";
	mauth_fail(&error, MAUTH_NOT_OURS, 0, "the mailbox is on-premises (source: %s)",
		   mauth_side_source_name(answer->source));
	return login_refuse(login, "mailbox side", &error);
}

static void side_answered(const struct mauth_hybrid_answer *answer, void *context)
{
	struct mauth_login *login = context;

	login->side_waiter = NULL;
	login_make_ready(login, take_side(login, answer));
}

/* Who is only watched makes us ask nobody: what is known is on record as what would have happened. */
static void note_side(struct mauth_login *login)
{
	struct mauth_hybrid_answer answer;

	if (!mauth_hybrid_peek(login->broker->hybrid, &login->where, login->said_side, &answer) ||
	    answer.error.status != MAUTH_OK)
		return;
	login->side = answer.side;
	login->side_source = answer.source;
	if (answer.side != MAUTH_SIDE_ONPREM)
		return;
	login->verdict.would = MAUTH_ACTION_LOCAL;
	login->verdict.would_rule = NULL;
}

enum step login_step_side(struct mauth_login *login)
{
	struct mauth_hybrid *hybrid = login->broker->hybrid;
	struct mauth_hybrid_answer answer;

	/* Rules that leave the login to the next passdb whatever is true of its mailbox. */
	if (login->verdict.action == MAUTH_ACTION_MONITOR)
		note_side(login);
	if (login->verdict.action == MAUTH_ACTION_MONITOR || login->verdict.action == MAUTH_ACTION_LOCAL)
		return STEP_ACT;
	/* A login that began anew after it had waited for something else. */
	if (login->side != MAUTH_SIDE_UNKNOWN)
		return STEP_ACT;
	if (login->verdict.action == MAUTH_ACTION_UPGRADE)
		mauth_follow_link(login->broker, &login->where);
	if (mauth_hybrid_look(hybrid, &login->where, login->said_side, &answer))
		return take_side(login, &answer);
	login->side_waiter = mauth_hybrid_ask(hybrid, &login->where, side_answered, login);
	if (login->side_waiter != NULL)
		return login_wait(login);
	answer.source = MAUTH_SIDE_BY_DEFAULT;
	return take_side(login, &answer);
}
