/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_PRIVACY_H
#define MAUTH_PRIVACY_H
/* What the audit and the log may say about people: privacy { users ips } of modernauth.conf. Names become pseudonyms, a keyed hash
 * of the UPN, so that one person's records can be joined by whoever has no key; addresses become networks.
 *
 * Everything passes here on its way out, whoever wrote it: records as finished lines of JSON, log lines as finished texts. So a
 * field that somebody adds tomorrow is looked through for names, too, instead of being forgotten. */

#include "core/config.h"
#include "core/mem.h"
#include "modernauth/audit.h"
#include "modernauth/log.h"

#define MAUTH_PSEUDONYM_SIZE 22u             /* "anon-", 16 letters and digits, NUL */

struct mauth_pseudonyms;                     /* core/pseudonyms.h */
struct mauth_privacy;

/* A fresh key as the text of its file, and the key of a text; MAUTH_CONFIG: it is none. The caller frees. */
struct mauth_secret *mauth_privacy_key_text(void);
enum mauth_status mauth_privacy_key_read(const struct mauth_secret *text, struct mauth_secret **key_r, struct mauth_error *error_r);

/* Does the configuration ask for anything of this? */
bool mauth_privacy_is_wanted(const struct mauth_config *config);
/* Takes a reference to config. pseudonyms: remembers whose they are; NULL: nobody does. */
struct mauth_privacy *mauth_privacy_new(struct mauth_config *config, struct mauth_pseudonyms *pseudonyms);
void mauth_privacy_free(struct mauth_privacy **privacy);
enum mauth_privacy_users mauth_privacy_users(const struct mauth_privacy *privacy);

/* Who a name stands for: the UPN if it is a login of a tenant of ours, else the name in lower case. */
void mauth_privacy_person(const struct mauth_config *config, const char *name, char person_r[static MAUTH_USER_MAX + 1]);
/* The pseudonym of a name, the same for every spelling of it. Not with users "clear". */
void mauth_privacy_pseudonym(const struct mauth_privacy *privacy, const char *name, char pseudonym_r[static MAUTH_PSEUDONYM_SIZE]);
/* Is there a pseudonym at the begin of text, and nothing that makes it part of a longer word? */
bool mauth_is_pseudonym(const char *text, size_t size);
/* The network of an address, as an address: 10.1.2.0 (of /24), 2001:db8:1:: (of /48). false: it is no address. */
bool mauth_privacy_prefix(const char *ip, char *prefix_r, size_t size);

/* Appends the records (each a line) as they may be told. false: one of them is no JSON, and out is untouched. */
bool mauth_privacy_records(const struct mauth_privacy *privacy, const char *lines, size_t size, struct mauth_buf *out);
/* Appends a text of the log. */
void mauth_privacy_text(const struct mauth_privacy *privacy, const char *text, struct mauth_buf *out);

/* The sink and the log through which everything goes; inner outlives privacy. */
const struct mauth_audit_sink *mauth_privacy_sink(struct mauth_privacy *privacy, const struct mauth_audit_sink *inner);
const struct mauth_log *mauth_privacy_log(struct mauth_privacy *privacy, const struct mauth_log *inner);

#endif
