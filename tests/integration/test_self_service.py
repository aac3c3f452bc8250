# SPDX-License-Identifier: MIT
"""Self-service: who is not enrolled is told how to by the refusal of his login; the next login works."""

import re
import time

import pytest

from harness import settings

PAGE = "https://microsoft.com/devicelogin"
TEXT = re.compile(r"To connect this mailbox open %s and enter ([A-Z0-9]+)" % re.escape(PAGE))
INSIDE, OUTSIDE = "127.99.0.%d", "127.98.0.%d"
CODES = {"imap": "ALERT", "pop3": "AUTH", "submission": "535 5.7.8"}
RULE = "rule \"office\" {\n  networks = {\"127.99.0.0/16\"}\n  self_service = true\n}\n"


# Several logins from one address fail here on purpose, and Dovecot would let each wait longer than the one before.
NO_PENALTY = "service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"


def new_site(fronts, standin, name, rule=RULE, dovecot="", **options):
    domain = name + ".test"
    standin.domain(domain)
    front = fronts.new(tenants=settings.tenant(standin, name, [domain], grants=["enrolled"]), extra=rule,
                       dovecot=NO_PENALTY + dovecot, **options)
    front.domain = domain
    front.expect("login refused", "not enrolled", "enrolment-finished by self-service")
    return front


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    return new_site(fronts, running_standin, "selfservice")


@pytest.fixture
def account(site, people, standin):
    standin.entra(device_interval=1)
    return people.new(domain=site.domain, mfa=True)


def code_of(reply):
    assert not reply.ok, reply
    found = TEXT.search(reply.text)
    assert found, reply
    return found[1]


def sign_in(front, standin, account, code, wait=True):
    standin.device("approve", code, user=account.upn)
    if wait:
        front.wait(lambda: (front.enrolment(account) or {"state": ""})["state"] == "active", 10, "not enrolled")
        front.wait(lambda: front.ask("DEVICE-LIST", user=account.upn)[1]["rows"] != "0", 5, "no device password")


@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", list(CODES))
def test_the_first_login_is_told_page_and_code_and_the_next_one_works(site, standin, account, protocol):
    before = standin.last_session()
    reply = site.login(protocol, account, source=INSIDE % 1)
    code = code_of(reply)
    assert reply.code == CODES[protocol], reply
    assert standin.sessions(since=before) == []
    sign_in(site, standin, account, code)
    assert site.login(protocol, account, source=INSIDE % 1).ok
    # From anywhere, over any protocol: it is a device password like others.
    assert all(site.login(name, account).ok for name in CODES)
    row = site.device_row(account, "self-service from " + INSIDE % 1)
    assert row["origin"] == "chosen"
    # And no other one is.
    assert site.imap(account, account.password + "x", source=INSIDE % 1).wrong
    assert standin.token_requests(username=account.upn, grant="password") == []


@pytest.mark.sanitize
def test_it_is_off_unless_a_rule_says_otherwise(fronts, standin, people, site, account):
    before = standin.last_request()
    for number in (1, 2):
        reply = site.imap(account, source=OUTSIDE % number)
        assert reply.wrong and PAGE not in reply.text
    plain = new_site(fronts, standin, "selfless", rule="")
    other = people.new(domain=plain.domain)
    assert plain.imap(other, source=INSIDE % 1).wrong
    assert standin.requests(since=before, endpoint="devicecode") == []


def test_asking_again_shows_the_same_code(site, standin, account):
    before = standin.last_request()
    codes = {code_of(site.login(protocol, account, source=INSIDE % 2)) for protocol in (*CODES, *CODES)}
    assert len(codes) == 1 and len(standin.requests(since=before, endpoint="devicecode")) == 1


def test_another_password_from_the_same_address_is_not_shown_the_code(site, standin, account):
    code = code_of(site.imap(account, source=INSIDE % 3))
    reply = site.imap(account, "something-else", source=INSIDE % 3)
    assert not reply.ok and code not in reply.text and PAGE not in reply.text
    assert "another login" in reply.text and not reply.temporary, reply
    # And is not what works later.
    sign_in(site, standin, account, code)
    assert site.imap(account, "something-else", source=INSIDE % 3).wrong
    assert site.imap(account, source=INSIDE % 3).ok


def test_each_address_has_a_code_of_its_own(site, standin, account):
    first, second = (code_of(site.imap(account, source=INSIDE % number)) for number in (4, 5))
    assert first != second
    assert code_of(site.imap(account, source=INSIDE % 4)) == first
    sign_in(site, standin, account, second)
    assert site.imap(account, source=INSIDE % 5).ok


def test_an_attacker_who_began_first_does_not_get_in_with_his_own_password(site, standin, account):
    """He and the user, at two addresses: whose code the user enters decides whose password it is."""
    theirs = code_of(site.imap(account, "the-attackers-own", source=INSIDE % 6))
    own = code_of(site.imap(account, source=INSIDE % 7))
    assert theirs != own
    sign_in(site, standin, account, own)
    assert site.imap(account, source=INSIDE % 7).ok
    for source in (INSIDE % 6, INSIDE % 7, OUTSIDE % 6):
        assert not site.imap(account, "the-attackers-own", source=source).ok


def test_who_has_device_passwords_is_not_shown_codes_for_wrong_ones(site, standin, account):
    site.enrol(account)
    before = standin.last_request()
    for protocol in CODES:
        assert site.login(protocol, account, account.password + "x", source=INSIDE % 8).wrong
    assert standin.requests(since=before, endpoint="devicecode") == []


def test_the_sign_in_of_somebody_else_connects_nothing(site, standin, people, account):
    other = people.new(domain=site.domain)
    code = code_of(site.imap(account, source=INSIDE % 9))
    sign_in(site, standin, other, code, wait=False)
    line = site.wait_log("enrolment-finished by self-service: user=%s.*" % account.upn).group(0)
    assert other.upn + " signed in" in line
    assert site.enrolment(account) is None and site.enrolment(other) is None
    # A new code is shown.
    assert code_of(site.imap(account, source=INSIDE % 9)) != code


def test_a_code_that_nobody_enters_is_followed_by_a_new_one(site, standin, account):
    standin.entra(device_expires_in=2)
    code = code_of(site.imap(account, source=INSIDE % 10))
    site.wait_log("enrolment-finished by self-service: user=%s.*not entered in time" % account.upn)
    standin.entra(device_expires_in=900)
    assert code_of(site.imap(account, source=INSIDE % 10)) != code


@pytest.mark.parametrize("how", ["reload", "kill_and_wait"])
def test_a_code_outlives_the_process(site, standin, account, how):
    code = code_of(site.imap(account, source=INSIDE % 11))
    getattr(site, how)()
    assert code_of(site.imap(account, source=INSIDE % 11)) == code
    sign_in(site, standin, account, code)
    assert site.imap(account, source=INSIDE % 11).ok


def test_every_code_and_every_enrolment_is_in_the_audit(site, standin, account):
    code = code_of(site.imap(account, source=INSIDE % 12))
    attempt = site.attempts(account.upn)[-1]
    assert attempt["modernauth"]["rule"] == "self-service" and attempt["source"]["ip"] == INSIDE % 12
    assert code not in site.read("audit/audit.jsonl")
    sign_in(site, standin, account, code)
    done = [change for change in site.audit(action="enrolment-finished") if change["user"]["name"] == account.upn]
    assert done[-1]["event"]["outcome"] == "success" and done[-1]["source"]["ip"] == INSIDE % 12


@pytest.mark.sanitize
def test_codes_are_limited_per_hour(fronts, standin, people):
    front = new_site(fronts, standin, "limited", self_service_codes_per_hour="5")
    front.expect("within this hour already", r"auth: Error: modernauth\(")
    if time.time() % 3600 > 3590:
        time.sleep(11)
    accounts = [people.new(domain=front.domain) for _ in range(7)]
    before = standin.last_request()
    replies = [front.imap(account, source=INSIDE % 1) for account in accounts]
    assert [bool(TEXT.search(reply.text)) for reply in replies] == [True] * 5 + [False] * 2
    assert not replies[-1].ok and len(standin.requests(since=before, endpoint="devicecode")) == 5
    # An admin may.
    assert front.enrol(accounts[6])[0].verb == "OK"


def test_a_typed_password_survives_restarts_and_goes_with_revoke(site, standin, account):
    sign_in(site, standin, account, code_of(site.imap(account, source=INSIDE % 13)))
    site.kill_and_wait()
    assert site.imap(account).ok
    assert site.imap(account, account.password.upper()).wrong
    assert site.ask("REVOKE", user=account.upn)[1]["devices"] == "1"
    assert site.imap(account).wrong
    assert code_of(site.imap(account, source=INSIDE % 13))


# -- generated passwords

@pytest.mark.sanitize
def test_a_generated_password_is_told_once_and_the_typed_one_is_good_for_nothing_else(fronts, standin, people, canary):
    debug = "auth_debug = yes\nauth_verbose = yes\nlog_debug = category=modernauth\n"
    front = new_site(fronts, standin, "generated", self_service_password="generated", dovecot=debug)
    # What Dovecot itself shows at that level is named in the README: the reply to the client, reason included, and AUTH
    # of submission.
    front.dovecots_own = [r"auth: Debug: client passdb out: FAIL.*reason=Connected",
                          r"submission-login: Debug: smtp-server: conn \S+ \[\d+\]: (Received|Sent)"]
    standin.entra(device_interval=1)
    account = people.new(domain=front.domain, mfa=True)
    sign_in(front, standin, account, code_of(front.imap(account, source=INSIDE % 1)))
    mark = front.log_mark()
    reply = front.imap(account, source=INSIDE % 1)
    assert not reply.ok and reply.code == "ALERT", reply
    device = re.search(r"The password of this mailbox in mail programs is now: (\S+)", reply.text)[1].rstrip(".")
    for text in (device, device.replace("-", "")):
        canary.add(text, "device password")
    typed = account.password
    for protocol in CODES:
        assert front.login(protocol, account, device).ok, protocol
        assert not front.login(protocol, account, typed, source=INSIDE % 1).ok
    assert front.device_row(account, "self-service")["origin"] == "generated"
    assert front.ask("DEVICE-LIST", user=account.upn)[1]["rows"] == "1"
    # It is in no log of ours; Dovecot's own debug log shows the reply to the client.
    lines = [line for line in front.log(mark).splitlines() if device in line]
    assert lines and all(re.search(front.dovecots_own[0], line) for line in lines), lines
    assert device not in front.read("audit/audit.jsonl")
    assert canary.search_tree(front.directory, front.secret_names(), front.dovecots_own) == {}
