# SPDX-License-Identifier: MIT
"""Notices about rules that end: in the log, by mail and to the admin's program, once a day; programs that fail or hang."""

import datetime
import os
import re
import time

import pytest

from harness import settings

DOMAIN = "notices.test"
NOTICE = 'Warning: .*rule "scanners" ends in [456] days'
MAIL = """#!/bin/sh
printf '%%s ' "$@" > "%(dir)s/$$.args"
cat > "%(dir)s/$$.mail.new"
mv "%(dir)s/$$.mail.new" "%(dir)s/$$.mail"
"""
COMMAND = """#!/bin/sh
case $MODERNAUTH_RULE in
broken)
    printf 'cannot \\033reach the pager\\nsecond line' >&2
    exit 3;;
hangs)
    exec sleep 20;;
esac
env > "%(dir)s/$$.env"
ls -l /proc/self/fd > "%(dir)s/$$.fds"
cat > "%(dir)s/$$.text.new"
mv "%(dir)s/$$.text.new" "%(dir)s/$$.text"
"""


def rule(name, days):
    """One that ends so many days after today."""
    until = datetime.date.today() + datetime.timedelta(days=days)
    return 'rule "%s" {\n  users = {"%s-*@%s"}\n  until = "%s"\n  then = "local"\n  notice_days = 30\n}\n' % (
        name, name, DOMAIN, until)


def script(front, name, text):
    return front.write(name, text % {"dir": front.path("lib/out")}, mode=0o755)


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    running_standin.domain(DOMAIN)
    front = fronts.new(start=False, tenants="")
    os.mkdir(front.path("lib/out"), 0o700)
    os.chown(front.path("lib/out"), front.user.pw_uid, front.user.pw_gid)
    notice = 'notice {\n  mail_to = "admins@contoso.com"\n  mail_from = "ma@front.test"\n  sendmail = "%s"\n  command = "%s"\n}\n' % (
        script(front, "sendmail", MAIL), script(front, "command", COMMAND))
    rules = rule("scanners", 5) + rule("later", 40) + rule("broken", 6) + rule("hangs", 7)
    # The store is open where a grant needs it: it remembers what has been said today.
    front.write("modernauth.conf", settings.modernauth_conf(
        front, settings.tenant(running_standin, "notices", [DOMAIN], grants=["password", "enrolled"]), notice + rules))
    front.expect('rule "(scanners|broken|hangs)" (ends|has ended)', "exit status 3: cannot \\?reach the pager$")
    front.start()
    front.wait_log('rule "hangs" ends in', timeout=20)
    front.wait_log("exit status 3", timeout=20)
    return front


def outputs(site, ending):
    return sorted(name for name in os.listdir(site.path("lib/out")) if name.endswith(ending))


def test_everybody_who_asked_is_told_and_a_hanging_program_harms_nobody(site, people):
    # "hangs" is hanging now.
    started = time.monotonic()
    assert site.imap(people.new(domain=DOMAIN)).ok
    assert site.status()
    assert time.monotonic() - started < 10
    lines = re.findall(NOTICE, site.log())
    assert len(lines) == 1, site.log()
    assert 'rule "later"' not in site.log()
    mails = [site.read("lib/out/" + name) for name in outputs(site, ".mail")]
    mail = [text for text in mails if 'Subject: modernauth: rule "scanners" ends in' in text]
    assert len(mail) == 1, mails
    head, body = mail[0].split("\n\n", 1)
    for name in ("From: modernauth <ma@front.test>", "To: admins@contoso.com", "Date: ", "Message-ID: <modernauth.",
                 "Auto-Submitted: auto-generated", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8"):
        assert "\n" + name in "\n" + head, mail
    until = datetime.date.today() + datetime.timedelta(days=5)
    assert 'rule "scanners" ends in' in body and '(%s, ' % until in body and '): then "local"' in body, body
    assert site.read("lib/out/" + outputs(site, ".args")[0]).strip() == "-i -f ma@front.test -- admins@contoso.com"


def test_the_command_gets_the_facts_and_nothing_else(site):
    names = outputs(site, ".text")
    assert len(names) == 1, names
    base = "lib/out/" + names[0].removesuffix(".text")
    environment = dict(line.split("=", 1) for line in site.read(base + ".env").splitlines())
    assert environment["MODERNAUTH_RULE"] == "scanners" and environment["MODERNAUTH_KIND"] == "rule"
    assert environment["MODERNAUTH_DAYS_LEFT"] in ("5", "6") and environment["MODERNAUTH_THEN"] == "local"
    assert abs(int(environment["MODERNAUTH_ENDS_AT"]) - time.time() - 5.5 * 86400) < 86400
    assert set(name for name in environment if not name.startswith("MODERNAUTH_")) <= {"PATH", "PWD", "_", "SHLVL", "OLDPWD"}
    assert site.read(base + ".text").startswith('rule "scanners" ends in')
    # stdin from memory, stdout, stderr, and what ls itself has opened.
    fds = site.read(base + ".fds")
    assert re.findall(r" (\d+) -> ", fds) == ["0", "1", "2", "3"], fds


def test_a_broker_that_runs_programs_can_run_setgid_ones(site):
    with open("/proc/%d/status" % max(site.broker_pids()), encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert status["NoNewPrivs"] == "0" and set(status["Uid"].split()) == {str(site.user.pw_uid)}


def test_nothing_is_said_twice_on_a_day(site):
    day = datetime.date.today()
    mails = len(outputs(site, ".mail"))
    site.reload()
    site.kill_and_wait()
    # What a broker says it says within 10 s of its start.
    time.sleep(11.5)
    if datetime.date.today() != day:
        pytest.skip("midnight")
    assert len(re.findall(NOTICE, site.log())) == 1
    assert len(outputs(site, ".mail")) == mails and len(outputs(site, ".text")) == 1
