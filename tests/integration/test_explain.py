# SPDX-License-Identifier: MIT
"""doveadm modernauth explain: says what a login would meet, and then the login meets it; asking leaves no trace."""

import base64
import json
import urllib.request

import pytest

from harness import settings

DOMAIN = "explain.test"
RULES = """
rule "scanners" {
  protocols = {"smtp"}
  networks = {"127.80.0.0/16"}
  grants = {"enrolled"}
  until = "2099-12-31"
  then = "deny"
}
rule "pop-is-over" {
  protocols = {"pop3"}
  action = "deny"
  message = "Use IMAP"
}
rule "watch" {
  users = {"watched*"}
  action = "monitor"
}
"""
HTTP = """
doveadm_api_key = key
service doveadm {
  inet_listener http {
    address = 127.0.0.1
    port = %d
  }
}
"""


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    running_standin.domain(DOMAIN)
    front = fronts.new(start=False, tenants=settings.tenant(running_standin, "explain", [DOMAIN],
                                                            grants=["password", "enrolled"]), extra=RULES)
    front.write("dovecot.conf", front.read("dovecot.conf") + HTTP % front.ports["http"])
    front.expect("login refused")
    return front.start()


def rows(site, output, *args):
    done = site.doveadm("-f", output, "modernauth", "explain", *args)
    if output == "json":
        return json.loads(done.stdout)
    header, *lines = [line.split("\t") for line in done.stdout.splitlines() if line]
    return [dict(zip(header, line)) for line in lines]


def explain(site, account, *args):
    """(item, name) -> value"""
    found = rows(site, "tab", "--user", getattr(account, "upn", account), *args)
    assert found[0] == {"item": "login", "name": "user", "value": getattr(account, "upn", account)}
    return {(row["item"], row["name"]): row["value"] for row in found}


def test_a_login_does_what_was_explained_and_asking_leaves_no_trace(site, standin, people):
    account = people.new(domain=DOMAIN)
    asked, before, records = standin.requests(), site.status(), len(site.attempts())
    found = explain(site, account, "--protocol", "imap")
    assert found["rule", "name"] == "no rule matches: the tenant decides"
    assert found["token", "password"] == "none in cache" and found["grant", "password"] == "usable", found
    assert "with grant password (token fetched from Entra)" in found["outcome", "password"], found
    assert found["upstream", "host"] == "127.0.0.1:%d" % standin.ports["imaps"]
    assert standin.requests() == asked and len(site.attempts()) == records
    after = site.status()
    for name in ("logins", "token_requests", "refused"):
        assert before[name] == after[name], name
    assert site.imap(account).ok
    found = explain(site, account, "--protocol", "imap")
    assert "minutes left" in found["token", "password"], found
    assert "with grant password (token in cache" in found["outcome", "password"], found


def test_the_rule_that_decides_depends_on_where_and_when(site, people):
    account = people.new(domain=DOMAIN)
    there = ("--protocol", "smtp", "--ip", "127.80.3.4")
    found = explain(site, account, *there)
    assert found["rule", "name"] == "scanners" and found["rule", "then"] == "deny" and found["rule", "action"] == "upgrade"
    assert found["rule", "until"].startswith("2099-12-31, ") and int(found["rule", "days_left"]) > 1000
    assert ("grant", "password") not in found and found["grant", "enrolled"].startswith("skipped: "), found
    assert explain(site, account, *there, "--at", "2099-12-31T23:59:59")["rule", "action"] == "upgrade"
    for when in ("2099-12-30T00:00:00Z", "2099-12-31T09:30"):
        assert explain(site, account, *there, "--at", when)["rule", "action"] == "upgrade", when
    assert explain(site, account, *there, "--at", "2100-01-02T12:00:00Z")["rule", "action"] == "deny"
    found = explain(site, account, *there, "--at", "2100-01-01")
    assert found["rule", "action"] == "deny" and "refused (policy)" in found["outcome", "password"], found
    found = explain(site, account, "--protocol", "submission", "--ip", "127.81.0.1", "--verbose")
    assert found["rule before", "scanners"].endswith("networks does not match 127.81.0.1"), found
    assert found["rule before", "watch"].endswith("users_file does not match " + account.upn), found


def test_who_is_denied_watched_or_not_ours_is_told_apart(site, people):
    account, watched = people.new(domain=DOMAIN), people.new(name="watched", domain=DOMAIN)
    found = explain(site, account, "--protocol", "pop3", "--tls", "none")
    assert found["rule", "name"] == "pop-is-over" and found["outcome", "told"] == "Use IMAP", found
    assert found["login", "tls"] == "none"
    assert not site.pop3(account).ok
    found = explain(site, watched, "--protocol", "imap", "--tls", "TLSv1.2")
    assert found["rule", "action"] == "monitor" and found["rule", "would"] == "upgrade", found
    assert "the next passdb decides" in found["outcome", "password"]
    found = explain(site, "x@nowhere.example", "--protocol", "imap")
    assert found["outcome", "password"] == "the next passdb decides"


def test_enrolments_and_device_passwords_are_seen(site, people):
    account = people.new(domain=DOMAIN)
    site.enrol(account)
    site.add_device(account, "printer", networks="127.80.0.0/16")
    found = explain(site, account, "--protocol", "smtp", "--ip", "127.80.3.4")
    assert found["grant", "enrolled"] == "usable", found
    assert "with grant enrolled" in found["outcome", "device password"], found
    found = explain(site, account, "--protocol", "imap", "--ip", "127.81.3.4")
    assert found["verifier", "device password"].startswith("1 of 2 ") or \
        found["verifier", "device password"].startswith("0 of 1 "), found


def test_what_cannot_match_is_refused(site):
    for args in (("--protocol", "ftp"), ("--protocol", "imap", "--ip", "1.2.3"), ("--protocol", "imap", "--tls", "SSLv3"),
                 ("--protocol", "imap", "--at", "soon")):
        done = site.doveadm("modernauth", "explain", "--user", "x@" + DOMAIN, *args, check=False)
        assert done.returncode in (64, 78) and args[-1] in done.stderr, done


def test_all_formats_and_the_http_api_say_the_same(site, people):
    account = people.new(domain=DOMAIN)
    args = ("--user", account.upn, "--protocol", "imap")
    assert rows(site, "json", *args) == rows(site, "tab", *args)
    table = site.doveadm("modernauth", "explain", *args).stdout
    assert table.split()[:3] == ["item", "name", "value"] and "no rule matches" in table
    command = ["modernauthExplain", {"user": account.upn, "protocol": "imap"}, "tag"]
    request = urllib.request.Request(
        "http://127.0.0.1:%d/doveadm/v1" % site.ports["http"], json.dumps([command]).encode(),
        {"Authorization": "X-Dovecot-API " + base64.b64encode(b"key").decode(), "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    assert answer[0][0] == "doveadmResponse" and answer[0][1] == rows(site, "json", *args), answer
