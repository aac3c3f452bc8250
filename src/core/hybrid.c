/* SPDX-License-Identifier: MIT */
#include "core/hybrid.h"

#include "core/hybrid-ask.h"
#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mauth_hybrid_waiter {
	struct mauth_hybrid_waiter *next, **link;    /* of those who wait for a file; link NULL: for Autodiscover */
	struct mauth_hybrid *hybrid;
	const struct mauth_mailbox *where;
	struct mauth_autodiscover_waiter *asking;
	mauth_hybrid_fn *done;
	void *context;
};

struct mauth_hybrid {
	const struct mauth_loop *loop;
	struct mauth_map_watch *watch;
	struct mauth_autodiscover *autodiscover;
	struct mauth_hybrid_waiter *waiting;         /* for a file */
};

const char *mauth_side_source_name(enum mauth_side_source source)
{
	switch (source) {
	case MAUTH_SIDE_BY_PASSDB:
		return "passdb";
	case MAUTH_SIDE_BY_MAP:
		return "map";
	case MAUTH_SIDE_BY_AUTODISCOVER:
		return "autodiscover";
	case MAUTH_SIDE_BY_DEFAULT:
		break;
	}
	return "default";
}

bool mauth_hybrid_is_set_up(const struct mauth_tenant *tenant, enum mauth_side_source source)
{
	return source != MAUTH_SIDE_BY_DEFAULT || tenant->side_by_map || tenant->side_by_autodiscover ||
	       tenant->mailbox_default != MAUTH_SIDE_CLOUD;
}

/* -- names -- */

/* Where user principal names have a domain of their own, people and Exchange know the address by that of the logins. */
static const char *with_domain(const char *name, const char *domain, char address[static MAUTH_USER_MAX + 1])
{
	const char *at = strrchr(name, '@');

	if (at == NULL || (size_t)(at - name) + 1 + strlen(domain) > MAUTH_USER_MAX)
		return name;
	snprintf(address, MAUTH_USER_MAX + 1, "%.*s@%s", (int)(at - name), name, domain);
	return address;
}

static bool has_upn_domain(const struct mauth_mailbox *where)
{
	const char *at = strrchr(where->mailbox, '@');

	return where->tenant->upn_domain != NULL && at != NULL && strcasecmp(at + 1, where->tenant->upn_domain) == 0;
}

static const char *address_of(const struct mauth_mailbox *where, char address[static MAUTH_USER_MAX + 1])
{
	return has_upn_domain(where) ? with_domain(where->mailbox, where->tenant->domains[0], address) : where->mailbox;
}

/* -- the sources -- */

enum told { TOLD, NOT_KNOWN, MUST_ASK };

static void set_answer(struct mauth_hybrid_answer *answer, enum mauth_side side, enum mauth_side_source source)
{
	answer->side = side;
	answer->source = source;
	answer->error.status = MAUTH_OK;
}

static enum told by_passdb(const char *said, struct mauth_hybrid_answer *answer)
{
	enum mauth_side side = MAUTH_SIDE_UNKNOWN;
	char shown[65];

	if (said == NULL)
		return NOT_KNOWN;
	set_answer(answer, MAUTH_SIDE_UNKNOWN, MAUTH_SIDE_BY_PASSDB);
	if (mauth_side_parse(said, &side)) {
		answer->side = side;
		return TOLD;
	}
	mauth_clean_copy(shown, sizeof(shown), said, strlen(said));
	mauth_fail(&answer->error, MAUTH_CONFIG, 0, "an earlier passdb has set modernauth_mailbox=%s; \"cloud\" or "
		   "\"onprem\" was expected", shown);
	snprintf(answer->error.advice, sizeof(answer->error.advice), "mend the field in the passdb that sets it, or take "
		 "\"passdb\" out of mailbox_sources");
	return TOLD;
}

static const struct mauth_move *find_in_map(const struct mauth_side_map *map, const struct mauth_mailbox *where)
{
	const struct mauth_move *move = mauth_side_map_find(map, where->mailbox);
	char address[MAUTH_USER_MAX + 1];

	for (char **domain = where->tenant->domains; move == NULL && *domain != NULL && has_upn_domain(where); domain++)
		move = mauth_side_map_find(map, with_domain(where->mailbox, *domain, address));
	return move;
}

static enum told by_map(const struct mauth_hybrid *hybrid, const struct mauth_mailbox *where,
			struct mauth_hybrid_answer *answer)
{
	struct mauth_error error = { .status = MAUTH_OK };
	const struct mauth_side_map *map;
	const struct mauth_move *move;
	enum mauth_status status;

	map = mauth_map_watch_get(hybrid->watch, where->tenant, &status, &error);
	if (status != MAUTH_OK) {
		set_answer(answer, MAUTH_SIDE_UNKNOWN, MAUTH_SIDE_BY_MAP);
		answer->error = error;
		return TOLD;
	}
	if (map == NULL) {
		set_answer(answer, where->tenant->mailbox_default, MAUTH_SIDE_BY_MAP);
		return MUST_ASK;
	}
	move = find_in_map(map, where);
	if (move == NULL)
		return NOT_KNOWN;
	set_answer(answer, mauth_move_side(move, mauth_wall_secs(hybrid->loop)), MAUTH_SIDE_BY_MAP);
	return TOLD;
}

static enum told by_autodiscover(const struct mauth_hybrid *hybrid, const struct mauth_mailbox *where,
				 struct mauth_hybrid_answer *answer, bool *is_old_r)
{
	char address[MAUTH_USER_MAX + 1];
	enum mauth_side side;

	set_answer(answer, where->tenant->mailbox_default, MAUTH_SIDE_BY_AUTODISCOVER);
	if (!mauth_autodiscover_known(hybrid->autodiscover, where->tenant, address_of(where, address), &side, is_old_r))
		return MUST_ASK;
	if (side == MAUTH_SIDE_UNKNOWN)
		return NOT_KNOWN;
	answer->side = side;
	return TOLD;
}

static bool look(const struct mauth_hybrid *hybrid, const struct mauth_mailbox *where, const char *said,
		 struct mauth_hybrid_answer *answer, bool *is_old_r)
{
	const struct mauth_tenant *tenant = where->tenant;
	enum told told = NOT_KNOWN;

	*is_old_r = false;
	if (tenant->side_by_passdb)
		told = by_passdb(said, answer);
	if (told == NOT_KNOWN && tenant->side_by_map)
		told = by_map(hybrid, where, answer);
	if (told == NOT_KNOWN && tenant->side_by_autodiscover)
		told = by_autodiscover(hybrid, where, answer, is_old_r);
	if (told == NOT_KNOWN)
		set_answer(answer, tenant->mailbox_default, MAUTH_SIDE_BY_DEFAULT);
	return told != MUST_ASK;
}

bool mauth_hybrid_peek(const struct mauth_hybrid *hybrid, const struct mauth_mailbox *where, const char *said,
		       struct mauth_hybrid_answer *answer_r)
{
	bool is_old;

	return look(hybrid, where, said, answer_r, &is_old);
}

bool mauth_hybrid_look(struct mauth_hybrid *hybrid, const struct mauth_mailbox *where, const char *said,
		       struct mauth_hybrid_answer *answer_r)
{
	char address[MAUTH_USER_MAX + 1];
	bool is_old, known = look(hybrid, where, said, answer_r, &is_old);

	if (is_old)
		mauth_autodiscover_refresh(hybrid->autodiscover, where->tenant, address_of(where, address));
	return known;
}

/* -- asking -- */

static void take_off(struct mauth_hybrid_waiter *waiter)
{
	if (waiter->link == NULL)
		return;
	*waiter->link = waiter->next;
	if (waiter->next != NULL)
		waiter->next->link = waiter->link;
	waiter->link = NULL;
}

static void put_on(struct mauth_hybrid_waiter *waiter)
{
	struct mauth_hybrid *hybrid = waiter->hybrid;

	waiter->next = hybrid->waiting;
	waiter->link = &hybrid->waiting;
	if (waiter->next != NULL)
		waiter->next->link = &waiter->next;
	hybrid->waiting = waiter;
}

static void finish(struct mauth_hybrid_waiter *waiter, const struct mauth_hybrid_answer *answer)
{
	mauth_hybrid_fn *done = waiter->done;
	void *context = waiter->context;

	mauth_hybrid_cancel(&waiter);
	done(answer, context);
}

static void asked(bool known, enum mauth_side side, void *context)
{
	struct mauth_hybrid_waiter *waiter = context;
	struct mauth_hybrid_answer answer;

	waiter->asking = NULL;
	if (known && side != MAUTH_SIDE_UNKNOWN)
		set_answer(&answer, side, MAUTH_SIDE_BY_AUTODISCOVER);
	else
		set_answer(&answer, waiter->where->tenant->mailbox_default, MAUTH_SIDE_BY_DEFAULT);
	finish(waiter, &answer);
}

/* false: Autodiscover cannot be asked now. */
static bool ask_autodiscover(struct mauth_hybrid_waiter *waiter)
{
	char address[MAUTH_USER_MAX + 1];

	waiter->asking = mauth_autodiscover_ask(waiter->hybrid->autodiscover, waiter->where->tenant,
						address_of(waiter->where, address), asked, waiter);
	return waiter->asking != NULL;
}

/* A file has been read, or not: what it could say is known now. A passdb that said something would have been believed before. */
static void file_looked_at(void *context)
{
	struct mauth_hybrid *hybrid = context;
	struct mauth_hybrid_waiter *waiter, *mine = hybrid->waiting;
	struct mauth_hybrid_answer answer;

	hybrid->waiting = NULL;
	if (mine != NULL)
		mine->link = &mine;
	while ((waiter = mine) != NULL) {
		take_off(waiter);
		if (mauth_hybrid_look(hybrid, waiter->where, NULL, &answer)) {
			finish(waiter, &answer);
		} else if (answer.source == MAUTH_SIDE_BY_MAP) {
			/* Another file than this one */
			put_on(waiter);
		} else if (!ask_autodiscover(waiter)) {
			answer.source = MAUTH_SIDE_BY_DEFAULT;
			finish(waiter, &answer);
		}
	}
}

struct mauth_hybrid_waiter *mauth_hybrid_ask(struct mauth_hybrid *hybrid, const struct mauth_mailbox *where,
					     mauth_hybrid_fn *done, void *context)
{
	struct mauth_hybrid_waiter *waiter = mauth_new(sizeof(*waiter));
	struct mauth_hybrid_answer answer;

	waiter->hybrid = hybrid;
	waiter->where = where;
	waiter->done = done;
	waiter->context = context;
	(void)mauth_hybrid_peek(hybrid, where, NULL, &answer);
	if (answer.source == MAUTH_SIDE_BY_MAP)
		put_on(waiter);
	else if (!ask_autodiscover(waiter))
		mauth_hybrid_cancel(&waiter);
	return waiter;
}

void mauth_hybrid_cancel(struct mauth_hybrid_waiter **waiter)
{
	if (*waiter == NULL)
		return;
	take_off(*waiter);
	mauth_autodiscover_cancel(&(*waiter)->asking);
	free(*waiter);
	*waiter = NULL;
}

void mauth_hybrid_doubt(struct mauth_hybrid *hybrid, const struct mauth_mailbox *where)
{
	char address[MAUTH_USER_MAX + 1];

	mauth_autodiscover_doubt(hybrid->autodiscover, where->tenant, address_of(where, address));
}

/* -- the whole -- */

struct mauth_hybrid *mauth_hybrid_new(const struct mauth_hybrid_deps *deps)
{
	struct mauth_hybrid *hybrid = mauth_new(sizeof(*hybrid));

	hybrid->loop = deps->loop;
	hybrid->watch = mauth_map_watch_new(&(struct mauth_map_watch_deps){
		.loop = deps->loop, .log = deps->log, .files = deps->files, .worker = deps->worker, .config = deps->config,
		.looked = file_looked_at, .context = hybrid, .news = deps->news,
	});
	hybrid->autodiscover = mauth_autodiscover_new(&(struct mauth_autodiscover_deps){
		.loop = deps->loop, .http = deps->http, .log = deps->log, .config = deps->config, .key = deps->key,
	});
	return hybrid;
}

void mauth_hybrid_stop(struct mauth_hybrid *hybrid)
{
	mauth_map_watch_stop(hybrid->watch);
	mauth_autodiscover_stop(hybrid->autodiscover);
}

void mauth_hybrid_free(struct mauth_hybrid **hybrid)
{
	if (*hybrid == NULL)
		return;
	mauth_map_watch_free(&(*hybrid)->watch);
	mauth_autodiscover_free(&(*hybrid)->autodiscover);
	free(*hybrid);
	*hybrid = NULL;
}
