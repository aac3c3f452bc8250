# SPDX-License-Identifier: MIT
"""Mail that Postfix relays to Exchange Online through the SASL plugin: real Postfix with the shipped drop-ins, chrooted as Debian has it and
unchrooted, real Dovecot and broker. One Postfix for the module, senders of its own for each test."""

import collections
import os
import re
import time

import pytest

from harness import settings
from harness.postfix import Postfix
from harness.relay import add_key
from standin.entra_model import APP, APP_SECRET, EXCHANGE_ROLES, EXPIRED_SECRET

DOMAIN, ENROLLED, OTHER, SECRET, LOCKED = "relay.test", "relayed.test", "other-relay.test", "expired-relay.test", "no-relay.test"
OWN_APP = APP % 43
pytestmark = pytest.mark.slow
RULES = """
rule "not that one" {
  users   = {"*@%s"}
  action  = "deny"
  message = "ask the help desk"
}
""" % LOCKED


@pytest.fixture(scope="module")
def site(fronts, running_standin, canary):
    """A front end and a Postfix beside it: front.postfix. front.key is good for DOMAIN, ENROLLED, SECRET and LOCKED."""
    for domain in (DOMAIN, ENROLLED, OTHER, SECRET, LOCKED):
        running_standin.domain(domain)
    running_standin.app(OWN_APP, secret=APP_SECRET, expired_secret=EXPIRED_SECRET, roles=EXCHANGE_ROLES, mailboxes=["*"])
    postfix = Postfix(running_standin, canary)
    front = fronts.new(start=False, extra=RULES, tenants=tenants(fronts, running_standin))
    front.write("expired-secret", EXPIRED_SECRET + "\n", 0o600)
    front.secret_files.append("expired-secret")
    front.write("modernauth.conf", front.read("modernauth.conf").replace("@DIR@", front.directory))
    front.expect("relay: ", "login refused", "AADSTS7000222")
    front.write("dovecot.conf", front.read("dovecot.conf") + "!include %s\n" % postfix.listeners(front))
    front.start()
    front.postfix = postfix
    front.key = add_key(front, "postfix", *["*@" + domain for domain in (DOMAIN, ENROLLED, SECRET, LOCKED)])
    postfix.start()
    yield front
    problems = postfix.examine()
    postfix.remove()
    assert not problems, problems


def tenants(fronts, standin):
    certificate = {"client_id": APP % 3, "certificate_file": standin.path("client.crt"),
                   "private_key_file": standin.path("client.key")}
    return "".join([settings.tenant(standin, "relay", [DOMAIN, LOCKED], grants=["app"], **certificate),
                    settings.tenant(standin, "relayed", [ENROLLED], grants=["enrolled"]),
                    settings.tenant(standin, "other", [OTHER], grants=["app"], **certificate),
                    settings.tenant(standin, "expired", [SECRET], grants=["app"], client_id=OWN_APP,
                                    client_secret_file="@DIR@/expired-secret")])


@pytest.fixture
def relay(site, standin):
    """relay(sender, ...): these are identities from now on, besides those of before. The queue is empty after the test."""
    def add(*senders, key=None, **as_whom):
        site.postfix.set_identities({**site.postfix.identities,
                                     **{getattr(sender, "upn", sender): "%s:%s" % (getattr(sender, "upn", sender), key or site.key)
                                        for sender in senders}, **as_whom})
    yield add
    try:
        site.postfix.wait_empty(20)
    except AssertionError:
        site.postfix.forget_mail()
        raise


def new(people, domain=DOMAIN, **fields):
    return people.new(name="sender", domain=domain, mfa=True, **fields)


def sent(standin, subject):
    """What Exchange took with that subject."""
    return [mail for mail in standin.sent() if "Subject: %s\r\n" % subject in mail["data"]]


def wait_sent(site, standin, subject, count=1):
    return site.postfix.wait_flushed(lambda: (lambda found: found if len(found) >= count else None)(sent(standin, subject)), 30,
                                     "not sent: " + subject)


def wait_records(site, account, action, count=1):
    return site.wait(lambda: (lambda found: found if len(found) >= count else None)(
        site.audit(account.upn, action="relay-" + action)), 10, "no record of " + action)


# -- the way

@pytest.mark.sanitize
@pytest.mark.parametrize("recipient", ["boss@busy.example", "boss@open.example"])
def test_a_mail_leaves_with_a_token(site, standin, people, relay, recipient):
    account = new(people)
    relay(account)
    site.postfix.reload()
    site.postfix.send(account.upn, recipient, subject="way of %s" % account.upn)
    [mail] = wait_sent(site, standin, "way of %s" % account.upn)
    assert mail["user"] == mail["sender"] == account.upn and mail["recipients"] == [recipient]
    [session] = standin.sessions(user=account.upn)
    assert session["mech"] == "XOAUTH2" and session["tls"] is True and session["result"] == "ok"
    requested, = wait_records(site, account, "token-requested")
    accepted, = wait_records(site, account, "mail-accepted")
    own, other = requested["modernauth"], accepted["modernauth"]
    assert own["session"] == other["session"] and own["protocol"] == "Authenticated SMTP" and own["verified_by"] == "relay-key"
    assert own["relay"]["key_name"] == "postfix" and own["relay"]["program"] == "smtp" and other["reply"].startswith("250 2.0.0 OK")
    # Where it lives, and what has come with the plugin.
    pid = own["relay"]["pid"]
    chrooted = os.readlink("/proc/%d/root" % pid) == site.postfix.path("spool")
    assert chrooted == (recipient == "boss@busy.example")
    with open("/proc/%d/maps" % pid, encoding="utf-8") as file:
        maps = file.read()
    assert "libmodernauth_sasl.so" in maps
    for library in ("libcurl", "libjansson", "libdovecot", "libsqlite3", "libconfuse"):
        assert library not in maps, library


def test_the_certificate_is_verified_before_a_token_is_asked_for(site, standin, people, relay):
    account = new(people)
    relay(account)
    own = site.postfix.read("etc/main.cf")
    try:
        # Each smtp process of this service lives for one mail, and reads its configuration then.
        site.postfix.write("etc/main.cf", own.replace("smtp_tls_secure_cert_match = smtp.office365.com",
                                                      "smtp_tls_secure_cert_match = smtp.elsewhere.test"))
        site.postfix.send(account.upn, subject="trust of " + account.upn)
        site.postfix.wait_deferred("certificate not verified")
        assert site.audit(account.upn, action="relay-token") == []
    finally:
        site.postfix.write("etc/main.cf", own)
    wait_sent(site, standin, "trust of " + account.upn)


def test_a_token_of_the_greatest_size(site, standin, people, relay):
    """Beyond 12,288 octets of base64 an initial response has to be, by RFC 4954, no part of the line of AUTH; Postfix never puts it there."""
    account = new(people, ENROLLED)
    standin.entra(token_size=12000)
    assert site.enrol(account)[0].verb == "OK"
    relay(account)
    site.postfix.send(account.upn, subject="size of " + account.upn)
    wait_sent(site, standin, "size of " + account.upn)
    attempt, = standin.sessions(user=account.upn)[-1]["attempts"]
    assert attempt["form"] == "two-step"


# -- as whom

def test_an_identity_for_each_address_for_each_domain_and_for_the_rest(site, standin, people, relay):
    one, two, domain, rest = new(people), new(people), new(people), new(people, send_as=["erp@elsewhere.test"])
    standin.user(domain.upn, send_as=["anybody@branch.test"])
    relay(one, two, **{"@branch.test": "%s:%s" % (domain.upn, site.key), site.postfix.server: "%s:%s" % (rest.upn, site.key)})
    subject = "identity beside " + one.upn
    try:
        for sender, identity in ((one.upn, one), (two.upn.upper(), two), ("anybody@branch.test", domain), ("erp@elsewhere.test", rest)):
            site.postfix.send(sender, subject=subject)
            site.wait(lambda: [mail for mail in sent(standin, subject) if mail["sender"].lower() == sender.lower()], 30,  # noqa: B023
                      "not sent: " + sender + site.postfix.log()[-2000:])
            assert sent(standin, subject)[-1]["user"] == identity.upn
    finally:
        site.postfix.set_identities({name: value for name, value in site.postfix.identities.items() if "@" in name[1:]})


def test_a_sender_in_no_map_is_told_at_once_and_nobody_asks_for_a_token(site, standin, relay):
    relay()
    mark = site.postfix.log_mark()
    site.postfix.send("stranger@unmapped.test", subject="stranger")
    found = site.postfix.wait_log(r"to=<boss@example.com>.*status=bounced \((.*)\)", mark)
    assert "530 5.7.57 Client not authenticated" in found[1]
    assert site.audit("stranger@unmapped.test", action="relay-token") == []


def test_an_enrolled_account_and_a_mailbox_it_shares(site, standin, people, relay):
    account, shared = new(people, ENROLLED), new(people, ENROLLED)
    standin.user(account.upn, full_access=[shared.upn])
    assert site.enrol(account, mailbox=shared.upn)[0].verb == "OK"
    relay(**{shared.upn: "%s:%s" % (account.upn, site.key)})
    site.postfix.send(shared.upn, subject="share of " + account.upn)
    [mail] = wait_sent(site, standin, "share of " + account.upn)
    assert mail["user"] == mail["sender"] == shared.upn
    [session] = standin.sessions(user=shared.upn)
    assert session["token_upn"] == account.upn
    assert wait_records(site, account, "mail-accepted")[0]["modernauth"]["relay"]["identity"] == account.upn


# -- what goes wrong

def test_a_secret_that_has_ended_is_named_in_the_deferral(site, standin, people, relay):
    account = new(people, SECRET)
    relay(account)
    mark = site.postfix.log_mark()
    site.postfix.send(account.upn, subject="secret of " + account.upn)
    text = site.postfix.wait_deferred("AADSTS7000222")
    assert text.startswith("SASL authentication failed: modernauth: ") and "to do: " in text, text
    site.postfix.wait_log(r"warning: SASL authentication failure: modernauth: .*AADSTS7000222.*\(identity %s\)" % account.upn, mark)
    assert "status=bounced" not in site.postfix.log(mark)
    site.write("expired-secret", APP_SECRET + "\n", 0o600)
    site.reload()
    wait_sent(site, standin, "secret of " + account.upn)


@pytest.mark.parametrize("what, text", [("key", "relay key"), ("identity", "relay key"), ("rule", "not that one|ask the help desk|rule")])
def test_what_the_broker_refuses_stays_in_the_queue(site, standin, people, relay, what, text):
    account = new(people, {"key": DOMAIN, "identity": OTHER, "rule": LOCKED}[what])
    wrong = "aaaa-bbbb-cccc-dddd-eeee" if what == "key" else site.key
    relay(account, key=wrong)
    mark = site.postfix.log_mark()
    site.postfix.send(account.upn, subject="refusal of " + account.upn)
    assert re.search(text, site.postfix.wait_deferred("modernauth: .*%s" % account.upn))
    assert standin.sessions(user=account.upn) == []
    if what == "rule":
        assert site.audit(account.upn, action="relay-token")[-1]["modernauth"]["decision"] == "deny"
        config = site.read("modernauth.conf")
        site.write("modernauth.conf", config.replace(RULES, ""))
        site.reload()
        wait_sent(site, standin, "refusal of " + account.upn)
        site.write("modernauth.conf", config)
        site.reload()
    else:
        relay(account, key=site.key if what == "key" else add_key(site, "of-" + OTHER, account.upn))
        wait_sent(site, standin, "refusal of " + account.upn)
    assert "status=bounced" not in site.postfix.log(mark)


def test_a_refused_token_is_not_used_again(site, standin, people, relay):
    account = new(people, ENROLLED)
    assert site.enrol(account)[0].verb == "OK"
    relay(account)
    site.postfix.send(account.upn, subject="first of " + account.upn)
    wait_sent(site, standin, "first of " + account.upn)
    standin.refuse(user=account.upn, protocols=["smtp"], times=1)
    mark = site.postfix.log_mark()
    site.postfix.send(account.upn, subject="second of " + account.upn)
    wait_sent(site, standin, "second of " + account.upn)
    assert "535 5.7.3 Authentication unsuccessful" in site.postfix.wait_log("status=deferred (.*)", mark)[1]
    tokens = [session["token_sha256"] for session in standin.sessions(user=account.upn)]
    assert len(tokens) == 3 and tokens[0] == tokens[1] != tokens[2]
    assert wait_records(site, account, "mail-deferred")[0]["modernauth"]["token_refused"] is True


def test_what_an_admin_has_switched_off_is_said_with_what_switches_it_on(site, standin, people, relay):
    account = new(people, ENROLLED, smtp_reply="tenant-disabled")
    assert site.enrol(account)[0].verb == "OK"
    relay(account)
    mark = site.postfix.log_mark()
    site.postfix.send(account.upn, subject="switch of " + account.upn)
    text = site.postfix.wait_deferred("5.7.139")
    assert "SmtpClientAuthentication is disabled for the Tenant" in text
    assert "Set-TransportConfig -SmtpClientAuthenticationDisabled $false" in text, text
    standin.user(account.upn, smtp_reply="")
    wait_sent(site, standin, "switch of " + account.upn)
    assert "status=bounced" not in site.postfix.log(mark)


def test_too_many_connections_are_waited_out(site, standin, people, relay):
    account = new(people)
    relay(account)
    standin.exchange(smtp_cap=0)
    mark = site.postfix.log_mark()
    site.postfix.send(account.upn, subject="cap of " + account.upn)
    assert "432 4.3.2 Concurrent connections limit exceeded" in site.postfix.wait_deferred("432 4.3.2")
    # That is no fault of the token's.
    standin.exchange(smtp_cap=3)
    wait_sent(site, standin, "cap of " + account.upn)
    assert len({session["token_sha256"] for session in standin.sessions(user=account.upn)}) == 1
    assert "status=bounced" not in site.postfix.log(mark)


def test_mail_that_exchange_refuses_is_refused(site, standin, people, relay):
    account = new(people)
    relay(account, **{"boss@elsewhere.test": "%s:%s" % (account.upn, site.key)})
    mark = site.postfix.log_mark()
    site.postfix.send("boss@elsewhere.test", subject="pretence of " + account.upn)
    assert "550 5.7.60 SendAsDenied" in site.postfix.wait_log("status=bounced (.*)", mark)[1]
    assert wait_records(site, account, "mail-refused")[0]["modernauth"]["reply"].count("SendAsDenied")


def test_one_sender_whose_identity_is_broken_does_not_stop_the_others(site, standin, people, relay):
    broken, good = new(people, OTHER), new(people)
    relay(broken, good)
    for number in range(5):
        site.postfix.send(broken.upn, subject="broken %d of %s" % (number, broken.upn))
    site.postfix.wait_deferred(broken.upn)
    site.postfix.send(good.upn, subject="good of " + good.upn)
    wait_sent(site, standin, "good of " + good.upn)
    relay(broken, key=add_key(site, "mended", broken.upn))
    for number in range(5):
        wait_sent(site, standin, "broken %d of %s" % (number, broken.upn))


# -- much of it

def test_a_broker_that_is_away_loses_and_doubles_nothing(site, standin, people, relay):
    account = new(people)
    relay(account)
    site.stop()
    mark = site.postfix.log_mark()
    for number in range(20):
        site.postfix.send(account.upn, subject="outage %d of %s" % (number, account.upn))
    site.postfix.wait(lambda: len(site.postfix.queue()) == 20, 20)
    text = site.postfix.wait_deferred("remote authentication server unavailable", 30)
    assert text.startswith("SASL authentication failed"), text
    site.postfix.wait_log("modernauth: the broker cannot be reached at private/modernauth-relay", mark)
    time.sleep(3)
    assert len(site.postfix.queue()) == 20 and standin.sessions(user=account.upn) == []
    site.start()
    site.postfix.wait_empty(60)
    count = collections.Counter(re.search("Subject: (outage .*)\r", mail["data"])[1] for mail in standin.sent()
                                if "of %s\r" % account.upn in mail["data"])
    assert count == {"outage %d of %s" % (number, account.upn): 1 for number in range(20)}
    assert "status=bounced" not in site.postfix.log(mark)


def test_a_thousand_mails_through_three_connections_while_tokens_end(site, standin, people, relay):
    account = new(people, ENROLLED)
    # Ten minutes must be left: after six seconds it is too old to be given out, and another one is fetched.
    standin.entra(expires_in=606)
    assert site.enrol(account)[0].verb == "OK"
    site.doveadm("modernauth", "forget", account.upn)
    relay(account)
    site.postfix.reload()
    mark = site.postfix.log_mark()
    started = time.monotonic()
    site.postfix.many(1000, account.upn, "crowd@busy.example")
    site.postfix.wait_empty(120)
    assert time.monotonic() - started > 6
    mails = [mail for mail in standin.sent() if mail["user"] == account.upn]
    count = collections.Counter(recipient for mail in mails for recipient in mail["recipients"])
    assert len(count) == 1000 and set(count.values()) == {1}
    # The stand-in refuses the fourth connection of a mailbox, as Exchange does.
    assert "432 4.3.2" not in site.postfix.log(mark)
    sessions = [session for session in standin.sessions(user=account.upn) if session["result"] == "ok"]
    assert len({session["token_sha256"] for session in sessions}) >= 2
    assert "status=bounced" not in site.postfix.log(mark) and "status=deferred" not in site.postfix.log(mark)
    assert len(site.audit(account.upn, action="relay-mail-accepted")) == 1000
