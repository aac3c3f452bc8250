# SPDX-License-Identifier: MIT
"""Events, shown as metrics by Dovecot's stats process with the shipped drop-in."""

import re
import urllib.request

import pytest

from harness import settings

LISTENER = """
!include {directory}/91-modernauth-metrics.conf
service stats {{
  inet_listener http {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


@pytest.fixture(scope="module")
def measured(fronts):
    front = fronts.new(start=False)
    front.write("91-modernauth-metrics.conf", settings.shipped("91-modernauth-metrics.conf", front.config_path))
    front.write("dovecot.conf", front.read("dovecot.conf") + LISTENER.format(directory=front.directory,
                                                                          port=front.ports["http"]))
    front.expect("login refused", r"auth: Error: modernauth\(", "upstream refused", "no token requests")
    return front.start()


def metrics(front):
    """name{labels} -> value"""
    with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % front.ports["http"], timeout=10) as reply:
        text = reply.read().decode()
    return {match[1]: float(match[2]) for match in re.finditer(r"^(dovecot_\S+) (\S+)$", text, re.MULTILINE)}


def of(front, name, **labels):
    """The sum of a metric's most detailed rows that have these labels."""
    rows = {row: value for row, value in metrics(front).items() if row.split("{")[0] == name}
    detail = max((row.count("=") for row in rows), default=0)
    wanted = ['%s="%s"' % item for item in labels.items()]
    return sum(value for row, value in rows.items()
               if row.count("=") == detail and all(label in row for label in wanted))


def test_attempts_requests_and_answers_are_counted(measured, standin, people):
    front = measured
    account, wrong, mfa = people.new(), people.new(), people.new(mfa=True)
    assert front.imap(account).ok and front.imap(account).ok and front.pop3(account).ok and front.smtp(account).ok
    assert front.imap(wrong, people.password()).wrong
    assert not front.imap(mfa).ok
    refused = people.new()
    standin.refuse(user=refused.upn)
    assert not front.imap(refused).ok
    front.wait(lambda: of(front, "dovecot_modernauth_upstream_total", result="refused") == 1)
    attempts = "dovecot_modernauth_attempts_total"
    assert of(front, attempts, outcome="ok", service="imap", status="ok") == 3
    assert of(front, attempts, outcome="ok", service="pop3") == 1
    assert of(front, attempts, outcome="ok", service="submission") == 1
    assert of(front, attempts, outcome="failed", status="bad_credentials") == 1
    assert of(front, attempts, outcome="failed", status="interaction") == 1
    by_tenant = "dovecot_modernauth_attempts_by_tenant_total"
    assert of(front, by_tenant, tenant="contoso", outcome="ok", cached="yes") == 3
    assert of(front, by_tenant, tenant="contoso", outcome="failed", code="50126") == 1
    requests = "dovecot_modernauth_token_requests_total"
    assert of(front, requests, tenant="contoso", grant="password", status="ok", http_status="200") == 2
    assert of(front, requests, code="50076", http_status="400") == 1
    assert of(front, "dovecot_modernauth_upstream_total", service="imap", result="accepted") == 2
    sessions = "dovecot_modernauth_sessions_total"
    front.wait(lambda: of(front, sessions, service="imap", side="client", token_expired="no") == 2)
    assert of(front, sessions, service="pop3") == of(front, sessions, service="submission") == 1


def test_durations_are_real(measured, standin, people):
    front, account = measured, people.new()

    def slow(name):
        """How many took longer than a second."""
        rows = metrics(front)
        bucket = 'dovecot_modernauth_%s_duration_bucket{le="%%s"}' % name
        return rows[bucket % "+Inf"] - rows[bucket % "1.048576"]
    before = slow("attempt"), slow("token_request")
    standin.fault(endpoint="token", user=account.upn, latency_ms=1500)
    assert front.imap(account).ok
    assert (slow("attempt"), slow("token_request")) == (before[0] + 1, before[1] + 1)


def test_no_label_names_a_user(measured, people):
    account = people.new()
    assert measured.imap(account).ok
    rows = "\n".join(metrics(measured))
    assert account.upn not in rows and "session=" not in rows


def test_doveadm_shows_them_as_well(measured):
    text = measured.doveadm("stats", "dump").stdout
    assert "modernauth_attempts" in text and "modernauth_token_requests" in text
