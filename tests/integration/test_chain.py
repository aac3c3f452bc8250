# SPDX-License-Identifier: MIT
"""A passdb before ours verifies passwords, and ours gives the token: which settings do that in Dovecot 2.3, what counts
as verified, and what does not."""

import os
import re

import pytest

from harness import settings
from harness.people import People
from standin.client import sha256
from standin.entra_model import APP, CONTOSO

DOMAIN, MIXED = "chain.test", "mixed.test"


def first_passdb(success="continue", failure="return-fail", more=""):
    return """
passdb {
  driver = passwd-file
  args = scheme=plain username_format=%%u {directory}/users
  result_success = %s
  result_failure = %s
%s}
""" % (success, failure, more)


def tenants(standin, **more):
    text = settings.tenant(standin, "chain", [DOMAIN], grants=["app"], client_id=APP % 3,
                           certificate_file=standin.path("client.crt"), private_key_file=standin.path("client.key"),
                           **more)
    # Users who are in the directory here get the app's token; the others have a password of Entra's.
    return text + settings.tenant(standin, "mixed", [MIXED], grants=["app", "password"], client_id=APP % 3,
                                  certificate_file=standin.path("client.crt"),
                                  private_key_file=standin.path("client.key"), **more)


class Chain:
    """A front end with a passdb before ours, two local users of each domain; ours: more settings of the drop-in's."""

    def __init__(self, fronts, people, early, ours="", more="", **tenant):
        self.people = people
        for domain in (DOMAIN, MIXED):
            fronts.standin.domain(domain, tenant=CONTOSO)
        self.front = fronts.new(start=False, tenants=tenants(fronts.standin, **tenant))
        self.front.put_before(early)
        if ours:
            text = self.front.read("10-modernauth.conf")
            changed = re.sub(r"(?m)^(passdb \{\n  driver = modernauth\n)", lambda match: match[1] + ours, text)
            assert changed != text
            self.front.write("10-modernauth.conf", changed)
        self.users = [people.new(domain=domain, mfa=domain == DOMAIN) for domain in (DOMAIN, DOMAIN, MIXED, MIXED)]
        # Their passwords at Entra, which are other ones.
        self.entra = [account.password for account in self.users]
        self.front.local_users(*self.users, more=more)
        self.front.expect("login refused")
        self.front.start()


@pytest.fixture(scope="module")
def people_of_module(running_standin, canary):
    return People(running_standin, canary)


@pytest.fixture(scope="module")
def strict(fronts, people_of_module):
    """Everybody is in the first passdb."""
    return Chain(fronts, people_of_module, first_passdb(), ours="  skip = unauthenticated\n")


@pytest.fixture(scope="module")
def mixed(fronts, people_of_module):
    """Who is not in the first passdb goes on to Entra."""
    return Chain(fronts, people_of_module, first_passdb(failure="continue"))


# -- "LDAP or PAM verifies, modernauth gives the token"

@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", ["imap", "pop3", "submission"])
def test_who_is_verified_by_the_first_passdb_gets_a_token(strict, standin, protocol):
    account = strict.users[0]
    for mech in {"imap": ["LOGIN-COMMAND", "PLAIN"], "pop3": ["USER", "LOGIN"], "submission": ["PLAIN"]}[protocol]:
        assert strict.front.login(protocol, account, mech=mech).ok, mech
    session = standin.wait_sessions(user=account.upn, protocol={"submission": "smtp"}.get(protocol, protocol))[-1]
    assert session["result"] == "ok" and session["mech"] == "XOAUTH2"
    record = strict.front.attempts(account.upn)[-1]["modernauth"]
    assert record["verified_by"] == "dovecot" and record["grant"] == "app"


@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", ["imap", "pop3", "submission"])
def test_a_wrong_password_at_the_first_passdb_never_reaches_us(strict, people, standin, protocol):
    front, account = strict.front, strict.users[1]
    before, attempts = standin.last_request(), len(front.attempts())
    for password in (people.password(), strict.entra[1], strict.users[0].password, account.password[:-1]):
        assert front.login(protocol, account, password).wrong
    assert standin.token_requests(since=before) == [] and len(front.attempts()) == attempts


def test_who_is_unknown_to_the_first_passdb_does_not_reach_us_either(strict, people, standin):
    stranger = people.new(domain=MIXED)
    before = standin.last_request()
    assert strict.front.imap(stranger).wrong
    assert standin.token_requests(since=before) == [] and strict.front.attempts(stranger.upn) == []


def test_who_is_taken_out_of_the_first_passdb_is_out_although_his_token_is_cached(strict, standin):
    """A user who is disabled on premises: nobody asks Entra or Graph about him."""
    front, account = strict.front, strict.users[1]
    users, before = front.read("users"), standin.last_request()
    assert front.imap(account).ok and front.imap(account).ok
    assert standin.requests(since=before, endpoint="graph") == []
    try:
        front.write("users", "".join(line for line in users.splitlines(True) if not line.startswith(account.login)))
        # Dovecot looks at the file once a second.
        front.wait(lambda: front.imap(account).wrong, 10, "who is not in the directory still gets in")
        attempts = len(front.attempts(account.upn))
        for protocol in ("imap", "pop3", "submission"):
            assert front.login(protocol, account).wrong, protocol
        assert len(front.attempts(account.upn)) == attempts
        assert front.imap(strict.users[0]).ok
    finally:
        front.write("users", users)
    front.wait(lambda: front.imap(account).ok, 10, "who is back does not get in")


# -- "users unknown to the first passdb go on to Entra"

def test_who_is_unknown_to_the_first_passdb_goes_on_to_entra(mixed, people, standin):
    stranger = people.new(domain=MIXED)
    assert mixed.front.imap(stranger).ok
    record = mixed.front.attempts(stranger.upn)[-1]["modernauth"]
    assert record["verified_by"] == "entra" and record["grant"] == "password"
    assert "app: nobody here has verified the password" in record["grants_skipped"]
    assert mixed.front.imap(stranger, people.password()).wrong


def test_who_is_verified_by_the_first_passdb_is_not_sent_to_entra(mixed, standin):
    account = mixed.users[2]
    assert mixed.front.imap(account).ok
    record = mixed.front.attempts(account.upn)[-1]["modernauth"]
    assert record["verified_by"] == "dovecot" and record["grant"] == "app"
    assert standin.token_requests(password_sha256=sha256(account.password)) == []


def test_with_unknown_users_going_on_wrong_passwords_go_on_too(mixed, people, standin):
    """Dovecot 2.3 has one setting for both. They get nothing unless they are right at Entra."""
    for number in (0, 1):
        account = mixed.users[number]
        assert mixed.front.imap(account, people.password()).wrong
        assert mixed.front.imap(account, mixed.entra[number]).wrong
    account, wrong = mixed.users[3], people.password()
    assert mixed.front.imap(account, wrong).wrong
    assert len(standin.token_requests(password_sha256=sha256(wrong))) == 1
    assert mixed.front.imap(account, mixed.entra[3]).ok
    assert mixed.front.attempts(account.upn)[-1]["modernauth"]["verified_by"] == "entra"


# -- what does not count

@pytest.mark.parametrize("more", ["nopassword=y", "nodelay=y nopassword"])
def test_a_first_passdb_that_takes_any_password_has_verified_nothing(fronts, people_of_module, people, standin, more):
    chain = Chain(fronts, people_of_module, first_passdb())
    front, account = chain.front, chain.users[0]
    # Any password: passwd-file wants an empty one beside nopassword.
    front.write("users", re.sub(r"(?m):\{PLAIN\}[^:]*:(.*)$", r"::\1" + more, front.read("users")))
    front.reload()
    sessions = standin.last_session()
    for password in (people.password(), account.password):
        for protocol in ("imap", "pop3", "submission"):
            assert front.login(protocol, account, password).wrong
    assert standin.sessions(since=sessions) == []
    record = front.attempts(account.upn)[-1]["modernauth"]
    assert record.get("verified_by", "none") == "none" and record["status"] == "bad_credentials", record


def test_a_static_passdb_that_takes_any_password_has_verified_nothing(fronts, people_of_module, people, standin):
    early = "passdb {\n  driver = static\n  args = nopassword=y\n  result_success = continue\n}\n"
    chain = Chain(fronts, people_of_module, early)
    sessions = standin.last_session()
    for protocol in ("imap", "pop3", "submission"):
        assert chain.front.login(protocol, chain.users[0], people.password()).wrong
    assert standin.sessions(since=sessions) == []


def test_a_static_passdb_before_the_one_that_verifies_changes_nothing(fronts, people_of_module, people):
    """Settings for everybody, and no password, from the first; the second verifies."""
    early = ("passdb {\n  driver = static\n  args = noauthenticate=y allow_nets=127.0.0.0/8\n}\n" + first_passdb())
    chain = Chain(fronts, people_of_module, early, ours="  skip = unauthenticated\n")
    assert chain.front.imap(chain.users[0]).ok
    assert chain.front.imap(chain.users[0], people.password()).wrong


def test_verified_by_without_dovecot_does_not_believe_an_earlier_passdb(fronts, people_of_module, people, standin):
    chain = Chain(fronts, people_of_module, first_passdb(failure="continue"), verified_by=["device"])
    front, account = chain.front, chain.users[0]
    sessions = standin.last_session()
    assert front.imap(account).wrong
    assert standin.sessions(since=sessions) == []
    # A device password is good, although the first passdb does not know it.
    device = front.add_device(account, "scanner")
    assert front.imap(account, device.password).ok
    assert front.attempts(account.upn)[-1]["modernauth"]["verified_by"] == "device"
    # Where the password grant is allowed the local password is one that Entra does not know.
    assert front.imap(chain.users[2]).wrong
    assert front.attempts(chain.users[2].upn)[-1]["error"]["code"] == "50126"


def test_continue_ok_before_us_would_let_users_in_locally_and_the_drop_in_says_so(fronts, people_of_module, standin):
    """Why the drop-in forbids it: without a token the user is logged in here."""
    chain = Chain(fronts, people_of_module, first_passdb(success="continue-ok"))
    chain.front.expect_trouble(chain.users[0])
    chain.front.expect("chain", "auth: Error", "mail_location", "Couldn't drop privileges", "userdb")
    standin.fault(endpoint="token", grant="client_credentials", action="status", status=503)
    reply = chain.front.imap(chain.users[0])
    assert not reply.wrong, reply
    text = chain.front.read("10-modernauth.conf")
    assert "Never set result_failure = continue-ok or result_internalfail = continue-ok here" in text


# -- as the drop-in shows it

def uncommented(text, begin):
    """The passdb block in comments after the line with begin."""
    lines = text[text.index(begin):].splitlines()
    block = []
    for line in lines[1:]:
        if line.startswith("#") and (block or line.startswith("#passdb {")):
            block.append(line[1:])
            if line == "#}":
                break
    return "\n".join(block) + "\n"


def test_the_chain_that_the_drop_in_shows_works(fronts, people_of_module, people, standin):
    """The comment in conf.d/10-modernauth.conf, with a passwd-file in the place of PAM."""
    shipped = settings.shipped("10-modernauth.conf", "/x")
    early = uncommented(shipped, "# If passwords are checked here")
    assert "driver = pam" in early
    early = early.replace("driver = pam", "driver = passwd-file\n  args = scheme=plain username_format=%u "
                                          "{directory}/users")
    assert "skip = unauthenticated" in shipped
    chain = Chain(fronts, people_of_module, early, ours="  skip = unauthenticated\n")
    assert chain.front.imap(chain.users[0]).ok
    assert chain.front.imap(chain.users[0], people.password()).wrong
    assert chain.front.imap(people.new(domain=MIXED)).wrong


@pytest.mark.skipif(not os.path.exists("/lib/x86_64-linux-gnu/security/pam_pwdfile.so") and
                    not os.path.exists("/etc/pam.d/common-auth"), reason="no PAM")
def test_pam_is_such_a_passdb(fronts, people_of_module, people):
    """Through auth workers, as LDAP and SQL may be: what is verified there counts here."""
    early = """
passdb {
  driver = pam
  args = modernauth-test
  result_success = continue
  result_failure = return-fail
}
"""
    chain = Chain(fronts, people_of_module, early, ours="  skip = unauthenticated\n")
    front, account = chain.front, chain.users[0]
    service = "/etc/pam.d/modernauth-test"
    script = front.write("check", "#!/bin/sh\nread -r password\n[ \"$password\" = \"%s\" ]\n" % account.password, 0o755)
    front.secret_files.append("check")
    front.expect("pam_exec", "pam")
    with open(service, "w", encoding="ascii") as file:
        file.write("auth required pam_exec.so expose_authtok quiet %s\naccount required pam_permit.so\n" % script)
    try:
        assert front.imap(account, people.password()).wrong
        assert front.imap(account).ok
        assert front.attempts(account.upn)[-1]["modernauth"]["verified_by"] == "dovecot"
    finally:
        os.unlink(service)
