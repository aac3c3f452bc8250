# SPDX-License-Identifier: MIT
"""Two front ends of one machine with one state_dir: what an admin changes at one holds at the other within a second, and
only one of them writes what must have one writer."""

import time

import pytest

from harness import settings
from standin.entra_model import APP
from test_exceptions import allow, command, denied

RULES = 'rule "pop-is-off" { protocols = {"pop3"} action = "deny" message = "POP is off." }\n'
DOMAIN = "shared.test"
FOLLOWS = r"belongs to another front end, which this one follows"
SECOND = 1.0


def tenants(standin):
    return settings.tenant(standin, "contoso", ["contoso.com"]) + settings.tenant(
        standin, "shared", [DOMAIN], grants=["enrolled"], client_id=APP % 1)


@pytest.fixture(scope="module")
def pair(fronts, running_standin):
    """The owner of the store, and who follows it."""
    running_standin.domain(DOMAIN)
    first = fronts.new(tenants=tenants(running_standin), extra=RULES)
    first.wait_store()
    second = fronts.new(tenants=tenants(running_standin), extra=RULES, state_dir=first.path("lib"))
    second.wait_log(FOLLOWS)
    for front in (first, second):
        front.expect("login refused", FOLLOWS)
    return first, second


def within(seconds, ask, what):
    """Is it so in time? A login on a machine that is busy may itself take longer: what counts is when the last one that was
    otherwise began."""
    begin = time.monotonic()
    while True:
        asked = time.monotonic()
        if ask():
            return
        assert asked - begin < seconds, what
        time.sleep(0.05)


def test_an_exception_holds_at_both(pair, people):
    first, second = pair
    account = people.new()
    assert denied(first.pop3(account)) and denied(second.pop3(account))
    made = allow(first, "--protocol", "pop3", "--user", account.upn)
    within(SECOND, lambda: second.pop3(account).ok, "the exception does not hold at the other")
    assert first.pop3(account).ok
    record = second.attempts(account.upn)[-1]["modernauth"]
    assert record["exception"] == made["exception"], record
    command(first, "disallow", made["exception"])
    within(SECOND, lambda: denied(second.pop3(account)), "the exception still holds at the other")
    assert denied(first.pop3(account))


def test_who_follows_may_allow_as_well(pair, people):
    first, second = pair
    account = people.new()
    made = allow(second, "--protocol", "pop3", "--user", account.upn)
    assert second.pop3(account).ok
    within(SECOND, lambda: first.pop3(account).ok, "the exception does not hold at the owner")
    assert made["exception"] in command(first, "policy").out
    command(second, "disallow", made["exception"])
    within(SECOND, lambda: denied(first.pop3(account)), "the exception still holds at the owner")


def test_a_device_stops_at_both(pair, people):
    first, second = pair
    account = people.new(domain=DOMAIN, mfa=True)
    assert first.enrol(account)[0].verb == "OK"
    device = first.add_device(account, "scanner")
    within(SECOND, lambda: second.imap(account, device.password).ok, "the device does not work at the other")
    assert first.ask("DEVICE-REMOVE", user=account.upn, device=device.id)[1].verb == "OK"
    within(SECOND, lambda: not second.imap(account, device.password).ok, "the device still works at the other")
    assert second.imap(account).ok, "the other device went along"


def test_a_revoked_enrolment_is_used_by_neither(pair, people):
    """Although who follows has an access token of it."""
    first, second = pair
    account = people.new(domain=DOMAIN, mfa=True)
    first.enrol(account)
    within(SECOND, lambda: second.imap(account).ok, "the enrolment is not there at the other")
    assert first.ask("REVOKE", user=account.upn)[1].verb == "OK"
    within(SECOND, lambda: not second.imap(account).ok, "the enrolment is still used")


def test_who_follows_reads_the_newest_refresh_token(pair, standin, people):
    """The owner renews it; who follows asks with what is on disk, and writes nothing."""
    first, second = pair
    account = people.new(domain=DOMAIN, mfa=True)
    first.enrol(account)
    assert first.imap(account).ok
    within(SECOND, lambda: second.imap(account).ok, "no token at the other")
    for _ in range(2):
        first.ask("FORGET", user=account.upn)
        assert first.imap(account).ok
        newest = standin.token_requests()[-1]["new_refresh_token_sha256"]
        second.ask("FORGET", user=account.upn)
        assert second.imap(account).ok
        assert standin.token_requests()[-1]["refresh_token_sha256"] == newest
    first.ask("FORGET", user=account.upn)
    assert first.imap(account).ok
    assert standin.token_requests()[-1]["refresh_token_sha256"] == newest, "who follows has written"


@pytest.mark.parametrize("verb, fields", [("DEVICE-ADD", {"name": "x"}), ("DEVICE-REMOVE", {"device": "x"}), ("REVOKE", {}),
                                          ("ENROLL", {}), ("REKEY", {})])
def test_who_follows_refuses_what_the_owner_writes(pair, people, verb, fields):
    _, second = pair
    answer = second.ask(verb, user=people.new(domain=DOMAIN).upn, **fields)[1]
    assert answer.verb == "FAIL" and "another front end" in answer["reason"] and "fuser" in answer["advice"], answer


def test_status_says_who_follows(pair):
    first, second = pair
    assert first.ask("STATUS")[1]["store"] == "open"
    assert "follows" in second.ask("STATUS")[1]["store"]


def test_a_fresh_key_does_not_part_them(pair, people):
    first, second = pair
    account = people.new(domain=DOMAIN, mfa=True)
    first.enrol(account)
    assert first.ask("REKEY")[1].verb == "OK"
    second.wait(lambda: second.ask("STATUS")[1].fields.get("key_id") == first.ask("STATUS")[1]["key_id"], 10, "the key is the old one")
    second.wait(lambda: second.imap(account).ok, 10, "no login under the fresh key")


def test_a_reload_of_the_owner_leaves_it_the_owner(pair, people):
    first, second = pair
    account = people.new()
    first.reload()
    first.wait_store()
    assert first.ask("STATUS")[1]["store"] == "open"
    made = allow(first, "--protocol", "pop3", "--user", account.upn)
    within(SECOND, lambda: second.pop3(account).ok, "the exception does not hold at the other")
    command(first, "disallow", made["exception"])


def test_when_the_owner_goes_the_other_takes_over(people, pair):
    """Last: both are changed by it."""
    first, second = pair
    account = people.new(domain=DOMAIN, mfa=True)
    first.enrol(account)
    first.stop()
    second.expect("takes it over")
    assert second.imap(account).ok or second.imap(account).ok
    second.wait(lambda: second.ask("STATUS")[1]["store"] == "open", 40, "nobody owns the store")
    device = second.add_device(account, "new")
    assert second.imap(account, device.password).ok
