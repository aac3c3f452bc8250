# SPDX-License-Identifier: MIT
"""Device passwords: where and how they may be used, how they are typed, when they end, who learns what from them."""

import time

import pytest

from harness import settings
from harness.clients import fresh_address
from harness.sockets import AuthClient
from standin.entra_model import APP

DOMAIN = "devices.test"
AUTH_CLIENT = """
service auth {
  unix_listener postfix {
    mode = 0666
  }
}
"""


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    running_standin.domain(DOMAIN)
    front = fronts.new(dovecot=AUTH_CLIENT, tenants=settings.tenant(
        running_standin, "devices", [DOMAIN], grants=["app"], client_id=APP % 3,
        certificate_file=running_standin.path("client.crt"), private_key_file=running_standin.path("client.key")))
    front.expect("login refused")
    return front


@pytest.fixture
def account(people):
    return people.new(name="scanner", domain=DOMAIN, mfa=True)


def refused(reply):
    """A refusal that is no outage. What it says does not depend on whether the password would be right elsewhere."""
    return not reply.ok and not reply.temporary


# -- where, how, how long

@pytest.mark.sanitize
def test_a_device_password_works_in_its_networks_only(site, account):
    device = site.add_device(account, "printer", networks="127.77.0.0/16,127.78.1.2")
    for source in ("127.77.0.1", "127.77.255.254", "127.78.1.2"):
        assert site.imap(account, device.password, source=source).ok, source
    for source in ("127.0.0.1", "127.78.1.3", "127.76.255.255", "127.78.0.1"):
        assert refused(site.imap(account, device.password, source=source)), source
    record = site.attempts(account.upn)[-1]["modernauth"]
    assert record["status"] == "policy" and record["device"]["name"] == "printer", record
    assert site.imap(account, device.password, source="127.77.0.1").ok


@pytest.mark.parametrize("services", ["imap", "pop3", "submission", "smtp", "imap,pop3"])
def test_a_device_password_works_for_its_protocols_only(site, account, services):
    device = site.add_device(account, "scanner", services=services)
    allowed = services.replace("smtp", "submission").split(",")
    for protocol in ("imap", "pop3", "submission"):
        reply = site.login(protocol, account, device.password)
        assert reply.ok if protocol in allowed else refused(reply), (protocol, reply)
    assert site.device_row(account, "scanner")["services"].split(",") == allowed


@pytest.mark.sanitize
def test_a_device_password_ends_on_its_day(site, account, standin):
    device = site.add_device(account, "guest", expires_at=int(time.time()) + 3)
    assert site.imap(account, device.password).ok
    time.sleep(3.1)
    before = standin.last_session()
    assert refused(site.imap(account, device.password))
    assert standin.sessions(since=before) == []
    # It can be given more time, and less.
    for offset, good in ((3600, True), (-1, False)):
        _, answer = site.ask("DEVICE-EXPIRE", user=account.upn, device="guest", expires_at=int(time.time()) + offset)
        assert answer.verb == "OK", answer
        assert site.imap(account, device.password).ok == good, offset
    site.kill_and_wait()
    assert refused(site.imap(account, device.password))


def test_several_devices_of_a_user_are_told_apart(site, account):
    devices = {name: site.add_device(account, name) for name in ("Ricoh 3rd floor", "Canon", "Bjo\u0308rn's phone")}
    assert len({device.password for device in devices.values()}) == 3
    for name, device in devices.items():
        assert site.imap(account, device.password).ok
        record = site.attempts(account.upn)[-1]["modernauth"]
        assert record["device"]["name"] == name and record["device"]["id"] == device.id
    rows, last = site.ask("DEVICE-LIST", user=account.upn)
    assert last["rows"] == "3" and {row["name"]: row["device_id"] for row in rows} == {
        name: device.id for name, device in devices.items()}
    _, answer = site.ask("DEVICE-ADD", user=account.upn, name="Canon")
    assert answer.verb == "FAIL" and "already" in answer["reason"]


def test_a_device_password_is_nobody_elses(site, people, account):
    other = people.new(domain=DOMAIN)
    device = site.add_device(account, "printer")
    site.add_device(other, "printer")
    assert refused(site.imap(other, device.password))


@pytest.mark.parametrize("typed", ["lower", "without hyphens", "lower without hyphens", "with blanks", "swapped case"])
def test_a_device_password_may_be_typed_as_printers_allow_it(site, account, typed):
    device = site.add_device(account, "printer")
    text = {"lower": str.lower, "without hyphens": lambda t: t.replace("-", ""), "swapped case": str.swapcase,
            "lower without hyphens": lambda t: t.replace("-", "").lower(), "with blanks": lambda t: t.replace("-", " "),
            }[typed](device.password)
    site.canary.add(text, "device password")
    for protocol in ("imap", "pop3", "submission"):
        assert site.login(protocol, account, text).ok, protocol
    assert refused(site.imap(account, text[:-1]))
    assert refused(site.imap(account, text + "2"))


# -- removed

@pytest.mark.sanitize
@pytest.mark.parametrize("by", ["id", "name"])
def test_a_removed_device_stops_at_once_although_its_token_is_cached(site, account, by):
    gone, stays = site.add_device(account, "stolen"), site.add_device(account, "kept")
    assert site.imap(account, gone.password).ok and site.imap(account, stays.password).ok
    _, answer = site.ask("DEVICE-REMOVE", user=account.upn, device=gone.id if by == "id" else "stolen")
    assert answer.verb == "OK", answer
    for protocol in ("imap", "pop3", "submission"):
        assert site.login(protocol, account, gone.password).wrong
    assert site.imap(account, stays.password).ok
    site.kill_and_wait()
    assert site.imap(account, gone.password).wrong and site.imap(account, stays.password).ok
    assert site.device_row(account, "stolen") is None
    assert site.audit(action="device-removed")[-1]["user"]["name"] == account.upn


def test_the_last_device_that_goes_closes_the_mailbox(site, account):
    device = site.add_device(account, "only one")
    assert site.imap(account, device.password).ok
    assert site.ask("DEVICE-REMOVE", user=account.upn, device=device.id)[1].verb == "OK"
    assert site.imap(account, device.password).wrong
    _, answer = site.ask("DEVICE-REMOVE", user=account.upn, device=device.id)
    assert answer.verb == "FAIL" and answer["code"] == "user_unknown", answer


# -- last use

@pytest.mark.parametrize("how", ["stop", "reload"])
def test_the_last_use_is_shown_and_outlives_the_process(site, account, how):
    device = site.add_device(account, "printer")
    assert "last_used_at" not in site.device_row(account, "printer").fields
    started = int(time.time())
    assert site.imap(account, device.password, source="127.5.6.7").ok
    assert site.smtp(account, device.password, source="127.5.6.8").ok
    assert refused(site.imap(account, device.password + "x", source="127.5.6.9"))
    for _ in range(2):
        row = site.device_row(account, "printer")
        assert row["last_ip"] == "127.5.6.8" and row["last_service"] == "submission"
        assert started <= int(row["last_used_at"]) <= time.time()
        if how == "stop":
            assert site.stop() == []
            site.start()
        else:
            site.reload()
        site.wait(site.broker_answers)


# -- who learns what

@pytest.mark.sanitize
def test_doveadm_auth_test_says_whether_a_device_password_is_right_and_shows_no_token(site, account):
    device = site.add_device(account, "printer", services="imap")
    for service, password, good in (("imap", device.password, True), ("imap", device.password + "x", False),
                                    ("pop3", device.password, False)):
        done = site.doveadm("auth", "test", "-x", "service=" + service, "-x", "rip=" + fresh_address(), account.upn,
                            password, check=False)
        text = done.stdout + done.stderr
        assert (done.returncode == 0) == good, text
        assert "eyJ" not in text and "proxy" not in text and password not in text, text


@pytest.mark.sanitize
def test_an_auth_client_like_postfix_may_check_device_passwords(site, account, standin):
    device = site.add_device(account, "printer", networks="192.0.2.0/24", services="submission")
    with AuthClient(site.socket_path("postfix")) as client:
        good = client.plain(account.upn, device.password, "service=smtp", "nologin", "rip=192.0.2.7", "secured")
        assert good[0] == "OK" and not [field for field in good if field.startswith(("pass=", "proxy", "host=",
                                                                                     "modernauth"))], good
        [record] = site.attempts(account.upn)
        assert record["modernauth"]["decision"] == "verify" and record["modernauth"]["verified_by"] == "device", record
        for password, address in ((device.password, "192.0.3.7"), (device.password[:-1], "192.0.2.8")):
            assert client.plain(account.upn, password, "service=smtp", "nologin", "rip=" + address)[0] == "FAIL"
    assert standin.sessions(user=account.upn) == []


def test_a_device_password_is_told_once_and_never_again(site, account):
    device = site.add_device(account, "printer")
    for verb, fields in (("DEVICE-LIST", {}), ("DEVICE-LIST", {"user": account.upn}), ("SHOW", {"user": account.upn}),
                         ("LIST", {}), ("EXPORT", {})):
        lines, last = site.ask(verb, **fields)
        assert last.verb == "OK", last
        assert not [line for line in [*lines, last] if device.password in line.text or "device_password" in line.fields]


# -- what is refused

@pytest.mark.parametrize("fields, words", [
    ({"networks": "10.0.0.0/33"}, "network"), ({"networks": "example.com"}, "network"),
    ({"services": "imap,ftp"}, "ftp"), ({"expires_at": 1000}, "past"), ({"name": ""}, "name"),
    ({"name": "x" * 65}, "name"), ({"networks": ",".join("10.%d.0.0/16" % n for n in range(17))}, "networks"),
])
def test_what_a_device_cannot_be_is_said(site, account, fields, words):
    _, answer = site.ask("DEVICE-ADD", **{"user": account.upn, "name": "printer", **fields})
    assert answer.verb == "FAIL" and words in answer["reason"], answer
    assert site.ask("DEVICE-LIST", user=account.upn)[1]["rows"] == "0"


def test_a_user_has_at_most_fifty_devices(site, account):
    with site.broker("admin") as broker:
        for number in range(50):
            _, answer = broker.all("DEVICE-ADD", user=account.upn, name="device %d" % number)
            device = site.take_device(answer)
        assert broker.all("DEVICE-ADD", user=account.upn, name="one too many")[1].verb == "FAIL"
    assert site.imap(account, device.password).ok
