/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_CMD_BATCH_H
#define MAUTH_DOVEADM_CMD_BATCH_H
#include "doveadm/command.h"

/* enroll --batch path. */
void mauth_enroll_batch(struct doveadm_cmd_context *cctx, const char *path);

#endif
