# SPDX-License-Identifier: MIT
"""The README's chapters about tokens without a password, with its own commands: real doveadm, real broker, real logins."""

import csv
import json
import imaplib
import os
import poplib
import re
import smtplib
import subprocess
import time

import pytest

from harness import settings
from harness.clients import fresh_address
from harness.enrolling import own_domain
from standin.entra_model import APP, EXCHANGE_ROLES

README = os.path.join(settings.TOP, "README.md")
README_APP = APP % 42


@pytest.fixture(scope="module")
def front(fronts, running_standin):
    domain = own_domain(running_standin, "readme.test")
    front = fronts.new(tenants=settings.tenant(running_standin, "contoso", [domain], grants=["enrolled"]))
    front.expect("login refused", "has to be")
    return front


def enroll(front, *args, **options):
    """doveadm modernauth enroll, while it waits."""
    return subprocess.Popen(["doveadm", "-c", front.dovecot_path, "-f", "json", "modernauth", "enroll", *args],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def sign_in_all(front, standin, path, people, count, timeout=60):
    """What people do who get a mail merge of that file: everybody enters his code and signs in. Ends with count of them."""
    signed_in, deadline = set(), time.monotonic() + timeout
    while len(signed_in) < count:
        assert time.monotonic() < deadline, "%d of %d have a code" % (len(signed_in), count)
        time.sleep(0.3)
        if not os.path.exists(path):
            continue
        for row in rows(path):
            if row["state"] == "pending" and row["user"] not in signed_in:
                standin.device("approve", row["code"], user=row["user"])
                signed_in.add(row["user"])


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_user_is_enrolled_and_logs_in_with_the_device_password(front, standin, people):
    alice = people.new(domain="readme.test", mfa=True)
    standin.entra(device_interval=1)
    process = enroll(front, alice.upn)
    line = process.stderr.readline()
    assert "https://microsoft.com/devicelogin" in line and "as " + alice.upn in line, line
    standin.device("approve", line.split(" enter ")[1].split(" ")[0], user=alice.upn)
    out, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    assert "not shown again" in error
    own, alice.password = alice.password, json.loads(out)[0]["device_password"]
    front.canary.add(alice.password, "device password")
    for protocol in ("imap", "pop3", "submission"):
        assert front.login(protocol, alice).ok
        assert front.login(protocol, alice, own).wrong
    listed = json.loads(front.doveadm("-f", "json", "modernauth", "list", "--expiring", "91d").stdout)
    assert alice.upn in [row["user"] for row in listed]
    assert json.loads(front.doveadm("-f", "json", "modernauth", "list", "--expiring", "14d").stdout) == []
    shown = json.loads(front.doveadm("-f", "json", "modernauth", "show", alice.upn).stdout)
    assert {"route", "enrolment", "device", "token"} <= {row["item"] for row in shown}
    assert alice.password not in json.dumps(shown)
    front.doveadm("modernauth", "forget", alice.upn)
    assert front.imap(alice).ok
    front.doveadm("modernauth", "revoke", "--yes", alice.upn)
    assert front.imap(alice).wrong


def test_three_hundred_users_are_enrolled_from_a_file_stopped_and_resumed(front, standin, people, canary):
    crowd = people.many(300, domain="readme.test")
    source, result = front.path("users.csv"), front.path("users-codes.csv")
    with open(source, "w", encoding="utf-8") as file:
        file.write("user,device\r\n" + "".join("%s,phone\r\n" % account.upn for account in crowd))
    standin.entra(device_interval=5)
    first = enroll(front, "--batch", source)
    sign_in_all(front, standin, result, crowd, 100)
    first.send_signal(2)
    assert first.wait(30) != 0
    codes = {row["user"]: row["code"] for row in rows(result) if row["state"] == "pending"}
    assert os.stat(result).st_mode & 0o777 == 0o600
    second = enroll(front, "--batch", source)
    signed = {row["user"] for row in rows(result) if row["state"] == "enrolled"}
    deadline = time.monotonic() + 90
    while second.poll() is None:
        assert time.monotonic() < deadline, "the batch does not end"
        for row in rows(result):
            if row["state"] == "pending" and row["user"] not in signed:
                # The code of before, unless it had been entered while nobody listened.
                assert codes.get(row["user"], row["code"]) == row["code"]
                signed.add(row["user"])
                try:
                    standin.device("approve", row["code"], user=row["user"])
                except Exception:       # entered before the stop
                    pass
        time.sleep(0.3)
    assert second.wait() == 0, second.stderr.read()
    second.stdout.close(), second.stderr.close(), first.stdout.close(), first.stderr.close()
    done = rows(result)
    assert [row["state"] for row in done] == ["enrolled"] * 300
    with_password = [row for row in done if row["device_password"]]
    for row in with_password:
        canary.add(row["device_password"], "device password")
    # Only who signed in between the two runs has none: nobody was there to be told it.
    assert len(with_password) >= 190
    account = next(account for account in crowd if account.upn == with_password[0]["user"])
    account.password = with_password[0]["device_password"]
    assert front.imap(account).ok
    os.unlink(result)


def test_forty_scanners_have_a_password_and_a_place_each(front, standin, people):
    scan = people.new(domain="readme.test", name="scan", mfa=True)
    front.enrol(scan)
    devices = []
    for number in range(1, 41):
        out = front.doveadm("-f", "json", "modernauth", "device", "add", scan.upn, "Ricoh %d" % number, "--networks",
                            "127.20.0.0/16", "--protocols", "submission", "--expires", "2027-12-31").stdout
        devices.append(json.loads(out)[0]["device_password"])
        front.canary.add(devices[-1], "device password")
    assert len(set(devices)) == 40
    for password in (devices[0], devices[6], devices[39]):
        with smtplib.SMTP("127.0.0.1", front.ports["submission"], source_address=("127.20.0.9", 0)) as smtp:
            smtp.login(scan.upn, password)
            smtp.sendmail(scan.upn, ["boss@contoso.com"], "Subject: page 1\r\n\r\nscanned\r\n")
    # From elsewhere, or for reading mail, it is worth nothing.
    assert not front.smtp(scan, devices[0], source=fresh_address()).ok
    assert not front.imap(scan, devices[0], source="127.20.0.9").ok
    assert front.device_row(scan, "Ricoh 7")["last_ip"] == "127.20.0.9"
    front.doveadm("modernauth", "device", "remove", scan.upn, "Ricoh 7")
    assert front.smtp(scan, devices[6], source="127.20.0.9").wrong
    assert front.smtp(scan, devices[0], source="127.20.0.9").ok
    listed = json.loads(front.doveadm("-f", "json", "modernauth", "device", "list", scan.upn).stdout)
    assert len(listed) == 40        # 39 and the first one, of the enrolment


def test_the_store_is_saved_sealed_anew_and_restored(front, standin, people):
    bob = people.new(domain="readme.test", mfa=True)
    front.enrol(bob)
    export = front.path("modernauth.export")
    front.doveadm("modernauth", "store", "export", export)
    assert os.stat(export).st_mode & 0o777 == 0o600
    front.doveadm("modernauth", "revoke", "--yes", bob.upn)
    assert front.imap(bob).wrong
    assert front.doveadm("modernauth", "store", "import", export, check=False).returncode != 0
    front.doveadm("modernauth", "store", "import", "--replace", export)
    front.wait(lambda: front.imap(bob).ok, 10, "what was imported does not work")
    done = json.loads(front.doveadm("-f", "json", "modernauth", "store", "rekey").stdout)
    assert int(done[0]["resealed"]) > 0
    assert front.imap(bob).ok
    # Its key is gone now.
    assert "key" in front.doveadm("modernauth", "store", "import", "--replace", export, check=False).stderr
    status = {row["name"]: row["value"] for row in json.loads(front.doveadm("-f", "json", "modernauth", "status").stdout)}
    assert status["store"] == "open" and status["key_id"] == done[0]["key_id"]


# -- app-only: the chapter as it is written

def blocks(title):
    """The fenced blocks of a chapter: [(language, text)]."""
    with open(README, encoding="utf-8") as file:
        chapter = re.search(r"^### %s\n(.*?)^##" % re.escape(title), file.read(), re.M | re.S)[1]
    return re.findall(r"^```(\w*)\n(.*?)^```$", chapter, re.M | re.S)


class Shell:
    """Runs what the README tells an admin to type, with /etc/dovecot and doveadm being those of a front end."""

    def __init__(self, front):
        self.front = front
        os.mkdir(front.path("bin"))
        front.write("bin/doveadm", "#!/bin/sh\nexec /usr/bin/doveadm -c %s \"$@\"\n" % front.dovecot_path, 0o755)

    def here(self, text):
        return text.replace("/etc/dovecot", self.front.directory)

    def run(self, text):
        """The output of each line (continued ones are one), which must succeed."""
        out = []
        for line in self.here(text).replace("\\\n", " ").splitlines():
            done = subprocess.run(["bash", "-euc", line], capture_output=True, text=True, timeout=60, env={
                "PATH": self.front.path("bin") + ":" + os.environ["PATH"], "LC_ALL": "C.UTF-8"})
            assert done.returncode == 0, line + done.stdout + done.stderr
            out.append(done.stdout)
        return out


@pytest.fixture(scope="module")
def app_front(fronts, running_standin):
    """As after the README's chapter "Install": configured for nobody yet."""
    front = fronts.new(start=False, tenants="", dovecot="")
    front.expect("login refused")
    return front


def test_the_app_only_chapter_as_it_is_written(app_front, standin, people):
    front, shell = app_front, Shell(app_front)
    standin.user("scans@contoso.com", password=people.password("scans"), disabled=True)
    parts = blocks("App-only, with a certificate")
    make_key, give_passwords = [text for language, text in parts if language == "sh"]
    [conf] = [text for language, text in parts if language == ""]

    shell.run(make_key)
    key = os.stat(front.path("modernauth/contoso.key"))
    assert (key.st_mode & 0o777, key.st_uid) == (0o600, 0)
    front.secret_files.append("contoso.key")
    # What the admin does in Entra's portal and with PowerShell is one call here.
    standin.app(README_APP, certificates=[front.read("modernauth/contoso.pem")], roles=EXCHANGE_ROLES,
                mailboxes=["alice@contoso.com", "scans@contoso.com"], graph_roles=["User.Read.All"])

    # Its own words, with the addresses of the stand-ins: those of Microsoft are the defaults.
    ours = re.search(r"(  authority = .*?)  grants =", settings.tenant(standin, "x", []), re.S)[1]
    conf = shell.here(conf).replace("00000000-0000-0000-0000-000000000000", README_APP)
    assert conf.count("\n}\n") == 2
    front.write("modernauth.conf", settings.modernauth_conf(front, conf.replace("\n}\n", "\n" + ours + "}\n", 1)))
    front.start()
    front.reload()
    alice, scans, status = shell.run(give_passwords)
    assert front.path("modernauth/contoso.pem") + " (in use), 36" in status, status
    passwords = [re.search(r"\b(?:[0-9A-Za-z]{3,6}-){2,}[0-9A-Za-z]{3,6}\b", text)[0] for text in (alice, scans)]
    for password in passwords:
        front.canary.add(password, "device password")
    check_app_logins(front, standin, *passwords)


def check_app_logins(front, standin, alice, scans):
    with imaplib.IMAP4("127.0.0.1", front.ports["imap"]) as imap:
        imap.login("alice@contoso.com", alice)
        assert imap.select("INBOX")[0] == "OK"
    pop3 = poplib.POP3("127.0.0.1", front.ports["pop3"])
    pop3.user("alice@contoso.com")
    assert pop3.pass_(alice).startswith(b"+OK") and pop3.stat()[0] > 0
    pop3.quit()
    with smtplib.SMTP("127.0.0.1", front.ports["submission"]) as smtp:
        smtp.login("scans@contoso.com", scans)
        smtp.sendmail("scans@contoso.com", ["boss@contoso.com"], "Subject: app-only page\r\n\r\nscanned\r\n")
    assert "app-only page" in json.dumps(standin.sent())
    # The laptop may not send, and no password is good for the other.
    with smtplib.SMTP("127.0.0.1", front.ports["submission"]) as smtp, pytest.raises(smtplib.SMTPException):
        smtp.login("alice@contoso.com", alice)
    with imaplib.IMAP4("127.0.0.1", front.ports["imap"]) as imap, pytest.raises(imaplib.IMAP4.error):
        imap.login("scans@contoso.com", alice)
    # Who leaves.
    standin.user("alice@contoso.com", disabled=True)
    try:
        front.doveadm("modernauth", "forget", "alice@contoso.com")
        with imaplib.IMAP4("127.0.0.1", front.ports["imap"]) as imap, pytest.raises(imaplib.IMAP4.error):
            imap.login("alice@contoso.com", alice)
    finally:
        standin.user("alice@contoso.com", disabled=False)


def test_the_app_only_chapter_has_microsofts_part_too():
    parts = blocks("App-only, with a certificate")
    words = " ".join(text for language, text in parts if language in ("powershell", "azurecli"))
    for command in ("New-ServicePrincipal -AppId <application id> -ObjectId <enterprise application's object id>",
                    "Add-MailboxPermission ", "Add-RecipientPermission ", "New-ManagementScope ",
                    'New-ManagementRoleAssignment -Role "Application SMTP.SendAsApp"', "az ad app permission add",
                    "df021288-bdef-4463-88db-98f22de89214=Role", "admin-consent"):
        assert command in words, command


def test_the_configurations_in_the_readme_are_accepted(front):
    """Rules and maps of the chapters about enrolling and about mailboxes, behind this front end's tenant."""
    texts = [text for title in ("Enrolling 300 users", "Mailboxes that are not the login")
             for language, text in blocks(title) if re.match(r"(rule|map) ", text)]
    assert len(texts) == 2
    before = front.read("modernauth.conf")
    try:
        front.write("modernauth.conf", before + "\n".join(texts).replace("contoso.com", "readme.test"))
        mark = front.log_mark()
        front.reload()
        assert "modernauth.conf:" not in front.log(mark), front.log(mark)
        assert front.broker_answers()
    finally:
        front.write("modernauth.conf", before)
        front.reload()
