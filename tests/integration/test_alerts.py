# SPDX-License-Identifier: MIT
"""The alert rules and the dashboard as files: what promtool thinks of them, when alerts fire and when they do not. Grafana is
not in Debian; the dashboard is checked for what Grafana needs. test_monitoring.py shows both with a real Prometheus."""

import json
import os
import re
import subprocess

import pytest

from harness import alerts, settings

DASHBOARD = os.path.join(settings.CONF_D, "grafana", "modernauth-dashboard.json")
BEAT = 'heartbeats_total{tenant="t",breaker="closed",store="%s",audit="%s"}'
TENANT = {"tenant": "t"}
ENDS = 'credentials_expiring_total{tenant="t",credential="%s",days_left="%s"}'
# name, and what alerts.case() makes of it. A number that begins late ("_x40 1x360") is a row whose first event comes after
# 20 minutes; one that is there from the start with 0 is a metric's total.
CASES = {
    "no scrape": {"different": {"up{}": "1x9 0x390"}, "quiet": {"NoScrape": "5m"}, "fires": {"NoScrape": "8m 30m"}},
    "the drop-in is missing": {"missing": ["heartbeats_count{}"], "quiet": {"NotMeasured": "9m", "BrokerSilent": "30m"},
                               "fires": {"NotMeasured": "11m"}},
    "the broker has died": {"different": {"heartbeats_count{}": "0+1x20 20x380"},
                            "quiet": {"BrokerSilent": "12m"}, "fires": {"BrokerSilent": "25m"}},
    "the broker was restarted": {"different": {"heartbeats_count{}": "0+1x20 20x6 20+1x370"},
                                 "quiet": {"BrokerSilent": "12m 14m 20m"}},
    "one login in ten fails for the time being": {
        "different": {'passdb_total{result="internal_failure"}': "0+4x400"},
        "quiet": {"TemporaryFailures": "4m"}, "fires": {"TemporaryFailures": "30m"}},
    "both logins of the night fail for the time being": {
        "different": {'passdb_total{result="ok"}': "0x400", 'passdb_total{result="password_mismatch"}': "0x400",
                      'passdb_total{result="internal_failure"}': "0x40 2x360"},
        "quiet": {"TemporaryFailures": "22m 26m"}},
    "users wait": {"different": {'attempt_duration_bucket{le="1.048576"}': "0+10x400"}, "quiet": {"Slow": "5m"},
                   "fires": {"Slow": "30m"}},
    "the store does not open": {"different": {BEAT % ("closed", "ok"): "0+1x400"}, "fires": {"StoreClosed": "30m"}},
    "the store opened after a moment": {"different": {BEAT % ("closed", "ok"): "1x400"}, "quiet": {"StoreClosed": "20m"}},
    "the audit cannot be written": {"different": {"audit_failed_count{}": "0x20 1x380"},
                                    "quiet": {"AuditFailing": "9m 30m"}, "fires": {"AuditFailing": "12m"}},
    "the audit fails, and nobody logs in": {"different": {BEAT % ("open", "failing"): "0+1x400"},
                                            "fires": {"AuditFailing": "30m"}},
    "a storm of wrong passwords": {
        "different": {'attempts_total{outcome="failed",service="imap",status="bad_credentials"}': "0+40x400"},
        "quiet": {"BadPasswordStorm": "3m"}, "fires": {"BadPasswordStorm": "15m"}},
    "as many among very many good ones": {
        "different": {'attempts_total{outcome="failed",service="imap",status="bad_credentials"}': "0+40x400",
                      'attempts_total{outcome="ok",service="imap",status="ok"}': "0+400x400"},
        "quiet": {"BadPasswordStorm": "15m"}},
    "few logins, half of them wrong": {
        "different": {'attempts_total{outcome="failed",service="imap",status="bad_credentials"}': "0+2x400",
                      'attempts_total{outcome="ok",service="imap",status="ok"}': "0+2x400"},
        "quiet": {"BadPasswordStorm": "15m"}},
    "a list of passwords is tried on many accounts": {
        "different": {'accounts_locked_total{tenant="t",by="us"}': "0+1x400"}, "labels": TENANT,
        "fires": {"AccountsLocked": "30m"}},
    "the same, first": {"different": {'accounts_locked_total{tenant="t",by="us"}': "_x40 14x360"}, "labels": TENANT,
                        "quiet": {"AccountsLocked": "15m 40m"}, "fires": {"AccountsLocked": "25m"}},
    "Entra answers with errors": {
        "different": {'token_requests_total{tenant="t",grant="password",status="temporary",code="0",http_status="503"}':
                      "0+2x400"}, "labels": TENANT, "fires": {"EntraErrors": "30m"}},
    "the only request of the hour fails": {
        "different": {'token_requests_total{tenant="t",grant="password",status="ok",code="0",http_status="200"}': "0x400",
                      'token_requests_total{tenant="t",grant="password",status="temporary",code="0",http_status="503"}':
                      "0x40 1x360"}, "quiet": {"EntraErrors": "22m 24m"}},
    "our secret has expired": {
        "different": {'token_requests_total{tenant="t",grant="password",status="config",code="7000222",http_status="401"}':
                      "_x40 1x360"}, "labels": {"tenant": "t", "code": "7000222"},
        "quiet": {"AppRefused": "15m 40m"}, "fires": {"AppRefused": "22m"}},
    "the breaker opens for the first time": {
        "different": {'breaker_opened_total{tenant="t",cause="failures"}': "_x40 1x360"}, "labels": TENANT,
        "quiet": {"BreakerOpen": "15m 40m"}, "fires": {"BreakerOpen": "22m"}},
    "the breaker opens again and again": {
        "different": {'breaker_opened_total{tenant="t",cause="failures"}': "3x40 3+1x360"}, "labels": TENANT,
        "quiet": {"BreakerOpen": "15m"}, "fires": {"BreakerOpen": "30m 60m"}},
    "Entra is slow": {"different": {'token_request_duration_bucket{le="1.048576"}': "0+2x400"},
                      "fires": {"EntraSlow": "30m"}},
    "Exchange refuses tokens": {
        "different": {'upstream_total{service="imap",result="refused",tenant="t"}': "0+5x400"},
        "labels": {"tenant": "t", "service": "imap"}, "fires": {"RefusedUpstream": "30m"},
        "quiet": {"ExchangeErrors": "30m"}},
    "sessions at Exchange fail": {
        "different": {'upstream_total{service="imap",result="failed",tenant="t"}': "0+5x400"},
        "labels": {"service": "imap"}, "fires": {"ExchangeErrors": "30m"}, "quiet": {"RefusedUpstream": "30m"}},
    "one enrolment has died": {
        "different": {"enrolments_died_count{}": "0x40 1x360", 'enrolments_died_total{tenant="t",code="50173"}': "_x40 1x360"},
        "labels": {"tenant": "t", "code": "50173"}, "quiet": {"EnrolmentsDied": "15m", "EnrolmentsDying": "22m 3h"},
        "fires": {"EnrolmentsDied": "22m 3h"}},
    "many enrolments die": {"different": {"enrolments_died_count{}": "0x40 0+1x360"}, "fires": {"EnrolmentsDying": "50m"}},
    "enrolments end soon": {"different": {'enrolments_expiring_total{tenant="t"}': "_x40 3x360"}, "labels": TENANT,
                            "quiet": {"EnrolmentsExpiring": "15m"}, "fires": {"EnrolmentsExpiring": "22m"}},
    "a certificate ends in three weeks": {
        "different": {ENDS % ("certificate", 21): "_x40 1x360"},
        "labels": {"tenant": "t", "credential": "certificate", "days_left": "21"},
        "fires": {"CredentialEnding": "30m"}, "quiet": {"CredentialEnds": "30m"}},
    "a secret ends this week": {
        "different": {ENDS % ("client secret", 5): "_x40 1x360"},
        "labels": {"tenant": "t", "credential": "client secret", "days_left": "5"},
        "fires": {"CredentialEnding": "30m", "CredentialEnds": "30m"}},
    "a rule ends": {"different": {'notices_total{kind="rule",rule="scanners"}': "_x40 1x360"},
                    "labels": {"kind": "rule", "rule": "scanners"}, "quiet": {"RuleEnding": "15m"},
                    "fires": {"RuleEnding": "30m"}},
}


@pytest.fixture(scope="module")
def rules():
    with open(alerts.RULES, encoding="utf-8") as file:
        return file.read()


def promtool(*args, stdin=None):
    return subprocess.run(["promtool", *args], input=stdin, capture_output=True, text=True, timeout=120)


def test_promtool_takes_the_rules():
    result = promtool("check", "rules", alerts.RULES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_alerts_fire_when_they_should(rules, tmp_path):
    severities = alerts.names(rules)
    cases = [alerts.case(name, severities, **what) for name, what in CASES.items()]
    cases.append(alerts.case("a front end that is well", severities, quiet=dict.fromkeys(severities, "1h 2h30m")))
    result = promtool("test", "rules", alerts.write(tmp_path, cases, rules))
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_alert_has_a_case_that_makes_it_fire(rules):
    fired = {alert for what in CASES.values() for alert in what.get("fires", {})}
    assert fired == set(alerts.names(rules))


def test_each_alert_says_what_it_is_and_the_readme_what_to_do(rules):
    with open(os.path.join(settings.TOP, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    assert rules.count("summary:") == rules.count("description:") == len(alerts.names(rules))
    assert [name for name in alerts.names(rules) if "| `%s` |" % name not in readme] == []


def test_an_alert_that_is_broken_does_not_pass(rules, tmp_path):
    broken = rules.replace("> 0.5 and modernauth:bad_passwords", "> 5000 and modernauth:bad_passwords")
    assert broken != rules
    name = "a storm of wrong passwords"
    cases = [alerts.case(name, alerts.names(rules), **CASES[name])]
    assert promtool("test", "rules", alerts.write(tmp_path, cases, broken)).returncode != 0


# -- the dashboard -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dashboard():
    with open(DASHBOARD, encoding="utf-8") as file:
        return json.load(file)


def test_the_dashboard_is_one(dashboard):
    assert dashboard["schemaVersion"] >= 36 and dashboard["title"] and dashboard["uid"]
    assert dashboard.get("id") is None, "an id is that of somebody's database"
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    assert {"job", "instance", "tenant"} <= set(variables)


def test_panels_have_ids_places_and_targets(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"] and panel["type"] in ("row", "stat", "timeseries", "table")
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24 and place["h"] > 0
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["expr"] and target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_no_panel_lies_on_another(dashboard):
    taken = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_variables_that_panels_use_exist(dashboard):
    known = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval", "__all"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))) <= known
