/* SPDX-License-Identifier: MIT */
#include "core/breaker.h"

/* One slow answer is no outage, and one lost connection takes several requests with it. */
#define FAILURES_TO_OPEN 5u
#define PAUSE_MIN_SECS 5u
/* Short enough that users do not wait long after the outage, long enough to be no load during it. */
#define PAUSE_MAX_SECS 60u

bool mauth_breaker_is_open(const struct mauth_breaker *breaker, int64_t mono_msecs, unsigned int *left_secs_r)
{
	int64_t left = breaker->open_until - mono_msecs;

	if (left_secs_r != NULL)
		*left_secs_r = left > 0 ? (unsigned int)((left + 999) / 1000) : 0;
	return left > 0 || (breaker->open_until != 0 && breaker->probing);
}

bool mauth_breaker_allow(struct mauth_breaker *breaker, int64_t mono_msecs, unsigned int *left_secs_r)
{
	if (mauth_breaker_is_open(breaker, mono_msecs, left_secs_r))
		return false;
	if (breaker->open_until != 0)
		breaker->probing = true;
	return true;
}

void mauth_breaker_success(struct mauth_breaker *breaker, int64_t mono_msecs)
{
	breaker->failures = 0;
	breaker->probing = false;
	if (breaker->asked_to_wait && breaker->open_until > mono_msecs)
		return;
	*breaker = (struct mauth_breaker){ 0 };
}

bool mauth_breaker_failure(struct mauth_breaker *breaker, int64_t mono_msecs, unsigned int retry_after_secs)
{
	bool was_open = breaker->open_until > mono_msecs, was_probe = breaker->probing;

	breaker->probing = false;
	breaker->failures++;
	if (retry_after_secs > 0) {
		int64_t until = mono_msecs + (int64_t)retry_after_secs * 1000;

		/* The longest wish wins: answers of earlier requests come late. */
		if (until > breaker->open_until)
			breaker->open_until = until;
		breaker->asked_to_wait = true;
		return !was_open;
	}
	if (was_open || (breaker->failures < FAILURES_TO_OPEN && !was_probe))
		return false;
	breaker->pause_secs = breaker->pause_secs == 0 ? PAUSE_MIN_SECS : breaker->pause_secs * 2;
	if (breaker->pause_secs > PAUSE_MAX_SECS)
		breaker->pause_secs = PAUSE_MAX_SECS;
	breaker->open_until = mono_msecs + (int64_t)breaker->pause_secs * 1000;
	breaker->asked_to_wait = false;
	return true;
}

void mauth_breaker_abandoned(struct mauth_breaker *breaker)
{
	breaker->probing = false;
}
