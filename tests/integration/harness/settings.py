# SPDX-License-Identifier: MIT
"""Texts of dovecot.conf and modernauth.conf. The shipped drop-ins are included as they are, but for the path of
modernauth.conf, so that what is tested is what an admin installs."""

import os

from standin.entra_model import APP, CONTOSO, FABRIKAM

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
CONF_D = os.path.join(TOP, "conf.d")
SHIPPED_PATH = "/etc/dovecot/modernauth.conf"
# Tenants of their own for tests that make Entra fail: each has its own breaker.
SPARE_DOMAINS = ["spare%02d.test" % number for number in range(30)]
# domain -> tenant at the stand-in, besides those that it knows by itself
EXTRA_DOMAINS = {name: CONTOSO for name in ["secret.test", "badsecret.test", "cert.test", "certrs.test",
                                            "stranger.test",
                                            "proxy.test", "starttls.test", "govern.test", "unconsented.test",
                                            *SPARE_DOMAINS]}
PROTOCOLS = {"imap": "imap", "imaps": "imap", "pop3": "pop3", "pop3s": "pop3", "submission": "submission",
             "submissions": "submission"}


def shipped(name, config_path):
    """A file of conf.d that reads another modernauth.conf."""
    with open(os.path.join(CONF_D, name), encoding="utf-8") as file:
        return file.read().replace(SHIPPED_PATH, config_path)


def dovecot_conf(front, extra="", early=""):
    """extra comes last and so wins; early comes before the drop-in, which expands what it refers to as it is read."""
    listeners = ""
    for protocol in ("imap", "pop3", "submission"):
        names = [name for name, its in PROTOCOLS.items() if its == protocol]
        inner = "".join("  inet_listener %s {\n    port = %d\n    ssl = %s\n  }\n" %
                        (name, front.ports[name], "yes" if name.endswith("s") else "no") for name in names)
        # One process serves all connections: what large sites do, and what a test of a thousand logins needs.
        listeners += ("service %s-login {\n  service_count = 0\n  process_min_avail = 1\n  process_limit = 4\n"
                      "  client_limit = 3000\n%s}\n" % (protocol, inner))
    return """# generated
%(early)s
base_dir = %(dir)s/run
state_dir = %(dir)s/state
log_path = %(dir)s/log/dovecot.log
log_timestamp = "%%Y-%%m-%%d %%H:%%M:%%S "
instance_name = %(name)s
protocols = imap pop3 submission
listen = 127.0.0.1
hostname = front.test
ssl_cert = <%(standin)s/server.pem
ssl_key = <%(standin)s/server.pem
disable_plaintext_auth = no
auth_failure_delay = 0
default_client_limit = 8192
mail_location = maildir:%(dir)s/mail/%%u
submission_relay_host = 127.0.0.1
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
%(listeners)s
!include %(dir)s/10-modernauth.conf
service modernauth {
  executable = modernauth -f %(dir)s/modernauth.conf
}
# Clients may come without TLS here; and the stand-in's certificate authority instead of the machine's.
ssl = yes
ssl_ca = <%(standin)s/ca.pem
%(extra)s
""" % {"dir": front.directory, "name": os.path.basename(front.directory), "standin": front.standin.directory,
       "listeners": listeners, "extra": extra, "early": early}


def tenant(standin, name, domains, **settings):
    """A tenant block that points to the stand-ins; settings that are None are left out."""
    ports = standin.ports
    values = {"domains": domains, "tenant_id": CONTOSO, "client_id": APP % 1, "authority": standin.authority,
              "graph": standin.authority,
              "ca_file": standin.ca_file, "imap": "imaps://127.0.0.1:%d" % ports["imaps"],
              "pop3": "pop3s://127.0.0.1:%d" % ports["pop3s"], "submission": "smtp://127.0.0.1:%d" % ports["smtp"],
              "grants": ["password"], **settings}
    lines = ["  %s = %s\n" % (key, quote(value)) for key, value in values.items() if value is not None]
    return "tenant \"%s\" {\n%s}\n" % (name, "".join(lines))


def quote(value):
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(quote(item) for item in value) + "}"
    return '"%s"' % value


def all_tenants(front):
    """The tenants of the shared front end."""
    standin, ports = front.standin, front.standin.ports
    starttls = {"imap": "imap://127.0.0.1:%d" % ports["imap"], "pop3": "pop3://127.0.0.1:%d" % ports["pop3"],
                "submission": "smtps://127.0.0.1:%d" % ports["smtps"]}
    blocks = [
        tenant(standin, "contoso", ["contoso.com", "federated.contoso.com", "phs.contoso.com"], cloud="worldwide"),
        tenant(standin, "fabrikam", ["fabrikam.com"], tenant_id=FABRIKAM, client_id=APP % 7),
        tenant(standin, "secret", ["secret.test"], client_id=APP % 2,
               client_secret_file=front.secret_file("app-secret")),
        tenant(standin, "badsecret", ["badsecret.test"], client_id=APP % 2,
               client_secret_file=front.secret_file("wrong-secret")),
        tenant(standin, "proxy", ["proxy.test"], proxy="http://127.0.0.1:%d" % ports["proxy"],
               authority="https://login.test:%d" % ports["entra"]),
        tenant(standin, "starttls", ["starttls.test"], **starttls),
        tenant(standin, "upn", ["mail.example.test"], upn_domain="contoso.com"),
        tenant(standin, "govern", ["govern.test"], cloud="gcc-high",
               scopes=["https://outlook.office.com/IMAP.AccessAsUser.All",
                       "https://outlook.office.com/POP.AccessAsUser.All", "https://outlook.office.com/SMTP.Send"]),
        tenant(standin, "unconsented", ["unconsented.test"], client_id=APP % 6),
    ]
    for name, pair in (("cert", "client"), ("certrs", "client"), ("stranger", "stranger")):
        blocks.append(tenant(standin, name, [name + ".test"], client_id=APP % 3, certificate_file=front.standin.path(
            pair + ".crt"), private_key_file=front.standin.path(pair + ".key")))
    blocks += [tenant(standin, domain.split(".")[0], [domain]) for domain in SPARE_DOMAINS]
    return "".join(blocks)


def modernauth_conf(front, tenants=None, extra="", **settings):
    """tenants: text of tenant blocks; None: all of them."""
    values = {"state_dir": front.path("lib"), **settings}
    lines = "".join("%s = %s\n" % (key, quote(value)) for key, value in values.items())
    return "# generated\n%saudit {\n  path = \"%s\"\n  key_file = \"%s\"\n  required = %s\n  durability = %s\n%s}\n%s\n%s" % (
        lines, front.audit_path, front.path("audit.key"), "true" if front.audit_required else "false", front.durability,
        front.audit_settings, extra,
        all_tenants(front) if tenants is None else tenants)
