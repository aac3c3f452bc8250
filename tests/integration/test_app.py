# SPDX-License-Identifier: MIT
"""App-only access: one token of the tenant's for every mailbox, credentials that replace each other, and what is said
before they end."""

import asyncio
import datetime
import itertools
import time

import pytest

from harness import settings
from standin.client import sha256
from standin.entra_model import APP, APP_SECRET, EXPIRED_SECRET

_sites = itertools.count(1)


class Site:
    """A front end with one tenant, whose grant is the app's; everybody logs in with a device password. Nobody asks about
    their accounts unless told to: the requests are counted here."""

    check_accounts = "false"

    def __init__(self, fronts, standin, number=3, start=True, dovecot="", **tenant):
        self.name = "app%02d" % next(_sites)
        self.domain, self.standin = self.name + ".test", standin
        standin.domain(self.domain)
        self.front = fronts.new(start=False, tenants="", dovecot=dovecot)
        self.front.expect("login refused")
        self.number = number
        self.configure(**tenant)
        if start:
            self.front.start()

    def configure(self, **tenant):
        text = settings.tenant(self.standin, self.name, [self.domain], grants=["app"], client_id=APP % self.number,
                               **{"check_accounts": self.check_accounts, **tenant})
        self.front.write("modernauth.conf", settings.modernauth_conf(self.front, text, min_life="10s"))

    def secret(self, name, text):
        self.front.secret_files.append(name)
        self.front.canary.add(text, name)
        return self.front.write(name, text + "\n", 0o600)

    def users(self, people, count, **fields):
        accounts = [people.new(domain=self.domain, mfa=True, **fields) for _ in range(count)]
        for account in accounts:
            account.password = self.front.add_device(account, "printer").password
        return accounts

    def asked(self, since=0):
        return self.standin.token_requests(since=since, grant="client_credentials", client_id=APP % self.number)

    def certificate(self, name="client"):
        return {"certificate_file": self.standin.path(name + ".crt"),
                "private_key_file": self.standin.path(name + ".key")}


@pytest.fixture(scope="module")
def shared(fronts, running_standin):
    site = Site(fronts, running_standin, start=False)
    site.configure(**site.certificate())
    site.front.start()
    return site


# -- one token

@pytest.mark.sanitize
def test_one_request_is_enough_for_twenty_mailboxes(shared, standin, people):
    accounts = shared.users(people, 20)
    before = standin.last_request()
    standin.fault(endpoint="token", grant="client_credentials", latency_ms=300)
    assert all(reply.ok for reply in shared.front.storm(accounts))
    for protocol in ("imap", "pop3", "submission"):
        assert all(shared.front.login(protocol, account).ok for account in accounts[:5])
    asked = shared.asked(before)
    assert len(asked) == 1 and asked[0]["scope"] == "https://outlook.office365.com/.default"
    sessions = [standin.wait_sessions(user=account.upn)[0] for account in accounts]
    assert len({session["token_sha256"] for session in sessions}) == 1
    assert {session["result"] for session in sessions} == {"ok"}


def test_a_mailbox_without_permission_is_refused_without_dropping_the_token(fronts, standin, people):
    site = Site(fronts, standin, number=4, start=False)
    site.configure(client_secret_file=site.secret("secret", APP_SECRET))
    site.front.start()
    allowed, other = site.users(people, 2)
    standin.app(APP % 4, mailboxes=[allowed.upn])
    before = standin.last_request()
    site.front.expect_trouble(other)
    assert site.front.smtp(allowed).ok
    for _ in range(3):
        assert not site.front.smtp(other).ok
        reply = site.front.imap(other, keep=True)
        # What Exchange says to that over IMAP is an OK, and then this.
        reply.sock.send("b SELECT INBOX\r\n")
        assert "authenticated but not connected" in reply.sock.until("b")
        reply.sock.close()
        assert site.front.imap(allowed).ok and site.front.pop3(allowed).ok
    assert len(site.asked(before)) <= 2
    results = {session["result"] for session in standin.sessions(user=other.upn)}
    assert results == {"not-allowed"}


def test_an_app_without_roles_is_refused_for_everybody(fronts, standin, people):
    site = Site(fronts, standin, number=8, start=False)
    site.configure(client_secret_file=site.secret("secret", APP_SECRET))
    site.front.start()
    [account] = site.users(people, 1)
    site.front.expect_trouble(account)
    assert not site.front.smtp(account).ok
    assert site.front.wait_upstream(account.upn)[-1]["modernauth"]["status"] == "refused"
    assert standin.wait_sessions(user=account.upn)[-1]["result"] == "no-role"


def test_an_app_without_consent_is_an_outage_for_the_user_and_an_error_for_the_admin(fronts, standin, people):
    site = Site(fronts, standin, number=6, start=False)
    site.configure(client_secret_file=site.secret("secret", APP_SECRET))
    site.front.start()
    [account] = site.users(people, 1)
    site.front.expect_trouble(account, site.domain)
    assert site.front.imap(account).temporary


# -- two credentials

def test_two_secrets_the_first_has_ended_the_second_is_used_and_the_log_names_the_first(fronts, standin, people):
    site = Site(fronts, standin, number=4, start=False)
    old, new = site.secret("old.secret", EXPIRED_SECRET), site.secret("new.secret", APP_SECRET)
    site.configure(client_secret_file=[old, new])
    site.front.expect("Entra refuses " + old)
    site.front.start()
    accounts = site.users(people, 2)
    standin.app(APP % 4, mailboxes=[account.upn for account in accounts])
    standin.entra(expires_in=11)
    before = standin.last_request()
    assert site.front.imap(accounts[0]).ok and site.front.imap(accounts[1]).ok
    assert [(record["secret_sha256"], record["status"]) for record in site.asked(before)] == [
        (sha256(EXPIRED_SECRET), 401), (sha256(APP_SECRET), 200)]
    line = site.front.wait_log("Entra refuses .*").group(0)
    assert old in line and "AADSTS7000222" in line and "using " + new in line
    # From then on it is the first that is tried.
    time.sleep(2.1)
    before = standin.last_request()
    assert site.front.imap(accounts[0]).ok
    assert [record["status"] for record in site.asked(before)] == [200]


def test_a_certificate_that_is_refused_gives_way_to_a_secret(fronts, standin, people):
    site = Site(fronts, standin, number=4, start=False)
    site.configure(client_secret_file=site.secret("secret", APP_SECRET), **site.certificate("stranger"))
    site.front.expect("Entra refuses ", "cannot read the PS256 assertion")
    site.front.start()
    [account] = site.users(people, 1)
    standin.app(APP % 4, mailboxes=[account.upn])
    before = standin.last_request()
    assert site.front.imap(account).ok
    asked = site.asked(before)
    assert asked[0]["assertion_sha256"] and asked[-1]["secret_sha256"] == sha256(APP_SECRET)
    assert asked[-1]["status"] == 200 and len(asked) <= 3
    assert site.standin.path("stranger.crt") in site.front.wait_log("Entra refuses .*").group(0)


def test_two_credentials_that_are_both_refused_are_an_outage_not_a_wrong_password(fronts, standin, people):
    site = Site(fronts, standin, number=4, start=False)
    site.configure(client_secret_file=[site.secret("one", EXPIRED_SECRET),
                                       site.secret("two", "wr0ng~secret/of+nobody")])
    site.front.start()
    [account] = site.users(people, 1)
    site.front.expect_trouble(account, site.domain)
    before = standin.last_request()
    for _ in range(3):
        assert site.front.imap(account).temporary
    # Entra counts such requests: it is not asked with each login.
    assert len(site.asked(before)) == 2


def test_a_new_secret_takes_effect_with_a_reload_and_no_session_ends(fronts, standin, people):
    # Dovecot's login processes end the sessions that they proxy two seconds after a reload, unless told not to.
    site = Site(fronts, standin, number=4, start=False, dovecot="shutdown_clients = no\n")
    first, second = "f1rst~secret.of+this/test", "sec0nd~secret.of+this/test"
    app = APP % 4
    standin.app(app, secret=first)
    try:
        path = site.secret("secret", first)
        site.configure(client_secret_file=path)
        site.front.start()
        accounts = site.users(people, 12)
        standin.app(app, mailboxes=[account.upn for account in accounts])
        # Good for a while more than min_life: long enough for the reload.
        standin.entra(expires_in=20)
        before, begun = standin.last_request(), time.monotonic()
        open_session = site.front.imap(accounts[0], keep=True)
        assert open_session.ok
        site.secret("secret", second)
        standin.app(app, secret=second)
        replies = []

        async def load():
            async def worker(account):
                for _ in range(12):
                    replies.append(await site.front.quick_login(account))
                    await asyncio.sleep(0.1)
            workers = [asyncio.create_task(worker(account)) for account in accounts[1:]]
            await asyncio.sleep(0.3)
            await asyncio.to_thread(site.front.doveadm, "reload")
            await asyncio.gather(*workers)
        asyncio.run(load())
        assert replies and not [reply for reply in replies if not reply.ok]
        open_session.sock.send("b SELECT INBOX\r\n")
        assert open_session.sock.until("b").startswith("b OK")
        open_session.sock.close()
        time.sleep(max(0, begun + 11 - time.monotonic()))
        assert site.front.imap(accounts[1]).ok
        assert [(record["secret_sha256"], record["status"]) for record in site.asked(before)] == [
            (sha256(first), 200), (sha256(second), 200)]
    finally:
        standin.app(app, secret=APP_SECRET)


# -- ends that come near

def test_credentials_that_end_soon_are_announced_after_the_start(fronts, standin, people):
    """The stand-in's certificate for this is out of date already; of a secret only we know, by the configuration."""
    site = Site(fronts, standin, start=False)
    day = (datetime.date.today() + datetime.timedelta(days=9)).isoformat()
    far = (datetime.date.today() + datetime.timedelta(days=90)).isoformat()
    one, two = site.secret("soon.secret", "so0n~ending/secret+x"), site.secret("later.secret", "lat3r~ending/secret+x")
    site.configure(client_secret_file=[one, two], client_secret_expires=[day, far],
                   **site.certificate("client-expired"))
    site.front.expect("has ended", r"ends in \d+ days")
    site.front.start()
    ended = site.front.wait_log("tenant %s: the certificate (.*) has ended; to do: .*" % site.name, timeout=20)
    soon = site.front.wait_log(r"tenant %s: the client secret (.*) ends in (\d+) days; to do: .*" % site.name,
                               timeout=20)
    assert ended[1] == site.standin.path("client-expired.crt")
    assert soon[1] == one and soon[2] in ("8", "9")
    assert two not in site.front.log()
    assert site.front.log().count("client secret %s ends" % one) == 1


@pytest.mark.parametrize("tenant, words", [
    ({"grants": ["app"]}, "needs a client secret or certificate"),
    ({"grants": ["app"], "verified_by": []}, "verified_by"),
    ({"grants": ["enrolled"], "verified_by": []}, "verified_by"),
])
def test_a_configuration_that_would_give_tokens_to_anybody_is_refused_at_the_start(fronts, standin, people, tenant,
                                                                                  words):
    site = Site(fronts, standin, start=False)
    text = settings.tenant(standin, site.name, [site.domain], **{"client_id": APP % 3, **tenant})
    site.front.write("modernauth.conf", settings.modernauth_conf(site.front, text))
    site.front.expect("configuration: ", "no usable configuration", r"auth: Error: modernauth\(", "refused a report")
    site.front.start()
    assert site.front.imap(people.new(domain=site.domain)).temporary
    assert words in site.front.wait_log("modernauth.conf.*grants.*").group(0)
