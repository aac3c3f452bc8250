/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_FORWARD_TARGET_H
#define MAUTH_FORWARD_TARGET_H
/* Where records are forwarded to. */

#include "modernauth/modernauth.h"

enum mauth_transport { MAUTH_TRANSPORT_NONE, MAUTH_TRANSPORT_UNIX, MAUTH_TRANSPORT_UDP, MAUTH_TRANSPORT_TCP };
struct mauth_forward_target {
	enum mauth_transport transport;
	const char *host;                    /* or the path of a socket */
	unsigned int port;
};

#endif
