# SPDX-License-Identifier: MIT
"""Mailboxes that are not the login: maps, "account\\mailbox" logins that a rule allows, shared mailboxes and aliases,
over IMAP, POP3 and submission."""

import pytest

from harness import settings
from harness.people import Account
from standin.entra_model import APP

PASSWORDS, ENROLLED, APPS = "boxes.test", "enrolledboxes.test", "appboxes.test"
PROTOCOLS = {"imap": "imap", "pop3": "pop3", "submission": "smtp"}

RULES = r"""
rule "sales" {
  users = {"sales-*"}
  mailboxes = {"team-*@boxes.test", "team-*@enrolledboxes.test", "team-*@appboxes.test"}
}
rule "imap-only" {
  users = {"reader-*"}
  protocols = {"imap"}
  mailboxes = {"team-*@boxes.test"}
}
rule "without-account" {
  users = {"scanner-*@appboxes.test"}
  check_accounts = false
}
map "scanners" {
  logins = {"scanner-*@boxes.test"}
  account = "device-account@boxes.test"
  mailbox = "scans@boxes.test"
}
map "aliases" {
  logins = {"alias-*@boxes.test"}
  account = "real@boxes.test"
  mailbox = "real@boxes.test"
}
map "foyer" {
  logins = {"foyer@boxes.test"}
  account = "device-account@boxes.test"
}
map "app-scanners" {
  logins = {"scanner-*@appboxes.test"}
  mailbox = "scans@appboxes.test"
}
"""


def tenants(standin):
    for name in (PASSWORDS, ENROLLED, APPS):
        standin.domain(name)
    text = settings.tenant(standin, "boxes", [PASSWORDS])
    text += settings.tenant(standin, "enrolledboxes", [ENROLLED], grants=["enrolled"])
    return text + settings.tenant(standin, "appboxes", [APPS], grants=["app"], client_id=APP % 3,
                                  certificate_file=standin.path("client.crt"),
                                  private_key_file=standin.path("client.key"))


def new_site(fronts, standin, separators=None, dovecot=""):
    more = {} if separators is None else {"mailbox_separators": separators.replace("\\", "\\\\")}
    front = fronts.new(tenants=tenants(standin), extra=RULES, dovecot=dovecot, **more)
    front.expect("login refused", "upstream refused")
    return front


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    # Not at the end, where a backslash would join the next line to this one.
    chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-\\_@"
    return new_site(fronts, running_standin, dovecot="auth_username_chars = %s\n" % chars)


def opened(standin, mailbox, protocol, count=1):
    session = standin.wait_sessions(count, user=mailbox, protocol=PROTOCOLS[protocol])[-1]
    return session["result"], session.get("token_upn")


def team(standin, people, user, domain=PASSWORDS):
    box = people.new(name="team-", domain=domain)
    standin.user(user.upn, full_access=[box.upn], send_as=[box.upn])
    return box


# -- "account\mailbox"

@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("form", ["%(user)s\\%(box)s@%(domain)s", "%(user)s@%(domain)s\\%(box)s",
                                  "%(user)s@%(domain)s\\%(box)s@%(domain)s"])
def test_a_shared_mailbox_is_opened_by_a_login_that_names_both(site, standin, people, protocol, form):
    user = people.new(name="sales-", domain=PASSWORDS)
    box = team(standin, people, user)
    user.login = form % {"user": user.upn.split("@")[0], "box": box.upn.split("@")[0], "domain": PASSWORDS}
    assert site.login(protocol, user).ok
    assert opened(standin, box.upn, protocol) == ("ok", user.upn)
    # The password is the user's, never the mailbox's.
    assert site.login(protocol, user, box.password).wrong
    record = site.attempts(user.login)[0]["modernauth"]
    assert record["mailbox"] == box.upn and record["rule"] == "sales"


@pytest.mark.sanitize
def test_without_a_rule_nobody_opens_another_mailbox(site, standin, people):
    user, before = people.new(domain=PASSWORDS), standin.last_session()
    box, requests = team(standin, people, user), standin.last_request()
    for login in (user.upn + "\\" + box.upn, user.upn + "\\alice@contoso.com"):
        user.login = login
        for protocol in PROTOCOLS:
            reply = site.login(protocol, user)
            assert not reply.ok and not reply.temporary, reply
    assert standin.sessions(since=before) == [] and standin.token_requests(since=requests) == []
    assert site.attempts(user.upn + "\\" + box.upn)[-1]["modernauth"]["status"] == "policy"


def test_a_rule_allows_the_mailboxes_and_protocols_that_it_names(site, standin, people):
    user = people.new(name="reader-", domain=PASSWORDS)
    box = team(standin, people, user)
    other = people.new(name="boss", domain=PASSWORDS)
    standin.user(user.upn, full_access=[box.upn, other.upn])
    before = standin.last_session()
    assert not site.imap(Account(user.upn, user.password, user.upn + "\\" + other.upn)).ok
    user.login = user.upn + "\\" + box.upn
    assert not site.pop3(user).ok and not site.smtp(user).ok
    assert standin.sessions(since=before) == []
    assert site.imap(user).ok


def test_exchange_has_the_last_word(site, standin, people):
    user, box = people.new(name="sales-", domain=PASSWORDS), people.new(name="team-", domain=PASSWORDS)
    user.login = user.upn + "\\" + box.upn
    assert not site.smtp(user).ok
    assert opened(standin, box.upn, "submission")[0] == "not-allowed"
    site.expect("opens no mailbox")
    reply = site.imap(user, keep=True)
    reply.sock.send("b SELECT INBOX\r\n")
    assert "authenticated but not connected" in reply.sock.until("b")
    reply.sock.close()


def test_another_mailbox_sends_as_itself(site, standin, people):
    user, other = people.new(name="sales-", domain=PASSWORDS), people.new()
    box = team(standin, people, user)
    user.login = user.upn + "\\" + box.upn
    conversation = site.smtp(user, keep=True).sock
    conversation.send("MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n" % (box.upn, other.upn))
    assert [conversation.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
    conversation.send("Subject: From the team\r\n\r\nText.\r\n.\r\n")
    assert conversation.reply().startswith("250")
    conversation.close()
    assert "From the team" in standin.mailbox(other.upn)["INBOX"][-1]["data"]


@pytest.mark.parametrize("domain", [ENROLLED, APPS])
def test_enrolled_users_and_the_app_open_shared_mailboxes_too(site, standin, people, domain):
    user = people.new(name="sales-", domain=domain, mfa=True)
    box = team(standin, people, user, domain)
    if domain == ENROLLED:
        site.enrol(user)
    else:
        user.password = site.add_device(user, "printer").password
    user.login = user.upn + "\\" + box.upn
    for protocol in PROTOCOLS:
        assert site.login(protocol, user).ok, protocol
        assert opened(standin, box.upn, protocol) == ("ok", user.upn if domain == ENROLLED else None)
    assert site.imap(user, user.password[:-1]).wrong
    # With the app's token the list of the rule is all that keeps anybody from any mailbox.
    victim, before = people.new(domain=domain), standin.last_session()
    user.login = user.upn + "\\" + victim.upn
    assert not site.imap(user).ok and standin.sessions(since=before) == []


def test_a_login_of_two_tenants_is_nothing(site, standin, people):
    user, before = people.new(name="sales-", domain=PASSWORDS), standin.last_session()
    for mailbox in ("team-x@" + ENROLLED, "team-x@elsewhere.test", "", "\\", "@", "team-x@@boxes.test"):
        user.login = user.upn + "\\" + mailbox
        assert not site.imap(user).ok, mailbox
    assert standin.sessions(since=before) == []


def test_with_plus_as_the_separator(fronts, standin, people):
    chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@+"
    site = new_site(fronts, standin, separators="+", dovecot="auth_username_chars = %s\n" % chars)
    user = people.new(name="sales-", domain=PASSWORDS)
    box = team(standin, people, user)
    user.login = "%s+%s" % (user.upn.split("@")[0], box.upn)
    for protocol in PROTOCOLS:
        assert site.login(protocol, user).ok, protocol
        assert opened(standin, box.upn, protocol) == ("ok", user.upn)


def test_without_the_backslash_in_auth_username_chars_dovecot_refuses_such_logins(fronts, standin, people):
    """Dovecot's default does not have it. If this fails it has, and the README can be shorter."""
    site = new_site(fronts, standin)
    user = people.new(name="sales-", domain=PASSWORDS)
    user.login = user.upn + "\\" + team(standin, people, user).upn
    site.expect("disallowed character")
    assert not site.imap(user).ok and site.attempts(user.login) == []


# -- maps

@pytest.fixture
def machines(standin, people):
    """The accounts that the maps name."""
    for upn in ("device-account@" + PASSWORDS, "scans@" + PASSWORDS, "real@" + PASSWORDS, "scans@" + APPS,
                "foyer@" + PASSWORDS):
        standin.user(upn, password=people.canary.add("Machine+" + upn))
    standin.user("device-account@" + PASSWORDS, full_access=["scans@" + PASSWORDS, "foyer@" + PASSWORDS],
                 send_as=["scans@" + PASSWORDS, "foyer@" + PASSWORDS])
    return {upn: Account(upn + "@" + PASSWORDS, "Machine+%s@%s" % (upn, PASSWORDS)) for upn in
            ("device-account", "scans", "real")}


@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("login, account, mailbox", [
    ("scanner-7", "device-account", "scans"), ("alias-sales", "real", "real"), ("foyer", "device-account", "foyer")])
def test_a_map_decides_account_and_mailbox(site, standin, machines, protocol, login, account, mailbox):
    name = "%s@%s" % (login, PASSWORDS)
    before = standin.last_session()
    # The password is that of the account.
    assert site.login(protocol, Account(name, machines[account].password)).ok
    [session] = standin.wait_sessions(since=before, user="%s@%s" % (mailbox, PASSWORDS))
    assert session["result"] == "ok" and session["token_upn"] == "%s@%s" % (account, PASSWORDS)
    assert site.login(protocol, Account(name, machines["scans"].password)).wrong
    rows, _ = site.ask("SHOW", user=name)
    [route] = [row for row in rows if row["item"] == "route"]
    assert route["mailbox"] == "%s@%s" % (mailbox, PASSWORDS)


def test_devices_of_mapped_logins_are_their_own(site, standin, machines):
    one, two = "scanner-1@" + APPS, "scanner-2@" + APPS
    password = site.add_device(one, "printer").password
    for protocol in PROTOCOLS:
        assert site.login(protocol, Account(one, password)).ok
        assert opened(standin, "scans@" + APPS, protocol)[0] == "ok"
        for other in (two, "scans@" + APPS):
            assert site.login(protocol, Account(other, password)).wrong, other


def test_a_mapped_login_cannot_ask_for_another_mailbox(site, standin, machines):
    before = standin.last_session()
    for login in ("scanner-7@%s\\team-1@%s" % (PASSWORDS, PASSWORDS),
                  "alias-sales@%s\\scans@%s" % (PASSWORDS, PASSWORDS)):
        assert not site.imap(Account(login, machines["device-account"].password)).ok
    assert standin.sessions(since=before) == []
