/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_STORAGE_H
#define MAUTH_STORAGE_H
/* The store as the service holds it: threads, database, key file, vault. Only who is alone may have it open. */

#include "broker/service.h"
#include "core/vault.h"

struct mauth_storage;

/* Nothing is opened yet. With the privileges that the caller has now the keys are read from systemd's credentials
 * ($CREDENTIALS_DIRECTORY/modernauth-keys), if there are any. */
struct mauth_storage *mauth_storage_new(struct mauth_service_state *service);
void mauth_storage_free(struct mauth_storage **storage);
/* Opens it, unless nothing in the configuration has any use for it, and gives the vault to the broker; what does not work
 * is said, and tried again every ten seconds. */
void mauth_storage_open(struct mauth_storage *storage);
/* Everything that was written is on disk when this returns. The broker has no vault any more. */
void mauth_storage_close(struct mauth_storage *storage);

#endif
