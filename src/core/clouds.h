/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CLOUDS_H
#define MAUTH_CLOUDS_H
/* Microsoft's clouds: where tokens come from and where mail goes. Every host can be overridden per tenant. */

#include "modernauth/modernauth.h"

struct mauth_cloud {
	const char *name;
	bool us_government;             /* smart lock-out begins after 3 bad passwords instead of 10 */
	const char *authority;
	const char *resource;           /* what the scopes begin with */
	const char *graph;              /* Microsoft Graph: where to ask, and what its scope begins with */
	const char *app_resource;       /* the same for app-only access, where Microsoft names another host */
	const char *autodiscover;       /* who tells where a mailbox is */
	struct mauth_endpoint endpoints[MAUTH_SERVICE_COUNT];
};

/* The preset called name, or NULL. */
const struct mauth_cloud *mauth_cloud_find(const char *name);
/* All names for a message: "worldwide", "gcc", ... */
#define MAUTH_CLOUD_NAMES "\"worldwide\", \"gcc\", \"gcc-high\", \"dod\" or \"china\""

#endif
