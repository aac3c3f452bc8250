# SPDX-License-Identifier: MIT
"""Mailboxes in Exchange Online and on-premises behind one front end: who says which is where, and that the passdb after ours
gets those that are not ours."""

import os
import time
import urllib.parse

import pytest

from harness import settings
from harness.people import People
from standin.client import sha256
from standin.entra_model import CONTOSO

DOMAIN, OTHER = "hybrid.test", "elsewhere.test"
# Sets a field and verifies nothing.
EARLY = """
passdb {
  driver = passwd-file
  args = scheme=plain username_format=%u {directory}/fields
  result_failure = continue
}
"""
ONPREM = """
passdb {
  driver = passwd-file
  args = scheme=plain username_format=%u {directory}/onprem
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home={directory}/mail/%u
}
"""


class Site:
    """A front end, an on-premises server that is Dovecot itself, and users who are at both."""

    def __init__(self, fronts, people):
        standin = fronts.standin
        for domain in (DOMAIN, OTHER):
            standin.domain(domain, tenant=CONTOSO)
        self.front = front = fronts.new(start=False, tenants="")
        both = {"mailbox_map": front.path("mailboxes"), "autodiscover": standin.authority}
        tenants = settings.tenant(standin, "hybrid", [DOMAIN], mailbox_sources=["passdb", "map"],
                                  mailbox_map=both["mailbox_map"])
        tenants += settings.tenant(standin, "elsewhere", [OTHER], mailbox_sources=["autodiscover"],
                                   mailbox_default="onprem", autodiscover=both["autodiscover"])
        front.write("modernauth.conf", settings.modernauth_conf(front, tenants))
        front.put_before(EARLY)
        text = front.read("10-modernauth.conf")
        ours = "passdb {\n  driver = modernauth\n"
        assert text.count(ours) == 1
        front.write("10-modernauth.conf", text.replace(ours, ours + "  result_internalfail = return-fail\n"))
        front.write("dovecot.conf", front.read("dovecot.conf") + ONPREM.replace("{directory}", front.directory))
        front.expect("login refused", "mailbox_map", "Autodiscover", r"auth: Error: modernauth\(.*: config$")
        self.users = [people.new(domain=DOMAIN) for _ in range(7)]
        self.others = [people.new(domain=OTHER, autodiscover=place) for place in
                       ("exo", "https://mail.elsewhere.test/autodiscover/autodiscover.xml",
                        "redirect:https://mail.elsewhere.test/autodiscover/autodiscover.json", "404", "exo", "exo", "exo")]
        self.local = {}
        text = ""
        for account in self.users + self.others:
            self.local[account.upn] = people.canary.add("local%s" % sha256(account.upn)[:16], account.upn)
            text += "%s:{PLAIN}%s::::::\n" % (account.upn, self.local[account.upn])
        front.secret_files.append("onprem")
        front.write("onprem", text)
        front.write("mailboxes", "# where they are\n@%s cloud\n" % DOMAIN)
        said = [(self.users[0], "onprem"), (self.users[1], "cloud"), (self.users[2], "somewhere"),
                # As the README has it for LDAP.
                (self.users[6], "%%{if;%%d;eq;%s;onprem;cloud}" % DOMAIN)]
        front.write("fields", "".join("%s:::::::noauthenticate=y modernauth_mailbox=%s\n" % (user.upn, side)
                                      for user, side in said))
        front.start()

    def record(self, account):
        return self.front.attempts(account.upn)[-1]["modernauth"]

    def is_local(self, account, source, protocol="imap"):
        """With the password of the server here he is let in there, and nobody at Microsoft hears of it."""
        last, session = self.front.standin.last_request(), self.front.standin.last_session()
        reply = self.front.login(protocol, account, self.local[account.upn])
        assert reply.ok, reply
        assert self.front.standin.token_requests(since=last) == []
        assert self.front.standin.sessions(since=session) == []
        record = self.record(account)
        assert (record["decision"], record["mailbox_source"]) == ("local", source), record
        return True

    def is_cloud(self, account, source):
        session = self.front.standin.last_session()
        reply = self.front.imap(account)
        assert reply.ok, reply
        assert self.front.standin.wait_sessions(since=session, user=account.upn)[-1]["mech"] == "XOAUTH2"
        record = self.record(account)
        assert (record["mailbox_side"], record["mailbox_source"]) == ("cloud", source), record
        return True

    def put_map(self, text):
        mark = self.front.log_mark()
        self.front.write("mailboxes", text)
        return self.front.wait_log("mailbox_map.*(are in force|stays in force)", since=mark)[0]


@pytest.fixture(scope="module")
def site(fronts, running_standin, canary):
    return Site(fronts, People(running_standin, canary))


# -- the passdb

def test_an_earlier_passdb_sends_users_to_the_next_one(site):
    assert site.is_local(site.users[0], "passdb")
    assert site.is_local(site.users[0], "passdb", protocol="pop3")
    # The wrong password is wrong there, too.
    assert site.front.imap(site.users[0]).wrong


def test_an_earlier_passdb_sends_users_to_the_cloud(site):
    assert site.is_cloud(site.users[1], "passdb")


def test_the_field_may_be_a_condition(site):
    assert site.is_local(site.users[6], "passdb")


def test_a_word_that_nobody_knows_is_a_temporary_failure(site, standin):
    last = standin.last_request()
    for password in (site.users[2].password, site.local[site.users[2].upn]):
        assert site.front.imap(site.users[2], password).temporary
    assert standin.token_requests(since=last) == []
    assert "modernauth_mailbox=somewhere" in site.front.attempts(site.users[2].upn)[-1]["error"]["message"]


def test_the_field_does_not_leave_the_auth_process(site):
    done = site.front.doveadm("auth", "test", "-x", "service=imap", site.users[1].upn, site.users[1].password)
    assert "modernauth_mailbox" not in done.stdout


# -- the map

def test_a_changed_map_decides_the_next_login_without_a_reload(site):
    account = site.users[3]
    assert site.is_cloud(account, "map")
    broker = site.front.broker_pids()
    assert "2 entries are in force" in site.put_map("%s onprem\n@%s cloud\n" % (account.upn, DOMAIN))
    assert site.is_local(account, "map")
    assert site.front.broker_pids() == broker


def test_a_broken_map_changes_nothing(site):
    account = site.users[3]
    site.put_map("%s onprem\n@%s cloud\n" % (account.upn, DOMAIN))
    said = site.put_map("# better\n%s coud\n" % account.upn)
    assert "mailboxes:2: \"cloud\" or \"onprem\" was expected" in site.front.log() and "stays in force" in said
    assert site.is_local(account, "map")


def test_a_move_happens_at_its_instant(site):
    account = site.users[4]
    at = int(time.time()) + 6
    instant = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    site.put_map("%s onprem %s\n@%s cloud\n" % (account.upn, instant, DOMAIN))
    if time.time() < at - 1:
        assert site.is_cloud(account, "map")
    time.sleep(max(0, at - time.time()) + 0.1)
    assert site.is_local(account, "map")


def test_move_batch_moves_a_batch(site):
    front, users = site.front, site.users
    site.put_map("# ours\n%s onprem # keeps his PST\n\n@%s onprem\n" % (users[3].upn, DOMAIN))
    os.chmod(front.path("mailboxes"), 0o640)
    os.chown(front.path("mailboxes"), front.user.pw_uid, front.user.pw_gid)
    site.is_local(users[3], "map")
    batch = front.write("batch", "# wave 1\n%s\n%s\nnobody@nowhere.test\n%s\n" % (users[3].upn, users[4].upn.upper(),
                                                                                  site.others[0].upn))
    mark = front.log_mark()
    done = front.doveadm("-f", "tab", "modernauth", "move-batch", "--at", "2020-01-01T01:00:00+01:00", batch, check=False)
    assert done.returncode == 67, done
    row = dict(zip(*[line.split("\t") for line in done.stdout.splitlines()]))
    assert row == {"map": front.path("mailboxes"), "side": "cloud", "at": "2020-01-01T00:00:00Z", "added": "1",
                   "changed": "1", "unchanged": "0", "unknown": "2"}
    assert "nobody@nowhere.test" in done.stderr and site.others[0].upn in done.stderr
    text = front.read("mailboxes")
    assert text == ("# ours\n%s cloud 2020-01-01T00:00:00Z # keeps his PST\n\n@%s onprem\n%s cloud 2020-01-01T00:00:00Z\n" %
                    (users[3].upn, DOMAIN, users[4].upn))
    status = os.stat(front.path("mailboxes"))
    assert (status.st_mode & 0o777, status.st_uid) == (0o640, front.user.pw_uid)
    front.wait_log("3 entries are in force", since=mark)
    assert site.is_cloud(users[3], "map") and site.is_cloud(users[4], "map") and site.is_local(users[5], "map")
    # Once more: nothing to change, and nothing written.
    again = front.doveadm("-f", "tab", "modernauth", "move-batch", "--at", "2020-01-01T00:00:00Z", batch, check=False)
    assert again.stdout.splitlines()[1].split("\t")[3:6] == ["0", "0", "2"]
    assert os.stat(front.path("mailboxes")).st_ino == status.st_ino


def test_move_batch_refuses_what_it_does_not_understand(site):
    front = site.front
    before = site.put_map("# whole\n@%s cloud\n" % DOMAIN) and front.read("mailboxes")
    batch = front.write("batch", site.users[3].upn + "\n")
    for args, status, text in ((["--at", "tomorrow", batch], 64, "--at"), ([batch], 64, "at"),
                               (["--at", "now", "--to", "sky", batch], 64, "--to"),
                               (["--at", "now", front.path("none")], 66, "no file"),
                               (["--at", "now", front.write("csv", "user,x\n")], 65, "csv:1:")):
        done = front.doveadm("modernauth", "move-batch", *args, check=False)
        assert done.returncode == status and text in done.stdout + done.stderr, done
    assert front.read("mailboxes") == before


# -- Autodiscover

def asked(standin, since, account):
    return [request for request in standin.requests(since=since, endpoint="autodiscover")
            if account.upn in urllib.parse.unquote(request["path"])]


def test_autodiscover_knows_the_side(site, standin):
    cloud, url, redirect, nobody = site.others[:4]
    last = standin.last_request()
    assert site.is_cloud(cloud, "autodiscover")
    assert site.is_local(url, "autodiscover") and site.is_local(redirect, "autodiscover")
    assert site.is_local(nobody, "default")
    # Asked once each, with neither password nor token.
    assert site.is_cloud(cloud, "autodiscover")
    for account in (cloud, url, redirect, nobody):
        requests = asked(standin, last, account)
        assert len(requests) == 1 and "authorization" not in requests[0]["headers"], requests
    assert requests[0]["method"] == "GET"


def test_without_autodiscover_what_is_known_stays_and_the_default_decides_the_rest(site, standin):
    known, fresh = site.others[0], site.others[4]
    assert site.is_cloud(known, "autodiscover")
    standin.fault(endpoint="autodiscover", action="status", status=503)
    assert site.is_cloud(known, "autodiscover")
    assert site.is_local(fresh, "default")
    standin.clear_faults()
    assert site.is_cloud(fresh, "autodiscover")


def test_an_autodiscover_that_hangs_keeps_nobody_longer_than_three_seconds(site, standin, people):
    account = people.new(domain=OTHER)
    standin.fault(endpoint="autodiscover", action="hang")
    begun = time.monotonic()
    assert site.front.imap(account).wrong         # nobody knows him here
    assert 2 < time.monotonic() - begun < 15
    assert site.record(account)["mailbox_source"] == "default"


def test_a_mailbox_that_is_not_connected_is_looked_up_again(site, standin):
    """It has moved back, and only Exchange knows so far."""
    account = site.others[5]
    assert site.is_cloud(account, "autodiscover")
    standin.user(account.upn, autodiscover="https://mail.elsewhere.test/autodiscover/autodiscover.xml")
    standin.refuse(user=account.upn, text="User is authenticated but not connected.")
    site.front.expect("not connected")
    assert not site.front.imap(account).ok
    reports = site.front.wait_upstream(account.upn, 2)
    assert "not connected" in reports[-1]["modernauth"]["reply"], reports[-1]
    assert site.is_local(account, "autodiscover")


def test_a_mailbox_that_exchange_says_so_of_only_after_the_login_is_looked_up_again(site, standin):
    """The usual way: yes to the token, no to the first command."""
    account = site.others[6]
    assert site.is_cloud(account, "autodiscover")
    standin.user(account.upn, autodiscover="https://mail.elsewhere.test/autodiscover/autodiscover.xml", not_connected=True)
    site.front.expect("not connected")
    reply = site.front.imap(account, keep=True)
    reply.sock.send("b SELECT INBOX\r\n")
    assert "authenticated but not connected" in reply.sock.until("b")
    site.front.wait(lambda: site.front.audit(account.upn, action="mailbox-not-connected"))
    reply.sock.close()
    assert site.is_local(account, "autodiscover")
