/* SPDX-License-Identifier: MIT */
#include "core/jwt.h"
#include "core/json.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void mauth_base64url_encode(struct mauth_buf *buf, const void *data, size_t size)
{
	const unsigned char *in = data;

	while (size > 0) {
		size_t take = size < 3 ? size : 3;
		unsigned int bits = (unsigned int)in[0] << 16;

		if (take > 1)
			bits |= (unsigned int)in[1] << 8;
		if (take > 2)
			bits |= in[2];
		for (size_t i = 0; i <= take; i++)
			mauth_buf_putc(buf, alphabet[(bits >> (18 - 6 * i)) & 63]);
		in += take;
		size -= take;
	}
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool mauth_base64url_decode(struct mauth_buf *buf, const char *text, size_t size)
{
	struct mauth_buf out = { 0 };
	unsigned int bits = 0, held = 0;
	size_t i;

	for (i = 0; i < size; i++) {
		int value = digit_value(text[i]);

		if (value < 0)
			break;
		bits = (bits << 6 | (unsigned int)value) & 0xfff;
		held += 6;
		if (held >= 8) {
			held -= 8;
			mauth_buf_putc(&out, (char)(bits >> held & 0xff));
		}
	}
	/* Left over: nothing, or fewer bits than a digit has, all of them zero. */
	if (i < size || held >= 6 || (bits & ((1u << held) - 1)) != 0) {
		mauth_buf_free(&out);
		return false;
	}
	if (out.size > 0)
		mauth_buf_append(buf, out.data, out.size);
	mauth_buf_free(&out);
	return true;
}

/* Copies the first of the claims called names that can be shown as it is. One that does not fit or would have to
 * be cleaned is skipped: half a name may be somebody else's. */
static void copy_claim(char *dest, size_t dest_size, const json_t *claims, const char *const *names)
{
	for (; *names != NULL; names++) {
		const char *value = mauth_json_str(claims, *names);

		mauth_clean_copy(dest, dest_size, value, strlen(value));
		if (*value != '\0' && strcmp(dest, value) == 0)
			return;
	}
	*dest = '\0';
}

/* The texts of a list, separated by blanks. One that does not fit is left out. */
static void copy_list(char *dest, size_t dest_size, const json_t *list)
{
	size_t used = 0;

	*dest = '\0';
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		size_t size = text == NULL ? 0 : strlen(text);

		if (size == 0 || size > 64 || used + size + 2 > dest_size || strchr(text, ' ') != NULL)
			continue;
		if (used > 0)
			dest[used++] = ' ';
		mauth_clean_copy(dest + used, dest_size - used, text, size);
		used += strlen(dest + used);
	}
}

static void read_claims(const json_t *claims, struct mauth_jwt *jwt_r)
{
	static const char *const upn[] = { "upn", "preferred_username", "unique_name", NULL };
	static const char *const oid[] = { "oid", NULL }, *const tid[] = { "tid", NULL };
	static const char *const aud[] = { "aud", NULL }, *const appid[] = { "appid", "azp", NULL };
	static const char *const scp[] = { "scp", NULL };

	memset(jwt_r, 0, sizeof(*jwt_r));
	copy_claim(jwt_r->upn, sizeof(jwt_r->upn), claims, upn);
	copy_claim(jwt_r->oid, sizeof(jwt_r->oid), claims, oid);
	copy_claim(jwt_r->tid, sizeof(jwt_r->tid), claims, tid);
	copy_claim(jwt_r->aud, sizeof(jwt_r->aud), claims, aud);
	copy_claim(jwt_r->appid, sizeof(jwt_r->appid), claims, appid);
	copy_claim(jwt_r->scp, sizeof(jwt_r->scp), claims, scp);
	copy_list(jwt_r->roles, sizeof(jwt_r->roles), json_object_get(claims, "roles"));
	if (!mauth_json_num(json_object_get(claims, "exp"), &jwt_r->exp) || jwt_r->exp < 0)
		jwt_r->exp = 0;
}

bool mauth_jwt_read(const char *token, size_t size, struct mauth_jwt *jwt_r)
{
	struct mauth_buf payload = { 0 };
	const char *begin, *end, *first;
	json_t *claims = NULL;

	if (size > MAUTH_TOKEN_MAX || (first = memchr(token, '.', size)) == NULL)
		return false;
	begin = first + 1;
	end = memchr(begin, '.', size - (size_t)(begin - token));
	/* Two dots: with four of them it is encrypted and the second part is no claims. */
	if (end == NULL || memchr(end + 1, '.', size - (size_t)(end + 1 - token)) != NULL)
		return false;
	if (mauth_base64url_decode(&payload, begin, (size_t)(end - begin)) && payload.size > 0)
		claims = mauth_json_object(payload.data, payload.size);
	mauth_buf_free(&payload);
	if (claims == NULL)
		return false;
	read_claims(claims, jwt_r);
	json_decref(claims);
	return true;
}
