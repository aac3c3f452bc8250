# SPDX-License-Identifier: MIT
"""What an admin allows although a rule denies it, through doveadm and a real front end: in effect at once, kept, recorded."""

import datetime
import json

import pytest

import doveadm_run
from harness import settings

RULES = """
rule "pop-is-off" { protocols = {"pop3"} action = "deny" message = "POP is off." }
rule "smtp-until" { protocols = {"smtp"} until = "2001-01-31" then = "deny" message = "SMTP is off." }
"""
UNTIL = (datetime.date.today() + datetime.timedelta(days=30)).isoformat()
WHY = ["--until", UNTIL, "--reason", "the ticket \"system\""]


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    front = fronts.new(tenants=settings.tenant(running_standin, "contoso", ["contoso.com"]), extra=RULES)
    front.expect("login refused")
    front.wait_store()
    return front


@pytest.fixture
def account(people):
    return people.new(name="helpdesk")


def command(site, *args, output="json", check=True):
    """doveadm modernauth ... with the plugin that is built."""
    done = doveadm_run.Doveadm.__new__(doveadm_run.Doveadm)
    done.base, done.config = site.directory, site.dovecot_path
    result = done.run(*args, output=output)
    assert not check or result.status == 0, result
    return result


def rows(site, *args):
    return json.loads(command(site, *args).out)


def allow(site, *args):
    return rows(site, "allow", *args, *WHY)[0]


def changes(site, action):
    return [record for record in site.audit() if record["event"]["action"] == action]


def denied(reply, text="POP is off."):
    return not reply.ok and not reply.temporary and text in reply.text


def test_pop_works_from_the_next_login_on_until_it_is_disallowed(site, account, people):
    other = people.new()
    assert denied(site.pop3(account)) and denied(site.pop3(other))
    made = allow(site, "--protocol", "pop3", "--user", account.upn.upper())
    assert made["last_day"] == UNTIL and made["tenant_wide"] == "no", made
    for _ in range(2):
        assert site.pop3(account).ok
    assert denied(site.pop3(other))
    record = site.attempts(account.upn)[-1]["modernauth"]
    assert record["exception"] == made["exception"] and record["rule"] == "pop-is-off", record
    assert record["decision"] == "upgrade", record
    assert rows(site, "disallow", made["exception"]) == [{"exception": made["exception"], "state": "removed"}]
    assert denied(site.pop3(account))
    assert "exception" not in site.attempts(account.upn)[-1]["modernauth"]
    added, = (r for r in changes(site, "exception-added") if r["modernauth"]["exception"] == made["exception"])
    gone, = (r for r in changes(site, "exception-removed") if r["modernauth"]["exception"] == made["exception"])
    for record in (added, gone):
        own = record["modernauth"]
        assert record["event"]["reason"] == "the ticket \"system\"" and record["event"]["outcome"] == "success", record
        assert own["actor"] == "doveadm" and own["by"] and own["uid"] == 0, record
        assert own["allowed"] == {"services": "pop3", "users": account.upn, "action": "upgrade", "until": made["until"],
                                  "by": own["by"], "reason": "the ticket \"system\""}, record
    assert "exception-added by doveadm: exception=%s protocols=pop3" % made["exception"] in site.log()


def test_a_planned_end_is_put_off_in_a_network(site, account):
    assert denied(site.smtp(account), "SMTP is off.")
    made = allow(site, "--protocol", "smtp", "--network", "127.66.0.0/16")
    assert site.smtp(account, source="127.66.0.1").ok
    assert denied(site.smtp(account, source="127.67.0.1"), "SMTP is off.")
    assert denied(site.pop3(account, source="127.66.0.1"))
    rows(site, "disallow", made["exception"])


def test_it_survives_a_reload_and_a_kill(site, account, people):
    made = allow(site, "--protocol", "pop3", "--user", account.upn)
    site.reload()
    assert site.pop3(account).ok
    site.kill_and_wait()
    assert site.pop3(account).ok
    late = people.new()
    other = allow(site, "--protocol", "pop3", "--user", late.upn)
    # Acknowledged is on disk.
    site.kill_and_wait()
    assert site.pop3(late).ok
    for one in (made, other):
        rows(site, "disallow", one["exception"])
    site.kill_and_wait()
    assert denied(site.pop3(account)) and denied(site.pop3(late))


def test_policy_lists_all_in_their_order(site, account):
    first = allow(site, "--protocol", "pop3", "--user", account.upn)
    second = allow(site, "--protocol", "imap,smtp", "--network", "10.0.0.0/8", "--action", "basic", "--user", "x@contoso.com")
    found = rows(site, "policy")
    assert [row["order"] for row in found] == [1, 2, 3, 4]
    assert {row["name"] for row in found[:2]} == {first["exception"], second["exception"]}
    mine, = (row for row in found if row["name"] == first["exception"])
    assert mine["users"] == account.upn and mine["last_day"] == UNTIL and mine["until"] == first["until"], mine
    assert mine["days_left"] in ("30", "31") and mine["by"] and mine["reason"] == "the ticket \"system\"", mine
    basic, = (row for row in found if row["name"] == second["exception"])
    assert basic["protocols"] == "imap,submission" and basic["networks"] == "10.0.0.0/8" and basic["action"] == "basic", basic
    pop, smtp = found[2:]
    assert (pop["name"], pop["action"], pop["until"], pop["then"]) == ("pop-is-off", "deny", "", ""), pop
    assert (smtp["name"], smtp["action"], smtp["last_day"], smtp["days_left"], smtp["state"]) == (
        "smtp-until", "deny", "2001-01-31", "0", "ended"), smtp
    table = command(site, "policy", output=None)
    assert first["exception"] in table.out and "pop-is-off" in table.out and not table.err
    for made in (first, second):
        rows(site, "disallow", made["exception"])
    assert len(rows(site, "policy")) == 2


@pytest.mark.parametrize("whom, wide", [
    ([], True), (["--user", "*"], True), (["--user", "*@contoso.com"], True), (["--user", "*@*"], True),
    (["--user", "?*@contoso.com"], True), (["--network", "0.0.0.0/0"], True), (["--network", "::/0"], True),
    (["--user", "h*@contoso.com"], False), (["--user", "*@fabrikam.com"], False),
    (["--network", "10.0.0.0/8"], False), (["--user", "*@contoso.com", "--network", "10.0.0.0/8"], False)])
def test_what_is_tenant_wide(site, whom, wide):
    fields = dict(zip((name.strip("-") for name in whom[::2]), whom[1::2]))
    answer = site.ask("ALLOW", protocol="pop3", until=UNTIL, reason="x", commit="no", **fields)[1]
    assert answer.verb == "OK" and answer["tenant_wide"] == ("yes" if wide else "no"), answer
    assert answer.get("tenants") == ("contoso" if wide else None), answer
    assert len(rows(site, "policy")) == 2


def test_tenant_wide_is_acknowledged(site, account):
    result = command(site, "allow", "--protocol", "pop3", *WHY, check=False)
    assert result.status == 64 and "tenant-wide (contoso)" in result.err, result
    assert denied(site.pop3(account))
    made = allow(site, "--protocol", "pop3", "--yes")
    assert made["tenant_wide"] == "yes" and site.pop3(account).ok
    rows(site, "disallow", made["exception"])


@pytest.mark.parametrize("fields, text", [
    ({"protocol": "telnet"}, "imap, pop3 or submission"), ({"until": "2001-01-31"}, "in the past"),
    ({"until": "2099-12-31"}, "within 400 days"), ({"until": "9999-99-99"}, "a date like"),
    ({"action": "deny"}, "\"upgrade\" or \"basic\""), ({"action": "?"}, "\"upgrade\" or \"basic\""),
    ({"network": "10.0.0.1/8"}, "network"), ({"user": "a b"}, "a pattern like"), ({"user": "x" * 400}, "a pattern like"),
    ({"reason": ""}, "needs a reason"), ({"reason": "x" * 201}, "longer than 200"), ({"reason": None}, "needs a reason")])
def test_what_is_refused(site, fields, text):
    fields = {"protocol": "pop3", "until": UNTIL, "reason": "x", **fields}
    for commit in ("no", "yes"):
        answer = site.ask("ALLOW", commit=commit, **{k: v for k, v in fields.items() if v is not None})[1]
        assert answer.verb == "FAIL" and answer["code"] == "config" and text in answer["reason"], answer
    assert len(rows(site, "policy")) == 2


def test_hostile_text_is_shown_and_written_harmlessly(site):
    answer = site.ask("ALLOW", protocol="pop3", until=UNTIL, user="x@contoso.com", by="a\nb\x1b[2J" + "y" * 300,
                      reason="line\n{\"event\":1}\x1b]0;x\x07\u202e")[1]
    assert answer.verb == "OK", answer
    row = rows(site, "policy")[0]
    assert row["reason"] == "line?{\"event\":1}?]0;x??" and row["by"].startswith("a?b?[2Jy") and len(row["by"]) == 64, row
    record = changes(site, "exception-added")[-1]
    assert "\n" not in record["modernauth"]["by"] and "\n" not in record["modernauth"]["allowed"]["reason"]
    assert "\x1b" not in site.log()
    assert site.ask("DISALLOW", exception=answer["exception"])[1].verb == "OK"
    answer = site.ask("DISALLOW", exception="\x1b" * 100)[1]
    assert answer.verb == "FAIL" and answer["code"] == "user_unknown", answer


def test_without_the_store_nothing_is_allowed(fronts, standin, people):
    front = fronts.new(tenants=settings.tenant(standin, "contoso", ["contoso.com"]), extra=RULES)
    front.expect("login refused", "the store cannot be opened")
    account = people.new()
    front.wait_store()
    assert allow(front, "--protocol", "pop3", "--user", account.upn) and front.pop3(account).ok
    front.write("lib/modernauth.keys", "no keys\n", 0o600)
    front.kill_and_wait_for_trouble()
    assert denied(front.pop3(account)) and front.imap(account).ok
    assert "No grant needs it; the inventory is in memory only, and no exception from the rules holds" in front.log()
    result = command(front, "policy")
    assert "no exception holds" in result.err and len(json.loads(result.out)) == 2
    result = command(front, "allow", "--protocol", "pop3", "--user", account.upn, *WHY, check=False)
    assert result.status == 78 and "the store is not open" in result.err, result
