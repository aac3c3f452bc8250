# SPDX-License-Identifier: MIT
"""Tokens are fetched once, shared by whoever proved the same password, renewed in time and never handed out dead."""

import asyncio
import time

import pytest

from harness import sanitizer
from standin.client import sha256

pytestmark = pytest.mark.sanitize


def test_a_second_login_is_answered_from_the_cache(front, standin, people):
    account = people.new()
    assert front.imap(account).ok and front.imap(account).ok
    assert len(standin.token_requests(username=account.upn)) == 1
    first, second = front.attempts(account.upn)
    assert (first["modernauth"]["token_source"], second["modernauth"]["token_source"]) == ("fetched", "cache")
    assert first["modernauth"]["token_id"] == second["modernauth"]["token_id"]
    assert first["modernauth"]["token_expires_at"][:16] == second["modernauth"]["token_expires_at"][:16]


def test_a_cached_token_does_not_help_a_wrong_password(front, standin, people):
    account = people.new()
    assert front.imap(account).ok
    assert front.imap(account, people.password()).wrong
    assert len(standin.token_requests(username=account.upn)) == 2
    assert front.imap(account).ok
    assert len(standin.token_requests(username=account.upn)) == 2


def test_identical_attempts_share_one_request(front, standin, people):
    account = people.new()
    standin.exchange(imap_cap=1000)
    standin.fault(endpoint="token", user=account.upn, latency_ms=700)
    replies = front.storm([account] * 60, parallel=60)
    assert all(reply.ok for reply in replies)
    assert len(standin.token_requests(username=account.upn)) == 1
    sources = [record["modernauth"]["token_source"] for record in front.attempts(account.upn)]
    assert sources.count("fetched") == 1 and set(sources) <= {"fetched", "joined", "cache"} and len(sources) == 60


def test_a_wrong_password_does_not_ride_on_a_right_ones_request(front, standin, people):
    account, wrong = people.new(), people.password()
    standin.exchange(imap_cap=1000)
    standin.fault(endpoint="token", user=account.upn, latency_ms=500)

    async def both():
        return await asyncio.gather(*(front.quick_login(account, password)
                                      for password in [account.password, wrong] * 10))
    replies = asyncio.run(both())
    assert [reply.ok for reply in replies] == [True, False] * 10
    assert all(reply.wrong for reply in replies if not reply.ok)
    asked = standin.token_requests(username=account.upn)
    assert sorted(record["password_sha256"] for record in asked) == sorted([sha256(account.password), sha256(wrong)])


def test_a_token_with_little_life_is_replaced_before_it_is_handed_out(front, standin, people):
    account = people.new()
    standin.fault(endpoint="token", user=account.upn, action="token", token={"expires_in": 290}, times=1)
    assert front.imap(account).ok and front.imap(account).ok
    assert len(standin.token_requests(username=account.upn)) == 2
    ids = [record["modernauth"]["token_id"] for record in front.attempts(account.upn)]
    assert ids[0] != ids[1]


def test_a_token_with_little_life_is_better_than_none(front, standin, people, spare_domain):
    account = people.new(domain=spare_domain)
    front.expect_trouble(spare_domain)
    standin.fault(endpoint="token", user=account.upn, action="token", token={"expires_in": 200}, times=1)
    assert front.imap(account).ok
    standin.fault(endpoint="token", user=account.upn, action="status", status=503)
    assert front.imap(account).ok
    records = front.attempts(account.upn)
    assert records[0]["modernauth"]["token_id"] == records[1]["modernauth"]["token_id"]


def test_tokens_are_renewed_ahead_while_nobody_waits(fronts, standin, people):
    front = fronts.new(refresh_ahead="3s", min_life="10s")
    front.expect("refresh_ahead is shorter than min_life")
    account = people.new()
    standin.fault(endpoint="token", user=account.upn, action="token", token={"expires_in": 600, "refresh_in": 1},
                  times=1)
    assert front.imap(account).ok
    time.sleep(2.5)
    standin.fault(endpoint="token", user=account.upn, latency_ms=1000)
    reply = front.imap(account)
    assert reply.ok and front.attempts(account.upn)[-1]["modernauth"]["token_source"] == "cache"
    # The renewal takes a second; this login did not wait for it.
    assert reply.elapsed < 0.9 * sanitizer.SLOWER
    assert len(standin.wait_requests(2, username=account.upn, endpoint="token")) == 2
    front.wait(lambda: front.status()["token_requests_open"] == 0)
    assert front.imap(account).ok
    ids = [record["modernauth"]["token_id"] for record in front.attempts(account.upn)]
    assert ids[0] == ids[1] != ids[2]
    assert len(standin.token_requests(username=account.upn)) == 2


def test_a_token_that_exchange_refuses_is_fetched_anew_at_the_next_login(front, standin, people):
    account = people.new()
    assert front.imap(account).ok
    token = standin.wait_sessions(user=account.upn)[0]["token_sha256"]
    standin.refuse(token_sha256=token)
    front.expect_trouble(account)
    assert front.imap(account).wrong
    front.wait_upstream(account.upn, 2)
    assert front.imap(account).ok
    assert len(standin.token_requests(username=account.upn)) == 2


@pytest.mark.parametrize("protocol", ["imap", "pop3", "submission"])
def test_that_holds_for_every_protocol(front, standin, people, protocol):
    account = people.new()
    assert front.login(protocol, account).ok
    standin.refuse(token_sha256=standin.wait_sessions(user=account.upn)[0]["token_sha256"])
    front.expect_trouble(account)
    assert not front.login(protocol, account).ok
    front.wait_upstream(account.upn, 2)
    assert front.login(protocol, account).ok
    # ... and an outcome that is no refusal leaves the token where it is.
    assert front.login(protocol, account).ok
    assert len(standin.token_requests(username=account.upn)) == 2


def test_an_exchange_that_wants_no_token_at_all_does_not_cost_one_per_login(front, standin, people):
    account = people.new()
    standin.refuse(user=account.upn)
    front.expect_trouble(account)
    for number in range(8):
        assert not front.imap(account).ok
        front.wait_upstream(account.upn, number + 1)
    assert len(standin.token_requests(username=account.upn)) <= 3


def test_a_new_password_works_at_once_and_the_old_one_dies_with_it(front, standin, people):
    account, old = people.new(), None
    assert front.imap(account).ok
    old, account.password = account.password, people.password()
    standin.user(account.upn, password=account.password)
    assert front.imap(account).ok
    assert front.imap(account, old).wrong
    assert front.imap(account).ok
    assert len(standin.token_requests(username=account.upn)) == 3


def test_a_disabled_user_is_out_when_entra_says_so(front, standin, people):
    """A refusal at a renewal ends the cached token, too."""
    account = people.new()
    front.expect_trouble(account)
    standin.fault(endpoint="token", user=account.upn, action="token", token={"expires_in": 200}, times=1)
    assert front.imap(account).ok
    standin.user(account.upn, disabled=True)
    assert front.imap(account).code == "ALERT"
    assert front.imap(account).code == "ALERT"


def test_the_cache_ends_at_its_bound(fronts, standin, people):
    front = fronts.new(cache_max="1 MiB")
    accounts = people.many(300)
    standin.fault(endpoint="token", user=accounts[0].upn.split("-")[0] + "-*", action="token",
                  token={"token_size": 6000})
    assert all(reply.ok for reply in front.storm(accounts, parallel=50))
    status = front.status()
    assert status["cache_octets"] <= 1 << 20 and status["cache_evicted"] > 50
    assert status["cached_identities"] + status["cache_evicted"] == len(accounts)
    # The one used last is there, the one used first is not.
    before = standin.last_request()
    assert front.imap(accounts[-1]).ok and standin.token_requests(since=before) == []
    assert front.imap(accounts[0]).ok and len(standin.token_requests(since=before)) == 1
