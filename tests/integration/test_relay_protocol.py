# SPDX-License-Identifier: MIT
"""The relay role (PROTOCOL.md): tokens for an MTA that shows a relay key, and what it tells of its mail afterwards."""

import json
import os
import subprocess
import sys
import time

import pytest

from harness import settings
from harness.enrolling import own_domain
from harness.relay import LISTENERS, Relay, add_key, status_map
from standin.entra_model import APP

pytestmark = pytest.mark.sanitize
APP_DOMAIN, ENROLLED_DOMAIN = "relayapp.test", "relayenr.test"


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    for name in (APP_DOMAIN, ENROLLED_DOMAIN):
        own_domain(running_standin, name)
    text = settings.tenant(running_standin, "relayapp", [APP_DOMAIN], grants=["app"], client_id=APP % 3,
                           certificate_file=running_standin.path("client.crt"),
                           private_key_file=running_standin.path("client.key"))
    text += settings.tenant(running_standin, "relayenr", [ENROLLED_DOMAIN], grants=["enrolled"])
    front = fronts.new(tenants=text, dovecot=LISTENERS,
                       extra='rule "no-fax" { users = {"fax@%s"} protocols = {"smtp"} action = "deny" }\n' % APP_DOMAIN)
    front.expect("relay: ", "refused a client", "login refused", "upstream refused",
                 "speaks no netstrings")
    front.key = add_key(front, "postfix", "*@" + APP_DOMAIN, "*@" + ENROLLED_DOMAIN)
    return front


def relay_records(front, user, action="relay-token"):
    return front.audit(getattr(user, "upn", user), action=action)


# -- tokens

def test_a_token_for_whoever_shows_the_key(site, standin, people):
    account = people.new(domain=APP_DOMAIN)
    with Relay(site) as relay:
        answer = relay.token(account, site.key, host="smtp.office365.com", session="q1")
        assert answer.verb == "OK", answer
        assert answer["user"] == account.upn and int(answer["expires_in"]) > 600
        again = relay.token(people.new(domain=APP_DOMAIN), site.key.lower().replace("-", ""))
        assert again["cached"] == "yes" and again["token"] == answer["token"]
    record = relay_records(site, account)[0]
    own = record["modernauth"]
    assert record["event"]["outcome"] == "success" and record["network"]["protocol"] == "smtp"
    assert own["verified_by"] == "relay-key" and own["grant"] == "app" and own["session"] == "q1"
    assert own["token_id"] == answer["token_id"]
    assert own["relay"]["key_name"] == "postfix" and own["relay"]["identity"] == account.upn
    assert own["relay"]["pid"] == os.getpid() and own["relay"]["uid"] == os.getuid()
    assert own["relay"]["program"] == "postfix/smtp" and own["relay"]["host"] == "smtp.office365.com"


def test_a_shared_mailbox_through_an_enrolment(site, standin, people):
    account, shared = people.new(domain=ENROLLED_DOMAIN, mfa=True), people.new(domain=ENROLLED_DOMAIN)
    assert site.enrol(shared, sign_in=account, account=account.upn, mailbox=shared.upn)[0].verb == "OK"
    with Relay(site) as relay:
        answer = relay.token(shared, site.key)
        assert answer.verb == "OK" and answer["user"] == shared.upn
        answer = relay.token(people.new(domain=ENROLLED_DOMAIN), site.key)
        assert answer["code"] == "interaction" and answer["temporary"] == "yes"
        assert "doveadm modernauth enroll" in answer["reason"]
    assert relay_records(site, shared)[0]["modernauth"]["account"] == account.upn


def test_a_wrong_key_is_answered_late_and_no_identity_is_told(site, people):
    account = people.new(domain=APP_DOMAIN)
    with Relay(site) as relay:
        started = time.monotonic()
        answer = relay.token(account, "K7QM-3XPD-9RTA-VW2HE")
        assert answer["code"] == "bad_credentials" and answer["temporary"] == "yes"
        assert answer["reason"].startswith("wrong relay key; to do: doveadm modernauth relay add")
        assert time.monotonic() - started > 0.2
        assert relay.token(account, site.key).verb == "OK"
        assert relay.token(account, "").verb == "FAIL"
    assert relay_records(site, account)[0]["modernauth"]["status"] == "bad_credentials"


def test_a_key_is_for_the_identities_that_it_names(site, people):
    mine, other = people.new(domain=APP_DOMAIN), people.new(domain=APP_DOMAIN)
    key = add_key(site, "one", mine.upn.upper())
    with Relay(site) as relay:
        assert relay.token(mine, key).verb == "OK"
        answer = relay.token(other, key)
        assert answer["code"] == "policy" and answer["temporary"] == "yes" and '"one" is not for' in answer["reason"]
        site.doveadm("modernauth", "relay", "remove", "one")
        assert relay.token(mine, key)["code"] == "bad_credentials"


def test_revoke_takes_a_users_own_keys_and_names_the_others(site, people):
    mine, other = people.new(domain=APP_DOMAIN), people.new(domain=APP_DOMAIN)
    own, both = add_key(site, "mine", mine.upn.upper()), add_key(site, "both", mine.upn, other.upn)
    done = site.doveadm("-f", "flow", "modernauth", "revoke", "--yes", mine.upn)
    assert "relay_keys=1" in done.stdout and "postfix, both; to do" in done.stderr, done
    with Relay(site) as relay:
        assert relay.token(mine, own)["code"] == "bad_credentials"
        assert relay.token(mine, both).verb == "OK" and relay.token(other, both).verb == "OK"
    site.doveadm("modernauth", "relay", "remove", "both")
    done = site.doveadm("-f", "flow", "modernauth", "revoke", "--yes", "nobody@" + ENROLLED_DOMAIN)
    assert "relay_keys=0" in done.stdout and "postfix; to do" in done.stderr, done


def test_what_a_rule_denies_need_not_be_tried_again(site):
    with Relay(site) as relay:
        answer = relay.token("fax@" + APP_DOMAIN, site.key)
        assert answer["code"] == "policy" and answer["temporary"] == "no"
        answer = relay.token("x@elsewhere.test", site.key)
        assert answer["code"] == "not_ours" and answer["temporary"] == "yes"


def test_entra_says_no_and_the_reason_says_what_to_do(site, standin, people):
    account = people.new(domain=ENROLLED_DOMAIN, mfa=True)
    assert site.enrol(account)[0].verb == "OK"
    standin.revoke(account.upn, 50057)
    site.ask("FORGET", user=account.upn)
    with Relay(site) as relay:
        answer = relay.token(account, site.key)
        assert answer.verb == "FAIL" and answer["temporary"] == "yes" and "AADSTS50057" in answer["reason"]


def test_only_root_and_the_mtas_user_get_an_answer(site):
    script = ("import os, socket, sys\nos.setgid(65534); os.setuid(65534)\ns = socket.socket(socket.AF_UNIX)\n"
              "s.connect(sys.argv[1])\nprint(s.recv(1))\n")
    for name in ("modernauth-relay", "modernauth-status"):
        done = subprocess.run([sys.executable, "-c", script, site.socket_path(name)], capture_output=True, text=True)
        assert done.stdout == "b''\n", done.stderr
    site.wait_log("refused a client on the relay listener: .* relay_user")


# -- refused tokens

def test_a_refused_token_is_fetched_anew_once(site, standin, people):
    account = people.new(domain=ENROLLED_DOMAIN, mfa=True)
    assert site.enrol(account)[0].verb == "OK"
    with Relay(site) as relay:
        first = relay.token(account, site.key)
        assert relay.refused(account, first["token_id"], "535 5.7.139 Authentication unsuccessful, "
                             "SmtpClientAuthentication is disabled for the Tenant.").verb == "DONE"
        second = relay.token(account, site.key)
        assert second["cached"] == "no" and second["token_id"] != first["token_id"]
        relay.refused(account, second["token_id"])
        third = relay.token(account, site.key)
        assert third["cached"] == "yes" and third["token_id"] == second["token_id"]
    status = site.status()
    assert status["relay_tokens_refused"] >= 2 and status["upstream_refused"] == 0
    records = site.wait_upstream(account.upn, 2)
    assert records[0]["event"]["reason"].startswith("SMTP AUTH is off for the tenant")
    assert records[0]["modernauth"]["relay"]["key_name"] == "postfix"


def test_nobody_has_the_tokens_of_others_fetched(site, standin, people):
    account = people.new(domain=ENROLLED_DOMAIN, mfa=True)
    assert site.enrol(account)[0].verb == "OK"
    with Relay(site) as relay:
        first = relay.token(account, site.key)
        # What this process was given last is another one's.
        relay.token(people.new(domain=APP_DOMAIN), site.key)
        relay.refused(account, first["token_id"])
        assert relay.token(account, site.key)["token_id"] == first["token_id"]


# -- what became of the mail

ACCEPTED = "2.0.0 250 2.0.0 OK <x@y> [Hostname=AS8PR01.prod.outlook.com] 1234 bytes in 0.5 Queued mail for delivery"
REFUSED = ("4.7.%s SASL authentication failed; server smtp.office365.com[192.0.2.1] said: 535 5.7.%s Authentication "
           "unsuccessful")
DISABLED = REFUSED % (139, 139) + ", SmtpClientAuthentication is disabled for the Tenant."


def outcomes(front, account, action="relay-mail"):
    return front.audit(account.upn, action=action)


def test_an_accepted_mail_is_on_record_with_who_sent_it(site, people):
    account = people.new(domain=APP_DOMAIN)
    with Relay(site) as relay, status_map(site) as statuses:
        answer = relay.token(account, site.key, session="q7", host="smtp.office365.com")
        assert statuses.lookup(ACCEPTED) == statuses.lookup(ACCEPTED) == "NOTFOUND "
    records = outcomes(site, account)
    assert len(records) == 2 and records[0]["event"]["action"] == "relay-mail-accepted"
    own = records[0]["modernauth"]
    assert own["session"] == "q7" and own["token_id"] == answer["token_id"] and own["dsn"] == "2.0.0"
    assert own["reply"] == ACCEPTED[6:] and own["token_refused"] is False
    assert own["relay"]["key_name"] == "postfix" and own["relay"]["pid"] == os.getpid()
    assert own["relay"]["host"] == "smtp.office365.com"


def test_a_refused_login_drops_the_token_and_says_what_to_do(site, people):
    account = people.new(domain=ENROLLED_DOMAIN, mfa=True)
    assert site.enrol(account)[0].verb == "OK"
    with Relay(site) as relay, status_map(site) as statuses:
        first = relay.token(account, site.key)
        assert statuses.lookup(DISABLED) == (
            "OK %s; modernauth: token of %s refused: SMTP AUTH is off for the tenant: Set-TransportConfig "
            "-SmtpClientAuthenticationDisabled $false, or per mailbox Set-CASMailbox -SmtpClientAuthenticationDisabled "
            "$false" % (DISABLED, account.upn))
        second = relay.token(account, site.key)
        assert second["cached"] == "no" and second["token_id"] != first["token_id"]
        # Not again at once: mail would be deferred once more, and Entra asked with each.
        assert statuses.lookup("5" + (REFUSED % (3, 3))[1:]).startswith("OK 4.7.3 SASL authentication failed; ")
        assert relay.token(account, site.key)["token_id"] == second["token_id"]
    records = outcomes(site, account, "relay-mail-deferred")
    assert [record["modernauth"]["token_refused"] for record in records] == [True, True]
    assert records[0]["modernauth"]["reply"] == DISABLED[8:]
    assert records[0]["event"]["reason"].startswith("SMTP AUTH is off")


def test_why_there_was_no_token_takes_the_place_of_cyrus_words(site, people):
    account = people.new(domain=APP_DOMAIN)
    status = "4.7.0 SASL authentication failed; cannot authenticate to server smtp.office365.com[192.0.2.1]: generic failure"
    with Relay(site) as relay, status_map(site) as statuses:
        refused = relay.token("nobody@elsewhere.test", site.key, host="smtp.office365.com")
        assert refused.verb == "FAIL"
        assert statuses.lookup(status) == "OK 4.7.0 SASL authentication failed: modernauth: %s; identity nobody@elsewhere.test" % \
            refused["reason"]
        # No longer, once there was one.
        relay.token(account, site.key, host="smtp.office365.com")
        assert statuses.lookup(status) == "NOTFOUND "


def test_what_is_said_of_the_mail_is_not_held_against_the_token(site, people):
    account = people.new(domain=APP_DOMAIN)
    with Relay(site) as relay, status_map(site) as statuses:
        first = relay.token(account, site.key)
        for status, action in (("5.1.1 host x[192.0.2.1] said: 550 5.1.1 SASL authentication failed; server said: 535",
                                "refused"), ("4.4.2 lost connection with x[192.0.2.1]", "deferred"),
                               ("4.3.2 host x[192.0.2.1] said: 432 4.3.2 Concurrent connections limit exceeded",
                                "deferred")):
            assert statuses.lookup(status) == "NOTFOUND "
            assert outcomes(site, account)[-1]["event"]["action"] == "relay-mail-" + action
        assert "lower the concurrency" in outcomes(site, account)[-1]["event"]["reason"]
        count = len(outcomes(site, account))
        # Another server's word about another login of the same process.
        relay.token(account, site.key, host="smtp.office365.com")
        assert statuses.lookup(DISABLED.replace("office365", "elsewhere")) == "NOTFOUND "
        assert len(outcomes(site, account)) == count
        assert relay.token(account, site.key)["token_id"] == first["token_id"]


def test_a_process_that_was_given_nothing_changes_nothing(site, people):
    account = people.new(domain=ENROLLED_DOMAIN, mfa=True)
    assert site.enrol(account)[0].verb == "OK"
    with Relay(site) as relay:
        first = relay.token(account, site.key)
        script = "from harness.relay import Socketmap; import sys; print(Socketmap(sys.argv[1]).lookup(sys.argv[2]))"
        done = subprocess.run([sys.executable, "-c", script, site.socket_path("modernauth-status"), DISABLED],
                              capture_output=True, text=True, cwd=os.path.dirname(__file__))
        assert done.stdout == "NOTFOUND \n", done.stderr
        assert relay.token(account, site.key)["token_id"] == first["token_id"]
    assert not outcomes(site, account)


def test_a_connection_that_goes_from_process_to_process(site, people, tmp_path):
    """As Postfix's smtp does: whoever delivers over it has asked for no token himself."""
    account, other = people.new(domain=ENROLLED_DOMAIN, mfa=True), people.new(domain=APP_DOMAIN)
    assert site.enrol(account)[0].verb == "OK"
    script = tmp_path / "smtp.py"
    script.write_text("import sys\nsys.path.insert(0, sys.argv[1])\nfrom harness.relay import Relay, Socketmap, status_map\n"
                      "class Front:\n    def socket_path(self, name): return sys.argv[2] + '/' + name\n"
                      "key = sys.stdin.readline().strip()\n"
                      "if key:\n    assert Relay(Front()).token(sys.argv[3], key).verb == 'OK'\n"
                      "else:\n    print(status_map(Front()).lookup(sys.argv[3]))\n")

    def smtp(transport, what, key=""):
        done = subprocess.run([sys.executable, script, os.path.dirname(__file__), site.path("run"), what, "-n", transport,
                               "-t", "unix"], input=key + "\n", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    smtp("exchange", account.upn, site.key)
    assert smtp("elsewhere", ACCEPTED) == smtp("exchange", ACCEPTED) == "NOTFOUND \n"
    records = outcomes(site, account)
    assert len(records) == 1 and records[0]["modernauth"]["relay"]["key_name"] == "postfix"
    assert "token_id" not in records[0]["modernauth"] and "session" not in records[0]["modernauth"]
    # It has not logged in, so it cannot have been refused.
    smtp("exchange", DISABLED)
    assert outcomes(site, account)[-1]["modernauth"]["token_refused"] is False
    # Two logins of one transport: nobody knows whose connection it is.
    smtp("exchange", other.upn, site.key)
    assert smtp("exchange", ACCEPTED) == "NOTFOUND \n"
    assert len(outcomes(site, account)) == 2 and not outcomes(site, other)


def test_what_a_process_was_given_outlives_a_reload(site, people):
    account = people.new(domain=APP_DOMAIN)
    with Relay(site) as relay, status_map(site) as statuses:
        answer = relay.token(account, site.key)
        site.reload()
        assert statuses.read() is None
    with status_map(site) as statuses:
        assert statuses.lookup(ACCEPTED) == "NOTFOUND "
    assert outcomes(site, account)[0]["modernauth"]["token_id"] == answer["token_id"]
    status = site.status()
    assert status["relay_mails_accepted"] == 1 and status["relay_keys"] >= 1


@pytest.mark.parametrize("nonsense", [b"GET / HTTP/1.1\r\n", b"5000:", b"99999999999", b":,", b"3:abcd", b"VERSION\t1\n"])
def test_nonsense_on_the_status_listener_ends_the_connection(site, nonsense):
    with status_map(site) as statuses:
        statuses.send(nonsense)
        assert statuses.read() is None


@pytest.mark.parametrize("key", ["", "hello", "2.0.0", "9.9.9 x", "2..0 x", "2.0 x", "4.7." + "1" * 9 + " x", "\0", "x" * 4000])
def test_a_status_that_is_none_is_left_alone(site, people, key):
    with Relay(site) as relay, status_map(site) as statuses:
        relay.token("none@" + APP_DOMAIN, site.key)
        assert statuses.lookup(key) == "NOTFOUND "
    assert not site.audit("none@" + APP_DOMAIN, action="relay-mail")


def test_requests_that_come_in_pieces_or_together(site):
    with status_map(site) as statuses:
        request = b"%d:status %s," % (7 + len(ACCEPTED), ACCEPTED.encode())
        for i in range(len(request)):
            statuses.send(request[i:i + 1])
        assert statuses.read() == "NOTFOUND "
        statuses.send(request * 50)
        assert [statuses.read() for _ in range(50)] == ["NOTFOUND "] * 50


# -- keys

def test_keys_are_made_shown_and_survive(site):
    done = site.doveadm("-f", "json", "modernauth", "relay", "add", "--identity", "scan@" + APP_DOMAIN, "--identity",
                        "fax-*@" + APP_DOMAIN, "--until", "2030-12-31", "second")
    made = json.loads(done.stdout)[0]
    for text in (made["relay_key"], made["relay_key"].replace("-", "")):
        site.canary.add(text, "relay key")
    assert made["last_day"] == "2030-12-31" and "not shown again" in done.stderr
    with Relay(site) as relay:
        assert relay.token("fax-1@" + APP_DOMAIN, made["relay_key"]).verb == "OK"
    site.reload()
    with Relay(site) as relay:
        assert relay.token("fax-2@" + APP_DOMAIN, made["relay_key"]).verb == "OK"
    rows = json.loads(site.doveadm("-f", "json", "modernauth", "relay", "list").stdout)
    row = [row for row in rows if row["name"] == "second"][0]
    assert row["identities"] == "scan@%s,fax-*@%s" % (APP_DOMAIN, APP_DOMAIN) and row["state"] == "active"
    assert row["last_used_at"] and row["key_id"] == made["key_id"]
    again = site.doveadm("modernauth", "relay", "add", "--identity", "a@b.test", "second", check=False)
    assert again.returncode == 78 and "already" in again.stderr
    assert site.doveadm("modernauth", "relay", "add", "third", check=False).returncode == 64
    site.doveadm("modernauth", "relay", "remove", made["key_id"])
    assert site.doveadm("modernauth", "relay", "remove", "second", check=False).returncode == 67
    actions = [record["event"]["action"] for record in site.audit(action="relay-key")
               if record["modernauth"]["relay"]["key_name"] == "second"]
    assert actions == ["relay-key-added", "relay-key-removed"]


def test_one_process_keeps_nobody_waiting_with_guesses(site, people):
    account = people.new(domain=APP_DOMAIN)
    with Relay(site) as guesser, Relay(site) as relay:
        wrong = [guesser.request("TOKEN", identity=account.upn, key="WRONG-%d" % i) for i in range(65)]
        answer = guesser.answer()
        assert answer.id == wrong[64] and answer["code"] == "temporary" and answer["temporary"] == "yes"
        assert relay.token(account, site.key).verb == "OK"
    # They went away before they were answered, and are on record.
    assert site.status()["relay_wrong_keys"] >= 64
