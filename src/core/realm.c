/* SPDX-License-Identifier: MIT */
#include "core/realm.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

#define REALM_TIMEOUT_MSECS 5000u
#define REALM_KNOWN_SECS 86400
#define REALM_UNKNOWN_SECS 900

struct mauth_realm_waiter {
	struct mauth_realm_waiter *next, **link;
	mauth_realm_fn *done;
	void *context;
};

/* One per domain that anybody asked about: domains are configured, so there are only so many. */
struct realm {
	struct realm *next;
	struct mauth_realms *realms;
	uint32_t tenant;
	char *domain;
	enum mauth_realm realm;
	int64_t good_until;              /* monotonic msecs */
	struct mauth_http_call *call;
	struct mauth_realm_waiter *waiters;
};

struct mauth_realms {
	const struct mauth_loop *loop;
	const struct mauth_http *http;
	const struct mauth_log *log;
	struct realm *list;
};

struct mauth_realms *mauth_realms_new(const struct mauth_loop *loop, const struct mauth_http *http,
				      const struct mauth_log *log)
{
	struct mauth_realms *realms = mauth_new(sizeof(*realms));

	realms->loop = loop;
	realms->http = http;
	realms->log = log;
	return realms;
}

void mauth_realms_free(struct mauth_realms **realms)
{
	struct realm *realm, *next;

	if (*realms == NULL)
		return;
	for (realm = (*realms)->list; realm != NULL; realm = next) {
		next = realm->next;
		mauth_http_cancel((*realms)->http, &realm->call);
		free(realm->domain);
		free(realm);
	}
	free(*realms);
	*realms = NULL;
}

static const char *domain_of(const char *upn)
{
	const char *at = strrchr(upn, '@');

	return at == NULL ? "" : at + 1;
}

static struct realm *realm_find(const struct mauth_realms *realms, const struct mauth_tenant *tenant, const char *upn)
{
	const char *domain = domain_of(upn);

	for (struct realm *realm = realms->list; realm != NULL; realm = realm->next) {
		if (realm->tenant == tenant->key && strcmp(realm->domain, domain) == 0)
			return realm;
	}
	return NULL;
}

bool mauth_realm_known(const struct mauth_realms *realms, const struct mauth_tenant *tenant, const char *upn,
		       enum mauth_realm *realm_r)
{
	const struct realm *realm = realm_find(realms, tenant, upn);

	if (realm == NULL || realm->good_until <= mauth_mono_msecs(realms->loop))
		return false;
	*realm_r = realm->realm;
	return true;
}

static void realm_answered(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct realm *realm = context;
	struct mauth_realms *realms = realm->realms;
	struct mauth_realm_waiter *waiter;
	int64_t good_secs;

	realm->call = NULL;
	realm->realm = reply == NULL ? MAUTH_REALM_UNKNOWN :
		mauth_entra_parse_realm(reply->status, reply->body, reply->body_size);
	good_secs = realm->realm == MAUTH_REALM_UNKNOWN ? REALM_UNKNOWN_SECS : REALM_KNOWN_SECS;
	realm->good_until = mauth_mono_msecs(realms->loop) + good_secs * 1000;
	if (realm->realm == MAUTH_REALM_UNKNOWN)
		mauth_log(realms->log, MAUTH_WARNING, "user realm of %s is not known (%s): its 50126 count as wrong "
			  "passwords for now", realm->domain, error == NULL ? "unreadable answer" : error->text);
	while ((waiter = realm->waiters) != NULL) {
		mauth_realm_fn *done = waiter->done;
		void *done_context = waiter->context;

		mauth_realm_cancel(&waiter);
		done(realm->realm, done_context);
	}
}

struct mauth_realm_waiter *mauth_realm_ask(struct mauth_realms *realms, const struct mauth_tenant *tenant,
					   const char *upn, mauth_realm_fn *done, void *context)
{
	struct mauth_realm_waiter *waiter = mauth_new(sizeof(*waiter));
	struct realm *realm = realm_find(realms, tenant, upn);

	if (realm == NULL) {
		realm = mauth_new(sizeof(*realm));
		realm->realms = realms;
		realm->tenant = tenant->key;
		realm->domain = mauth_strdup(domain_of(upn));
		realm->next = realms->list;
		realms->list = realm;
	}
	waiter->done = done;
	waiter->context = context;
	waiter->next = realm->waiters;
	waiter->link = &realm->waiters;
	if (waiter->next != NULL)
		waiter->next->link = &waiter->next;
	realm->waiters = waiter;
	if (realm->call == NULL) {
		char *url = mauth_entra_realm_url(tenant, upn);
		struct mauth_http_request request = {
			.url = url, .ca_file = tenant->ca_file, .proxy = tenant->proxy,
			.timeout_msecs = REALM_TIMEOUT_MSECS,
		};

		realm->call = mauth_http_start(realms->http, &request, realm_answered, realm);
		free(url);
	}
	return waiter;
}

void mauth_realm_cancel(struct mauth_realm_waiter **waiter)
{
	if (*waiter == NULL)
		return;
	*(*waiter)->link = (*waiter)->next;
	if ((*waiter)->next != NULL)
		(*waiter)->next->link = (*waiter)->link;
	free(*waiter);
	*waiter = NULL;
}
