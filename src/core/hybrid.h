/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HYBRID_H
#define MAUTH_HYBRID_H
/* Is a mailbox in Exchange Online or on-premises? An earlier passdb knows, or the tenant's map file, or Exchange's Autodiscover,
 * in this order; else the tenant's default. Which of them are asked is the setting mailbox_sources. */

#include "core/hybrid-watch.h"
#include "core/mailbox.h"
#include "core/verifier.h"
#include "modernauth/http.h"

enum mauth_side_source {
	MAUTH_SIDE_BY_DEFAULT,
	MAUTH_SIDE_BY_PASSDB,
	MAUTH_SIDE_BY_MAP,
	MAUTH_SIDE_BY_AUTODISCOVER,
};
/* "default", "passdb", "map", "autodiscover". */
const char *mauth_side_source_name(enum mauth_side_source source);

struct mauth_hybrid_answer {
	enum mauth_side side;                /* never UNKNOWN unless error is set */
	enum mauth_side_source source;       /* who says so */
	struct mauth_error error;            /* not MAUTH_OK: nobody may guess, the source says what must be mended */
};

struct mauth_hybrid;
struct mauth_hybrid_waiter;

struct mauth_hybrid_deps {
	const struct mauth_loop *loop;
	const struct mauth_http *http;
	const struct mauth_log *log;
	const struct mauth_files *files;     /* may be NULL, as worker: no map can be read then */
	const struct mauth_worker *worker;
	const struct mauth_config *config;
	const struct mauth_verifier_key *key;
	const struct mauth_map_news *news;   /* NULL: nobody wants to know */
};
struct mauth_hybrid *mauth_hybrid_new(const struct mauth_hybrid_deps *deps);
/* Reads and asks nothing any more. */
void mauth_hybrid_stop(struct mauth_hybrid *hybrid);
/* No waiter may be left. */
void mauth_hybrid_free(struct mauth_hybrid **hybrid);

/* What is known now, without asking anybody or changing anything: for explanations. said: by an earlier passdb, or NULL. false:
 * answer_r->source, the file or Autodiscover, would have to be asked first; answer_r->side is then the default. */
bool mauth_hybrid_peek(const struct mauth_hybrid *hybrid, const struct mauth_mailbox *where, const char *said,
		       struct mauth_hybrid_answer *answer_r);
/* The same for a login: an old answer of Autodiscover is asked for again in the background. */
bool mauth_hybrid_look(struct mauth_hybrid *hybrid, const struct mauth_mailbox *where, const char *said,
		       struct mauth_hybrid_answer *answer_r);
/* Asks what mauth_hybrid_look() did not know. One callback, not before this returns, none after cancel. NULL: nobody can be
 * asked now, the default is the answer. where must live until then. */
typedef void mauth_hybrid_fn(const struct mauth_hybrid_answer *answer, void *context);
struct mauth_hybrid_waiter *mauth_hybrid_ask(struct mauth_hybrid *hybrid, const struct mauth_mailbox *where,
					     mauth_hybrid_fn *done, void *context);
void mauth_hybrid_cancel(struct mauth_hybrid_waiter **waiter);

/* Exchange Online says that there is no such mailbox: Autodiscover is asked again at the next login. */
void mauth_hybrid_doubt(struct mauth_hybrid *hybrid, const struct mauth_mailbox *where);
/* Is there anything to tell about an answer of this source? Not if it is the default and no other source was asked. */
bool mauth_hybrid_is_set_up(const struct mauth_tenant *tenant, enum mauth_side_source source);

#endif
