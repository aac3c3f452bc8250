/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_NETWORK_H
#define MAUTH_NETWORK_H
/* IP networks and name patterns, as rules and device passwords name them. */

#include "modernauth/modernauth.h"

struct mauth_network {
	unsigned char address[16];           /* IPv4 as ::ffff:a.b.c.d */
	unsigned char bits;                  /* 0 .. 128 */
};

/* An address that has been read, to be compared with many networks. */
struct mauth_address {
	unsigned char octets[16];            /* IPv4 as ::ffff:a.b.c.d */
	bool mapped;                         /* it is IPv4 */
};
/* false: NULL, or no address. */
bool mauth_address_parse(const char *ip, struct mauth_address *address_r);

/* "10.20.0.0/16", "192.0.2.7", "2001:db8::/32", "::ffff:10.0.0.0/104". Host bits must be zero, zone ids are refused.
 * false: none of these; then why_r (may be NULL) is a constant text of what was expected. */
bool mauth_network_parse(const char *text, struct mauth_network *network_r, const char **why_r);
/* Is ip (as Dovecot writes it; IPv4-mapped IPv6 is IPv4) in the network? false for NULL and for what is no address.
 * IPv4 is in no IPv6 network, not even in ::/0. */
bool mauth_network_contains(const struct mauth_network *network, const char *ip);
bool mauth_network_holds(const struct mauth_network *network, const struct mauth_address *address);
/* Is all of inner in outer? */
bool mauth_network_includes(const struct mauth_network *outer, const struct mauth_network *inner);
bool mauth_networks_contain(const struct mauth_network *networks, size_t count, const char *ip);
/* The network that ip is taken to belong to where nobody has said more: /24 of IPv4, /64 of IPv6; address_r is ip itself.
 * false: ip (which may be NULL) is no address. */
bool mauth_network_around(const char *ip, struct mauth_network *network_r, unsigned char address_r[static 16]);
/* Is there an address in both? IPv4 is in no IPv6 network, here too. */
bool mauth_networks_overlap(const struct mauth_network *a, const struct mauth_network *b);
/* The canonical text, "10.20.0.0/16"; of a single address without its prefix length. */
#define MAUTH_NETWORK_TEXT_SIZE 64u
void mauth_network_format(const struct mauth_network *network, char text_r[static MAUTH_NETWORK_TEXT_SIZE]);

/* "*" is any run of octets, "?" one; both sides are compared in ASCII lower case. Linear time in practice, the product
 * of the two sizes at worst; no recursion. */
bool mauth_glob_match(const char *pattern, const char *text);

#endif
