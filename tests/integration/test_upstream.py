# SPDX-License-Identifier: MIT
"""Where sessions go: other passdbs, other names, other upstreams; how token requests travel; what Exchange answers."""

import secrets
import ssl

import pytest

from harness import settings
from harness.clients import Line, plain
from harness.people import People
from harness.programs import MAIL
from standin.client import sha256
from standin.entra_model import APP, APP_SECRET

pytestmark = pytest.mark.sanitize

OTHERS = """
passdb {{
  driver = passwd-file
  args = scheme=plain username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={directory}/mail/%u
}}
"""


class Hybrid:
    """A front end that also has users of its own, and users that are proxied elsewhere."""

    def __init__(self, fronts, people):
        # No "%" and no ":", which passwd-file would take for its own.
        self.password = people.canary.add("local" + secrets.token_hex(8), "local")
        self.front = fronts.new(start=False)
        other = self.other = fronts.new(start=False)
        lines = ["local@local.test:%s::::::" % self.password]
        for name, port, more in (("imap", "imap", ""), ("pop3", "pop3", ""), ("tls", "imaps", " ssl=yes")):
            lines.append("%s@other.test:%s::::::proxy=y host=127.0.0.1 port=%d%s destuser=remote@local.test pass=%s" % (
                name, self.password, other.ports[port], more, self.password))
        self.front.write("users", "\n".join([*lines, ""]), 0o644)
        other.write("users", "remote@local.test:%s::::::\n" % self.password, 0o644)
        for front in (self.front, other):
            front.secret_files.append("users")
            text = front.read("dovecot.conf") + OTHERS.format(directory=front.directory)
            front.write("dovecot.conf", text)
            front.start()


@pytest.fixture(scope="module")
def hybrid(fronts, running_standin, canary):
    return Hybrid(fronts, People(running_standin, canary))


# -- other users of the same front end

def test_a_domain_that_no_tenant_serves_is_left_to_the_next_passdb(hybrid, standin):
    before = standin.last_request()
    reply = hybrid.front.imap("local@local.test", hybrid.password, keep=True)
    assert reply.ok
    reply.sock.send("b SELECT INBOX\r\n")
    assert reply.sock.until("b").startswith("b OK")
    reply.sock.send("c LOGOUT\r\n")
    reply.sock.close()
    assert standin.token_requests(since=before) == []
    assert hybrid.front.imap("local@local.test", "not-the-password").wrong
    assert hybrid.front.attempts("local@local.test")[-1]["modernauth"]["decision"] == "not-ours"


def test_our_domains_are_not_left_to_the_next_passdb(hybrid, people):
    account = people.new()
    assert hybrid.front.imap(account).ok
    assert hybrid.front.imap(account, hybrid.password).wrong


@pytest.mark.parametrize("protocol, user", [("imap", "imap"), ("pop3", "pop3"), ("imap", "tls")])
def test_users_proxied_elsewhere_are_not_touched(hybrid, protocol, user):
    """Another passdb's proxying with a password: neither two-line XOAUTH2 nor a report."""
    front = hybrid.front
    before = len(front.audit(action="upstream"))
    reply = front.login(protocol, "%s@other.test" % user, hybrid.password)
    assert reply.ok, reply
    assert "user=<remote@local.test>" in hybrid.other.wait_log(r"-login: Info: Login: user=<remote@local.test>").string
    assert len(front.audit(action="upstream")) == before


def test_pop3_of_other_users_is_proxied_as_dovecot_does_it(hybrid, people):
    front, account = hybrid.front, people.new()
    assert front.pop3("pop3@other.test", hybrid.password).ok and front.pop3(account).ok
    assert front.pop3("pop3@other.test", hybrid.password).ok


def test_users_without_a_domain_are_not_ours(hybrid):
    assert hybrid.front.imap("nobody", hybrid.password).wrong
    assert hybrid.front.attempts("nobody")[-1]["modernauth"]["status"] == "not_ours"


def test_a_default_domain_completes_names(fronts, standin, people):
    front = fronts.new(default_domain="contoso.com")
    account = people.new()
    account.login = account.upn.split("@")[0]
    assert front.imap(account).ok
    assert standin.token_requests(username=account.upn)
    assert standin.wait_sessions(user=account.upn)[0]["result"] == "ok"


# -- names

def test_a_upn_of_another_domain_opens_its_own_mailbox(front, standin, people):
    account = people.new()
    account.login = account.upn.replace("contoso.com", "mail.example.test")
    for protocol, its in (("imap", "imap"), ("pop3", "pop3"), ("submission", "smtp")):
        assert front.login(protocol, account).ok, protocol
        assert standin.wait_sessions(user=account.upn, protocol=its)[0]["result"] == "ok"
    assert len(standin.token_requests(username=account.upn)) == 1
    record = front.attempts(account.login)[0]
    assert record["user"] == {"name": account.login, "email": account.upn, "domain": "contoso.com"}
    assert front.wait_upstream(account.login)[0]["modernauth"]["mailbox"] == account.upn


def test_tenants_are_kept_apart(front, standin, people):
    first, second = people.new(), people.new(domain="fabrikam.com")
    assert front.imap(first).ok and front.imap(second).ok
    paths = [standin.token_requests(username=account.upn)[0] for account in (first, second)]
    assert paths[0]["path"] != paths[1]["path"] and paths[0]["client_id"] != paths[1]["client_id"]
    assert front.attempts(second.upn)[0]["modernauth"]["tenant"] == "fabrikam"


# -- how the client proves itself to Entra

def test_a_public_client_sends_no_secret(front, standin, people):
    account = people.new()
    assert front.imap(account).ok
    asked = standin.token_requests(username=account.upn)[0]
    assert asked["grant"] == "password" and asked["client_id"] == APP % 1
    assert asked["secret_sha256"] is None and asked["assertion_sha256"] is None
    assert asked["scope"].split() == ["https://outlook.office.com/IMAP.AccessAsUser.All",
                                      "https://outlook.office.com/POP.AccessAsUser.All",
                                      "https://outlook.office.com/SMTP.Send"]
    assert "refresh_token" not in asked["scope"] and "offline_access" not in asked["scope"]


def test_a_client_secret_comes_from_its_file(front, standin, people):
    account = people.new(domain="secret.test")
    assert front.imap(account).ok
    assert standin.token_requests(username=account.upn)[0]["secret_sha256"] == sha256(APP_SECRET)


def test_a_certificate_signs_with_ps256_and_the_assertion_is_reused(front, standin, people):
    accounts = [people.new(domain="cert.test") for _ in range(4)]
    assert all(front.imap(account).ok for account in accounts)
    asked = [standin.token_requests(username=account.upn)[0] for account in accounts]
    assert {record["assertion_alg"] for record in asked} == {"PS256"}
    assert len({record["assertion_sha256"] for record in asked}) == 1
    assert asked[0]["secret_sha256"] is None and asked[0]["client_id"] == APP % 3


def test_where_ps256_is_not_understood_rs256_is_used_from_then_on(front, standin, people):
    front.expect("cannot read the PS256 assertion")
    standin.entra(refuse_ps256=True)
    first, second = people.new(domain="certrs.test"), people.new(domain="certrs.test")
    assert front.imap(first).ok and front.imap(second).ok
    asked = standin.token_requests(username=first.upn)
    assert [record["status"] for record in asked] == [401, 200] and asked[1]["assertion_alg"] == "RS256"
    assert [record["assertion_alg"] for record in standin.token_requests(username=second.upn)] == ["RS256"]


def test_a_certificate_that_is_not_registered_is_for_the_admin(front, people):
    account = people.new(domain="stranger.test")
    front.expect_trouble("stranger.test", "stranger")
    front.expect("cannot read the PS256 assertion")
    assert front.imap(account).temporary
    assert front.attempts(account.upn)[0]["error"]["code"] == "700027"


# -- how requests travel

def test_http2_is_used_and_connections_are_shared(front, standin, people):
    crowd = people.many(60)
    assert all(reply.ok for reply in front.storm(crowd, parallel=60))
    asked = [standin.token_requests(username=account.upn)[0] for account in crowd]
    assert {record["http_version"] for record in asked} == {"2"}
    assert len({record["connection"] for record in asked}) <= 20


def test_every_request_has_an_id_of_its_own(front, standin, people):
    crowd = [people.new() for _ in range(5)]
    assert all(reply.ok for reply in front.storm(crowd))
    ids = {standin.token_requests(username=account.upn)[0]["client_request_id"] for account in crowd}
    assert len(ids) == 5 and all(ids)
    headers = standin.token_requests(username=crowd[0].upn)[0]["headers"]
    assert headers["x-ms-lib-capability"] == "retry-after, h429" and headers["return-client-request-id"] == "true"
    assert "dovecot-modernauth" in headers["user-agent"]


def test_a_proxy_is_honoured(front, standin, people):
    account = people.new(domain="proxy.test")
    assert front.imap(account).ok
    assert "login.test:%d" % standin.ports["entra"] in {entry["target"] for entry in standin.proxied()}


def test_the_proxy_of_the_environment_is_honoured(fronts, standin, people):
    front = fronts.new(tenants=settings.tenant(standin, "contoso", ["contoso.com"],
                                               authority="https://login.test:%d" % standin.ports["entra"]),
                       dovecot="import_environment = $import_environment https_proxy=http://127.0.0.1:%d\n" %
                       standin.ports["proxy"])
    before = len(standin.proxied())
    assert front.imap(people.new()).ok
    assert len(standin.proxied()) > before


def test_redirects_are_not_followed(front, standin, people, spare_domain):
    account = people.new(domain=spare_domain)
    front.expect_trouble(spare_domain)
    standin.fault(endpoint="token", user=account.upn, action="redirect")
    before = standin.last_request()
    assert front.imap(account).temporary
    assert standin.requests(since=before, endpoint="other") == []


# -- what Exchange answers

@pytest.mark.parametrize("protocol, code", [("imap", "AUTHENTICATIONFAILED"), ("pop3", ""), ("submission",
                                                                                             "535 5.7.3")])
def test_a_refusal_of_exchange_reaches_the_client(front, standin, people, protocol, code):
    account = people.new()
    front.expect_trouble(account)
    standin.refuse(user=account.upn)
    reply = front.login(protocol, account)
    assert not reply.ok and (reply.code == code or code == "")
    assert front.wait_upstream(account.upn)[0]["modernauth"]["status"] == "refused"


@pytest.mark.parametrize("protocol", ["imap", "pop3", "submission"])
@pytest.mark.parametrize("kind", ["close", "reset"])
def test_a_connection_that_breaks_is_a_failure_and_keeps_the_token(fronts, short_proxy, standin, people, protocol,
                                                                   kind):
    front, account = short_proxy, people.new()
    front.expect_trouble(account)
    standin.refuse(user=account.upn, kind=kind)
    reply = front.login(protocol, account)
    assert not reply.ok and not reply.wrong
    assert front.wait_upstream(account.upn)[0]["modernauth"]["status"] == "failed"
    standin.clear_refusals()
    assert front.login(protocol, account).ok
    assert len(standin.token_requests(username=account.upn)) == 1


@pytest.fixture(scope="module")
def short_proxy(fronts):
    front = fronts.new(dovecot="login_proxy_max_reconnects = 1\n")
    front.expect("Error: proxy")
    return front


@pytest.mark.parametrize("protocol, port", [("imap", "imaps_untrusted"), ("imap", "imaps_expired"),
                                            ("imap", "imaps_wrongname"), ("pop3", "pop3s_untrusted"),
                                            ("submission", "smtp_untrusted")])
def test_an_upstream_that_cannot_prove_itself_gets_no_token(fronts, standin, people, protocol, port):
    scheme = {"imap": "imaps", "pop3": "pop3s", "submission": "smtp"}[protocol]
    front = fronts.new(tenants=settings.tenant(standin, "contoso", ["contoso.com"], **{
        protocol: "%s://127.0.0.1:%d" % (scheme, standin.ports[port])}), dovecot="login_proxy_max_reconnects = 1\n")
    front.expect("certificate", "Error: proxy", "upstream failed")
    account, before = people.new(), standin.last_session()
    reply = front.login(protocol, account)
    assert not reply.ok and not reply.wrong, reply
    assert [session for session in standin.sessions(since=before) if session["user"] == account.upn] == []
    assert front.wait_upstream(account.upn)[0]["modernauth"]["status"] == "failed"


def test_a_user_who_is_authenticated_but_not_connected_sees_exchanges_words(front, people):
    account = people.new(not_connected=True)
    front.expect("opens no mailbox")
    reply = front.imap(account, keep=True)
    assert reply.ok
    reply.sock.send("b SELECT INBOX\r\n")
    assert "authenticated but not connected" in reply.sock.until("b")
    reply.sock.close()


def test_what_exchange_offers_and_ends_passes_through(front, standin, people):
    account = people.new()
    reply = front.imap(account, keep=True)
    reply.sock.send("b IDLE\r\n")
    assert reply.sock.line().startswith("+")
    standin.expire_sessions(user=account.upn)
    assert "AccessTokenExpired" in reply.sock.line()
    reply.sock.close()


def test_large_messages_pass_in_both_directions(front, standin, people):
    account, other = people.new(), people.new()
    body = MAIL % (account.upn, other.upn, "Large") + "x" * 70 + "\r\n"
    body += ("0123456789" * 7 + "\r\n") * 30000
    conversation = front.smtp(account, keep=True).sock
    for line, want in (("MAIL FROM:<%s>" % account.upn, "250"), ("RCPT TO:<%s>" % other.upn, "250"), ("DATA", "354")):
        conversation.send(line + "\r\n")
        assert conversation.reply().startswith(want)
    conversation.send(body + ".\r\n")
    assert conversation.reply().startswith("250")
    conversation.close()
    conversation = front.pop3(other, keep=True).sock
    conversation.send("RETR 2\r\n")
    size = 0
    while True:
        line = conversation.line()
        if line == ".":
            break
        size += len(line) + 2
    assert size > 2000000
    conversation.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_versions_below_1_2_are_not_spoken(front):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    line = Line(front.connect("imaps"))
    with pytest.raises((ssl.SSLError, OSError)):
        line.start_tls(context)
    line.close()
    front.expect("SSL_accept")


def test_clients_that_leave_early_harm_nobody(front, standin, people):
    for protocol in ("imap", "pop3", "submission"):
        account = people.new()
        standin.fault(endpoint="token", user=account.upn, latency_ms=300)
        line = front.open(protocol)
        line.send({"imap": "a AUTHENTICATE PLAIN %s\r\n", "pop3": "AUTH PLAIN %s\r\n",
                   "submission": "EHLO client.test\r\nAUTH PLAIN %s\r\n"}[protocol] % plain(account.upn,
                                                                                            account.password))
        standin.wait_requests(username=account.upn)
        line.close()
        # The token is fetched all the same, and the next login finds it.
        front.wait(lambda: front.attempts(account.upn))
        assert front.login(protocol, account).ok
        assert len(standin.token_requests(username=account.upn)) == 1
