# SPDX-License-Identifier: MIT
"""A real Prometheus with the shipped rules scrapes a real Dovecot with the shipped drop-in. What the alerts do in time is
test_alerts.py's."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

import pytest

from harness import alerts, settings
from harness.front import free_port
from test_alerts import DASHBOARD, promtool
from test_events import LISTENER, metrics, of

CONFIG = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: modernauth
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""
DROP_IN = "91-modernauth-metrics.conf"


@pytest.fixture(scope="module")
def front(fronts):
    front = fronts.new(start=False)
    front.write(DROP_IN, settings.shipped(DROP_IN, front.config_path))
    front.write("dovecot.conf", front.read("dovecot.conf") +
                LISTENER.format(directory=front.directory, port=front.ports["http"]))
    front.expect("login refused", r"auth: Error: modernauth\(", "no token requests", "upstream refused")
    return front.start()


class Prometheus:
    """Shipped rules, one target."""

    def __init__(self, front):
        self.directory, self.port = tempfile.mkdtemp(prefix="prom-", dir="/tmp"), free_port()
        config = os.path.join(self.directory, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG % (alerts.RULES, front.ports["http"]))
        os.chown(self.directory, front.user.pw_uid, front.user.pw_gid)
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", "--config.file=" + config, "--storage.tsdb.path=" + os.path.join(self.directory, "data"),
                 "--web.listen-address=127.0.0.1:%d" % self.port], stdout=log, stderr=log, cwd=self.directory,
                user=front.user.pw_uid, group=front.user.pw_gid, extra_groups=[])

    def api(self, path, **params):
        url = "http://127.0.0.1:%d/api/v1/%s?%s" % (self.port, path, urllib.parse.urlencode(params))
        with urllib.request.urlopen(url, timeout=10) as reply:
            return json.load(reply)["data"]

    def value(self, expression):
        """Of the only row; None: there is none."""
        rows = self.api("query", query=expression)["result"]
        return float(rows[0]["value"][1]) if rows else None

    def wait(self, expression, wanted, seconds=60):
        deadline = time.monotonic() + seconds
        value = None
        while time.monotonic() < deadline:
            try:
                value = self.value(expression)
            except OSError:
                pass
            if value == wanted:
                return
            time.sleep(0.2)
        with open(os.path.join(self.directory, "log"), encoding="utf-8") as file:
            raise AssertionError("%s is %s, not %s\n%s" % (expression, value, wanted, file.read()[-2000:]))

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.directory)


@pytest.fixture(scope="module")
def prometheus(front):
    prometheus = Prometheus(front)
    yield prometheus
    prometheus.stop()


def test_logins_arrive_at_prometheus(front, prometheus, people):
    account = people.new()
    assert front.imap(account).ok and front.pop3(account).ok
    assert front.imap(people.new(), people.password()).wrong
    prometheus.wait('up{job="modernauth"}', 1)
    prometheus.wait('sum(dovecot_modernauth_attempts_total{status="ok"})', 2)
    prometheus.wait('sum(dovecot_modernauth_attempts_total{status="bad_credentials"})', 1)
    prometheus.wait('sum(dovecot_modernauth_passdb_total{result="ok"})', 2)
    prometheus.wait("dovecot_modernauth_attempt_duration_count", 3)
    prometheus.wait('sum(dovecot_modernauth_heartbeats_total{tenant="contoso",breaker="closed",store="open",audit="ok"}) > bool 0',
                    1)


def test_a_lockout_and_a_breaker_are_counted(front, standin, people, spare_domain):
    victim, tenant = people.new(), spare_domain.split(".")[0]
    for _ in range(6):
        front.imap(victim, people.password())
    assert of(front, "dovecot_modernauth_accounts_locked_total", tenant="contoso", by="us") == 1
    standin.fault(endpoint="token", user="*@" + spare_domain, action="status", status=429, retry_after="2")
    assert not front.imap(people.new(spare_domain)).ok
    assert of(front, "dovecot_modernauth_breaker_opened_total", tenant=tenant, cause="asked_to_wait") == 1
    assert of(front, "dovecot_modernauth_breaker_closed_total", tenant=tenant) == 0
    standin.clear_faults()
    account = people.new(spare_domain)
    front.wait(lambda: front.imap(account).ok)
    assert of(front, "dovecot_modernauth_breaker_closed_total", tenant=tenant) == 1


def test_prometheus_runs_every_rule_and_panel(prometheus):
    rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(alerts.names(open(alerts.RULES, encoding="utf-8").read())) + 4
    assert [rule for rule in rules if rule["health"] == "err"] == []
    for expression in panel_expressions():
        prometheus.api("query", query=expression)      # HTTP 400 is an exception


def panel_expressions():
    """As Grafana would ask, with its variables filled in."""
    with open(DASHBOARD, encoding="utf-8") as file:
        dashboard = json.load(file)
    values = {"$job": "modernauth", "$instance": ".*", "$tenant": ".*", "$__rate_interval": "1m"}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in values.items():
                expression = expression.replace(name, value)
            yield expression


def drop_in_labels():
    """metric -> the labels that its rows may have"""
    text = open(os.path.join(settings.CONF_D, DROP_IN), encoding="utf-8").read()
    blocks = re.findall(r"^metric (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    labels = {}
    for name, block in blocks:
        grouped = re.search(r"group_by = (.*)", block)
        labels[name] = {word.split(":")[0] for word in grouped[1].split()} if grouped else set()
        if "duration" in labels[name]:
            labels[name] = {"le"}
    return labels


def test_names_and_labels_are_those_that_dovecot_prints(front):
    """A metric whose first event has not come is there with its _count already."""
    printed = {re.sub(r"_(total|count|bucket|sum)$", "", row.split("{")[0]) for row in metrics(front)}
    labels = drop_in_labels()
    with open(alerts.RULES, encoding="utf-8") as file:
        texts = [file.read(), *panel_expressions()]
    used = set()
    for name, suffix, selector in re.findall(r"dovecot_(modernauth_\w+)_(total|count|bucket)(\{[^}]*\})?", "\n".join(texts)):
        used.add(name)
        assert "dovecot_" + name in printed
        asked = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\"", selector)) - {"job", "instance"}
        assert asked <= labels[name], (name, selector)
        if suffix == "total" and labels[name]:
            assert asked, "%s_total has rows for each prefix of its labels: %s" % (name, selector)
    assert used == set(labels), "a metric that nobody looks at"


def test_promtool_reads_what_dovecot_prints(front):
    """promtool knows the older text format, which has no type "info". What it says of help texts is Dovecot's."""
    with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % front.ports["http"], timeout=10) as reply:
        text = reply.read().decode()
    assert '{"' not in text, "a label without a name: see the drop-in about histograms"
    result = promtool("check", "metrics", stdin=text.replace("TYPE dovecot_build info", "TYPE dovecot_build gauge"))
    said = {line.split(" ", 1)[1] for line in result.stderr.splitlines()}
    assert said <= {"no help text"}, result.stderr
