# SPDX-License-Identifier: MIT
"""A real LDAP server (slapd) that looks like Active Directory where Dovecot looks at it."""

import os
import shutil
import subprocess
import tempfile
import time

from .front import free_port

BASE = "dc=contoso,dc=com"
# Object identifiers of Active Directory's own schema; what a test needs of it.
SCHEMA = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.2.840.113556.1.4.656 NAME 'userPrincipalName'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.7000.102.50855 NAME 'msExchRecipientTypeDetails'
  EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.7000.102.50856 NAME 'msExchRemoteRecipientType'
  EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
objectclass ( 1.2.840.113556.1.5.9 NAME 'user' SUP inetOrgPerson STRUCTURAL
  MAY ( userPrincipalName $ msExchRecipientTypeDetails $ msExchRemoteRecipientType ) )
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %(dir)s/slapd.pid
database mdb
suffix "%(base)s"
rootdn "cn=admin,%(base)s"
rootpw %(password)s
directory %(dir)s/db
"""


class Directory:
    def __init__(self, password):
        self.path = tempfile.mkdtemp(prefix="ma-slapd-", dir="/tmp")
        self.password, self.port = password, free_port()
        os.mkdir(os.path.join(self.path, "db"))
        with open(os.path.join(self.path, "slapd.conf"), "w", encoding="ascii",
                  opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(SCHEMA % {"dir": self.path, "base": BASE, "password": password})
        self.process = subprocess.Popen(
            ["slapd", "-d", "0", "-f", os.path.join(self.path, "slapd.conf"), "-h", self.url], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.change("dn: %s\nobjectClass: dcObject\nobjectClass: organization\no: contoso\ndc: contoso\n" % BASE, tries=100)

    @property
    def url(self):
        return "ldap://127.0.0.1:%d" % self.port

    def run(self, command, *args, text=""):
        return subprocess.run([command, "-x", "-H", self.url, "-D", "cn=admin," + BASE, "-y", self.secret(), *args], input=text,
                              capture_output=True, text=True)

    def secret(self):
        """The admin's password, in a file: it is nobody's argument."""
        path = os.path.join(self.path, "admin")
        if not os.path.exists(path):
            with open(path, "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(self.password)
        return path

    def change(self, text, tries=1):
        """ldapadd, or ldapmodify of what has a changetype."""
        for _ in range(tries):
            done = self.run("ldapadd", text=text)
            if done.returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(done.stderr)

    def dn(self, account):
        return "cn=%s,%s" % (account.upn, BASE)

    def add(self, account, password, **attributes):
        self.change("dn: %s\nobjectClass: user\ncn: %s\nsn: x\nmail: %s\nuserPrincipalName: %s\nuserPassword: %s\n%s" % (
            self.dn(account), account.upn, account.upn, account.upn, password,
            "".join("%s: %s\n" % item for item in attributes.items())))

    def replace(self, account, attribute, value):
        self.change("dn: %s\nchangetype: modify\nreplace: %s\n%s: %s\n" % (self.dn(account), attribute, attribute, value))

    def remove(self, account):
        assert self.run("ldapdelete", self.dn(account)).returncode == 0

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.path, ignore_errors=True)
