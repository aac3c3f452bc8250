/* SPDX-License-Identifier: MIT */
#ifndef BROKER_WORLD_H
#define BROKER_WORLD_H
/* A broker in a world of fakes: the clock stands still, Entra says what the test tells it to, what log and audit
 * are told is kept, and none of it may be a password or a token. */

#include "core/request.h"
#include "fake_http.h"
#include "fake_loop.h"
#include "fake_sinks.h"
#include "test_config_tree.h"

#define WORLD_WALL 1700000000
#define ALICE "alice@contoso.com"
#define GOOD "correct horse"

struct world {
	struct fake_loop *loop;
	struct fake_http *http;
	struct fake_sinks sinks;
	struct mauth_config *config;        /* to be changed before world_open() */
	struct mauth_tenant *tenant;
	const struct mauth_worker *worker;  /* as files: the test's, or NULL */
	const struct mauth_files *files;
	struct mauth_broker *broker;
	const struct mauth_run *run;        /* of the host; NULL: it runs nothing */
	char *secrets[2048];                /* that must not be seen anywhere */
	size_t secrets_count;
};
void world_begin(struct world *world);
void world_open(struct world *world);
/* Frees all. Fails the test if a timer, a request or a login is left, or a secret has been told. */
void world_end(struct world *world);

/* This must not be told to anybody. */
void world_secret(struct world *world, const char *text);

/* One more rule, for everything and to upgrade, until the test changes it; names and networks it must not get. */
struct mauth_rule *world_rule(struct world *world, const char *name);

/* How an attempt ended. */
struct outcome {
	struct world *world;
	struct mauth_login *login;
	unsigned int calls;                 /* of the callback */
	enum mauth_status status;
	struct mauth_error error;
	char token[1200], token_id[MAUTH_TOKEN_ID_SIZE], mailbox[MAUTH_USER_MAX + 1], host[64];
	unsigned int port;
	bool cached;
	bool checked;                       /* the password is right, and that is all */
	bool basic;                         /* no token: the password goes upstream */
	enum mauth_verified_by verified_by;
	int64_t expires_at;
	unsigned int records;               /* in the audit when the callback came */
	void (*then)(struct outcome *outcome);   /* what the callback does besides */
	void *context;
};
/* Starts an attempt of user with password. outcome is zeroed but for then and context. */
void world_start(struct world *world, const char *user, const char *password, struct outcome *outcome);
/* The same with more to say. user and password of attempt are set here. */
void world_start_as(struct world *world, const char *user, const char *password, struct mauth_attempt *attempt,
		    struct outcome *outcome);
/* Lets the loop do what is due now. */
void world_turn(struct world *world);
/* The callback must have come once, with status. */
void world_ended(const struct outcome *outcome, enum mauth_status status);
/* How often needle stands in hay. */
unsigned int world_count(const char *hay, const char *needle);
/* One of many wrong passwords; lives until the next call. */
const char *world_bad(unsigned int number);
/* Starts it and lets it go as far as it goes without Entra. */
struct outcome world_login(struct world *world, const char *user, const char *password);
/* Such an attempt must have ended with status, without a request. */
void world_expect(struct world *world, const char *user, const char *password, enum mauth_status status);
/* A login for which Entra is asked and gives a token that is good for expires_in seconds. */
struct outcome world_fetch(struct world *world, const char *user, const char *password, unsigned int expires_in);
/* A login for which Entra is asked and says no with code. */
struct outcome world_refuse(struct world *world, const char *user, const char *password, int code);
/* A login of ALICE with GOOD that is given the cached token and has another one fetched in the background. */
void world_expect_renewal(struct world *world);
/* Reports what the upstream said about the token. */
enum mauth_status world_report(struct world *world, const char *token_id, enum mauth_upstream_result result);

#endif
