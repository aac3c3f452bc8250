# SPDX-License-Identifier: MIT
"""Sites of every size for the report: what a broker would say to "doveadm modernauth report --html"."""

import time

from fake_admin import fields

DAY = 86400
OUTCOMES = {"ok": 0, "refused": 0, "failed": 0, "other": 0}

# What somebody might call himself or his program to get something into the page.
HOSTILE = [
    "<script>window.hacked=1</script>", "</td></tr></table><script>window.hacked=2</script>", "<img src=x onerror=window.hacked=3>",
    "\"><svg onload=window.hacked=4>", "' onmouseover='window.hacked=5", "</style><script>window.hacked=6</script>",
    "</title><script>window.hacked=7</script>", "<iframe src=\"http://127.0.0.1:9/frame\">", "<link rel=stylesheet href=http://127.0.0.1:9/css>",
    "<meta http-equiv=refresh content=\"0;url=http://127.0.0.1:9/away\">", "javascript:window.hacked=8", "&lt;b&gt;&amp;&#60;script&#62;",
    "<!--", "-->", "]]>", "<![CDATA[<script>window.hacked=9</script>]]>", "{{7*7}}${7*7}", "%3Cscript%3E", "<base href=http://127.0.0.1:9/>",
    "<style>*{display:none}</style>", "\u202egnp.exe", "\u2066left\u2069", "zero\u200bwidth\u200djoiner", "soft\u00adhyphen", "\ufefffirst",
    "tag\U000e0041", "Z" + "\u0351" * 40, "\u05d0\u05d1\u05d2 12", "\u2028line", "\uffff", "A" * 90, "`onload=window.hacked=10`",
    "<math><mtext></mtext><script>window.hacked=11</script></math>", "<a href=\"javascript:window.hacked=12\">x</a>", "%s%n%lld",
    "<form action=http://127.0.0.1:9/><input autofocus onfocus=window.hacked=13>", "=cmd|' /C calc'!A0", "<details open ontoggle=window.hacked=14>",
]

CAUSES = [
    (50126, "wrong user name or password", "The user mends the password in the mail client."),
    (50076, "multi-factor authentication is required",
     "Conditional Access: exclude this app for the IP address of this server, or move the user to a modern client"),
    (50057, "the account is disabled", "If the user should log in: Entra admin center > Users > Account status, or Enable-ADAccount on premises"),
    (50053, "the account is locked after failed sign-ins, or our IP address is blocked",
     "Entra admin center > Sign-in logs, code 50053: see the failure reason; if it is the address, add this server's egress IP as a trusted "
     "named location"),
]
PROGRAMS = ["Thunderbird 115.1", "Thunderbird 128.4", "Outlook 16.0.4266", "iPhone Mail 17.6", "K-9 Mail 6.8", "Evolution 3.46", "Mutt 2.2.9",
            "OTRS 6.0", "Apple Mail 16.0", "fetchmail 6.4", "Zammad 6.1", "The Bat! 10.5", "Postbox 7.0", "eM Client 9.2", "Claws Mail 4.1",
            "Spark 3.1", "BlueMail 1.9", "Canary 4.2"]


def row(user, now, protocol="imap", **values):
    return {"user": user, "tenant": "contoso", "protocol": protocol, "mechanism": "PLAIN", "client": None, "network": "10.1.0.0/24",
            "last_ip": "10.1.0.7", "tls": "yes", "tls_version": "1.3", "first_seen": now - 40 * DAY, "last_seen": now - 600,
            **OUTCOMES, "exchange_refused": 0, "actions": "upgrade=1", "last_action": "upgrade", "last_status": "ok", **values}


class Site:
    """Answers what the report asks."""

    def __init__(self, now=None):
        self.now = now or int(time.time())
        self.rows, self.days, self.about, self.policy, self.enrolments, self.devices = [], [], [], [], [], []
        self.store = True

    def day(self, back, protocol, ok, refused=0, failed=0, other=0):
        first = (self.now // DAY - back) * DAY
        self.days.append({"day": first, "protocol": protocol, "ok": ok, "refused": refused, "failed": failed, "other": other})

    def standard(self):
        """What every broker says."""
        self.about.append({"item": "inventory", "version": "0.3.0", "rows": len(self.rows), "max": 100000,
                           "store": "open" if self.store else "closed"})
        self.about.append({"item": "tenant", "name": "contoso"})
        self.about += [{"item": "cause", "code": code, "meaning": meaning, "advice": advice} for code, meaning, advice in CAUSES]
        self.about += [{"item": "microsoft", "protocol": protocol, "from": day, "state": state} for protocol, day, state in (
            ("imap", "2023-01-01", "off"), ("pop3", "2023-01-01", "off"),
            ("submission", "2023-01-01", "on where the tenant allows it, until the end of December 2026"),
            ("submission", "2027-01-01", "off by default, an admin can still turn it on"))]
        return self

    def answer(self, request):
        replies = {"POLICY": self.policy, "LIST": self.enrolments, "DEVICE-LIST": self.devices}
        rows = replies.get(request.verb)
        if request.verb == "REPORT":
            rows = self.about if request["about"] else self.days if request["days"] else self.rows
        lines = ["ROW\t%s%s\n" % (request.id, line if isinstance(line, str) else fields(line)) for line in rows]
        for begin in range(0, len(lines), 1000):
            request.connection.send("".join(lines[begin:begin + 1000]))
        request.ok(rows=len(rows))


def empty():
    return Site().standard()


def one():
    """One user, on his first day."""
    site = Site()
    site.rows.append(row("anna@contoso.com", site.now, ok=3, client="Thunderbird 128.4", first_seen=site.now - 7200))
    site.day(0, "imap", 3)
    return site.standard()


def hostile():
    """Everybody is called something that a page must bear."""
    site = Site()
    for number, name in enumerate(HOSTILE):
        protocol = ("imap", "pop3", "submission")[number % 3]
        site.rows.append(row(name + "@contoso.com", site.now, protocol, ok=1000 - number, client=name, network="10.1.%d.0/24" % number,
                             last_error=("temporary", "bad_credentials AADSTS50126", None)[number % 3]))
        site.policy.append({"order": number, "kind": ("exception", "rule")[number % 2], "name": name[:60], "state": "active", "protocols": "pop3",
                            "users": name, "networks": name, "conditions": name, "action": "upgrade", "last_day": "2027-01-01",
                            "until": site.now + (number + 2) * DAY, "then": "deny", "by": name, "reason": name})
        site.enrolments.append({"user": name + "@contoso.com", "tenant": "contoso", "state": ("dead", "active")[number % 2], "reason": name,
                                "expires_at": site.now + number * DAY})
        site.devices.append({"user": name + "@contoso.com", "device_id": "abc%d" % number, "name": name, "expires_at": site.now + DAY})
        site.about.append({"item": "tenant", "name": name[:60]})
        site.about.append({"item": "credential", "tenant": name[:60], "name": name, "state": "in use", "ends_at": site.now + number * DAY,
                           "refused": 7000222})
        site.day(number, protocol, 10)
    return site.standard()


def many_lines(site, users):
    """Three rows for each: as lines, since there are so many."""
    mark = "\tuser=%s\ttenant=contoso\tprotocol=%s\tmechanism=PLAIN%s\tnetwork=%s\tlast_ip=10.1.0.7\ttls=yes\ttls_version=1.3\tfirst_seen=%d\t" \
        "last_seen=%d\tok=%d\trefused=%d\tfailed=0\tother=%d\texchange_refused=0\tactions=\tlast_action=%s\tlast_status=ok%s"
    for number in range(3 * users):
        user, turn = number % users, number // users
        protocol = "imap" if user % 10 or turn == 0 else ("pop3", "submission")[user // 10 % 2]
        works = user % 29 != 0
        action = "upgrade" if user % 7 or protocol == "submission" else "monitor"
        if protocol == "submission" and user % 3 == 0:
            action = "basic"
        name = "\tclient=%s" % PROGRAMS[(user * user) % 97 % len(PROGRAMS)] if protocol == "imap" else ""
        error = ("bad_credentials AADSTS50126", "interaction AADSTS50076", "timeout", "disabled AADSTS50057", "temporary")[user % 5]
        site.rows.append(mark % (
            "%s%05d@contoso.com" % (("anna.", "scan-", "bert.", "team-")[user % 4], user), protocol, name,
            "10.%d.%d.0/24" % (20 + user % 9, turn * 40 + user // 10 % 40), site.now - (5 + (user * 13) % 300) * DAY,
            site.now - (user * user * 7 % 28) * DAY - user % 80000, (100000 // (user + 9) + 3) * works * (action == "upgrade"), 2 * (not works),
            (9 + user % 5) * works * (action != "upgrade"), action if works else "refuse",
            "\tlast_error=" + error if not works or user % 11 == 0 else ""))


def large(users=400, seen_days=75):
    """A site on its way: some of everything."""
    site = Site()
    many_lines(site, users)
    for back in range(seen_days):
        weekend = (site.now // DAY - back + 3) % 7 >= 5
        level = users * (12 + back * 0.16) * (0.35 if weekend else 1) * (0.93 + 0.07 * ((back * 31) % 7) / 3) * (0.4 if back == 0 else 1)
        site.day(back, "imap", int(level * 0.62), int(level * 0.02), int(level * 0.003))
        site.day(back, "pop3", int(level * 0.13 * (1 + back / 60)), int(level * 0.004))
        site.day(back, "submission", int(level * 0.25), int(level * 0.001))
    now = site.now
    site.about += [
        {"item": "credential", "tenant": "contoso", "name": "/etc/dovecot/modernauth-contoso.pem", "state": "in use", "ends_at": now + 23 * DAY},
        {"item": "credential", "tenant": "contoso", "name": "/etc/dovecot/modernauth-contoso-2027.pem", "state": "spare",
         "ends_at": now + 388 * DAY}]
    site.policy += [
        {"order": 1, "kind": "exception", "name": "k3v9x2m7q4ta", "state": "active", "protocols": "pop3", "users": "helpdesk@contoso.com",
         "action": "upgrade", "last_day": time.strftime("%Y-%m-%d", time.gmtime(now + 20 * DAY)), "until": now + 21 * DAY, "by": "anna",
         "reason": "ticket system, see #4711"},
        {"order": 2, "kind": "rule", "name": "scanners", "state": "active", "protocols": "submission", "users": "scan-*@contoso.com",
         "networks": "10.20.0.0/16,10.21.0.0/16", "action": "upgrade",
         "last_day": time.strftime("%Y-%m-%d", time.gmtime(now + 64 * DAY)), "until": now + 65 * DAY, "then": "deny"},
        {"order": 3, "kind": "rule", "name": "watch first", "state": "active", "protocols": "imap", "action": "monitor"}]
    site.enrolments += [
        {"user": "bert.00002@contoso.com", "tenant": "contoso", "state": "dead", "reason": "AADSTS50173: the password has been changed"},
        {"user": "anna.00004@contoso.com", "tenant": "contoso", "state": "active", "expires_at": now + 9 * DAY},
        {"user": "anna.00008@contoso.com", "tenant": "contoso", "state": "active", "expires_at": now + 31 * DAY}]
    site.devices += [{"user": "scan-00001@contoso.com", "device_id": "abcdefghijkl", "name": "copier, 2nd floor", "expires_at": now + 52 * DAY},
                     {"user": "scan-00005@contoso.com", "device_id": "abcdefghijkm", "name": "copier, 3rd floor"}]
    return site.standard()
