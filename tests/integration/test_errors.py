# SPDX-License-Identifier: MIT
"""What Entra refuses, and how each protocol says it: a wrong password makes a client ask its user, anything that only
an admin or time can mend makes it keep the password and come back."""

import asyncio
import os
import re

import pytest

from harness.settings import TOP

pytestmark = pytest.mark.sanitize
LOCKED = "Too many failed logins"
DISABLED = "This account is disabled"
INTERACTION = "cannot log in with a password alone"
# status: per protocol (response code, words)
REPLIES = {
    "BAD_CREDENTIALS": {"imap": ("AUTHENTICATIONFAILED", ""), "pop3": ("AUTH", ""), "submission": ("535 5.7.8", "")},
    "USER_UNKNOWN": {"imap": ("AUTHENTICATIONFAILED", ""), "pop3": ("AUTH", ""), "submission": ("535 5.7.8", "")},
    "LOCKED": {"imap": ("ALERT", LOCKED), "pop3": ("AUTH", LOCKED), "submission": ("535 5.7.8", LOCKED)},
    "DISABLED": {"imap": ("ALERT", DISABLED), "pop3": ("AUTH", DISABLED), "submission": ("535 5.7.8", DISABLED)},
    "INTERACTION": {"imap": ("ALERT", INTERACTION), "pop3": ("AUTH", INTERACTION),
                    "submission": ("535 5.7.8", INTERACTION)},
    "EXPIRED": {"imap": ("EXPIRED", "expired"), "pop3": ("AUTH", "expired"), "submission": ("535 5.7.8", "expired")},
    "CONFIG": {"imap": ("UNAVAILABLE", ""), "pop3": ("SYS/TEMP", ""), "submission": ("454 4.7.0", "")},
    "TEMPORARY": {"imap": ("UNAVAILABLE", ""), "pop3": ("SYS/TEMP", ""), "submission": ("454 4.7.0", "")},
}


def table():
    """code -> status of the built-in table."""
    with open(os.path.join(TOP, "src/core/aadsts.def"), encoding="utf-8") as file:
        rows = re.findall(r"^ROW\((\d+), \w+, (\w+), (?:true|false),", file.read(), re.MULTILINE)
    return {int(code): status for code, status in rows}


TABLE = table()
ONE_OF_EACH = {"BAD_CREDENTIALS": 50126, "USER_UNKNOWN": 50034, "LOCKED": 50053, "DISABLED": 50057, "EXPIRED": 50055,
               "INTERACTION": 50076, "CONFIG": 7000215, "TEMPORARY": 90033}


def check(reply, status, protocol):
    code, words = REPLIES[status][protocol]
    assert not reply.ok and reply.code == code and words in reply.text, (status, reply)


def test_the_table_has_every_kind_of_outcome():
    assert len(TABLE) > 100 and set(TABLE.values()) == set(REPLIES) == set(ONE_OF_EACH)


@pytest.mark.parametrize("protocol", ["imap", "pop3", "submission"])
@pytest.mark.parametrize("status", list(ONE_OF_EACH))
def test_each_kind_of_refusal_is_said_in_the_protocols_words(front, people, spare_magic, status, protocol):
    account = spare_magic(ONE_OF_EACH[status], status)
    check(front.login(protocol, account), status, protocol)
    record = front.attempts(account.login)[-1]
    assert record["modernauth"]["status"] == status.lower() and record["event"]["outcome"] == "failure"
    assert record["event"]["code"] == record["error"]["code"] == str(ONE_OF_EACH[status])
    front.wait_log(re.escape(account.login) + r".*AADSTS%d.*to do: " % ONE_OF_EACH[status])


@pytest.fixture
def spare_magic(people, front):
    """Magic users; temporary failures must not open anybody else's breaker."""
    good = people.new()

    def make(code, status):
        # Another success in between keeps the breaker closed; HTTP 400 spares the retry.
        assert front.imap(good).ok or status
        # ... and with a 401 the whole tenant would wait for its admin.
        return people.magic(code, "http400", domain="spare29.test" if status == "TEMPORARY" else "contoso.com")
    front.expect_trouble("spare29.test")
    return make


def test_every_code_of_the_table_is_answered_as_its_row_says(front, people):
    """IMAP, all at once; what would open the breaker is the next test's."""
    codes = {code: status for code, status in TABLE.items() if status != "TEMPORARY"}
    accounts = {code: people.magic(code, "http400") for code in codes}
    replies = front.storm(list(accounts.values()), parallel=100)
    for (code, status), reply in zip(codes.items(), replies):
        want, words = REPLIES[status]["imap"]
        assert (reply.code, words in reply.text) == (want, True), (code, status, reply)


def test_every_temporary_code_is_a_temporary_failure(front, standin, people, spare_domain):
    front.expect_trouble(spare_domain)
    for code in [code for code, status in TABLE.items() if status == "TEMPORARY"]:
        account = people.magic(code, "http400", domain=spare_domain)
        assert front.imap(account).temporary, code
        assert len(standin.token_requests(username=account.upn)) == 1, code
        # A success closes the breaker again.
        assert front.imap(people.new(domain=spare_domain)).ok, code


@pytest.mark.parametrize("words, status", [
    (("50126", "multi"), "BAD_CREDENTIALS"),               # [70002, 50126]
    (("50126", "old"), "BAD_CREDENTIALS"),
    (("50126", "nouri"), "BAD_CREDENTIALS"),
    (("50126", "strings"), "BAD_CREDENTIALS"),
    (("50126", "nocodes"), "BAD_CREDENTIALS"),             # only in the description
    (("50053", "old"), "LOCKED"),                          # error: unauthorized_client
    (("50055", "old"), "EXPIRED"),                         # error: user_password_expired
    (("50076", "old"), "INTERACTION"),                     # error: interaction_required
    (("50076", "multi"), "INTERACTION"),
    (("999999",), "INTERACTION"),                          # unknown, invalid_grant: never a wrong password
    (("999999", "basic_action"), "INTERACTION"),
    (("999999", "user_password_expired"), "EXPIRED"),
    (("999999", "consent_required"), "CONFIG"),
    (("999999", "err_invalid_client"), "CONFIG"),
    (("999999", "nocodes", "err_something_new"), "CONFIG"),
])
def test_other_spellings_of_an_error_come_to_the_same(front, people, words, status):
    account = people.magic(*words)
    check(front.imap(account), status, "imap")


def test_an_unknown_code_is_never_a_bad_password(front, standin, people):
    """Sixty different passwords, and each is asked about: the shield counts none."""
    account = people.magic(999999)
    passwords = [people.password() for _ in range(20)]

    async def all_of_them():
        return await asyncio.gather(*(front.quick_login(account, password) for password in passwords))
    replies = asyncio.run(all_of_them())
    assert {reply.code for reply in replies} == {"ALERT"}
    assert len(standin.token_requests(username=account.upn)) == len(passwords)


def test_users_of_a_federated_domain_have_no_wrong_password(front, standin, people):
    """50126 there says nothing about the password (HDInsight troubleshooting): an admin must act."""
    account = people.new(domain="federated.contoso.com")
    front.expect_trouble(account)
    assert front.imap(account).temporary
    front.wait_log(re.escape(account.upn) + ".*federated.*AllowCloudPasswordValidation")
    assert standin.requests(endpoint="realm")
    front.imap(account, "Another-wrong-one1")
    assert not [record for record in front.attempts(account.upn) if record["modernauth"]["status"] == "locked"]


def test_users_of_a_domain_with_hash_sync_can_log_in(front, people):
    assert front.imap(people.new(domain="phs.contoso.com")).ok


def test_a_wrong_client_secret_is_not_the_users_fault(front, standin, people):
    account = people.new(domain="badsecret.test")
    front.expect_trouble("badsecret.test")
    assert front.imap(account).temporary
    assert front.attempts(account.upn)[0]["error"]["code"] == "7000215"
    # Nobody else's password is sent along with it for a while: it would be refused as well.
    another = people.new(domain="badsecret.test")
    assert front.imap(another).temporary
    assert standin.token_requests(username=another.upn) == []


def test_missing_consent_is_not_the_users_fault(front, people):
    account = people.new(domain="unconsented.test")
    front.expect_trouble("unconsented.test")
    assert front.imap(account).temporary
    front.wait_log(re.escape(account.upn) + ".*AADSTS65001.*to do: .*consent")


def test_a_token_of_somebody_else_is_refused(front, standin, people):
    account, other = people.new(), people.new()
    front.expect_trouble(account)
    standin.fault(endpoint="token", user=account.upn, action="token", token={"upn": other.upn})
    assert front.imap(account).temporary
    assert not standin.sessions(user=other.upn)
    front.wait_log(re.escape(account.upn) + ".*belongs to " + re.escape(other.upn))


def test_the_conditional_access_policy_is_named_for_the_admin(front, people):
    account = people.new(ca_blocked=True)
    front.expect_trouble(account)
    check(front.imap(account), "INTERACTION", "imap")
    assert front.attempts(account.upn)[0]["modernauth"]["policy_id"]


@pytest.mark.parametrize("user", ["", "@contoso.com", "a b@contoso.com", "x" * 400 + "@contoso.com",
                                  "\u200bu@contoso.com"])
def test_names_that_cannot_be_users_are_not_sent_to_entra(front, standin, people, user):
    before = standin.last_request()
    assert not front.imap(user, people.password(), mech="PLAIN").ok
    assert standin.token_requests(since=before) == []


@pytest.mark.parametrize("password", ["", "x" * 1025])
def test_passwords_that_cannot_be_right_are_not_sent_to_entra(front, standin, people, password):
    account = people.new()
    assert not front.imap(account, password, mech="PLAIN").ok
    assert standin.token_requests(username=account.upn) == []


def test_uniform_replies_tell_nothing(fronts, people):
    front = fronts.new(replies="uniform")
    front.expect_trouble("contoso.com")
    accounts = [people.magic(ONE_OF_EACH[status]) for status in ("LOCKED", "DISABLED", "EXPIRED", "INTERACTION",
                                                                "USER_UNKNOWN", "BAD_CREDENTIALS")]
    for protocol in ("imap", "pop3"):
        for reply in front.storm(accounts, protocol=protocol):
            assert reply.wrong and reply.text == "Authentication failed.", reply
    assert front.smtp(accounts[1]).wrong
    assert front.imap(people.magic(7000215)).temporary


def test_codes_can_be_overridden_by_a_file(fronts, standin, people):
    # A new code, and one that is to be treated otherwise.
    rows = "123456 state disabled - Somebody new is in charge\n50034 transient temporary - Wait for the sync\n"
    front = fronts.new(start=False, aadsts_file="/nonexistent")
    path = front.write("aadsts.conf", rows)
    front.write("modernauth.conf", front.read("modernauth.conf").replace("/nonexistent", path))
    front.start()
    front.expect_trouble("contoso.com")
    check(front.imap(people.magic(123456)), "DISABLED", "imap")
    check(front.imap(people.magic(50034)), "TEMPORARY", "imap")
    front.wait_log("Wait for the sync")
