/* SPDX-License-Identifier: MIT */
#include "core/network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define ADDRESS_BITS 128u
#define MAPPED_BITS 96u                  /* of ::ffff:0.0.0.0/96, where IPv4 lives */
#define AROUND_V4_BITS 24u
#define AROUND_V6_BITS 64u

static const unsigned char mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool is_mapped(const unsigned char *address)
{
	return memcmp(address, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

/* Reads an address of either family; dotted_r: "10.0.0.1", not "::ffff:10.0.0.1". */
static bool parse_address(const char *text, unsigned char address_r[16], bool *dotted_r)
{
	unsigned char address[16];

	*dotted_r = inet_pton(AF_INET, text, address + sizeof(mapped_prefix)) == 1;
	if (*dotted_r)
		memcpy(address, mapped_prefix, sizeof(mapped_prefix));
	else if (inet_pton(AF_INET6, text, address) != 1)
		return false;
	memcpy(address_r, address, sizeof(address));
	return true;
}

/* One spelling only: "8", neither "08" nor "+8". */
static bool parse_bits(const char *text, unsigned int max, unsigned int *bits_r)
{
	size_t size = strnlen(text, 4);
	unsigned int bits = 0;

	if (size == 0 || size > 3 || (size > 1 && text[0] == '0') || strspn(text, "0123456789") != size)
		return false;
	for (; *text != '\0'; text++)
		bits = bits * 10 + (unsigned int)(*text - '0');
	if (bits > max)
		return false;
	*bits_r = bits;
	return true;
}

/* Do the first bits of a and b agree? */
static bool same_prefix(const unsigned char *a, const unsigned char *b, unsigned int bits)
{
	unsigned int octets = bits / 8, rest = bits % 8;

	return memcmp(a, b, octets) == 0 && (rest == 0 || ((a[octets] ^ b[octets]) >> (8 - rest)) == 0);
}

static bool has_host_bits(const struct mauth_network *network)
{
	unsigned int at = network->bits / 8u;
	unsigned int bits = at == 16u ? 0 : network->address[at] & (0xffu >> (network->bits % 8u));

	for (at++; at < sizeof(network->address); at++)
		bits |= network->address[at];
	return bits != 0;
}

static bool refuse(const char **why_r, const char *why)
{
	if (why_r != NULL)
		*why_r = why;
	return false;
}

bool mauth_network_parse(const char *text, struct mauth_network *network_r, const char **why_r)
{
	char address[MAUTH_NETWORK_TEXT_SIZE];
	const char *slash = strchr(text, '/');
	size_t size = slash == NULL ? strlen(text) : (size_t)(slash - text);
	unsigned int bits = ADDRESS_BITS, skip;
	struct mauth_network network;
	bool dotted;

	if (size >= sizeof(address))
		return refuse(why_r, "an IPv4 or IPv6 address or network was expected");
	memcpy(address, text, size);
	address[size] = '\0';
	if (strchr(address, '%') != NULL)
		return refuse(why_r, "a zone id (%...) has no meaning here");
	if (!parse_address(address, network.address, &dotted))
		return refuse(why_r, "an IPv4 or IPv6 address or network was expected");
	skip = dotted ? MAPPED_BITS : 0;
	if (slash != NULL && !parse_bits(slash + 1, ADDRESS_BITS - skip, &bits))
		return refuse(why_r, dotted ? "a prefix length of 0 to 32 was expected after the slash" :
			      "a prefix length of 0 to 128 was expected after the slash");
	network.bits = (unsigned char)(slash == NULL ? bits : bits + skip);
	if (has_host_bits(&network))
		return refuse(why_r, "there are bits set beyond the prefix length: a network was expected, as in "
			      "10.20.0.0/16");
	*network_r = network;
	return true;
}

bool mauth_address_parse(const char *ip, struct mauth_address *address_r)
{
	bool dotted;

	if (ip == NULL || !parse_address(ip, address_r->octets, &dotted))
		return false;
	address_r->mapped = is_mapped(address_r->octets);
	return true;
}

bool mauth_network_holds(const struct mauth_network *network, const struct mauth_address *address)
{
	/* ::/0 is "all of IPv6": whoever means IPv4 as well says so. */
	if (address->mapped && network->bits < MAPPED_BITS)
		return false;
	return same_prefix(network->address, address->octets, network->bits);
}

bool mauth_network_contains(const struct mauth_network *network, const char *ip)
{
	struct mauth_address address;

	return mauth_address_parse(ip, &address) && mauth_network_holds(network, &address);
}

bool mauth_network_includes(const struct mauth_network *outer, const struct mauth_network *inner)
{
	bool v4 = is_mapped(inner->address) && inner->bits >= MAPPED_BITS;

	return outer->bits <= inner->bits && (!v4 || outer->bits >= MAPPED_BITS) &&
	       same_prefix(outer->address, inner->address, outer->bits);
}

bool mauth_networks_contain(const struct mauth_network *networks, size_t count, const char *ip)
{
	struct mauth_address address;

	if (count == 0 || !mauth_address_parse(ip, &address))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (mauth_network_holds(&networks[i], &address))
			return true;
	}
	return false;
}

bool mauth_network_around(const char *ip, struct mauth_network *network_r, unsigned char address_r[static 16])
{
	struct mauth_network network = { .bits = 0 };
	bool dotted;

	if (ip == NULL || !parse_address(ip, address_r, &dotted))
		return false;
	network.bits = is_mapped(address_r) ? MAPPED_BITS + AROUND_V4_BITS : AROUND_V6_BITS;
	memcpy(network.address, address_r, network.bits / 8u);
	*network_r = network;
	return true;
}

bool mauth_networks_overlap(const struct mauth_network *a, const struct mauth_network *b)
{
	const struct mauth_network *wide = a->bits < b->bits ? a : b, *narrow = wide == a ? b : a;

	if (narrow->bits >= MAPPED_BITS && is_mapped(narrow->address) && wide->bits < MAPPED_BITS)
		return false;
	return same_prefix(wide->address, narrow->address, wide->bits);
}

void mauth_network_format(const struct mauth_network *network, char text_r[static MAUTH_NETWORK_TEXT_SIZE])
{
	bool v4 = network->bits >= MAPPED_BITS && is_mapped(network->address);
	size_t skip = v4 ? sizeof(mapped_prefix) : 0;
	char address[INET6_ADDRSTRLEN];

	/* It fails for want of room only, and there is enough. */
	if (inet_ntop(v4 ? AF_INET : AF_INET6, network->address + skip, address, sizeof(address)) == NULL)
		address[0] = '\0';
	if (network->bits == ADDRESS_BITS)
		snprintf(text_r, MAUTH_NETWORK_TEXT_SIZE, "%s", address);
	else
		snprintf(text_r, MAUTH_NETWORK_TEXT_SIZE, "%s/%u", address,
			 network->bits - (v4 ? MAPPED_BITS : 0));
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Only the last star is ever tried again: what an earlier one took, it took at the first place that fits, and any other
 * would leave less for those behind it. */
bool mauth_glob_match(const char *pattern, const char *text)
{
	const char *star = NULL, *resume = NULL;

	while (*text != '\0') {
		if (*pattern == '*') {
			star = pattern++;
			resume = text;
		} else if (*pattern == '?' || (*pattern != '\0' && lower(*pattern) == lower(*text))) {
			pattern++;
			text++;
		} else if (star != NULL) {
			pattern = star + 1;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
