# SPDX-License-Identifier: MIT
"""Tokens go to login processes and nowhere else; secrets are in no log, no file, no environment and no core."""

import base64
import os
import re
import signal
import time
import urllib.parse

import pytest

from harness import sanitizer
from harness.canary import core_files
from harness.clients import b64, fresh_address
from harness.sockets import AuthClient, MasterClient

# Everything that Dovecot can say.
DEBUG = """
auth_debug = yes
auth_verbose = yes
mail_debug = yes
auth_verbose_passwords = no
verbose_proctitle = yes
log_debug = category=modernauth OR category=auth OR category=mail OR category=service:modernauth
service auth {
  unix_listener auth-client {
    mode = 0666
  }
  unix_listener test-master {
    mode = 0666
  }
  unix_listener postfix {
    mode = 0666
  }
}
"""

# With auth_debug=yes submission-login of Dovecot 2.3 itself logs what the client says in AUTH, in base64 as it comes.
# The README names it. There is nothing else.
DOVECOTS_OWN = [r"submission-login: Debug: smtp-server: conn \S+ \[\d+\]: Received (new command: AUTH|AUTH response:) "]


@pytest.fixture(scope="module")
def debug_front(fronts):
    front = fronts.new(dovecot=DEBUG)
    front.dovecots_own = DOVECOTS_OWN
    front.expect("login refused", r"auth: Error: modernauth\(", "killed with signal", "lost the connection",
                 "upstream refused")
    return front


def has_no_token(fields):
    return not [field for field in fields if field.startswith(("pass=", "proxy", "host=", "destuser=",
                                                               "modernauth=")) or
                "eyJ" in field]


# -- who may have a token

@pytest.mark.sanitize
@pytest.mark.parametrize("service", ["imap", "pop3", "submission", "smtp", "doveadm"])
def test_an_auth_client_learns_whether_the_password_is_right_and_no_more(debug_front, people, service):
    account = people.new()
    for socket_name in ("auth-client", "postfix"):
        with AuthClient(debug_front.socket_path(socket_name)) as client:
            for parameters in (["service=" + service], ["service=" + service, "secured", "nologin"]):
                good = client.plain(account.upn, account.password, *parameters)
                assert good[0] == "OK" and "user=" + account.upn in good and has_no_token(good), good
                assert client.login(account.upn, account.password, *parameters)[0] == "OK"
            bad = client.plain(account.upn, people.password(), "service=" + service)
            assert bad[0] == "FAIL" and "temp" not in bad and has_no_token(bad), bad


@pytest.mark.sanitize
def test_postfix_can_check_passwords(debug_front, standin, people):
    """As xsasl_dovecot_server.c asks."""
    account = people.new()
    with AuthClient(debug_front.socket_path("postfix")) as client:
        reply = client.plain(account.upn, account.password, "service=smtp", "nologin", "lip=127.0.0.1", "rip=192.0.2.7",
                             "secured")
    assert reply[0] == "OK" and has_no_token(reply)
    record = debug_front.attempts(account.upn)[0]
    assert record["source"]["ip"] == "192.0.2.7" and record["modernauth"]["protocol"] == "Authenticated SMTP"
    assert standin.sessions(user=account.upn) == []


@pytest.mark.sanitize
def test_a_service_that_we_do_not_know_is_not_ours(debug_front, standin, people):
    account = people.new()
    with AuthClient(debug_front.socket_path("auth-client")) as client:
        assert client.plain(account.upn, account.password, "service=xmpp")[0] == "FAIL"
    assert standin.token_requests(username=account.upn) == []


@pytest.mark.sanitize
@pytest.mark.parametrize("service", ["imap", "pop3", "submission", "smtp", "doveadm"])
def test_a_master_lookup_without_a_password_never_has_a_token(debug_front, standin, people, service):
    account = people.new()
    assert debug_front.imap(account).ok
    for name in ("auth-master", "test-master"):
        if not os.path.exists(debug_front.socket_path(name)):
            continue
        with MasterClient(debug_front.socket_path(name)) as client:
            reply = client.passdb(account.upn, service)
            assert reply[0] in ("PASS", "NOTFOUND", "FAIL") and has_no_token(reply), reply
            assert client.passdb("nobody@elsewhere.test", service)[0] == "NOTFOUND"
    assert len(standin.token_requests(username=account.upn)) == 1


@pytest.mark.sanitize
def test_doveadm_auth_test_says_right_or_wrong_and_shows_no_token(debug_front, people):
    account = people.new()
    for service in ("imap", "smtp", "doveadm"):
        done = debug_front.doveadm("auth", "test", "-x", "service=" + service, "-x", "rip=" + fresh_address(),
                                   account.upn, account.password, check=False)
        text = done.stdout + done.stderr
        assert done.returncode == 0 and "auth succeeded" in text and "eyJ" not in text and "pass" not in text.replace(
            "passdb:", ""), text
        done = debug_front.doveadm("auth", "test", "-x", "service=" + service, "-x", "rip=" + fresh_address(),
                                   account.upn, people.password(), check=False)
        assert done.returncode != 0 and "auth failed" in done.stdout + done.stderr


@pytest.mark.sanitize
def test_doveadm_auth_lookup_and_login_show_no_token(debug_front, people):
    account = people.new()
    assert debug_front.imap(account).ok
    for service in ("imap", "submission", "doveadm"):
        done = debug_front.doveadm("auth", "lookup", "-x", "service=" + service, account.upn, check=False)
        assert "eyJ" not in done.stdout + done.stderr, done.stdout
    done = debug_front.doveadm("auth", "login", "-x", "service=imap", account.upn, account.password, check=False)
    assert "eyJ" not in done.stdout + done.stderr, done.stdout


@pytest.mark.sanitize
def test_other_mechanisms_and_master_users_get_nothing(fronts, standin, people):
    front = fronts.new(dovecot="auth_mechanisms = plain login cram-md5 xoauth2 oauthbearer\n"
                               "auth_master_user_separator = *\n")
    front.expect(r"auth: Error")
    account = people.new()
    front.expect_trouble(account)
    # A client's own token is passed through (test_client_tokens.py), and fetches none.
    for mech in ("CRAM-MD5", "XOAUTH2"):
        line = front.open("imap")
        line.send("a AUTHENTICATE %s\r\n" % mech)
        assert line.line().startswith("+")
        line.send(b64({"CRAM-MD5": "%s 0123456789abcdef0123456789abcdef",
                       "XOAUTH2": "user=%s\1auth=Bearer nonsense\1\1"}[mech] % account.upn) + "\r\n")
        if (answer := line.line()).startswith("+"):
            line.send("\r\n")
            answer = line.until("a")
        assert answer.startswith("a NO"), answer
        line.close()
    account.login = account.upn + "*admin@contoso.com"
    assert not front.imap(account).ok
    assert standin.token_requests(username=account.upn) == []


# -- where secrets must not be

@pytest.mark.sanitize
def test_nothing_of_ours_is_logged_even_at_debug_level(debug_front, canary, standin, people):
    """Everything that happens in a day, with everything that Dovecot can log."""
    front, account = debug_front, people.new()
    for protocol in ("imap", "pop3", "submission"):
        for tls in (None, "implicit"):
            assert front.login(protocol, account, tls=tls).ok
            assert not front.login(protocol, account, people.password()).ok
    for code in (50126, 50053, 50057, 50055, 50076, 7000215):
        front.imap(people.magic(code, "http400"))
    refused = people.new()
    standin.refuse(user=refused.upn)
    assert not front.imap(refused).ok
    broken = people.new()
    standin.fault(endpoint="token", user=broken.upn, action="truncate")
    assert not front.imap(broken).ok
    secret, cert = people.new(domain="secret.test"), people.new(domain="cert.test")
    assert front.imap(secret).ok and front.imap(cert).ok
    front.reload()
    assert front.imap(account).ok
    front.wait_log("modernauth: Debug: modernauth: ")
    assert "auth: Debug: client passdb out: OK" in front.log()
    assert canary.search_tree(front.directory, front.secret_names(), DOVECOTS_OWN) == {}


def test_what_dovecot_itself_shows_is_what_the_readme_says(debug_front, canary, people):
    """If this fails Dovecot has mended it, or it shows more."""
    account = people.new()
    mark = debug_front.log_mark()
    assert debug_front.imap(account).ok and debug_front.smtp(account).ok and debug_front.smtp(account, mech="LOGIN").ok
    expression, _ = canary.expression()
    lines = [line for line in debug_front.log(mark).splitlines() if expression.search(line.encode())]
    assert len(lines) == 2 and all(re.search(DOVECOTS_OWN[0], line) for line in lines), lines
    # The token's field is hidden.
    assert re.search("auth: Debug: client passdb out: OK.*proxy.*pass=<hidden>", debug_front.log(mark))


def test_the_canary_sings(debug_front, canary, people):
    """The search finds what it looks for: raw, percent-encoded, in base64, in the base64 of a SASL PLAIN response."""
    account = people.new()
    forms = [account.password, urllib.parse.quote(account.password, safe=""),
             base64.b64encode(account.password.encode()).decode(),
             base64.b64encode(b"\0%s\0%s" % (account.upn.encode(), account.password.encode())).decode(),
             base64.b64encode(b"ab" + account.password.encode() + b"cd").decode(),
             "eyJ0eXAiOiJKV1QiLCJ.eyJhdWQiOiJodHRwc.c2lnbmF0dXJl-sig",
             base64.b64encode(b"user=a@b\x01auth=Bearer eyJabc\x01\x01").decode()]
    for number, text in enumerate(forms):
        path = debug_front.write("trap", "before %s after\n" % text)
        found = canary.search_tree(debug_front.directory, debug_front.secret_names(), DOVECOTS_OWN)
        os.unlink(path)
        assert list(found) == [path], "form %d is not found" % number


@pytest.mark.sanitize
@pytest.mark.skipif(not sanitizer.KIND, reason="no sanitizer was asked for")
def test_the_sanitizer_is_really_there(debug_front, people):
    assert debug_front.imap(people.new()).ok
    with open("/proc/%d/maps" % max(debug_front.broker_pids()), encoding="utf-8") as file:
        assert {"asan": "libasan", "valgrind": "valgrind"}[sanitizer.KIND] in file.read()


@pytest.mark.sanitize
def test_no_environment_and_no_command_line_has_a_secret(debug_front, canary, people):
    assert debug_front.imap(people.new()).ok
    pids = debug_front.processes()
    assert len(pids) > 5
    assert canary.search_processes(pids) == {}


@pytest.mark.sanitize
def test_the_broker_is_no_root_and_cannot_become_it(debug_front):
    pid = max(debug_front.broker_pids())
    with open("/proc/%d/status" % pid, encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert set(status["Uid"].split()) == {str(debug_front.user.pw_uid)}
    assert set(status["Gid"].split()) == {str(debug_front.user.pw_gid)}
    assert all(int(status[name], 16) == 0 for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"))
    assert status["NoNewPrivs"] == "1"


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_a_crashing_broker_leaves_no_core(fronts, people, number):
    front = fronts.new()
    front.expect("killed with signal", "lost the connection")
    assert front.imap(people.new()).ok
    pid = max(front.broker_pids())
    # Another process of its user could not read its memory either: it is not dumpable.
    assert os.stat("/proc/%d/environ" % pid).st_uid == 0
    os.kill(pid, number)
    front.wait(lambda: pid not in front.processes(), 10)
    time.sleep(0.2)
    assert core_files(front.directory) == [] and core_files(front.path("lib")) == []
    front.wait(lambda: front.imap(people.new()).ok, 5)


def test_the_state_directory_has_nothing_to_read(debug_front, canary):
    """Tokens of passwords live in memory only; what is there is nobody else's to read."""
    directory = debug_front.path("lib")
    assert canary.search_tree(directory, []) == {}
    for where, _, files in os.walk(directory):
        for name in files:
            assert os.stat(os.path.join(where, name)).st_mode & 0o077 == 0, name


def test_a_secret_file_that_everybody_can_read_is_refused(fronts, people):
    front = fronts.new(start=False)
    os.chmod(front.path("app-secret"), 0o644)
    front.expect("configuration: ", "no usable configuration", r"auth: Error: modernauth\(", "refused a report")
    front.start()
    assert front.imap(people.new()).temporary
    front.wait_log("client_secret_file: .*app-secret may be used by everybody")
