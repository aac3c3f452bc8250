# SPDX-License-Identifier: MIT
"""doveadm modernauth policy, allow, disallow against a broker that follows a script: what is asked, shown, acknowledged."""

import json
import os
import pwd

import pytest

import doveadm_run
from fake_admin import FakeAdmin

EX_USAGE, EX_NOUSER, EX_TEMPFAIL, EX_CONFIG = 64, 67, 75, 78
UNTIL = 1806530400      # 2027-03-31 is over in Berlin
ISO = "2027-03-31T22:00:00Z"
ALLOW = ["allow", "--protocol", "pop3", "--until", "2027-03-31", "--reason", "the ticket system"]


def who():
    """As the kernel knows it, whoever has become root since."""
    with open("/proc/self/loginuid", encoding="ascii") as file:
        uid = int(file.read())
    return pwd.getpwuid(os.getuid() if uid == 0xffffffff else uid).pw_name


WHO = who()
ROW = {"user": "helpdesk@contoso.com", "service": "pop3", "client": "OTRS\x1b[31m", "network": "10.1.0.0/24",
       "last_seen": UNTIL - 86400}


@pytest.fixture
def doveadm(tmp_path, monkeypatch):
    assert doveadm_run.available(), "the plugin is neither installed nor in $MODERNAUTH_BUILD"
    monkeypatch.delenv("SUDO_USER", raising=False)
    return doveadm_run.Doveadm(tmp_path)


@pytest.fixture
def broker(doveadm):
    brokers = []

    def start(answer):
        brokers.append(FakeAdmin(doveadm.socket, answer))
        return brokers[-1]

    yield start
    for one in brokers:
        one.stop()
        assert not one.errors, one.errors


def allowing(wide="yes", rows=(ROW,), total=None, inventory="yes", **more):
    """A broker that allows what it is asked to."""
    def answer(request):
        assert request.verb == "ALLOW", request.verb
        if request["commit"] == "no":
            for row in rows:
                request.row(**row)
            request.ok(rows=len(rows) if total is None else total, shown=len(rows), inventory=inventory, users=12,
                       clients=15, tenant_wide=wide, tenants="contoso" if wide == "yes" else None, tenants_count=1,
                       last_day="2027-03-31", until=UNTIL, days_left=125, **{"action": "upgrade", **more})
        else:
            request.ok(exception="abc", last_day="2027-03-31", until=UNTIL, days_left=125)
    return answer


def commits(fake):
    return [request["commit"] for request in fake.requests]


def test_what_is_shown_and_asked(doveadm, broker):
    fake = broker(allowing(wide="no"))
    result = doveadm.run(*ALLOW, "--user", "helpdesk@contoso.com", "--network", "10.1.0.0/24", "--action", "upgrade",
                         output="json")
    assert result.status == 0, result
    assert json.loads(result.out) == [{"exception": "abc", "last_day": "2027-03-31", "until": ISO, "days_left": "125",
                                       "tenant_wide": "no", "users": "12", "clients": "15"}]
    asked = {"protocol": "pop3", "until": "2027-03-31", "reason": "the ticket system", "by": WHO,
             "user": "helpdesk@contoso.com", "network": "10.1.0.0/24", "action": "upgrade"}
    assert [request.values for request in fake.requests] == [{"commit": "no", **asked}, {"commit": "yes", **asked}]
    for text in ("pop3 for helpdesk@contoso.com from 10.1.0.0/24 is upgraded", "until the end of 2027-03-31 here",
                 ISO, "125 days", "12 users, 15 clients",
                 "  helpdesk@contoso.com  pop3  10.1.0.0/24  OTRS?[31m  last seen 2027-03-30T22:00:00Z",
                 "others have stores of their own"):
        assert text in result.err, (text, result.err)
    assert "tenant-wide" not in result.err and "\x1b" not in result.err


def test_more_rows_than_are_sent_are_counted(doveadm, broker):
    broker(allowing(wide="no", total=503))
    assert "... and 502 more" in doveadm.run(*ALLOW).err


def test_without_an_inventory_it_says_so(doveadm, broker):
    broker(allowing(wide="no", rows=(), inventory="no"))
    result = doveadm.run(*ALLOW, output="json")
    assert "There is no inventory here" in result.err and json.loads(result.out)[0]["users"] == ""


def test_passwords_over_pop3_are_said_to_be_of_no_use(doveadm, broker):
    broker(allowing(wide="no", action="basic"))
    result = doveadm.run(*ALLOW, "--action", "basic")
    assert "goes on with passwords" in result.err and "no passwords over IMAP and POP3" in result.err
    result = doveadm.run("allow", "--protocol", "smtp", *ALLOW[3:], "--action", "basic")
    assert "no passwords over IMAP and POP3" not in result.err and result.status == 0


def test_sudo_tells_who_it_is(doveadm, broker):
    fake = broker(allowing(wide="no"))
    with open(doveadm.config, "a", encoding="ascii") as file:
        file.write("import_environment = $import_environment SUDO_USER\n")
    doveadm.run(*ALLOW, env={**os.environ, "SUDO_USER": "anna"})
    assert {request["by"] for request in fake.requests} == {"anna"}


def test_tenant_wide_needs_a_yes_without_a_terminal(doveadm, broker):
    fake = broker(allowing())
    result = doveadm.run(*ALLOW)
    assert result.status == EX_USAGE and "tenant-wide (contoso)" in result.err and "--yes" in result.err, result
    assert commits(fake) == ["no"] and not result.out.strip()
    result = doveadm.run(*ALLOW, "--yes")
    assert result.status == 0 and result.rows()[0]["tenant_wide"] == "yes", result
    assert "This is tenant-wide: everybody of contoso." in result.err
    assert commits(fake) == ["no", "no", "yes"]


@pytest.mark.parametrize("typed, asked", [("pop3\n", 1), ("imap\n", 0), ("\n", 0), ("y\n", 0), ("pop3 \n", 0),
                                          ("pop33\n", 0)])
def test_tenant_wide_is_acknowledged_by_name(doveadm, broker, typed, asked):
    fake = broker(allowing())
    terminal = doveadm.terminal(*ALLOW)
    terminal.wait_for("To acknowledge that, type pop3: ")
    assert "12 users, 15 clients" in terminal.text()
    terminal.write(typed)
    assert terminal.finish() == (0 if asked else EX_TEMPFAIL)
    assert commits(fake) == ["no"] + ["yes"] * asked
    assert ("Nothing was changed." in terminal.text()) == (not asked)


def test_a_broker_that_does_not_say_is_taken_for_wide(doveadm, broker):
    fake = broker(lambda request: request.ok())
    assert doveadm.run(*ALLOW).status == EX_USAGE and commits(fake) == ["no"]


def test_bad_arguments_do_not_get_there(doveadm, broker):
    fake = broker(allowing())
    for missing in (["--protocol", "pop3", "--until", "2027-03-31"], ["--protocol", "pop3", "--reason", "x"],
                    ["--until", "2027-03-31", "--reason", "x"], ["--protocol", "", "--until", "2027-03-31", "--reason", "x"]):
        result = doveadm.run("allow", *missing)
        assert result.status == EX_USAGE and "--protocol" in result.out + result.err, (missing, result)
    for date in ("2027-02-29", "31.03.2027", "tomorrow", "2027-3-1"):
        result = doveadm.run("allow", "--protocol", "pop3", "--reason", "x", "--until", date)
        assert result.status == EX_USAGE and "not a date like" in result.err, result
    result = doveadm.run(*ALLOW, "--action", "deny")
    assert result.status == EX_USAGE and "upgrade or basic" in result.err
    assert not fake.requests


def test_what_the_broker_refuses_is_said(doveadm, broker):
    fake = broker(lambda request: request.fail("config", "an exception ends within 400 days"))
    result = doveadm.run(*ALLOW, "--yes")
    assert result.status == EX_CONFIG and "within 400 days" in result.err and commits(fake) == ["no"]


def test_disallow(doveadm, broker):
    fake = broker(lambda request: request.ok(exception="abc") if request["exception"] == "abc" else
                  request.fail("user_unknown", "there is no exception \"xyz\""))
    assert json.loads(doveadm.run("disallow", "abc", output="json").out) == [{"exception": "abc", "state": "removed"}]
    assert fake.requests[0].verb == "DISALLOW"
    assert fake.requests[0].values == {"exception": "abc", "by": WHO}
    result = doveadm.run("disallow", "xyz")
    assert result.status == EX_NOUSER and "no exception" in result.err
    assert doveadm.run("disallow").status == EX_USAGE


def policy(store="open"):
    def answer(request):
        assert request.verb == "POLICY"
        request.row(order=1, kind="exception", name="abc", state="active", protocols="pop3", users="*@contoso.com",
                    action="upgrade", last_day="2027-03-31", until=UNTIL, days_left=125, by="anna", uid=0,
                    created_at=UNTIL - 86400, reason="the ticket\x1b system")
        request.row(order=2, kind="rule", name="the rest", state="active", action="deny", conditions="tls")
        request.ok(rows=2, store=store)
    return answer


def test_policy_in_table_and_json(doveadm, broker):
    broker(policy())
    first, second = json.loads(doveadm.run("policy", output="json").out)
    assert first == {"order": 1, "kind": "exception", "name": "abc", "protocols": "pop3", "users": "*@contoso.com",
                     "networks": "", "conditions": "", "action": "upgrade", "last_day": "2027-03-31", "until": ISO,
                     "days_left": "125", "then": "", "state": "active", "by": "anna",
                     "created_at": "2027-03-30T22:00:00Z", "reason": "the ticket? system"}
    assert second["name"] == "the rest" and second["until"] == "" and second["conditions"] == "tls"
    table = doveadm.run("policy", output=None)
    assert table.status == 0 and not table.err
    header, exception, rule = [line.split() for line in table.out.splitlines() if line]
    assert header[:3] == ["order", "kind", "name"]
    assert exception[:3] == ["1", "exception", "abc"] and exception[8:11] == ["2027-03-31", ISO, "125"]
    assert rule[:4] == ["2", "rule", "the", "rest"]


def test_policy_says_that_no_exception_holds(doveadm, broker):
    broker(policy(store="closed"))
    result = doveadm.run("policy")
    assert result.status == 0 and "no exception holds" in result.err and len(result.rows()) == 2
