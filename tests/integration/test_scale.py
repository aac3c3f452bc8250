# SPDX-License-Identifier: MIT
"""Many at once. What is counted are requests and answers; how long it takes is for tests/bench."""

import asyncio
import os
import time

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_front(fronts):
    return fronts.new()


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
