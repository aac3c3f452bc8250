/* SPDX-License-Identifier: MIT */
/* A user who is not enrolled is told how, in the refusal of his login (self_service of a rule). */
#include "core/request-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- the first login ---------------------------------------------------------------------------------------- */

bool login_may_enrol(const struct mauth_login *login)
{
	const struct mauth_broker *broker = login->broker;

	if (login->policy == NULL || !login->policy->self_service || broker->vault == NULL || login->client_ip == NULL ||
	    !login_has_grant(login, MAUTH_GRANT_ENROLLED))
		return false;
	/* Whoever has device passwords, or has signed in already, and is not verified has typed a wrong password. */
	if (login->verified == MAUTH_VERIFIED_NONE &&
	    (mauth_devices_has(mauth_vault_devices(broker->vault), login->where.tenant->name, login->where.login) ||
	     mauth_enrolments_usable(broker->enrolments, login->where.tenant, login->where.account, NULL) == MAUTH_OK))
		return false;
	return true;
}

static void show_code(struct mauth_login *login, const struct mauth_enrol_news *news)
{
	struct mauth_error error;

	mauth_fail(&error, MAUTH_INTERACTION, 0, "not enrolled: was shown a code for self-service, good for %d minutes",
		   (int)((news->expires_at - mauth_wall_secs(login->broker->host.loop) + 59) / 60));
	snprintf(error.tell, sizeof(error.tell), "To connect this mailbox open %.150s and enter %s", news->uri, news->user_code);
	login_make_ready(login, login_refuse(login, "self-service", &error));
}

static void enrol_news(const struct mauth_enrol_news *news, void *context)
{
	struct mauth_login *login = context;

	switch (news->event) {
	case MAUTH_ENROL_CODE:
		mauth_enrol_unlisten(&login->enrol_listener);
		show_code(login, news);
		return;
	case MAUTH_ENROL_PENDING:
		return;
	case MAUTH_ENROL_FAILED:
		login->enrol_listener = NULL;
		login_make_ready(login, login_refuse(login, "self-service", news->error));
		return;
	case MAUTH_ENROL_DONE:
		/* Signed in within the time of one login: the next one works. */
		login->enrol_listener = NULL;
		login_make_ready(login, STEP_VERIFY);
		return;
	}
}

enum step login_step_enrol(struct mauth_login *login)
{
	struct mauth_enrol_want want = {
		.tenant = login->where.tenant,
		.login = login->where.login,
		.account = login->where.account,
		/* A mailbox that was asked for this once is not what the login opens from now on. */
		.mailbox = login->where.asked_mailbox ? login->where.login : login->where.mailbox,
		.ip = login->client_ip,
		/* Whoever is verified has a password that works already. */
		.password = login->verified == MAUTH_VERIFIED_NONE ? login->password : NULL,
	};
	struct mauth_error error;

	login->enrol_listener = mauth_enrol_start(login->broker->enrols, &want, enrol_news, login, &error);
	if (login->enrol_listener != NULL)
		return login_wait(login);
	if (error.status == MAUTH_INTERACTION)
		snprintf(error.tell, sizeof(error.tell), "This mailbox is being connected from another login. Try again in a quarter "
			 "of an hour.");
	return login_refuse(login, "self-service", &error);
}

/* -- self_service_password = "generated": the password that was typed is good once -------------------------- */

struct exchange {
	struct login_hold hold;
	struct mauth_secret *password;
	char one_time_id[MAUTH_DEVICE_ID_SIZE];
	char *tenant, *user;
	struct mauth_broker *broker;
};

static void one_time_gone(const char *id, const struct mauth_error *error, void *context)
{
	/* In effect at once; the store is said to have failed by who writes to it. */
	(void)id;
	(void)error;
	(void)context;
}

static void exchange_free(struct exchange *exchange)
{
	mauth_secret_free(&exchange->password);
	free(exchange->tenant);
	free(exchange->user);
	free(exchange);
}

static void tell_password(struct mauth_login *login, const struct mauth_secret *password)
{
	struct mauth_error error;

	mauth_fail(&error, MAUTH_INTERACTION, 0, "was told the generated device password");
	snprintf(error.tell, sizeof(error.tell), "Connected. The password of this mailbox in mail programs is now: %.100s",
		 mauth_secret_expose(password));
	error.tell_is_secret = true;
	login_make_ready(login, login_refuse(login, "self-service", &error));
}

static void exchanged(const char *id, const struct mauth_error *error, void *context)
{
	struct exchange *exchange = context;
	struct mauth_login *login = exchange->hold.login;
	struct mauth_vault *vault = exchange->broker->vault;

	if (login != NULL)
		login->hold = NULL;
	if (error != NULL && login != NULL) {
		login_make_ready(login, login_refuse(login, "self-service", error));
	} else if (error == NULL && login == NULL && vault != NULL) {
		/* Nobody was told: as if it had not been made. */
		(void)mauth_devices_remove(mauth_vault_devices(vault), exchange->tenant, exchange->user, id, one_time_gone, NULL,
					   NULL);
	} else if (error == NULL && login != NULL) {
		if (vault != NULL)
			(void)mauth_devices_remove(mauth_vault_devices(vault), exchange->tenant, exchange->user,
						   exchange->one_time_id, one_time_gone, NULL, NULL);
		tell_password(login, exchange->password);
	}
	exchange_free(exchange);
}

enum step login_exchange_password(struct mauth_login *login)
{
	struct exchange *exchange = mauth_new(sizeof(*exchange));
	const struct mauth_device_new device = {
		.tenant = login->where.tenant->name, .user = login->where.login, .name = "self-service",
	};
	struct mauth_error error;

	exchange->hold.login = login;
	exchange->broker = login->broker;
	exchange->tenant = mauth_strdup(device.tenant);
	exchange->user = mauth_strdup(device.user);
	memcpy(exchange->one_time_id, login->device_id, sizeof(exchange->one_time_id));
	/* Of an earlier enrolment. */
	(void)mauth_devices_remove(mauth_vault_devices(login->broker->vault), device.tenant, device.user, device.name, one_time_gone,
				   NULL, NULL);
	if (mauth_devices_add(mauth_vault_devices(login->broker->vault), &device, &exchange->password, exchanged, exchange,
			      &error) != MAUTH_OK) {
		exchange_free(exchange);
		return login_refuse(login, "self-service", &error);
	}
	login->hold = &exchange->hold;
	return login_wait(login);
}
