# SPDX-License-Identifier: MIT
"""What promtool's unit tests of the alert rules are made of: a front end that is well, and what is different about it."""

import json
import os
import re

from . import settings

RULES = os.path.join(settings.CONF_D, "prometheus", "modernauth.rules.yml")
JOB = {"job": "modernauth", "instance": "a"}
# One sample each 30 s: what a front end prints that is well.
HEALTHY = {
    'up{}': "1x400",
    'heartbeats_count{}': "0+1x400",
    'heartbeats_total{tenant="t",breaker="closed",store="open",audit="ok"}': "0+1x400",
    'passdb_total{result="ok"}': "0+30x400",
    'passdb_total{result="password_mismatch"}': "0+1x400",
    'passdb_total{result="internal_failure"}': "0x100 1x300",
    'attempts_total{outcome="ok",service="imap",status="ok"}': "0+30x400",
    'attempts_total{outcome="failed",service="imap",status="bad_credentials"}': "0+1x400",
    'attempt_duration_bucket{le="1.048576"}': "0+30x400",
    'attempt_duration_bucket{le="16.777216"}': "0+31x400",
    'attempt_duration_bucket{le="+Inf"}': "0+31x400",
    'token_request_duration_bucket{le="1.048576"}': "0+5x400",
    'token_request_duration_bucket{le="16.777216"}': "0+5x400",
    'token_request_duration_bucket{le="+Inf"}': "0+5x400",
    'token_requests_total{tenant="t",grant="password",status="ok",code="0",http_status="200"}': "0+5x400",
    'token_requests_total{tenant="t",grant="password",status="temporary",code="0",http_status="503"}': "_x50 1x350",
    'upstream_total{service="imap",result="accepted",tenant="t"}': "0+30x400",
    'upstream_total{service="imap",result="refused",tenant="t"}': "0x50 1x350",
    'upstream_total{service="imap",result="failed",tenant="t"}': "0x60 1x340",
    'audit_failed_count{}': "0x400",
    'enrolments_died_count{}': "0x400",
    'accounts_locked_total{tenant="t",by="us"}': "_x20 1x380",
}


def names(text):
    """The alerts of a rule file, in order, with their severities."""
    return dict(re.findall(r"- alert: Modernauth(\w+)\n.*?severity: (\w+)", text, re.DOTALL))


def without_texts(text):
    """promtool compares annotations to the letter: what alerts say is checked elsewhere."""
    return re.sub(r"^ +(annotations:|summary: .*|description: .*)\n", "", text, flags=re.MULTILINE)


def series(name, values):
    name, labels = name.rstrip("}").split("{")
    prefix = "" if name == "up" else "dovecot_modernauth_"
    labels = ",".join(['%s="%s"' % item for item in JOB.items()] + ([labels] if labels else []))
    return {"series": "%s%s{%s}" % (prefix, name, labels), "values": values}


def case(name, severities, different=None, missing=(), labels=None, fires=None, quiet=None):
    """different: series that are not as in HEALTHY, or more of them. fires, quiet: alert -> times; labels: of those that
    fire, besides the front end's."""
    rows = {key: values for key, values in {**HEALTHY, **(different or {})}.items() if key not in missing}
    tests = []
    for alert, times in (fires or {}).items():
        wanted = {"exp_labels": {**JOB, "severity": severities[alert], **(labels or {})}}
        tests += [{"eval_time": at, "alertname": "Modernauth" + alert, "exp_alerts": [wanted]} for at in times.split()]
    for alert, times in (quiet or {}).items():
        tests += [{"eval_time": at, "alertname": "Modernauth" + alert, "exp_alerts": []} for at in times.split()]
    return {"name": name, "interval": "30s", "alert_rule_test": tests,
            "input_series": [series(key, values) for key, values in rows.items()]}


def write(directory, cases, text):
    """The path of a file for "promtool test rules"; text is the rule file's."""
    with open(os.path.join(directory, "modernauth.rules.yml"), "w", encoding="utf-8") as file:
        file.write(without_texts(text))
    path = os.path.join(directory, "alerts.yml")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"rule_files": ["modernauth.rules.yml"], "evaluation_interval": "30s", "tests": cases}, file)
    return path
