# SPDX-License-Identifier: MIT
"""A rule that only watches changes nothing of what clients see: the same conversations with two front ends, one with our
passdb under "monitor" and one without, have the same octets. And rules that end do so at midnight, while Dovecot runs."""

import re
import secrets
import time

import pytest

from harness import clients, settings
from harness.people import People

PROTOCOLS = ["imap", "pop3", "submission"]
MONITOR = 'rule "watch first" { action = "monitor" }\nrule "the rest" { action = "deny" message = "No." }\n'
NEXT = """
passdb {
  driver = passwd-file
  args = scheme=plain username_format=%%u %s/users
  %s
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%s/mail/%%u
}
submission_relay_port = %d
"""
# Ends of replies, and what may differ: how long a session took, and host and time that Dovecot puts into a temporary failure. No
# mechanism here has a challenge with a time in it, and neither greetings nor replies name a session.
ENDS = {"imap": rb"(?m)^(\w+ (OK|NO|BAD)|\+ ?|\* OK).*\n", "pop3": rb"(?m)^(\+OK|-ERR|\+ ?).*\n",
        "submission": rb"(?m)^\d{3} .*\n"}


VARIES = rb"\([\d.]+( \+ [\d.]+)* secs\)|\[[\w.-]+:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]"


def without_us(front):
    """Takes our passdb and our login plugin out of the drop-in."""
    text = front.read("10-modernauth.conf")
    text = re.sub(r"(?m)^passdb \{\n  driver = modernauth\n(.*\n)*?\}\n", "", text)
    text = re.sub(r"(?m)^login_plugin.*\n", "", text)
    assert "driver = modernauth" not in text and "login_plugins =" not in text
    front.write("10-modernauth.conf", text)


class Pair:
    def __init__(self, fronts, standin, people):
        self.ours = fronts.new(start=False)
        self.other = fronts.new(start=False)
        self.ours.write("modernauth.conf", settings.modernauth_conf(self.ours, extra=MONITOR))
        without_us(self.other)
        # A passwd-file takes "%" for its own.
        self.here, self.away = people.new(), people.new(basic=["imap"], password="pw-" + secrets.token_hex(9))
        entra = self.away.password
        self.ours.local_users(self.here, self.away)
        proxied = "proxy=y host=127.0.0.1 port=%d ssl=yes pass=%s" % (standin.ports["imaps"], entra)
        lines = self.ours.read("users").splitlines()
        lines[1] += proxied
        for front in (self.ours, self.other):
            front.secret_files.append("users")
            front.write("users", "\n".join(lines) + "\n")
            front.write("dovecot.conf", front.read("dovecot.conf") + NEXT % (
                front.directory, "", front.directory, standin.ports["smtp"]))
            front.start()


@pytest.fixture(scope="module")
def pair(fronts, running_standin, canary):
    return Pair(fronts, running_standin, People(running_standin, canary))


def converse(front, protocol, steps, tls=None):
    """Everything the front end says; steps: (what is sent, replies to wait for)."""
    heard, started = b"", time.monotonic()
    sock = front.connect(clients.PROTOCOLS[protocol][0] if tls == "implicit" else protocol,
                         source=clients.fresh_address())
    try:
        if tls == "implicit":
            sock = front.tls_context().wrap_socket(sock, server_hostname="localhost")
        for text, count in [(b"", 1), *steps]:
            if text == "TLS":
                sock = front.tls_context().wrap_socket(sock, server_hostname="localhost")
                continue
            sock.sendall(text)
            part = b""
            while len(re.findall(ENDS[protocol], part)) < count:
                data = sock.recv(65536)
                if not data:
                    break
                part += data
            heard += b"<%d>" % len(text) + re.sub(VARIES, b"(it varies)", part)
    finally:
        sock.close()
    return heard, time.monotonic() - started


def talks(protocol, user, password):
    """name -> steps of a conversation."""
    blob, quit_ = clients.plain(user, password).encode(), {"imap": b"z LOGOUT\r\n", "pop3": b"QUIT\r\n",
                                                           "submission": b"QUIT\r\n"}[protocol]
    prefix = {"imap": b"a AUTHENTICATE ", "pop3": b"AUTH ", "submission": b"AUTH "}[protocol]
    hello = [(b"EHLO x\r\n", 1)] if protocol == "submission" else []
    starttls = {"imap": b"s STARTTLS\r\n", "pop3": b"STLS\r\n", "submission": b"STARTTLS\r\n"}[protocol]
    native = {"imap": [(b"a LOGIN %s %s\r\n" % (clients.imap_quote(user), clients.imap_quote(password)), 1)],
              "pop3": [(b"USER %s\r\n" % user.encode(), 1), (b"PASS %s\r\n" % password.encode(), 1)],
              "submission": [(prefix + b"PLAIN %s\r\n" % blob, 1)]}[protocol]
    b64 = lambda text: clients.b64(text).encode() + b"\r\n"    # noqa: E731
    found = {
        "native": native, "plain ir": [(prefix + b"PLAIN " + blob + b"\r\n", 1)],
        "plain": [(prefix + b"PLAIN\r\n", 1), (blob + b"\r\n", 1)],
        "login": [(prefix + b"LOGIN\r\n", 1), (b64(user), 1), (b64(password), 1)],
        "malformed": [(prefix + b"PLAIN !!!!\r\n", 1)], "malformed later": [(prefix + b"PLAIN\r\n", 1), (b"%%%\r\n", 1)],
        "aborted": [(prefix + b"PLAIN\r\n", 1), (b"*\r\n", 1)],
        "pipelined": [(b"".join(text for text, _ in native) + quit_, len(native) + 1)],
        "starttls": [(starttls, 1), ("TLS", 0), *hello, *native],
    }
    return {name: (hello + steps, quit_) for name, steps in found.items()}


@pytest.mark.parametrize("who", ["right", "wrong", "empty", "unknown", "proxied", "proxied wrong"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_watching_changes_no_octet(pair, people, protocol, who):
    if who.startswith("proxied") and protocol != "imap":
        pytest.skip("the entry of the passwd-file names one port")
    account = pair.away if who.startswith("proxied") else pair.here
    user = "nobody-here@contoso.com" if who == "unknown" else account.login
    password = {"empty": "", "wrong": "not-the-password", "proxied wrong": "not-the-password"}.get(who, account.password)
    for name, (steps, quit_) in talks(protocol, user, password).items():
        if who != "right" and name in ("malformed", "malformed later", "aborted"):
            continue
        steps = steps if name == "pipelined" else [*steps, (quit_, 1)]
        (ours, took), (other, otherwise) = (converse(front, protocol, steps) for front in (pair.ours, pair.other))
        assert ours == other, name
        # Dovecot has no delay in these tests; what it has for addresses that fail begins with two seconds.
        assert abs(took - otherwise) < 1.5, name
        if name == "native":
            good = {"imap": b">a OK", "pop3": b"+OK Logged in", "submission": b"235 "}[protocol]
            assert (good in ours) == (who in ("right", "proxied"))
    records = pair.ours.attempts(user)
    assert records and {record["modernauth"]["decision"] for record in records} == {"monitor"}
    assert {record["modernauth"]["would"] for record in records} == {"deny"}
    assert [record for record in pair.other.audit() if "user" in record] == []


def test_what_we_tell_auth_goes_to_no_other_upstream(pair, standin):
    """With TLS the login plugin has something to tell."""
    for front in (pair.ours, pair.other):
        assert front.imap(pair.away, tls="implicit").ok
    ours, other = standin.wait_sessions(2, user=pair.away.upn)[-2:]
    assert "modernauth" not in str(ours) and "orward" not in str(ours).replace("'x-", "")
    keys = [re.findall(r"'?b?'?(x-[a-z-]+)", session.get("client_id", "")) for session in (ours, other)]
    assert keys[0] == keys[1]


def test_a_broker_that_is_away_changes_nothing_where_the_block_says_so(fronts, running_standin, people):
    """The README's first step: result_internalfail = continue while everything is only watched."""
    front, account = fronts.new(start=False), people.new()
    front.write("modernauth.conf", settings.modernauth_conf(front, extra=MONITOR))
    front.write("10-modernauth.conf", front.read("10-modernauth.conf").replace(
        "  driver = modernauth\n", "  driver = modernauth\n  result_internalfail = continue\n"))
    front.local_users(account)
    front.write("dovecot.conf", front.read("dovecot.conf") + NEXT % (
        front.directory, "", front.directory, running_standin.ports["smtp"]))
    front.write("dovecot.conf", front.read("dovecot.conf") + "service modernauth {\n  executable = /bin/false\n}\n")
    front.expect("modernauth")
    front.start()
    assert front.imap(account).ok
    assert not front.imap(account, "not-the-password").ok


# -- the end of a day

def midnight_in(margin):
    """(TZ in which midnight is in so many seconds, that instant, the last day)."""
    at = int(time.time()) + margin
    ahead = 86400 - at % 86400
    zone = "TST-%02d:%02d:%02d" % (ahead // 3600, ahead // 60 % 60, ahead % 60)
    return zone, at, time.strftime("%Y-%m-%d", time.gmtime(at)), time.strftime("%a", time.gmtime(at)).lower()


ENDING = """
rule "ends" { users = {"ends*@contoso.com"} until = "%(day)s" }
rule "opens" {
  users = {"opens*@contoso.com"} action = "deny" until = "%(day)s" then = "upgrade" message = "Not yet."
}
rule "today" { users = {"today*@contoso.com"} days = {"%(week)s"} action = "deny" message = "Not today." }
rule "evening" { users = {"evening*@contoso.com"} hours = "12:00-24:00" action = "deny" message = "Not tonight." }
"""


def test_until_ends_with_its_day_without_a_reload(fronts, people):
    who = {name: people.new(name=name) for name in ("ends", "fresh", "opens", "today", "evening")}
    who["fresh"] = people.new(name="ends")
    for margin in (8, 20, 60):
        zone, at, day, week = midnight_in(margin)
        front = fronts.new(extra=ENDING % {"day": day, "week": week},
                           dovecot="import_environment = $import_environment TZ=%s\n" % zone)
        front.expect('rule "(ends|opens)" (ends today|has ended)')
        before = {name: front.imap(account) for name, account in who.items() if name != "fresh"}
        again = front.imap(who["ends"])
        if time.time() < at - 0.5:
            break
    else:
        pytest.fail("no front end started in a minute")
    assert before["ends"].ok and again.ok
    assert [before[name].text for name in ("opens", "today", "evening")] == ["Not yet.", "Not today.", "Not tonight."]
    assert front.attempts(who["ends"].upn)[-1]["modernauth"]["token_source"] == "cache"
    pids = front.broker_pids()
    time.sleep(max(0, at + 0.3 - time.time()))
    for protocol in PROTOCOLS:
        for name in ("ends", "fresh"):
            reply = front.login(protocol, who[name])
            assert not reply.ok
            assert reply.text == "Logging in with a password alone ended here on %s. Ask your administrator." % day
    for name in ("opens", "today", "evening"):
        assert front.imap(who[name]).ok, name
    assert front.broker_pids() == pids
