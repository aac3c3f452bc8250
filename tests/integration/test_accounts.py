# SPDX-License-Identifier: MIT
"""App-only access behind a device password: who is disabled in Entra gets nothing, and what is said where nobody knows."""

import itertools
import time

import pytest

from harness import settings
from harness.clients import fresh_address
from standin.entra_model import APP, APP_SECRET

_sites = itertools.count(1)
GRAPH_APP = APP % 41                 # an app of this module's own: its permissions change
RULES = """
rule "shared-mailboxes" {
  users = {"shared*@*"}
  check_accounts = false
}
"""


class Site:
    """A front end with a tenant (and so breaker and token) of its own, whose grant is the app's."""

    def __init__(self, fronts, standin, **tenant):
        self.name = "acct%02d" % next(_sites)
        self.domain, self.standin = self.name + ".test", standin
        standin.domain(self.domain)
        standin.app(GRAPH_APP, secret=APP_SECRET, roles=["IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp"],
                    mailboxes=["*"], graph_roles=["User.Read.All"])
        self.front = fronts.new(start=False, tenants="")
        self.front.expect("login refused", "Microsoft Graph is not asked", r"auth: Error: modernauth\(.*\): (temporary|config)$")
        text = settings.tenant(standin, self.name, [self.domain], grants=["app"], client_id=GRAPH_APP,
                               client_secret_file=self.front.secret_file("app-secret"), **tenant)
        self.front.write("modernauth.conf", settings.modernauth_conf(self.front, text, RULES))
        self.front.start()

    def user(self, people, **fields):
        account = people.new(domain=self.domain, mfa=True, **fields)
        account.password = self.front.add_device(account, "printer").password
        return account

    def questions(self, since=0, **fields):
        return self.standin.requests(since=since, endpoint="graph", **fields)


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    return Site(fronts, running_standin)


def login_all(front, account, **options):
    return [getattr(front, protocol)(account, **options) for protocol in ("imap", "pop3", "smtp")]


def wait_login(front, account, message):
    """Like a client: again after a while."""
    def login():
        time.sleep(0.5)
        return front.imap(account).ok
    front.wait(login, 30, message)


@pytest.mark.sanitize
def test_a_user_who_is_disabled_loses_access(site, standin, people):
    account, other = site.user(people), site.user(people)
    before = standin.last_request()
    assert all(reply.ok for reply in login_all(site.front, account)) and site.front.imap(other).ok
    # One question for one user, by an application that proves itself, and Exchange's token is not what is shown there.
    asked = site.questions(before, username=account.upn)
    assert [record["status"] for record in asked] == [200] and asked[0]["query"] == ["$select"]
    scopes = [record["scope"] for record in standin.token_requests(since=before, client_id=GRAPH_APP)]
    assert sorted(scopes) == sorted([standin.authority + "/.default", "https://outlook.office365.com/.default"])
    standin.user(account.upn, disabled=True)
    # Within the hour nobody asks again, unless told to.
    assert site.front.imap(account).ok
    site.front.doveadm("modernauth", "forget", account.upn)
    for reply in login_all(site.front, account):
        assert not reply.ok and not reply.temporary
    record = site.front.attempts(account.upn)[-1]["modernauth"]
    assert record["status"] == "disabled" and record["rule"] == "account check", record
    assert "check_accounts" in site.front.wait_log("login refused.*user=%s.*to do: .*" % account.upn).group(0)
    assert len(site.questions(before, username=account.upn)) == 2
    shown = [row.get("reason", "") for row in site.front.ask("SHOW", user=account.upn)[0] if row["item"] == "refusal"]
    assert shown == ["the account %s is disabled in Entra" % account.upn]
    assert site.front.imap(other).ok
    standin.user(account.upn, disabled=False)
    site.front.doveadm("modernauth", "forget", account.upn)
    assert site.front.imap(account).ok


def test_a_user_who_is_deleted_loses_access(site, standin, people):
    account = site.user(people)
    assert site.front.imap(account).ok
    standin.delete_user(account.upn)
    site.front.doveadm("modernauth", "forget", account.upn)
    assert site.front.imap(account).wrong
    assert site.front.attempts(account.upn)[-1]["modernauth"]["status"] == "user_unknown"


def test_a_broker_that_starts_anew_asks_anew(site, standin, people):
    account = site.user(people)
    assert site.front.imap(account).ok
    standin.user(account.upn, disabled=True)
    site.front.kill_and_wait()
    assert not site.front.imap(account).ok and not site.front.imap(account, source=fresh_address()).temporary


def test_a_reload_asks_nobody(site, standin, people):
    account = site.user(people)
    assert site.front.imap(account).ok
    before = standin.last_request()
    site.front.reload()
    assert site.front.imap(account).ok
    assert site.questions(before) == []


def test_a_shared_mailbox_needs_a_rule(site, standin, people):
    """Its account is disabled, as those of shared mailboxes are."""
    other, shared = site.user(people, name="group", disabled=True), site.user(people, name="shared", disabled=True)
    before = standin.last_request()
    assert not site.front.imap(other).ok
    assert all(reply.ok for reply in login_all(site.front, shared))
    assert site.questions(before, username=shared.upn) == []


def test_twenty_logins_at_once_are_one_question(site, standin, people):
    account = site.user(people)
    before = standin.last_request()
    standin.fault(endpoint="graph", user=account.upn, action="none", latency_ms=400)
    assert all(reply.ok for reply in site.front.storm([account] * 20))
    assert len(site.questions(before, username=account.upn)) == 1


def test_without_permission_the_log_says_which_to_grant(fronts, standin, people):
    """Without any it may not ask; with that to see names it is not told whether an account is enabled."""
    site = Site(fronts, standin)
    standin.app(GRAPH_APP, graph_roles=["User.ReadBasic.All"])
    account = site.user(people)
    before = standin.last_request()
    for _ in range(3):
        assert site.front.imap(account).temporary
    assert len(site.questions(before)) == 1
    line = site.front.wait_log("login refused.*user=%s.*to do: .*" % account.upn).group(0)
    assert "User.Read.All" in line and "check_accounts = false" in line
    standin.app(GRAPH_APP, graph_roles=[])
    site.front.kill_and_wait()
    assert site.front.imap(account).temporary
    assert "403" in site.front.wait_log(r"login refused.*user=%s.*Authorization_RequestDenied.*" % account.upn).group(0)
    # Granted, it is noticed: the old token is not kept.
    standin.app(GRAPH_APP, graph_roles=["User.Read.All"])
    wait_login(site.front, account, "the permission is not noticed")


def test_while_graph_is_down_who_is_known_logs_in(fronts, standin, people):
    site = Site(fronts, standin)
    known, unknown = site.user(people), site.user(people)
    assert site.front.imap(known).ok
    standin.fault(endpoint="graph", user="*@" + site.domain, action="status", status=503, times=0)
    assert site.front.imap(known).ok and site.front.smtp(known).ok
    for _ in range(2):
        assert site.front.imap(unknown).temporary
    standin.clear_faults()
    assert site.front.imap(unknown).ok


def test_a_pause_that_graph_asks_for_is_kept(fronts, standin, people):
    site = Site(fronts, standin)
    account = site.user(people)
    standin.fault(endpoint="graph", user=account.upn, action="status", status=429, retry_after=2, times=1)
    before = standin.last_request()
    assert site.front.imap(account).temporary and site.front.imap(account).temporary
    assert len(site.questions(before)) == 1
    wait_login(site.front, account, "the pause does not end")


def test_where_the_check_is_off_nobody_is_asked(fronts, standin, people):
    site = Site(fronts, standin, check_accounts="false")
    account = site.user(people, disabled=True)
    before = standin.last_request()
    assert site.front.imap(account).ok
    assert site.questions(before) == []
