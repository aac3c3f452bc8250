/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_VAULT_H
#define MAUTH_VAULT_H
/* Everything that survives the broker: the keyring, and what is sealed under it. Opened once this broker is alone. */

#include "core/devices.h"
#include "core/enrolments.h"
#include "core/exceptions.h"
#include "core/relay-keys.h"

#define MAUTH_LINK_KIND "mailbox"       /* rows: name "tenant/login", value {"account","mailbox"} */
#define MAUTH_PENDING_KIND "pending"    /* rows: core/enrol.c's, sealed as a whole */
#define MAUTH_META_KIND "meta"

/* The file with the seal keys, as the host reads and writes it. */
struct mauth_key_file {
	/* MAUTH_USER_UNKNOWN: there is none yet. The caller frees. */
	enum mauth_status (*read)(void *context, struct mauth_secret **text_r, struct mauth_error *error_r);
	/* create_only: never over an existing one. MAUTH_CONFIG: cannot be written (systemd credentials), with what to do. */
	enum mauth_status (*write)(void *context, const struct mauth_secret *text, bool create_only,
				   struct mauth_error *error_r);
	const char *name;                    /* for messages: its path */
	bool fixed;                          /* only somebody else can change it: write() fails */
	void *context;
};

struct mauth_vault;
struct mauth_vault_deps {
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_store *store;
	const struct mauth_worker *worker;   /* for scrypt */
	const struct mauth_key_file *key_file;
	const struct mauth_verifier_key *process_key;
	const struct mauth_config *config;
};

/* Reads everything. A key file is created only for an empty store. MAUTH_CONFIG: sealed under another key, no key file beside
 * a store that has something in it, a row that cannot be read; nothing has been changed then, and the text says what to do.
 * A first start's own rows are being written when this returns. */
enum mauth_status mauth_vault_open(const struct mauth_vault_deps *deps, struct mauth_vault **vault_r,
				   struct mauth_error *error_r);
/* Writes under way go on. */
void mauth_vault_free(struct mauth_vault **vault);

/* Does another process own the rows? */
bool mauth_vault_follows(const struct mauth_vault *vault);
/* Another process has written this row, or deleted it (value NULL). MAUTH_CONFIG: it cannot be read, and nothing has changed.
 * *reopen_r: what everything else hangs on has changed, and the vault must be opened anew. */
enum mauth_status mauth_vault_follow(struct mauth_vault *vault, const struct mauth_store_row *row, bool *reopen_r,
				     struct mauth_error *error_r);

struct mauth_enrolments *mauth_vault_enrolments(struct mauth_vault *vault);
struct mauth_devices *mauth_vault_devices(struct mauth_vault *vault);
struct mauth_exceptions *mauth_vault_exceptions(struct mauth_vault *vault);
struct mauth_relay_keys *mauth_vault_relay_keys(struct mauth_vault *vault);
const struct mauth_keyring *mauth_vault_keyring(const struct mauth_vault *vault);
/* Of device passwords, and of whatever else has to be recognised after a restart. */
const struct mauth_verifier_key *mauth_vault_device_key(const struct mauth_vault *vault);
const struct mauth_store *mauth_vault_store(const struct mauth_vault *vault);
const char *mauth_vault_key_id(const struct mauth_vault *vault);

/* What an enrolment said about a login besides its own name. */
struct mauth_link {
	struct mauth_node node;              /* private */
	char *tenant, *login;
	char *account, *mailbox;             /* whose token; what is opened */
};
const struct mauth_link *mauth_vault_link(const struct mauth_vault *vault, const char *tenant, const char *login);
const struct mauth_link *mauth_vault_next_link(const struct mauth_vault *vault, const struct mauth_link *link);
/* The value of the row (MAUTH_LINK_KIND, mauth_store_name(tenant, login)) that makes the link, to be written with an enrolment;
 * the caller frees. */
char *mauth_link_value(const char *account, const char *mailbox);
/* It is on disk now: remember it. account NULL: forget it. */
void mauth_vault_set_link(struct mauth_vault *vault, const char *tenant, const char *login, const char *account,
			  const char *mailbox);

/* -- vault-rekey.c: a fresh key, then everything that is sealed is sealed again, a few rows at a time while the service goes
 * on; at last the old keys are dropped from the key file. One at a time: MAUTH_TEMPORARY while one is under way. A key file that
 * has several keys when the vault is opened has seen a rekey that did not come to its end, or an admin who has added one:
 * everything is sealed under the last one then. */
struct mauth_rekey_progress {
	size_t done, total;
	bool finished;
	const struct mauth_error *error;     /* finished, and not well: everything can still be read, try again */
	const char *key_id;
};
typedef void mauth_rekey_fn(const struct mauth_rekey_progress *progress, void *context);
/* progress may be called often, never before this returns; finished comes once. */
enum mauth_status mauth_vault_rekey(struct mauth_vault *vault, mauth_rekey_fn *progress, void *context,
				    struct mauth_error *error_r);

/* -- vault-export.c: all rows as lines of text, each sealed, numbered and the last one marked, so that none can be left out.
 * Whoever imports needs the key file that was in force. */
typedef void mauth_export_fn(const char *line, void *context);
enum mauth_status mauth_vault_export(struct mauth_vault *vault, mauth_export_fn *line, void *context, size_t *rows_r,
				     struct mauth_error *error_r);
/* What has been read of an import so far. */
struct mauth_import;
struct mauth_import *mauth_import_new(void);
void mauth_import_free(struct mauth_import **import);
/* MAUTH_CONFIG: not a line of an export, out of order, sealed under another key. */
enum mauth_status mauth_import_line(struct mauth_import *import, struct mauth_vault *vault, const char *line,
				    struct mauth_error *error_r);
/* The store becomes what was exported: writes all rows and deletes all others, or does nothing. Without replace only a store
 * without enrolments and device passwords takes it. MAUTH_TEMPORARY: a rekey is under way. done(): it is on disk; the vault has to be opened anew to see it. */
enum mauth_status mauth_import_finish(struct mauth_import *import, struct mauth_vault *vault, bool replace,
				      mauth_store_done_fn *done, void *context, size_t *rows_r, struct mauth_error *error_r);

#endif
