/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_STORE_TEXT_FILE_H
#define MAUTH_STORE_TEXT_FILE_H
/* The real struct mauth_files. */

#include "modernauth/files.h"

extern const struct mauth_files mauth_text_files;

#endif
