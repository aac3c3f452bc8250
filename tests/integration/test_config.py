# SPDX-License-Identifier: MIT
"""modernauth.conf and the Dovecot side of it: what is shipped works, what is broken says where."""

import os
import subprocess

import pytest

from harness import settings

BROKEN = ["configuration: ", "no usable configuration", r"auth: Error: modernauth\(", "refused a report"]


def test_the_shipped_files_parse(fronts, people):
    """The shipped modernauth.conf as it is, with a real application's id; nobody is asked, since nobody is served."""
    front = fronts.new(start=False)
    with open(os.path.join(settings.CONF_D, "modernauth.conf"), encoding="utf-8") as file:
        text = file.read()
    front.write("modernauth.conf", text.replace("00000000-0000-0000-0000-000000000000",
                                                "9e5f94bc-e8a4-4e73-b8be-63364c29d753")
                .replace('# path = "/var/log/dovecot/modernauth-audit.jsonl"', 'path = "%s"' % front.audit_path)
                .replace('# key_file = "/var/lib/dovecot/modernauth-audit.key"', 'key_file = "%s"' % front.path("audit.key"))
                .replace('# state_dir = "/var/lib/dovecot/modernauth"', 'state_dir = "%s"' % front.path("lib")))
    front.start()
    assert front.imap("somebody@elsewhere.test", people.password()).wrong
    assert front.status()["logins"] == 1


def test_every_default_may_be_written_out(fronts, people, standin):
    """Each commented setting of the shipped file, uncommented, means what it says."""
    front = fronts.new(start=False)
    with open(os.path.join(settings.CONF_D, "modernauth.conf"), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    skip = ("default_domain", "aadsts_file", "key_file", "client_secret_file", "certificate_file", "private_key_file",
            "upn_domain", "proxy", "path", "state_dir", "ca_file")
    globals_, lockout, inside = [], [], ""
    for line in lines:
        if line.endswith("{"):
            inside = line.split()[0]
        elif line == "}":
            inside = ""
        elif line.startswith("# ") and " = " in line and line[2:].split(" = ")[0] not in skip:
            setting = line[2:]
            if setting.split(" = ")[0].isidentifier():
                {"": globals_, "lockout": lockout}.get(inside, []).append(setting)
    assert len(globals_) >= 8 and len(lockout) == 5
    text = front.read("modernauth.conf").replace("# generated\n", "\n".join(globals_) + "\n").replace(
        "audit {", "lockout {\n" + "\n".join(lockout) + "\n}\naudit {", 1)
    front.write("modernauth.conf", text)
    front.start()
    assert front.imap(people.new()).ok


CLOUDS = {"worldwide": "outlook.office365.com", "gcc": "outlook.office365.com", "gcc-high": "outlook.office365.us",
          "dod": "outlook-dod.office365.us", "china": "partner.outlook.cn"}


def test_all_clouds_are_known(fronts):
    tenants = "".join('tenant "%s" {\n domains = {"%s.test"}\n tenant_id = "%s.onmicrosoft.com"\n cloud = "%s"\n'
                      ' client_id = "9e5f94bc-e8a4-4e73-b8be-63364c29d753"\n}\n' % ((name,) * 4)
                      for name in CLOUDS)
    front = fronts.new(tenants=tenants)
    with front.broker("auth") as broker:
        for name in CLOUDS:
            assert broker.ask("LOOKUP", user="u@%s.test" % name, service="imap").verb == "OK", name


@pytest.mark.parametrize("text, where", [
    ("nonsense\n", ":1: "), ("", "no tenant"), ("tenant \"a\" {\n", ":1: .*never closed"),
    ("\n\ncolour = \"red\"\n", ':3: no setting "colour"'), ("deadlin = \"5s\"\n", 'did you mean "deadline"'),
    ("deadline = \"5 parsecs\"\n", ":1: deadline"),
    ('tenant "a" {\n domains = {"a.test"}\n}\n', "tenant_id"),
    ('tenant "a" {\n domains = {"a.test"}\n tenant_id = "common"\n}\n', "AADSTS9001023"),
])
def test_a_broken_file_at_the_start_is_a_temporary_failure_with_a_line(fronts, people, text, where):
    front = fronts.new(start=False)
    front.expect(*BROKEN)
    front.write("modernauth.conf", text)
    front.start()
    account = people.new()
    for protocol in ("imap", "pop3", "submission"):
        assert front.login(protocol, account).temporary
    front.wait_log("configuration: .*modernauth.conf.*" + where)
    front.wait_log("no usable configuration")


def test_a_file_that_is_not_there_is_a_temporary_failure(fronts, people):
    front = fronts.new(start=False)
    front.expect(*BROKEN)
    os.unlink(front.config_path)
    front.start()
    assert front.imap(people.new()).temporary
    front.wait_log("modernauth.conf: No such file")


def test_it_is_enough_to_mend_the_file_and_reload(fronts, people):
    front = fronts.new(start=False)
    front.expect(*BROKEN)
    good = front.read("modernauth.conf")
    front.write("modernauth.conf", "broken\n")
    front.start()
    account = people.new()
    assert front.imap(account).temporary
    front.write("modernauth.conf", good)
    front.doveadm("reload")
    front.wait(lambda: front.imap(account).ok, 10)


def test_two_configurations_in_one_front_end_are_a_mistake_that_is_seen(fronts, people):
    front = fronts.new(start=False)
    front.expect("was told to use", r"auth: Error: modernauth\(")
    front.write("other.conf", front.read("modernauth.conf"))
    front.write("10-modernauth.conf", settings.shipped("10-modernauth.conf", front.path("other.conf")))
    front.start()
    assert front.imap(people.new()).temporary
    front.wait_log("was told to use .*other.conf")


@pytest.mark.parametrize("args, words", [
    ("", "path of modernauth.conf is missing"), ("/a/b.conf /c/d.conf", "more than one configuration file"),
    ("/a/b.conf timeout=1ms", "must be between"), ("/a/b.conf socket=relative", "must be absolute"),
    ("/a/b.conf colour=blue", "unknown setting: colour=blue"),
])
def test_mistakes_in_args_end_auth_with_words(fronts, args, words):
    front = fronts.new(start=False)
    front.expect("auth: Fatal", "service\\(auth\\)", "auth: Error", "auth-client", "Auth (process|server)",
                 "master: Error",
                 "-login: (Warning|Error)")
    text = front.read("10-modernauth.conf").replace("args = " + front.config_path, "args = " + args)
    assert text != front.read("10-modernauth.conf")
    front.write("10-modernauth.conf", text)
    front.start(ready=False)
    front.wait_log("passdb modernauth: args: .*" + words)


def test_dovecot_finds_no_fault_with_the_drop_ins(fronts):
    front = fronts.new(start=False)
    front.write("91.conf", settings.shipped("91-modernauth-metrics.conf", front.config_path))
    front.write("dovecot.conf", front.read("dovecot.conf") + "!include %s\n" % front.path("91.conf"))
    done = subprocess.run(["doveconf", "-n", "-c", front.dovecot_path], capture_output=True, text=True, check=True)
    assert not done.stderr.strip(), done.stderr
    assert "metric modernauth_attempts" in done.stdout and "service modernauth" in done.stdout


def test_a_stranger_as_auth_user_is_a_configuration_error(fronts, people):
    front = fronts.new(auth_user="no-such-user")
    front.expect(*BROKEN)
    assert front.imap(people.new()).temporary
    front.wait_log('auth_user = "no-such-user": there is no such system user')


def test_other_users_of_dovecot_can_be_named(fronts, people):
    """default_internal_user and default_login_user may be others than Debian's."""
    front = fronts.new(early="default_internal_user = mail\ndefault_internal_group = mail\n", auth_user="mail")
    assert front.imap(people.new()).ok
