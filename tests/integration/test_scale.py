# SPDX-License-Identifier: MIT
"""Many at once. What is counted are requests and answers; how long it takes is for tests/bench."""

import asyncio
import os
import sqlite3
import time

import pytest

from harness import sanitizer, settings
from harness.people import Account
from harness.sockets import AuthClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_front(fronts):
    front = fronts.new()
    # A thousand at once are more than the stand-in answers within half a second on a busy machine.
    front.expect("Entra answers none of [0-9]+ token requests")
    return front


def memory_kib(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_a_thousand_parallel_logins_of_one_user_are_one_request(own_front, standin, people):
    account = people.new()
    standin.exchange(imap_cap=5000)
    standin.fault(endpoint="token", user=account.upn, latency_ms=1500)
    replies = own_front.storm([account] * 1000, parallel=1000, timeout=120)
    failed = [reply for reply in replies if not reply.ok]
    assert len(replies) == 1000 and not failed, "%d failed: %s" % (len(failed), failed[:3])
    assert len(standin.token_requests(username=account.upn)) == 1
    assert len(own_front.attempts(account.upn)) == 1000


def test_a_thousand_cold_users_are_all_answered(own_front, standin, people):
    crowd = people.many(1000)
    standin.fault(endpoint="token", user=crowd[0].upn.split("-")[0] + "-*", latency_ms=200)
    with own_front.broker("auth", timeout=60) as broker:
        started = time.monotonic()
        for account in crowd:
            broker.request("LOGIN", user=account.upn, **{"pass": account.password}, service="imap")
        answers = [broker.answer() for _ in crowd]
        assert {answer.verb for answer in answers} == {"OK"}
        assert len({answer["mailbox"] for answer in answers}) == len(crowd)
    # Two hundred milliseconds each, one after the other, would be minutes.
    assert time.monotonic() - started < 60
    asked = [record["username"] for record in standin.token_requests()
             if record["username"].startswith(crowd[0].upn.split("-")[0] + "-")]
    assert sorted(asked) == sorted(account.upn for account in crowd)


def test_a_crowd_of_wrong_passwords_is_refused_and_asked_about_once_each(own_front, standin, people):
    crowd, wrong = people.many(300), people.password()
    with own_front.broker("auth", timeout=60) as broker:
        for _ in range(3):
            for account in crowd:
                broker.request("LOGIN", user=account.upn, **{"pass": wrong}, service="imap")
            assert {broker.answer()["code"] for _ in crowd} == {"bad_credentials"}
    asked = [record["username"] for record in standin.token_requests()
             if record["username"].startswith(crowd[0].upn.split("-")[0] + "-")]
    assert sorted(asked) == sorted(account.upn for account in crowd)


def test_a_login_process_that_does_not_read_is_still_heard(own_front, standin, people):
    """Dovecot stops reading from who has 50 KiB of replies to read, and may never begin again if they are read at the wrong moment:
    so it must not come to that."""
    account, other, count = people.new(), people.new(), 200
    standin.fault(endpoint="token", user=account.upn, action="token", token={"token_size": 5000})
    assert own_front.imap(account).ok
    parameters = ("service=imap", "secured=tls", "no-penalty", "lport=993")
    with AuthClient(own_front.socket_path("login/login")) as client:
        client.send("".join(client.plain_line(account.upn, account.password, *parameters) for _ in range(count)))
        own_front.wait(lambda: len(own_front.attempts(account.upn)) == 1 + count, timeout=30)
        # A megabyte waits to be read by now.
        client.send(client.plain_line(other.upn, other.password, *parameters))
        own_front.wait(lambda: len(own_front.attempts(other.upn)) == 1, timeout=30)
        replies = [client.line().split("\t") for _ in range(count + 1)]
        assert sorted(int(reply[1]) for reply in replies) == list(range(1, count + 2))
        assert all(reply[0] == "OK" and any(field.startswith("pass=") for field in reply) for reply in replies)


def test_answers_that_nobody_reads_go_with_the_login_process(own_front, standin, people):
    account, count = people.new(), 200
    standin.fault(endpoint="token", user=account.upn, action="token", token={"token_size": 5000})
    assert own_front.imap(account).ok
    with AuthClient(own_front.socket_path("login/login")) as client:
        client.send("".join(client.plain_line(account.upn, account.password, "service=imap", "secured=tls", "no-penalty", "lport=993")
                            for _ in range(count)))
        own_front.wait(lambda: len(own_front.attempts(account.upn)) == 1 + count, timeout=30)
    own_front.expect("auth client [0-9]+ disconnected with [0-9]+ pending requests")
    assert own_front.imap(account).ok
    assert own_front.imap(people.new()).ok


def test_sessions_stay_open_side_by_side(own_front, people):
    """Two hundred sessions that all do something at the same time."""
    crowd = people.many(200)

    async def one(account, gate):
        reader, writer = await asyncio.open_connection("127.0.0.1", own_front.ports["imap"], limit=1 << 20)
        await reader.readline()
        writer.write(b"a LOGIN %s %s\r\n" % (account.upn.encode(), account.password.encode()))
        while not (await reader.readline()).startswith(b"a OK"):
            pass
        await gate.wait()
        writer.write(b"b SELECT INBOX\r\n")
        while not (line := await reader.readline()).startswith(b"b "):
            assert line
        writer.write(b"c LOGOUT\r\n")
        writer.close()
        return line.startswith(b"b OK")

    async def everybody():
        gate = asyncio.Barrier(len(crowd))
        return await asyncio.wait_for(asyncio.gather(*(one(account, gate) for account in crowd)), 100)
    assert all(asyncio.run(everybody()))


def test_memory_and_descriptors_come_back(own_front, standin, people):
    """The same work again and again does not make the broker larger."""
    pid = max(own_front.broker_pids())
    accounts = [people.new() for _ in range(20)]

    def work():
        with own_front.broker("auth", timeout=60) as broker:
            for _ in range(20):
                for account in accounts * 8:
                    broker.request("LOGIN", user=account.upn, **{"pass": account.password}, service="imap")
                assert {broker.answer().verb for _ in accounts * 8} == {"OK"}
    work()
    work()
    before, descriptors = memory_kib(pid), len(os.listdir("/proc/%d/fd" % pid))
    for _ in range(4):
        work()
    assert memory_kib(pid) < before + 8192
    assert len(os.listdir("/proc/%d/fd" % pid)) <= descriptors + 2


# -- ten thousand enrolled users

SEALED_USERS = 10000


def enrolled_front(fronts, standin, name, count):
    """A front end whose store has so many enrolled users, written as an import would: (it, their accounts)."""
    domain = name + ".test"
    standin.domain(domain)
    front = fronts.new(tenants=settings.tenant(standin, name, [domain], grants=["enrolled"]))
    first = Account("first@" + domain, "not-used")
    standin.user(first.upn, password=front.canary.add("Entra+first+" + name))
    front.enrol(first)
    standin.bulk_users("many%05d@" + domain, count, password="Entra-many-%05d")
    # Copies of the first one's rows: they weigh as much, and only his own name opens a token of his.
    assert front.stop() == []
    accounts = copy_rows(front, name, first, ["many%05d@%s" % (number, domain) for number in range(count)])
    return front, [first, *accounts]


def copy_rows(front, tenant, first, names):
    with sqlite3.connect(front.path("lib/modernauth.db")) as database:
        [value] = database.execute("SELECT value FROM records WHERE kind = 'enrolment'").fetchone()
        [sealed] = database.execute("SELECT value FROM records WHERE kind = 'refresh-token'").fetchone()
        rows = []
        for name in names:
            rows += [("enrolment", tenant + "/" + name, value), ("refresh-token", tenant + "/" + name, sealed)]
        database.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
    return [Account(name, "") for name in names]


def latencies(pairs, count=60):
    """Milliseconds of a warm login of each (front, account), taken in turns: what it costs when nothing else is in the way, the lower
    quarter's end, since others share this machine."""
    times = [[] for _ in pairs]
    for front, account in pairs:
        assert front.imap(account).ok
    for _ in range(count):
        for seen, (front, account) in zip(times, pairs):
            seen.append(front.imap(account).elapsed * 1000)
    return [sorted(seen)[count // 4] for seen in times]


def test_ten_thousand_enrolled_users_slow_down_neither_the_start_nor_logins(fronts, standin):
    large, [first, *_] = enrolled_front(fronts, standin, "large", SEALED_USERS)
    large.start()
    large.wait(large.broker_answers)
    assert large.imap(first).ok
    with large.broker("admin", timeout=60) as broker:
        assert int(broker.all("LIST")[1]["rows"]) == SEALED_USERS + 1
    # From the end of one broker to the first login that the next one answers with a refreshed token.
    large.expect("killed with signal", "lost the connection", "cannot connect to the broker",
                 r"auth: Error: modernauth\(")
    gone = large.kill_broker()
    large.wait(lambda: gone not in large.processes())
    started = time.monotonic()
    large.wait(lambda: large.imap(first).ok, 10)
    assert time.monotonic() - started < 2 * sanitizer.SLOWER
    small, [other, *_] = enrolled_front(fronts, standin, "small", 10)
    small.start()
    few, many = latencies([(small, other), (large, first)])
    assert many < 1.5 * few + 1, "%.1f ms with ten enrolments, %.1f ms with ten thousand" % (few, many)
