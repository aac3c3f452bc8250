# SPDX-License-Identifier: MIT
"""Where Entra wants a second factor from everybody: enrolled users, an app for all mailboxes, device passwords, a
passdb in front. Right passwords read and send; wrong ones never do."""

import asyncio
import time

import pytest

from harness import settings
from harness.people import Account, People
from harness.programs import MAIL, Programs
from standin.client import sha256
from standin.entra_model import APP

# An earlier passdb that knows some users. Who is not in it, or has another password, goes on unverified.
FIRST = """
passdb {
  driver = passwd-file
  args = scheme=plain username_format=%u {directory}/users
  result_success = continue
  result_failure = continue
}
"""
DEAD = [50173, 700082, 70008, 70000, 70043]
PAIRS = [("enrolled", "device"), ("enrolled", "dovecot"), ("app", "device"), ("app", "dovecot"), ("password", "entra")]
DOMAINS = {"enrolled": "enrolled.test", "app": "app.test", "password": "contoso.com"}


def tenants(standin, names=DOMAINS, **more):
    text = settings.tenant(standin, "contoso", [names["password"]])
    text += settings.tenant(standin, "enrolled", [names["enrolled"]], grants=["enrolled"], **more)
    return text + settings.tenant(standin, "app", [names["app"]], grants=["app"], client_id=APP % 3,
                                  certificate_file=standin.path("client.crt"),
                                  private_key_file=standin.path("client.key"), **more)


@pytest.fixture(scope="module")
def site(fronts, running_standin, canary):
    for name in DOMAINS.values():
        running_standin.domain(name)
    front = fronts.new(start=False, tenants=tenants(running_standin), min_life="10s")
    front.put_before(FIRST)
    front.expect("login refused")
    crowd = People(running_standin, canary)
    front.verified = {grant: [crowd.new(name=grant, domain=DOMAINS[grant], mfa=True) for _ in range(6)]
                      for grant in ("enrolled", "app")}
    front.local_users(*front.verified["enrolled"], *front.verified["app"])
    # Enrolled users with a device password, for whoever needs one.
    front.ready = [crowd.new(domain="enrolled.test", mfa=True) for _ in range(24)]
    front.start()
    assert all(answer.verb == "OK" for answer in front.enrol(*front.ready))
    return front


@pytest.fixture
def programs(site):
    with Programs(site) as programs:
        yield programs


def verified_user(site, people, grant, by, enrol=True):
    """Somebody who can log in with that grant, verified like that."""
    if by == "dovecot":
        account = site.verified[grant].pop()
    elif grant == "enrolled":
        return site.ready.pop()
    else:
        account = people.new(name=grant, domain=DOMAINS[grant], mfa=grant != "password")
    local = account.password
    if grant == "enrolled" and enrol:
        assert site.enrol(account)[0].verb == "OK"
    if by == "dovecot":
        account.password = local
    elif grant == "app":
        account.password = site.add_device(account, "scanner").password
    return account


def read_and_send(programs, standin, people, account):
    """Each in a home of its own; what they read is account's mailbox, and what they send arrives."""
    other = people.new()
    assert account.upn in programs.curl(account, "imaps:/INBOX;MAILINDEX=1")
    assert account.upn in programs.curl(account, "pop3s:/1")
    programs.curl(account, "smtp:/client.test", starttls=True, sender=account.upn, recipient=other.upn,
                  upload=MAIL % (account.upn, other.upn, "By curl"))
    assert account.upn in programs.fetchmail(account, "imap", "starttls")
    assert account.upn in programs.mbsync(account, "implicit", "PLAIN")
    programs.swaks(account, other.upn, "By swaks", "starttls", "PLAIN")
    subjects = [message["data"] for message in standin.mailbox(other.upn)["INBOX"]]
    assert any("By curl" in text for text in subjects) and any("By swaks" in text for text in subjects)


# -- everybody reads and sends

@pytest.mark.parametrize("grant, by", PAIRS[:4])
def test_programs_read_and_send_although_everybody_has_mfa(site, standin, people, programs, grant, by):
    account = verified_user(site, people, grant, by)
    read_and_send(programs, standin, people, account)
    assert {session["result"] for session in standin.sessions(user=account.upn)} == {"ok"}
    record = site.attempts(account.upn)[-1]["modernauth"]
    assert record["grant"] == grant and record["verified_by"] == by
    # The token of the device code flow is not used: the refresh grant shows at once whether it works.
    asked = standin.token_requests(username=account.upn, grant="refresh_token")
    assert len(asked) == (1 if grant == "enrolled" else 0)
    assert standin.token_requests(username=account.upn, grant="password") == []


@pytest.mark.sanitize
def test_an_enrolment_shows_its_code_waits_and_gives_a_device_password(site, standin, people):
    account = people.new(domain="enrolled.test", mfa=True)
    standin.entra(device_interval=1)
    with site.broker("admin") as broker:
        number = broker.request("ENROLL", user=account.upn, device="Ricoh 3rd floor")
        code = broker.answer()
        assert code.verb == "CODE" and code["uri"] == "https://microsoft.com/devicelogin"
        assert code["interval"] == "1" and code["account"] == account.upn
        assert abs(int(code["expires_at"]) - time.time() - 900) < 30
        assert broker.answer().verb == "NOTE"
        assert site.enrolment(account)["state"] == "pending"
        standin.device("approve", code["user_code"], user=account.upn)
        while (answer := broker.answer()).verb == "NOTE":
            assert answer["state"] == "pending"
    assert answer.verb == "OK" and answer.id == number and answer["account"] == account.upn
    account.password = site.take_device(answer).password
    assert site.imap(account).ok
    row = site.enrolment(account)
    assert row["state"] == "active" and row["devices"] == "1" and row["tenant"] == "enrolled"
    assert abs(int(row["expires_at"]) - time.time() - 90 * 86400) < 60
    assert site.device_row(account, "Ricoh 3rd floor")["origin"] == "generated"
    changes = site.audit(action="enrolment-finished")
    assert changes[-1]["user"]["name"] == account.upn and changes[-1]["event"]["outcome"] == "success"


def test_who_asks_again_while_a_code_is_pending_gets_the_same_code(site, standin, people):
    account = people.new(domain="enrolled.test")
    site.expect_trouble(account)
    standin.entra(device_interval=1)
    with site.broker("admin") as first, site.broker("admin") as second:
        first.request("ENROLL", user=account.upn)
        code = first.answer()
        second.request("ENROLL", user=account.upn)
        assert second.answer()["user_code"] == code["user_code"]
        standin.device("decline", code["user_code"])
        for broker in (first, second):
            while (answer := broker.answer()).verb == "NOTE":
                pass
            assert answer.verb == "FAIL" and "65004" in answer["reason"], answer
    assert site.enrolment(account) is None


def test_a_code_that_nobody_enters_runs_out(site, standin, people):
    account = people.new(domain="enrolled.test")
    standin.entra(device_expires_in=2)
    site.expect_trouble(account)
    [answer] = enrol_without_signing_in(site, standin, account)
    assert answer.verb == "FAIL" and "not entered in time" in answer["reason"] and answer["advice"]
    assert site.enrolment(account) is None


def enrol_without_signing_in(site, standin, account):
    standin.entra(device_interval=1)
    with site.broker("admin") as broker:
        return [broker.all("ENROLL", user=account.upn)[1]]


def test_slow_down_is_obeyed(site, standin, people):
    account = people.new(domain="enrolled.test")
    standin.entra(device_interval=1)
    standin.fault(endpoint="token", grant="*device_code", action="status", status=400, times=1,
                  content_type="application/json", body='{"error": "slow_down"}')
    standin.entra(device_approve_after=0, device_user=account.upn)
    before, started = standin.last_request(), time.monotonic()
    with site.broker("admin") as broker:
        _, answer = broker.all("ENROLL", user=account.upn)
    assert answer.verb == "OK" and time.monotonic() - started > 1 + 6
    site.take_device(answer)
    polls = standin.token_requests(since=before, grant="urn:ietf:params:oauth:grant-type:device_code")
    assert len(polls) == 2


# -- wrong passwords

def prepare(site, standin, people, state):
    """One user for each way, in that state of the cache."""
    ways = {pair: verified_user(site, people, *pair, enrol=False) for pair in PAIRS}
    local = ways["enrolled", "dovecot"].password
    site.enrol(ways["enrolled", "dovecot"])
    ways["enrolled", "dovecot"].password = local
    if state != "cold":
        assert all(site.imap(account).ok for account in ways.values())
    if state == "after a reload":
        site.reload()
    elif state == "after SIGKILL":
        site.kill_and_wait()
    return ways


@pytest.mark.parametrize("state", ["cold", "warm", "after a reload", "after SIGKILL"])
def test_a_wrong_password_never_gets_in_whatever_the_way_and_the_cache(site, standin, people, state):
    ways = prepare(site, standin, people, state)
    sessions = standin.last_session()
    passwords = {pair: account.password for pair, account in ways.items()}
    tries = []
    for pair, account in ways.items():
        others = [password for other, password in passwords.items() if other != pair]
        wrong = [people.password(), account.password + "x", account.password[:-1], *others[:2]]
        tries += [(pair, account, protocol, password) for password in wrong for protocol in ("imap", "pop3")]
        tries += [(pair, account, "imap", "wrong-" + account.upn)] * 30
    assert site.smtp(ways["app", "dovecot"], people.password()).wrong

    async def everything():
        return await asyncio.gather(*(site.quick_login(account, password, protocol)
                                      for _, account, protocol, password in tries))
    for (pair, *_), reply in zip(tries, asyncio.run(everything()), strict=True):
        # The password grant is told that there were too many, which is no "come back later" either.
        assert reply.wrong or (pair[0] == "password" and "Too many failed logins" in reply.text), (pair, reply)
    assert standin.sessions(since=sessions) == []
    # The right one still does; that of the password grant is locked, from here, for as long as nothing is cached.
    for pair, account in ways.items():
        reply = site.imap(account)
        assert reply.ok or (pair[0] == "password" and state in ("cold", "after SIGKILL")), (pair, reply)


def test_the_password_of_entra_is_worth_nothing_where_only_others_are_verified(site, standin, people):
    for grant in ("enrolled", "app"):
        account = people.new(domain=DOMAINS[grant], mfa=True)
        entra = account.password
        if grant == "enrolled":
            site.enrol(account)
        assert site.imap(account, entra).wrong
        assert standin.token_requests(password_sha256=sha256(entra)) == []


# -- who signs in

def test_nobody_is_enrolled_with_the_sign_in_of_somebody_else(site, standin, people):
    account, other = people.new(domain="enrolled.test"), people.new(domain="enrolled.test")
    site.expect_trouble(account)
    [answer] = site.enrol(account, sign_in=other)
    assert answer.verb == "FAIL" and other.upn + " signed in" in answer["reason"] and account.upn in answer["advice"]
    assert site.enrolment(account) is None and site.enrolment(other) is None
    assert site.imap(account).wrong
    changes = [change for change in site.audit(action="enrolment-finished") if change["user"]["name"] == account.upn]
    assert changes[-1]["event"]["outcome"] == "failure"


def test_a_login_may_be_enrolled_with_another_account_and_mailbox(site, standin, people):
    boss, shared = people.new(domain="enrolled.test"), people.new(domain="enrolled.test")
    standin.user(boss.upn, full_access=[shared.upn], send_as=[shared.upn])
    login = people.new(name="scanner", domain="enrolled.test")
    [answer] = site.enrol(login, sign_in=boss, account=boss.upn, mailbox=shared.upn)
    assert answer.verb == "OK" and answer["account"] == boss.upn and answer["mailbox"] == shared.upn
    for protocol, its in (("imap", "imap"), ("pop3", "pop3"), ("submission", "smtp")):
        assert site.login(protocol, login).ok, protocol
        session = standin.wait_sessions(user=shared.upn, protocol=its)[-1]
        assert session["result"] == "ok" and session["token_upn"] == boss.upn
    row = site.enrolment(login)
    assert row["account"] == boss.upn and row["mailbox"] == shared.upn and row["state"] == "active"
    # It lasts.
    site.kill_and_wait()
    assert site.imap(login).ok
    assert standin.wait_sessions(4, user=shared.upn)[-1]["token_upn"] == boss.upn
    # The account's own login is another one, and has no device password.
    assert site.imap(Account(boss.upn, login.password)).wrong


# -- ends

def test_an_enrolment_that_entra_has_ended_is_refused_with_the_reason_until_it_is_renewed(site, standin, people):
    accounts = {code: people.new(domain="enrolled.test", mfa=True) for code in DEAD}
    site.enrol(*accounts.values())
    for code, account in accounts.items():
        site.expect_trouble(account)
        standin.revoke(account.upn, code)
        for _ in range(2):
            reply = site.imap(account)
            assert not reply.ok and not reply.temporary, (code, reply)
        row = site.enrolment(account)
        assert row["state"] == "dead" and "AADSTS%d" % code in row["reason"]
        assert "the enrolment of %s (tenant enrolled) is dead: AADSTS%d" % (account.upn, code) in site.log()
        # Entra is asked once, not with every login.
        assert len(standin.token_requests(username=account.upn, grant="refresh_token")) == 1
    for answer in site.enrol(*accounts.values()):
        # Its device goes on with the password that it has.
        assert answer.verb == "OK" and "device_password" not in answer.fields, answer
    for account in accounts.values():
        assert site.imap(account).ok
        row = site.enrolment(account)
        assert row["state"] == "active" and row["devices"] == "1"


def test_a_dead_enrolment_is_dead_after_a_restart(site, standin, people):
    account = site.ready.pop()
    site.expect_trouble(account)
    standin.revoke(account.upn, 50173)
    assert not site.imap(account).ok
    site.kill_and_wait()
    row = site.enrolment(account)
    assert row["state"] == "dead" and "AADSTS50173" in row["reason"]
    before = standin.last_request()
    assert not site.imap(account).ok and standin.token_requests(since=before) == []


def test_other_codes_leave_an_enrolment_alive(fronts, standin, people):
    """Some are about the user, some about the app or Entra itself: each has a tenant of its own, which may pause."""
    codes = {50057: False, 53003: False, 65001: True, 50196: True, 90033: True, 7000112: True}
    text, accounts = "", {}
    for code in codes:
        standin.domain("code%d.test" % code)
        text += settings.tenant(standin, "code%d" % code, ["code%d.test" % code], grants=["enrolled"])
        accounts[code] = people.new(domain="code%d.test" % code)
    front = fronts.new(tenants=text)
    front.enrol(*accounts.values())
    for code, account in accounts.items():
        front.expect_trouble(account, "code%d" % code)
        standin.revoke(account.upn, code)
        reply = front.imap(account)
        assert not reply.ok and reply.temporary == codes[code], (code, reply)
        assert front.enrolment(account)["state"] == "active", code
        standin.revoke(account.upn, 0)
    # What was refused is not asked again for a minute; a new process knows nothing of that.
    front.kill_and_wait()
    for code, account in accounts.items():
        assert front.imap(account).ok, code


# -- rotation

def test_refresh_tokens_rotate_even_where_old_ones_are_revoked_at_once(site, standin, people):
    standin.entra(refresh_rotation="revoke-old", expires_in=11)
    account = site.ready.pop()
    for _ in range(2):
        assert site.imap(account).ok
        time.sleep(2.1)
    site.kill_and_wait()
    assert site.imap(account).ok
    asked = standin.token_requests(username=account.upn, grant="refresh_token")
    assert len(asked) >= 3 and {record["status"] for record in asked} == {200}
    tokens = [record["refresh_token_sha256"] for record in asked]
    assert len(set(tokens)) == len(tokens)
    assert tokens[1:] == [record["new_refresh_token_sha256"] for record in asked[:-1]]


def test_without_a_new_refresh_token_the_old_one_stays(site, standin, people):
    standin.entra(refresh_rotation="none", expires_in=11)
    account = site.ready.pop()
    assert site.imap(account).ok
    time.sleep(2.1)
    assert site.imap(account).ok
    asked = standin.token_requests(username=account.upn, grant="refresh_token")
    assert len(asked) == 2 and len({record["refresh_token_sha256"] for record in asked}) == 1


def test_many_logins_at_once_use_a_refresh_token_once(site, standin, people):
    standin.entra(refresh_rotation="revoke-old")
    account = site.ready.pop()
    standin.exchange(imap_cap=200)
    standin.fault(endpoint="token", grant="refresh_token", latency_ms=500)
    replies = site.storm([account] * 100, parallel=100)
    assert all(reply.ok for reply in replies)
    assert len(standin.token_requests(username=account.upn, grant="refresh_token")) == 1


def test_a_user_who_is_disabled_loses_access_when_his_token_ends(site, standin, people):
    standin.entra(expires_in=11)
    account = site.ready.pop()
    site.expect_trouble(account)
    assert site.imap(account).ok
    standin.user(account.upn, disabled=True)
    time.sleep(2.1)
    reply = site.imap(account)
    assert not reply.ok and not reply.temporary, reply
    assert site.attempts(account.upn)[-1]["error"]["code"] == "50057"
    assert site.enrolment(account)["state"] == "active"


# -- reload, SIGKILL

@pytest.mark.parametrize("how", ["reload", "kill_and_wait"])
def test_enrolments_and_device_passwords_outlive_the_process(site, standin, people, how):
    accounts = [site.ready.pop() for _ in range(2)]
    more = site.add_device(accounts[0], "second one")
    getattr(site, how)()
    for account in accounts:
        assert site.imap(account).ok and site.enrolment(account)["state"] == "active"
    assert site.imap(accounts[0], more.password).ok


@pytest.mark.parametrize("how", ["reload", "kill_and_wait"])
def test_an_enrolment_under_way_outlives_the_process(site, standin, people, how):
    account = people.new(domain="enrolled.test", mfa=True)
    standin.entra(device_interval=1)
    with site.broker("admin") as broker:
        broker.request("ENROLL", user=account.upn, device="printer")
        code = broker.answer()
        assert code.verb == "CODE"
        getattr(site, how)()
    assert site.wait(lambda: site.enrolment(account))["state"] == "pending"
    # Whoever asks again is shown the same code, and then the password.
    with site.broker("admin") as broker:
        broker.request("ENROLL", user=account.upn)
        assert broker.answer()["user_code"] == code["user_code"]
        standin.device("approve", code["user_code"], user=account.upn)
        while (answer := broker.answer()).verb == "NOTE":
            pass
    assert answer.verb == "OK", answer
    account.password = site.take_device(answer).password
    assert site.device_row(account, "printer") and site.imap(account).ok


def test_who_signs_in_when_nobody_listens_any_more_is_enrolled_without_a_device_password(site, standin, people):
    account = people.new(domain="enrolled.test")
    standin.entra(device_interval=1)
    with site.broker("admin") as broker:
        broker.request("ENROLL", user=account.upn)
        code = broker.answer()
    standin.device("approve", code["user_code"], user=account.upn)
    site.wait(lambda: site.enrolment(account)["state"] == "active")
    assert site.ask("DEVICE-LIST", user=account.upn)[1]["rows"] == "0"
    account.password = site.add_device(account, "later").password
    assert site.imap(account).ok


# -- FORGET, REVOKE

def test_forget_drops_the_token_and_nothing_else(site, standin, people):
    account = verified_user(site, people, "enrolled", "device")
    assert site.imap(account).ok
    _, answer = site.ask("FORGET", user=account.upn)
    assert answer.verb == "OK" and answer["tokens"] == "1"
    assert site.imap(account).ok
    assert len(standin.token_requests(username=account.upn, grant="refresh_token")) == 2


def test_revoke_takes_everything_at_once_and_for_good(site, standin, people):
    account = verified_user(site, people, "enrolled", "device")
    site.add_device(account, "second one")
    assert site.imap(account).ok
    _, answer = site.ask("REVOKE", user=account.upn)
    assert answer.verb == "OK", answer
    assert (answer["tokens"], answer["enrolments"], answer["devices"]) == ("1", "1", "2")
    before = standin.last_request()
    assert site.imap(account).wrong and site.enrolment(account) is None
    site.kill_and_wait()
    assert site.imap(account).wrong and site.enrolment(account) is None
    assert standin.token_requests(since=before) == []
    assert site.audit(action="revoked")[-1]["user"]["name"] == account.upn


def test_revoke_ends_an_enrolment_under_way(site, standin, people):
    account = people.new(domain="enrolled.test")
    standin.entra(device_interval=1)
    site.expect_trouble(account)
    with site.broker("admin") as broker:
        broker.request("ENROLL", user=account.upn)
        code = broker.answer()
        assert site.ask("REVOKE", user=account.upn)[1].verb == "OK"
        while (answer := broker.answer()).verb == "NOTE":
            pass
        assert answer.verb == "FAIL" and "revoked" in answer["reason"]
    standin.device("approve", code["user_code"], user=account.upn)
    time.sleep(2)
    assert site.enrolment(account) is None
    site.kill_and_wait()
    time.sleep(2)
    assert site.enrolment(account) is None


def test_what_cannot_be_enrolled_is_said(site, people):
    for user, words in (("nobody@nowhere.test", "nowhere.test"), (people.new().upn, "\"enrolled\"")):
        _, answer = site.ask("ENROLL", user=user)
        assert answer.verb == "FAIL" and words in answer["reason"] + answer["advice"], answer
    account = people.new(domain="enrolled.test")
    for field in ("account", "mailbox"):
        _, answer = site.ask("ENROLL", user=account.upn, **{field: "somebody@contoso.com"})
        assert answer.verb == "FAIL" and "another tenant" in answer["reason"], answer
