/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_SASL_OPTIONS_H
#define MAUTH_SASL_OPTIONS_H
/* What an admin can set of the SASL plugin; conf.d/postfix/sasl/modernauth.conf explains it. */

#include <sasl/sasl.h>
#include <sasl/saslplug.h>
#include <sys/un.h>

struct mauth_sasl_options {
	char socket[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char mech[SASL_MECHNAMEMAX + 1];
	unsigned int priority;
	unsigned int timeout_secs;
	unsigned int min_life_secs;
	char wrong[320];    /* what is wrong with them, or "" */
};

/* Defaults, then modernauth.conf in SASL's configuration path, then what the program says (SASL_CB_GETOPT). What is wrong is kept
 * in .wrong: when plugins are loaded there is no connection yet, and so nobody whom libsasl2 would tell. */
void mauth_sasl_options(const sasl_utils_t *utils, struct mauth_sasl_options *options_r);

#endif
