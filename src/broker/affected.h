/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_AFFECTED_H
#define MAUTH_AFFECTED_H

#include "broker/service.h"

/* Whom an exception would concern, by the inventory. */
mauth_affected_fn mauth_affected_by_inventory;

#endif
