/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_BROKER_CONFIG_SEEN_H
#define MAUTH_BROKER_CONFIG_SEEN_H
/* Puts on record which configuration is in force, and what has changed since the last one: it is remembered, as digests, in
 * STATE_DIR/config.seen. */

struct mauth_config_seen;
struct mauth_map_news;
struct mauth_service_state;

struct mauth_config_seen *mauth_config_seen_new(struct mauth_service_state *service);
/* The service is alone now, and has its configuration. */
void mauth_config_seen_begin(struct mauth_config_seen *seen);
/* Where mailbox maps that are read are told to. */
const struct mauth_map_news *mauth_config_seen_maps(struct mauth_config_seen *seen);
/* Nothing is recorded any more. */
void mauth_config_seen_stop(struct mauth_config_seen *seen);
void mauth_config_seen_free(struct mauth_config_seen **seen);

#endif
