# SPDX-License-Identifier: MIT
"""A directory in front of ours, with a real slapd: who verifies passwords, and where mailboxes are, as the README has it."""

import os

import pytest

from harness import settings
from harness.directory import BASE, Directory
from harness.people import People
from standin.entra_model import APP, CONTOSO

DOMAIN = "ldap.test"
REMOTE, LOCAL = 2147483648, 1
CONNECT = "hosts = 127.0.0.1:%d\ndn = cn=admin,%s\ndnpass = %s\nbase = %s\n"
# Whose mailbox is here has a password here: the passdb behind ours, for on-premises mailboxes only.
ONPREM = """
passdb {
  driver = ldap
  args = %s/onprem.conf.ext
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%s/mail/%%u
}
"""


def readme(begin):
    """The block of the README that begins so."""
    with open(os.path.join(settings.TOP, "README.md"), encoding="utf-8") as file:
        blocks = [block.split("\n", 1)[1] for block in file.read().split("```")[1::2] if "\n" in block]
    [block] = [block for block in blocks if block.startswith(begin)]
    return block


class Site:
    def __init__(self, fronts, people, directory, verify):
        """verify: the directory is asked for passwords, too, before ours."""
        standin, self.directory = fronts.standin, directory
        standin.domain(DOMAIN, tenant=CONTOSO)
        self.front = front = fronts.new(start=False, tenants=settings.tenant(
            standin, "ldap", [DOMAIN], mailbox_sources=["passdb"], grants=["app"], client_id=APP % 3,
            certificate_file=standin.path("client.crt"), private_key_file=standin.path("client.key"),
            verified_by=["dovecot"] if verify else ["dovecot", "device"], check_accounts="false"))
        connect = CONNECT % (directory.port, BASE, directory.password, BASE)
        attributes = readme("# modernauth-side.conf.ext")
        for name, text in (("side", attributes), ("verify", "auth_bind = yes\npass_filter = (userPrincipalName=%u)\n"),
                           ("onprem", "auth_bind = yes\npass_filter = (&(userPrincipalName=%%u)(msExchRecipientTypeDetails=%d))\n"
                            % LOCAL)):
            front.secret_files.append(name + ".conf.ext")
            front.write(name + ".conf.ext", connect + text, 0o600)
        early = readme("passdb {                                   # before").replace(
            "/etc/dovecot/modernauth-side.conf.ext", front.path("side.conf.ext"))
        if verify:
            early += ("passdb {\n  driver = ldap\n  args = %s\n  result_success = continue\n  result_failure = return-fail\n}\n" %
                      front.path("verify.conf.ext"))
        front.put_before(early)
        front.write("dovecot.conf", front.read("dovecot.conf") + ONPREM % (front.directory, front.directory))
        # Dovecot's passdb ldap forgets a request whose password is empty where it binds as the user (ldap_auth_bind()).
        front.expect("login refused", "auth: Warning: Event .* leaked")
        front.start()

    def decision(self, account):
        record = self.front.attempts(account.upn)[-1]["modernauth"]
        return record["decision"], record.get("mailbox_source"), record["verified_by"]


@pytest.fixture(scope="module")
def directory(canary):
    directory = Directory(canary.add("slapd-admin-0f7c1e", "slapd"))
    yield directory
    directory.stop()


@pytest.fixture(scope="module")
def people_here(running_standin, canary):
    return People(running_standin, canary)


@pytest.fixture(scope="module")
def verifying(fronts, directory, people_here):
    return Site(fronts, people_here, directory, verify=True)


@pytest.fixture(scope="module")
def looking(fronts, directory, people_here):
    return Site(fronts, people_here, directory, verify=False)


def employee(site, people, kind=REMOTE):
    account = people.new(domain=DOMAIN)
    account.password = people.canary.add("dir%s" % account.upn[4:8] + os.urandom(6).hex(), account.upn)
    site.directory.add(account, account.password, msExchRecipientTypeDetails=kind)
    return account


@pytest.mark.parametrize("protocol", ["imap", "pop3", "submission"])
def test_the_directory_verifies_the_password(verifying, people, protocol):
    account = employee(verifying, people)
    assert verifying.front.login(protocol, account).ok
    assert verifying.decision(account) == ("upgrade", "passdb", "dovecot")
    assert not verifying.front.login(protocol, account, account.password + "x").ok
    assert not verifying.front.login(protocol, account, "").ok
    assert verifying.front.login(protocol, account).ok


def test_who_leaves_the_directory_is_out_although_the_token_is_cached(verifying, people):
    account = employee(verifying, people)
    assert verifying.front.imap(account).ok and verifying.front.imap(account).ok
    verifying.directory.replace(account, "userPassword", "changed-by-the-admin")
    assert not verifying.front.imap(account).ok
    verifying.directory.remove(account)
    assert not verifying.front.imap(account).ok and not verifying.front.imap(account, "changed-by-the-admin").ok


def test_a_directory_that_says_onprem_leaves_the_login_to_the_passdb_behind(looking, people, standin):
    account, device = employee(looking, people, LOCAL), "no-device-password"
    before = standin.last_request()
    assert looking.front.imap(account).ok
    assert not looking.front.imap(account, device).ok
    assert looking.decision(account) == ("local", "passdb", "none")
    assert standin.token_requests(since=before) == []


def test_a_move_is_noticed_at_the_next_login(looking, people):
    account = employee(looking, people, LOCAL)
    assert looking.front.imap(account).ok and looking.decision(account)[0] == "local"
    looking.directory.replace(account, "msExchRecipientTypeDetails", REMOTE)
    # The password of the directory is none of a device: what counts is that ours is asked now, and nobody behind it.
    assert not looking.front.imap(account).ok
    assert looking.decision(account)[:2] == ("refuse", "passdb")
    device = looking.front.add_device(account, "phone")
    assert looking.front.imap(account, device.password).ok
    assert looking.decision(account) == ("upgrade", "passdb", "device")


def test_a_directory_that_is_away_lets_nobody_in(fronts, people_here, canary):
    directory = Directory(canary.add("slapd-admin-77ab02", "slapd"))
    site = Site(fronts, people_here, directory, verify=True)
    site.front.expect("ldap")
    account = employee(site, people_here)
    assert site.front.imap(account).ok
    directory.stop()
    reply = site.front.imap(account)
    assert not reply.ok and not reply.wrong, reply
