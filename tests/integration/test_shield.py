# SPDX-License-Identifier: MIT
"""The lock-out shield: Entra hears of a bad password once, and of few bad passwords at all."""

import asyncio

import pytest

from standin.client import sha256

pytestmark = pytest.mark.sanitize
LOCKED_WORDS = "Too many failed logins"


def at_entra(standin, account):
    """The stand-in's own view of the account."""
    return next(user for user in standin.call("GET", "users") if user["upn"] == account.upn)


def try_all(front, account, passwords):
    async def run():
        return await asyncio.gather(*(front.quick_login(account, password) for password in passwords))
    return asyncio.run(run())


def test_fifty_logins_with_one_wrong_password_are_one_request(front, standin, people):
    account, wrong = people.new(), people.password()
    replies = try_all(front, account, [wrong] * 25) + try_all(front, account, [wrong] * 25)
    assert len(replies) == 50 and all(reply.wrong for reply in replies)
    assert len(standin.token_requests(username=account.upn)) == 1
    assert len(front.attempts(account.upn)) == 50


def test_the_right_password_works_while_a_wrong_one_is_remembered(front, standin, people):
    """The phone with the old password does not lock out the laptop with the new one."""
    account, old = people.new(), people.password()
    for _ in range(3):
        assert front.imap(account, old).wrong
        assert front.imap(account).ok
    assert len(standin.token_requests(username=account.upn)) == 2
    assert at_entra(standin, account)["bad_count"] == 0


def test_the_sixth_wrong_password_is_not_sent(front, standin, people):
    account, passwords = people.new(), [people.password() for _ in range(8)]
    front.expect_trouble(account)
    replies = [front.imap(account, password) for password in passwords]
    assert all(reply.wrong for reply in replies[:5])
    assert all(reply.code == "ALERT" and LOCKED_WORDS in reply.text for reply in replies[5:])
    asked = standin.token_requests(username=account.upn)
    assert [record["password_sha256"] for record in asked] == [sha256(password) for password in passwords[:5]]
    assert not at_entra(standin, account)["locked_until"]
    # Not even the right one now: nobody can tell it from a sixth guess without asking.
    assert front.imap(account).code == "ALERT"
    assert len(standin.token_requests(username=account.upn)) == 5
    front.wait_log("user=%s .*not forwarded to Entra" % account.upn)
    assert front.attempts(account.upn)[-1]["modernauth"]["rule"] == "lock-out shield"


def test_twenty_guesses_at_once_are_no_more_than_five_requests(front, standin, people):
    account = people.new()
    front.expect_trouble(account)
    standin.fault(endpoint="token", user=account.upn, latency_ms=100)
    replies = try_all(front, account, [people.password() for _ in range(20)])
    assert not any(reply.ok or reply.temporary for reply in replies)
    assert len(standin.token_requests(username=account.upn)) == 5
    assert not at_entra(standin, account)["locked_until"]


def test_a_user_with_a_live_token_logs_in_although_locked_here(front, standin, people):
    account = people.new()
    front.expect_trouble(account)
    assert front.imap(account).ok
    for _ in range(6):
        assert not front.imap(account, people.password()).ok
    assert front.imap(account).ok
    assert len(standin.token_requests(username=account.upn)) == 6


def test_government_clouds_tolerate_two(front, standin, people):
    account = people.new(domain="govern.test")
    front.expect_trouble(account)
    replies = [front.imap(account, people.password()) for _ in range(4)]
    assert [reply.code for reply in replies] == ["AUTHENTICATIONFAILED"] * 2 + ["ALERT"] * 2
    assert len(standin.token_requests(username=account.upn)) == 2


def test_an_account_that_entra_has_locked_is_left_alone(front, standin, people):
    account = people.new(locked=True)
    front.expect_trouble(account)
    for password in (account.password, people.password(), people.password(), account.password):
        reply = front.imap(account, password)
        assert reply.code == "ALERT" and LOCKED_WORDS in reply.text
    assert len(standin.token_requests(username=account.upn)) == 1


def test_users_are_counted_each_for_himself(front, standin, people):
    crowd, wrong = [people.new() for _ in range(12)], people.password()
    replies = [front.imap(account, wrong) for account in crowd[:6]]
    assert all(reply.wrong for reply in replies)
    assert all(reply.ok for reply in front.storm(crowd))


def test_unknown_users_are_asked_once_each(front, standin, people):
    account = people.new()
    standin.delete_user(account.upn)
    for _ in range(3):
        assert front.imap(account).wrong
    assert len(standin.token_requests(username=account.upn)) == 1


def test_retries_of_a_client_that_needs_mfa_do_not_reach_entra(front, standin, people):
    account = people.new(mfa=True)
    front.expect_trouble(account)
    for _ in range(4):
        assert front.imap(account).code == "ALERT"
    assert len(standin.token_requests(username=account.upn)) == 1
    # It says nothing about the password: no lock-out follows from it.
    assert front.attempts(account.upn)[-1]["modernauth"]["status"] == "interaction"


def test_a_lock_and_a_memory_end(fronts, standin, people):
    front = fronts.new(extra='lockout {\n  threshold = "2"\n  duration = "2s"\n  remember = "1s"\n  window = "2s"\n}\n')
    account, wrong = people.new(), people.password()
    front.expect_trouble(account)
    assert front.imap(account, wrong).wrong and front.imap(account, people.password()).wrong
    assert front.imap(account).code == "ALERT"
    front.wait(lambda: front.imap(account).ok, 10)
    front.wait(lambda: front.imap(account, wrong).wrong and
               len(standin.token_requests(username=account.upn, password_sha256=sha256(wrong))) > 1, 10)
