# SPDX-License-Identifier: MIT
"""The inventory: who logs in with a password, how, and from where; as a report, after a stop, a reload and a kill."""

import csv
import io
import json
import os
import sqlite3
import time

import pytest

from harness import settings

OUTCOMES = ("ok", "refused", "failed", "other")


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    running_standin.domain("inventory.test")
    front = fronts.new(tenants=settings.tenant(running_standin, "contoso", ["contoso.com"]) +
                       settings.tenant(running_standin, "other", ["inventory.test"]))
    front.expect("login refused", "inventory-forgotten")
    return front


def report(front, *args):
    """The rows of the report, as JSON has them."""
    return json.loads(front.doveadm("-f", "json", "modernauth", "report", *args).stdout)


def of(front, account, *args):
    return report(front, "--user", account.upn, *args)


def counts(row):
    return [int(row[name]) for name in OUTCOMES]


def written(front):
    """Everything is on disk: a stop writes it."""
    assert front.stop() == []
    front.start()
    front.wait_store()


# -- what is seen

def test_a_login_of_each_protocol_is_a_row(site, people):
    account = people.new()
    assert site.imap(account, source="127.8.1.1", client_id='"name" "Thunderbird" "version" "115.1"').ok
    assert site.imap(account, source="127.8.1.77", client_id='"name" "Thunderbird" "version" "115.1"').ok
    assert site.pop3(account, source="127.8.2.1", tls="implicit").ok
    assert site.smtp(account, source="127.8.3.1", tls="starttls").ok
    assert site.imap(account, "wr0ng-" + account.password[::-1], source="127.8.4.1").wrong
    site.wait_upstream(account.upn, 4)
    rows = {row["network"]: row for row in of(site, account)}
    assert sorted(rows) == ["127.8.1.0/24", "127.8.2.0/24", "127.8.3.0/24", "127.8.4.0/24"]
    first = rows["127.8.1.0/24"]
    assert (first["user"], first["tenant"], first["protocol"]) == (account.upn, "contoso", "imap")
    assert (first["client"], first["tls"], first["last_ip"]) == ("Thunderbird 115.1", "no", "127.8.1.77")
    assert counts(first) == [2, 0, 0, 0] and first["last_action"] == "upgrade" and first["last_error"] == ""
    assert first["first_seen"] <= first["last_seen"]
    pop = rows["127.8.2.0/24"]
    assert pop["protocol"] == "pop3" and pop["tls"].startswith("1.") and pop["client"] == "" and counts(pop) == [1, 0, 0, 0]
    assert rows["127.8.3.0/24"]["protocol"] == "submission" and rows["127.8.3.0/24"]["tls"] != "no"
    bad = rows["127.8.4.0/24"]
    assert counts(bad) == [0, 1, 0, 0] and bad["last_error"] == "bad_credentials AADSTS50126"
    assert len(of(site, account, "--working")) == 3


def test_who_is_not_ours_is_not_in_it(site):
    assert not site.imap("nobody@elsewhere.example", "s0me-password").ok
    assert not [row for row in report(site) if "elsewhere" in row["user"]]


def test_filters_and_groups(site, people):
    anna, berta, carla = people.new(), people.new(), people.new(domain="inventory.test")
    for number, account in enumerate((anna, berta, carla)):
        assert site.imap(account, source="127.7.1.%d" % (number + 1), client_id='"name" "K-9"').ok
    assert site.pop3(anna, source="127.7.2.1").ok
    assert len(report(site, "--network", "127.7.0.0/16")) == 4
    assert len(report(site, "--network", "127.7.2.0/24")) == 1
    assert {row["user"] for row in report(site, "--tenant", "other")} >= {carla.upn}
    assert len(report(site, "--network", "127.7.0.0/16", "--protocol", "pop3")) == 1
    assert len(report(site, "--network", "127.7.0.0/16", "--since", "1h")) == 4
    [client] = [row for row in report(site, "--group-by", "client", "--network", "127.7.0.0/16") if row["client"] == "K-9"]
    assert (int(client["users"]), int(client["networks"]), counts(client)) == (3, 1, [3, 0, 0, 0])
    [user] = of(site, anna, "--group-by", "user")
    assert (user["protocols"], int(user["clients"]), int(user["networks"])) == ("imap,pop3", 2, 2)
    protocols = report(site, "--group-by", "protocol", "--network", "127.7.0.0/16")
    assert [(row["protocol"], int(row["users"])) for row in protocols] == [("imap", 3), ("pop3", 1)]
    networks = report(site, "--group-by", "network", "--network", "127.7.0.0/16")
    assert [(row["network"], int(row["users"])) for row in networks] == [("127.7.1.0/24", 3), ("127.7.2.0/24", 1)]
    days = report(site, "--group-by", "day")
    assert {row["protocol"] for row in days} == {"imap", "pop3", "submission"}
    assert time.strftime("%Y-%m-%d", time.gmtime()) in {row["day"] for row in days}
    assert report(site, "--user", "nobody-like-this@*") == []


def test_the_report_is_for_people_and_for_spreadsheets(site, people):
    account = people.new()
    assert site.imap(account, source="127.7.9.1", client_id='"name" "=cmd|evil,\\"x\\"" "version" "1\t2"').ok
    table = site.doveadm("modernauth", "report", "--user", account.upn).stdout
    assert table.startswith("user") and account.upn in table and "127.7.9.0/24" in table, table
    text = site.doveadm("modernauth", "report", "--user", account.upn, "--csv").stdout
    [row] = csv.DictReader(io.StringIO(text))
    assert row["user"] == account.upn and row["client"].startswith("'=cmd|evil,\"x\""), row
    assert row["ok"] == "1" and row["last_error"] == ""
    for args in (["--since", "soon"], ["--group-by", "mood"], ["--protocol", "ftp"], ["--network", "10.0.0.1/8"]):
        done = site.doveadm("modernauth", "report", *args, check=False)
        assert done.returncode in (64, 78) and args[1].split("/")[0] in done.stderr, done


# -- what stays

def test_it_survives_a_stop_a_reload_and_all_but_a_minute_of_a_kill(site, people):
    account = people.new()
    assert site.imap(account, source="127.6.1.1").ok
    written(site)
    [before] = of(site, account)
    assert counts(before) == [1, 0, 0, 0]
    assert site.imap(account, source="127.6.1.2").ok
    site.reload()
    [after] = of(site, account)
    assert counts(after) == [2, 0, 0, 0] and after["first_seen"] == before["first_seen"]
    assert after["last_ip"] == "127.6.1.2"
    # This one is in the audit only, unless it is as old as a minute.
    assert site.imap(account, source="127.6.1.3").ok
    site.kill_and_wait()
    [killed] = of(site, account)
    assert counts(killed) in ([2, 0, 0, 0], [3, 0, 0, 0])
    assert len(site.attempts(account.upn)) == 3
    days = [row for row in report(site, "--group-by", "day") if row["protocol"] == "imap"]
    assert sum(int(row["ok"]) for row in days) >= 2


def test_a_person_is_forgotten_for_good(site, people):
    account, other = people.new(), people.new()
    assert site.imap(account).ok and site.pop3(account).ok and site.imap(other).ok
    written(site)
    assert len(of(site, account)) == 2
    done = json.loads(site.doveadm("-f", "json", "modernauth", "inventory", "forget", account.upn.upper()).stdout)
    assert [int(row["rows"]) for row in done] == [2]
    assert of(site, account) == []
    [record] = site.audit(account.upn, action="inventory-forgotten")
    assert record["event"]["outcome"] == "success" and record["modernauth"]["actor"] == "doveadm"
    assert record["modernauth"]["uid"] == 0 and record["modernauth"]["by"] not in ("", "unknown")
    assert site.stop() == []
    for name in os.listdir(site.path("lib")):
        with open(site.path("lib/" + name), "rb") as file:
            data = file.read()
        assert account.upn.encode() not in data, name
    site.start()
    site.wait_store()
    assert of(site, account) == [] and len(of(site, other)) == 1
    assert site.doveadm("modernauth", "inventory", "forget", check=False).returncode == 64


# -- where it is not kept

def test_without_a_place_to_keep_it_logins_work_and_one_line_says_so(fronts, standin, people):
    front = fronts.new(start=False, tenants=settings.tenant(standin, "contoso", ["contoso.com"]))
    front.expect("the store cannot be opened")
    os.chmod(front.path("lib"), 0o755)
    front.start()
    account = people.new()
    assert front.imap(account).ok
    line = front.wait_log("the store cannot be opened: .*").group(0)
    assert "to do: chmod 0700" in line and "No grant needs it" in line and "in memory only" in line, line
    assert [counts(row) for row in of(front, account)] == [[1, 0, 0, 0]]
    # Mended while the service runs: nothing that was seen is lost.
    os.chmod(front.path("lib"), 0o700)
    front.wait(lambda: front.ask("LIST")[1].verb == "OK", 20)
    assert front.imap(account, source=front.attempts(account.upn)[0]["source"]["ip"]).ok
    written(front)
    assert [counts(row) for row in of(front, account)] == [[2, 0, 0, 0]]
    assert front.log().count("the store cannot be opened") == 1


def test_it_can_be_switched_off(fronts, standin, people):
    front = fronts.new(tenants=settings.tenant(standin, "contoso", ["contoso.com"]), inventory="no")
    assert front.imap(people.new()).ok
    done = front.doveadm("modernauth", "report", check=False)
    assert done.returncode == 78 and '"inventory" is false' in done.stderr
    with sqlite3.connect("file:%s?mode=ro" % front.path("lib/modernauth.db"), uri=True) as database:
        kinds = {row[0] for row in database.execute("SELECT DISTINCT kind FROM records")}
    assert not any(kind.startswith("inventory") for kind in kinds), kinds


# -- as a page

def test_the_page_has_what_the_broker_knows(site, people):
    account = people.new()
    assert site.pop3(account, source="127.5.1.1").ok
    assert site.imap(account, "wr0ng-" + account.password[::-1], source="127.5.2.1").wrong
    path = site.path("report.html")
    done = site.doveadm("modernauth", "report", "--html", path, "--user", account.upn)
    assert "written" in done.stderr
    with open(path, encoding="utf-8") as file:
        page = file.read().replace("<wbr>", "")
    os.unlink(path)
    for text in ("1 account</strong> signed in", account.upn, "Tenants <bdi>contoso</bdi>, <bdi>other</bdi>", "wrong user name or password",
                 "AADSTS50126", "The user mends the password", "off by default, an admin can still turn it on", "--user " + account.upn):
        assert text in page, text
    rows, end = site.ask("REPORT", about="yes")
    assert end.verb == "OK" and int(end["rows"]) == len(rows)
