# SPDX-License-Identifier: MIT
"""Modern clients bring a token of their own (XOAUTH2, OAUTHBEARER): it goes to Exchange as it came, Exchange judges it,
and nobody here says that it is good."""

import pytest

from harness import settings
from harness.clients import b64, fresh_address, imap_reply, pop3_reply, smtp_reply
from harness.sockets import AuthClient

MECHS = "auth_mechanisms = plain login xoauth2 oauthbearer\n"
AUTH_CLIENT = """
service auth {
  unix_listener postfix {
    mode = 0666
  }
}
"""
PROTOCOLS = {"imap": "imap", "pop3": "pop3", "submission": "smtp"}


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    running_standin.domain("notokens.test")
    running_standin.domain("enrolledtokens.test")
    tenants = settings.tenant(running_standin, "contoso", ["contoso.com"])
    tenants += settings.tenant(running_standin, "notokens", ["notokens.test"], client_tokens="false")
    tenants += settings.tenant(running_standin, "enrolledtokens", ["enrolledtokens.test"], grants=["enrolled"])
    front = fronts.new(dovecot=MECHS + AUTH_CLIENT, tenants=tenants.replace('"false"', "false"))
    front.expect("login refused")
    return front


def xoauth2(user, token):
    return b64("user=%s\1auth=Bearer %s\1\1" % (user, token))


def oauthbearer(user, token):
    return b64("n,a=%s,\1host=localhost\1port=143\1auth=Bearer %s\1\1" % (user, token))


BLOBS = {"XOAUTH2": xoauth2, "OAUTHBEARER": oauthbearer}


def bearer_login(site, protocol, mech, user, token, one_line=False):
    """As a modern client; after an error challenge it sends what RFC 7628 wants and hears the outcome."""
    line, blob = site.open(protocol, "implicit", source=fresh_address()), BLOBS[mech](user, token)
    try:
        if protocol == "imap":
            line.send("a AUTHENTICATE %s %s\r\n" % (mech, blob))
            answer = line.line()
            while answer.startswith(("*", "+")):
                if answer.startswith("+"):
                    line.send(b64("\1") + "\r\n")
                answer = line.line()
            return imap_reply(answer)
        if protocol == "pop3":
            line.send("AUTH %s %s\r\n" % (mech, blob))
            answer = line.line()
            if answer.startswith("+ "):
                line.send(b64("\1") + "\r\n")
                answer = line.line()
            return pop3_reply(answer)
        line.send("EHLO client.test\r\n")
        line.reply()
        # RFC 4954, section 4: what is too long for a command line comes in a line of its own.
        line.send("AUTH %s%s\r\n" % (mech, " " + blob if one_line else ""))
        answer = line.reply()
        if not one_line and answer.startswith("334"):
            line.send(blob + "\r\n")
            answer = line.reply()
        if answer.startswith("334"):
            line.send(b64("\1") + "\r\n")
            answer = line.reply()
        return smtp_reply(answer)
    finally:
        line.close()


@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("mech", list(BLOBS))
def test_a_clients_own_token_reaches_exchange_unchanged(site, standin, people, protocol, mech):
    account, before = people.new(mfa=True), standin.last_request()
    token = standin.mint(account.upn)
    reply = bearer_login(site, protocol, mech, account.upn, token["access_token"])
    assert reply.ok, reply
    session = standin.wait_sessions(user=account.upn, protocol=PROTOCOLS[protocol])[-1]
    assert session["token_sha256"] == token["sha256"] and session["result"] == "ok" and session["mech"] == "XOAUTH2"
    assert standin.token_requests(since=before) == []
    record = site.attempts(account.upn)[-1]["modernauth"]
    assert record["verified_by"] == "client-token" and record["grant"] == "client-token"
    assert record["mechanism"] == mech and record["decision"] == "pass"


@pytest.mark.parametrize("size", [1500, 4000, 6000])
def test_large_tokens_of_clients_pass(site, standin, people, size):
    account = people.new()
    token = standin.mint(account.upn, token_size=size)["access_token"]
    for protocol in PROTOCOLS:
        assert bearer_login(site, protocol, "XOAUTH2", account.upn, token).ok, protocol


def test_submission_of_dovecot_itself_takes_no_token_in_the_line_of_auth(site, standin, people):
    """If this fails Dovecot has mended it: the README says which clients that is about."""
    account = people.new()
    reply = bearer_login(site, "submission", "XOAUTH2", account.upn, standin.mint(account.upn)["access_token"],
                         one_line=True)
    assert reply.code == "500 5.5.2" and "Line too long" in reply.text


@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_a_bad_token_is_refused_by_exchange_and_not_by_us(site, standin, people, protocol):
    account, other = people.new(), people.new()
    site.expect_trouble(account)
    bad = {"expired": standin.mint(account.upn, token_exp_in=-10)["access_token"],
           "wrong-audience": standin.mint(account.upn, aud="https://graph.microsoft.com")["access_token"],
           "malformed-token": "nonsense", "not-allowed": standin.mint(other.upn)["access_token"]}
    for result, token in bad.items():
        before = standin.last_session()
        reply = bearer_login(site, protocol, "XOAUTH2", account.upn, token)
        # Over IMAP and POP3 Exchange says OK and refuses what follows, if the token is good and the mailbox is not his.
        assert not reply.ok or result == "not-allowed" and protocol != "submission", (result, reply)
        sessions = standin.wait_sessions(since=before, user=account.upn)
        assert [session["result"] for session in sessions] == [result]


def test_a_token_that_is_no_line_of_ascii_does_not_leave_this_house(site, standin, people):
    account, before = people.new(), standin.last_session()
    for token in ("with blank", "caf\u00e9", "", "tab\tbed"):
        reply = bearer_login(site, "imap", "XOAUTH2", account.upn, token)
        assert not reply.ok, token
    assert standin.sessions(since=before) == []


@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_client_tokens_may_be_forbidden(site, standin, people, protocol):
    account, before = people.new(domain="notokens.test"), standin.last_session()
    token = standin.mint(account.upn)["access_token"]
    for mech in BLOBS:
        reply = bearer_login(site, protocol, mech, account.upn, token)
        assert not reply.ok and not reply.temporary, reply
    assert standin.sessions(since=before) == []
    assert site.attempts(account.upn)[-1]["modernauth"]["rule"] == "client_tokens"
    # Passwords still work.
    assert site.login(protocol, account).ok


def test_a_clients_token_is_never_kept_nor_given_to_anybody_else(site, standin, people):
    account = people.new(domain="enrolledtokens.test")
    token = standin.mint(account.upn)["access_token"]
    assert bearer_login(site, "imap", "XOAUTH2", account.upn, token).ok
    assert site.imap(account).wrong and site.imap(account, "another-password").wrong
    rows, _ = site.ask("SHOW", user=account.upn)
    assert [row for row in rows if row["item"] == "token"] == []
    assert bearer_login(site, "pop3", "XOAUTH2", account.upn, token).ok


def test_a_token_as_a_password_is_a_password(site, standin, people):
    """With PLAIN nobody passes it through."""
    account, before = people.new(domain="enrolledtokens.test"), standin.last_session()
    assert site.imap(account, standin.mint(account.upn)["access_token"], mech="PLAIN").wrong
    assert standin.sessions(since=before) == []


def test_a_domain_that_is_not_ours_is_left_alone(site, standin, people):
    before = standin.last_session()
    token = standin.mint(people.new().upn)["access_token"]
    assert not bearer_login(site, "imap", "XOAUTH2", "somebody@elsewhere.test", token).ok
    assert standin.sessions(since=before) == []


# -- nobody but Exchange says that a token is good

@pytest.mark.sanitize
@pytest.mark.parametrize("service", ["imap", "pop3", "submission", "smtp", "doveadm"])
def test_an_auth_client_never_hears_that_a_token_is_good(site, standin, people, service):
    account, before = people.new(), standin.last_session()
    token = standin.mint(account.upn)["access_token"]
    for socket_name in ("auth-client", "postfix"):
        for mech, blob in BLOBS.items():
            with AuthClient(site.socket_path(socket_name)) as client:
                client.send("AUTH\t1\t%s\tservice=%s\tsecured\trip=%s\tresp=%s\n" % (mech, service, fresh_address(),
                                                                                  blob(account.upn, token)))
                reply = client.line().split("\t")
                if reply[0] == "CONT":
                    client.send("CONT\t1\t%s\n" % b64("\1"))
                    reply = client.line().split("\t")
                assert reply[0] == "FAIL", (socket_name, mech, reply)
    assert standin.sessions(since=before) == []


@pytest.mark.sanitize
def test_doveadm_auth_test_never_says_that_a_token_is_good(site, standin, people):
    account = people.new()
    token = standin.mint(account.upn)["access_token"]
    for service in ("imap", "pop3", "submission", "doveadm"):
        for command in ("test", "login"):
            done = site.doveadm("auth", command, "-x", "service=" + service, "-x", "rip=" + fresh_address(), "-A",
                                "XOAUTH2", account.upn, token, check=False)
            text = done.stdout + done.stderr
            assert "auth succeeded" not in text and "eyJ" not in text, text
