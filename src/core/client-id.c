/* SPDX-License-Identifier: MIT */
#include "core/client-id.h"

#include <string.h>
#include <strings.h>

/* The next quoted string of an IMAP ID list: its octets in out, which has room for MAUTH_CLIENT_ID_PART. */
static const char *next_quoted(const char *text, char *out)
{
	size_t size = 0;

	while (*text != '\0' && *text != '"')
		text++;
	if (*text == '\0')
		return NULL;
	for (text++; *text != '\0' && *text != '"'; text++) {
		if (*text == '\\' && text[1] != '\0')
			text++;
		if (size < MAUTH_CLIENT_ID_PART - 1)
			out[size++] = *text;
	}
	out[size] = '\0';
	return *text == '"' ? text + 1 : NULL;
}

bool mauth_client_id_parse(const char *text, struct mauth_client_id *id_r)
{
	char key[MAUTH_CLIENT_ID_PART], value[MAUTH_CLIENT_ID_PART];

	id_r->name[0] = id_r->version[0] = '\0';
	if (text == NULL || strnlen(text, MAUTH_CLIENT_ID_MAX + 1) > MAUTH_CLIENT_ID_MAX)
		return false;
	while ((text = next_quoted(text, key)) != NULL) {
		text = next_quoted(text, value);
		if (text == NULL)
			break;
		if (strcasecmp(key, "name") == 0)
			memcpy(id_r->name, value, strlen(value) + 1);
		else if (strcasecmp(key, "version") == 0)
			memcpy(id_r->version, value, strlen(value) + 1);
	}
	return true;
}
