# SPDX-License-Identifier: MIT
"""Entra, the network, the disk or the broker fail: who has a live token keeps logging in, the others are told to come
back, and nobody is told that the password is wrong."""

import asyncio
import os
import socket
import threading
import time

import pytest

from harness import disk, settings

KINDS = {
    "503": {"action": "status", "status": 503}, "500": {"action": "status", "status": 500},
    "504 slowly": {"action": "status", "status": 504, "latency_ms": 300}, "reset": {"action": "reset"},
    "reset in the middle": {"action": "reset-mid"}, "closed": {"action": "close"}, "short": {"action": "short"},
    "goaway": {"action": "goaway"}, "half the JSON": {"action": "truncate"}, "nothing": {"action": "empty"},
    "no JSON": {"action": "garbage", "kib": 10}, "too much": {"action": "garbage", "kib": 80},
    "an HTML page with 200": {"action": "status", "status": 200, "body": "<html>welcome to our hotel</html>"},
    "a redirect": {"action": "redirect"},
    "no access_token": {"action": "token", "token": {"missing": ["access_token"]}},
    "another token_type": {"action": "token", "token": {"token_type": "mac"}},
    "a token that is no text": {"action": "token", "token": {"nonprintable": "\u0007"}},
    "429": {"action": "status", "status": 429, "retry_after": 1},
}


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", list(KINDS))
def test_whatever_entra_does_warm_users_log_in_and_others_come_back(front, standin, people, spare_domain, kind):
    warm, cold = people.new(domain=spare_domain), people.new(domain=spare_domain)
    front.expect_trouble(spare_domain)
    assert front.imap(warm).ok
    standin.fault(endpoint="token", user="*@" + spare_domain, **KINDS[kind])
    assert front.imap(cold).temporary
    for protocol in ("imap", "pop3", "submission"):
        assert front.login(protocol, warm).ok
    standin.clear_faults()
    # Not at once, perhaps: the breaker asks for a pause.
    front.wait(lambda: front.imap(cold).ok, 15, "no login after the outage")
    assert standin.requests(endpoint="other") == []


def test_an_outage_opens_the_breaker_and_its_end_closes_it(front, standin, people, spare_domain):
    front.expect_trouble(spare_domain)
    standin.fault(endpoint="token", user="*@" + spare_domain, action="status", status=400, body="{}")
    standin.clear_faults()
    number = standin.fault(endpoint="token", user="*@" + spare_domain, action="reset")
    crowd = [people.new(domain=spare_domain) for _ in range(30)]
    replies = front.storm(crowd, parallel=4)
    assert all(reply.temporary for reply in replies)
    asked = len([record for record in standin.token_requests() if record["username"].endswith("@" + spare_domain)])
    assert asked <= 16, "each of 30 users asked although nobody answers"
    front.wait_log("tenant %s: no token requests for .*Users with a live token keep logging in" %
                   spare_domain.split(".")[0])
    standin.clear_faults(number)
    front.wait(lambda: front.imap(crowd[0]).ok, 15)
    assert all(reply.ok for reply in front.storm(crowd))


@pytest.mark.parametrize("retry_after", [3, "date:3"])
def test_retry_after_is_respected(front, standin, people, spare_domain, retry_after):
    front.expect_trouble(spare_domain)
    standin.fault(endpoint="token", user="*@" + spare_domain, action="status", status=429, retry_after=retry_after,
                  times=1)
    first, second = people.new(domain=spare_domain), people.new(domain=spare_domain)
    assert front.imap(first).temporary
    asked = time.monotonic()
    while time.monotonic() < asked + 1.2:
        assert front.imap(second).temporary
    assert standin.token_requests(username=second.upn) == []
    front.wait(lambda: front.imap(second).ok, 15)
    times = [standin.token_requests(username=account.upn)[0]["time"] for account in (first, second)]
    assert times[1] - times[0] >= 1.9          # a date has whole seconds only


def test_one_failure_is_retried_and_nobody_notices(front, standin, people, spare_domain):
    for kind in ({"action": "status", "status": 503}, {"action": "reset"}):
        account = people.new(domain=spare_domain)
        standin.fault(endpoint="token", user=account.upn, times=1, **kind)
        assert front.imap(account).ok, kind
        assert len(standin.token_requests(username=account.upn)) == 2


class Unreachable:
    """Tenants whose token endpoint cannot be talked to."""

    def __init__(self, standin):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            closed = unused.getsockname()[1]
        self.ports = {name: standin.ports["entra_" + name] for name in ("untrusted", "expired", "wrongname", "silent")}
        self.ports["closed"] = closed
        self.tenants = "".join(settings.tenant(standin, name, [name + ".test"], authority="https://127.0.0.1:%d" % port)
                               for name, port in self.ports.items())
        self.tenants += settings.tenant(standin, "contoso", ["contoso.com"])
        self.tenants += settings.tenant(standin, "nameless", ["nameless.test"],
                                        authority="https://no-such-host.invalid")
        self.tenants += settings.tenant(standin, "badproxy", ["badproxy.test"], proxy="http://127.0.0.1:%d" % closed)


def test_an_address_that_refuses_does_not_matter_if_another_answers(fronts, standin, people):
    """localhost is ::1 first, where nobody listens."""
    front = fronts.new(tenants=settings.tenant(standin, "contoso", ["contoso.com"],
                                               authority="https://localhost:%d" % standin.ports["entra"]))
    assert all(reply.ok for reply in front.storm([people.new() for _ in range(5)]))


@pytest.fixture(scope="module")
def short_front(fronts, running_standin):
    """Deadlines that a test can wait for."""
    front = fronts.new(tenants=Unreachable(running_standin).tenants, deadline="4s", request_timeout="3s")
    front.expect(r"login refused \((config|temporary|timeout)\)", r"auth: Error: modernauth\(", "no token requests for")
    return front


@pytest.mark.parametrize("name", ["untrusted", "expired", "wrongname", "closed", "nameless", "badproxy"])
def test_no_connection_is_a_temporary_failure_and_the_log_says_why(short_front, people, name):
    password = people.password()
    reply = short_front.imap("someone@%s.test" % name, password)
    assert reply.temporary
    text = short_front.attempts("someone@%s.test" % name)[-1]["event"]["reason"]
    words = {"untrusted": "certificate", "expired": "expired", "wrongname": "certificate", "closed": "connect",
             "nameless": "resolve", "badproxy": "proxy|connect"}[name]
    assert any(word in text.lower() for word in words.split("|")), text


def test_a_silent_endpoint_ends_at_our_deadline_and_moves_nobody_else(short_front, people):
    warm = people.new()
    assert short_front.imap(warm).ok
    replies, times = {}, []

    def wait_for_it(number):
        replies[number] = short_front.imap("someone%d@silent.test" % number, people.password())
    threads = [threading.Thread(target=wait_for_it, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    while any(thread.is_alive() for thread in threads) and len(times) < 30:
        reply = short_front.imap(warm)
        assert reply.ok
        times.append(reply.elapsed)
    for thread in threads:
        thread.join()
    assert all(reply.temporary and 2 < reply.elapsed < 10 for reply in replies.values()), replies
    assert sorted(times)[len(times) // 2] < 1


def test_a_hanging_upstream_is_a_failure_of_the_upstream(front, standin, people):
    account = people.new()
    front.expect_trouble(account)
    standin.refuse(user=account.upn, kind="unavailable")
    assert not front.imap(account).ok
    record = front.wait_upstream(account.upn)[0]
    assert record["modernauth"]["status"] in ("refused", "failed")


# -- the broker dies

@pytest.mark.slow
def test_a_broker_killed_under_load_answers_nobody_wrongly_and_is_back(fronts, standin, people):
    front = fronts.new()
    front.expect("killed with signal 9", "lost the connection to the broker", r"auth: Error: modernauth\(.*temporary",
                 r"-login: Warning: .*lost the connection")
    crowd = people.many(150)
    standin.fault(endpoint="token", user="*", latency_ms=20)
    outcome = {"replies": [], "kills": [], "first_ok": []}

    async def load():
        stop = time.monotonic() + 8
        async def worker(number):
            while time.monotonic() < stop:
                account = crowd[(number * 7 + len(outcome["replies"])) % len(crowd)]
                reply = await front.quick_login(account)
                outcome["replies"].append((time.monotonic(), reply))
                if reply.temporary:
                    await asyncio.sleep(0.05)

        async def killer():
            for _ in range(2):
                await asyncio.sleep(2)
                front.kill_broker()
                outcome["kills"].append(time.monotonic())
        await asyncio.gather(killer(), *(worker(number) for number in range(20)))
    asyncio.run(load())
    replies = [reply for _, reply in outcome["replies"]]
    assert not [reply for reply in replies if reply.wrong], "a right password was called wrong"
    odd = [reply for reply in replies if not reply.ok and not reply.temporary]
    assert not odd, odd[:3]
    assert len([reply for reply in replies if reply.ok]) > 200
    for killed in outcome["kills"]:
        back = min(when for when, reply in outcome["replies"] if reply.ok and when - reply.elapsed > killed)
        assert back - killed < 2, "back only after %.1f s" % (back - killed)


def test_an_idle_broker_that_died_is_not_even_noticed(fronts, people):
    front = fronts.new()
    front.expect("killed with signal 9", "lost the connection to the broker")
    account = people.new()
    assert front.imap(account).ok
    front.wait_upstream(account.upn)
    front.kill_broker()
    front.wait(lambda: front.broker_pids())
    front.wait(lambda: front.imap(account).ok, 2, "not back within 2 s")
    # Reports survive as well: the login process keeps them until they are confirmed.
    front.wait_upstream(account.upn, 2)


def test_logins_wait_for_a_broker_that_starts_slowly(fronts, standin, people):
    """Stopped, not dead: the front end waits for the deadline of the passdb, then says to come back."""
    front = fronts.new()
    account = people.new()
    assert front.imap(account).ok
    pid = max(front.broker_pids())
    os.kill(pid, 19)
    try:
        timer = threading.Timer(1.5, os.kill, (pid, 18))
        timer.start()
        reply = front.imap(account)
        assert reply.ok and reply.elapsed > 1
    finally:
        os.kill(pid, 18)


# -- the disk is full

@pytest.fixture
def small_disk(fronts, people):
    """A front end whose audit is on a file system of 64 KiB."""
    front = fronts.new(before_start=lambda front: disk.mount(front, "size=64k"))
    yield front
    problems = fronts.examine(front)
    fronts.fronts.remove(front)
    disk.unmount(front)
    front.remove()
    assert not problems, problems


def test_a_full_disk_lets_nobody_in_without_a_record(small_disk, standin, people):
    front = small_disk
    front.expect("audit", "login refused", r"auth: Error: modernauth\(", "audit-file")
    warm = people.new()
    assert front.imap(warm).ok
    ballast = disk.fill(front)
    refused = 0
    for _ in range(30):
        before = len(front.attempts())
        reply = front.imap(warm)
        assert reply.ok or reply.temporary
        # Whoever gets in is on record, whatever else fits.
        assert len(front.attempts()) == before + 1 if reply.ok else True
        refused += reply.temporary
    assert refused > 10
    front.wait_log("(?i)no space left.*")
    os.unlink(ballast)
    front.wait(lambda: front.imap(warm).ok, 5, "not back after the disk had room again")
    front.wait_log("records are written again")
    front.audit()                    # whole lines only


def test_an_audit_that_cannot_be_written_lets_nobody_in(fronts, people):
    front = fronts.new(before_start=lambda front: os.mkdir(front.audit_path))
    front.expect("audit", "login refused", r"auth: Error: modernauth\(")
    account = people.new()
    assert front.imap(account).temporary and front.pop3(account).temporary and front.smtp(account).temporary
    os.rmdir(front.audit_path)
    front.wait(lambda: front.imap(account).ok, 5)
    assert len(front.attempts(account.upn)) == 1


def test_an_audit_that_is_not_required_lets_them_in_and_says_so(fronts, people):
    front = fronts.new(before_start=lambda front: os.mkdir(front.audit_path), audit_required=False)
    front.expect("audit")
    assert front.imap(people.new()).ok
    front.wait_log("audit file .*records not written")


# -- delays

@pytest.fixture(scope="module")
def slow_front(fronts):
    """Dovecot's own delays, as they are by default."""
    front = fronts.new(dovecot="auth_failure_delay = 2 secs\n")
    front.expect("spare", "login refused", r"auth: Error: modernauth\(")
    return front


def test_outages_slow_nobody_down(slow_front, standin, people, spare_domain):
    standin.fault(endpoint="token", user="*@" + spare_domain, action="status", status=400, body="x")
    source = "127.9.9.1"
    times = []
    for _ in range(4):
        reply = slow_front.imap(people.new(domain=spare_domain), source=source)
        assert reply.temporary
        times.append(reply.elapsed)
    assert max(times) < 1.5, times
    good = slow_front.imap(people.new(), source=source)
    assert good.ok and good.elapsed < 1.5


def test_wrong_passwords_slow_their_address_down(slow_front, people):
    account, source = people.new(), "127.9.9.2"
    first = slow_front.imap(account, people.password(), source=source)
    second = slow_front.imap(account, people.password(), source=source)
    assert first.wrong and second.wrong
    assert first.elapsed > 1.3 and second.elapsed > first.elapsed + 1, (first.elapsed, second.elapsed)
    # Others are not punished for it.
    assert slow_front.imap(people.new(), source="127.9.9.3").elapsed < 1.5
