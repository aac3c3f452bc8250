/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_JSON_H
#define MAUTH_JSON_H
/* Peers' JSON through jansson: bounded before it is parsed, wiped when it is freed. */

#include "core/mem.h"

#include <jansson.h>

#define MAUTH_JSON_DEPTH_MAX 16u

/* Makes jansson wipe what it frees: replies hold tokens. Runs by itself before main(), because a value that was
 * allocated before and freed after would corrupt the heap; calling it again does nothing. */
void mauth_json_init(void);

/* The object that the size octets at data are, for json_decref(). NULL if they are anything else, larger than
 * MAUTH_REPLY_MAX or nested deeper than MAUTH_JSON_DEPTH_MAX. An object that has a member twice is refused: two
 * readers could take a different one of them. */
json_t *mauth_json_object(const char *data, size_t size);

/* The string member called key, "" if object (which may be NULL) has none. Lives as long as object. */
const char *mauth_json_str(const json_t *object, const char *key);
/* Reads a whole number, a real or a string of digits, cut to what fits. false: value (which may be NULL) is none
 * of these. */
bool mauth_json_num(const json_t *value, int64_t *num_r);

/* The string that octets are in base64url (RFC 4648, without padding), and back: exactly size of them. */
json_t *mauth_json_octets(const void *data, size_t size);
bool mauth_json_read_octets(const json_t *object, const char *key, void *data_r, size_t size);

/* One line of JSON, keys in order of insertion; the caller frees. */
char *mauth_json_text(const json_t *value);

#endif
