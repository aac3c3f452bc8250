# SPDX-License-Identifier: MIT
"""audit { durability = "group" }: nobody is let in before the record is on disk. Full, read-only, slow and broken disks mean
temporary failures, one clear line in the log, and recovery by itself; nothing that was answered is missing."""

import asyncio
import collections
import errno
import os
import random
import re
import threading
import time

import pytest

from harness import disk

# What a login that cannot be recorded leaves in the log.
TROUBLE = ("audit file", "login refused", r"auth: Error: modernauth\(", "audit-file", "ending before the broker")


def answered(front, replies):
    """Every login that was let in is on record once as such, and nothing on record was taken back from whom it let in."""
    granted, withdrawn = collections.Counter(), set()
    for record in front.audit(action="basic-auth"):
        address = record["source"]["ip"]
        if record["event"]["action"] == "basic-auth-withdrawn":
            withdrawn.add(address)
        elif record["event"]["outcome"] == "success":
            granted[address] += 1
    good = {reply.source for reply in replies if reply.ok}
    assert not [address for address in good if granted[address] != 1], "let in without a record, or with two"
    assert not good & withdrawn
    # And who was not let in is not on record as somebody who was.
    return [reply for reply in replies if not reply.ok and granted[reply.source] and reply.source not in withdrawn]


def lines(front, word, since=0):
    """What the log says of the audit file, not of each login."""
    return [line for line in front.log(since).splitlines() if re.search(r"Error: .*audit file /", line) and word in line]


@pytest.fixture
def mounted(fronts):
    """A front end whose audit is on a file system of its own, with so much room."""
    made = []

    def make(options):
        front = fronts.new(durability="group", before_start=lambda front: disk.mount(front, options))
        made.append(front)
        front.expect(*TROUBLE)
        return front
    yield make
    # Before the directories go.
    problems = []
    for front in made:
        try:
            problems += fronts.examine(front)
        finally:
            while disk.unmount(front):
                pass
            front.remove()
        fronts.fronts.remove(front)
    assert not problems, problems


@pytest.fixture(scope="module")
def site(fronts):
    front = fronts.new(start=False, durability="group")
    front.disk = disk.SlowDisk(front)
    front.expect(*TROUBLE)
    return front.start()


@pytest.fixture
def slow(site):
    yield site
    site.disk.set()


def test_a_full_disk_is_a_temporary_failure_until_there_is_room(mounted, people):
    front = mounted("size=256k")
    account, replies = people.new(), []
    replies.append(front.imap(account))
    ballast = disk.fill(front)
    while len(replies) < 200 and not (len(replies) > 10 and all(reply.temporary for reply in replies[-5:])):
        replies.append(front.imap(account))
    assert all(reply.ok or reply.temporary for reply in replies) and replies[-1].temporary
    line, = lines(front, "No space left on device; free some space, or rotate the file")
    assert front.audit_path in line
    os.unlink(ballast)
    front.wait(lambda: replies.append(front.imap(account)) or replies[-1].ok, 10, "not back")
    front.wait_log("records are written again, [1-9][0-9]* were not")
    assert answered(front, replies) == []


def test_a_read_only_disk_is_a_temporary_failure_until_it_is_writable(mounted, people):
    front = mounted("size=1m")
    account, replies = people.new(), []
    replies.append(front.imap(account))
    assert replies[0].ok
    # One that is being written to cannot be made read-only, but what its path names can.
    disk.mount(front, "size=64k,ro")
    front.wait(lambda: replies.append(front.imap(account)) or replies[-1].temporary, 10, "nobody noticed")
    for _ in range(5):
        replies.append(front.imap(account))
        assert replies[-1].temporary
    line, = lines(front, "Read-only file system")
    assert "make it writable again" in line
    assert disk.unmount(front)
    front.wait(lambda: replies.append(front.imap(account)) or replies[-1].ok, 10, "not back")
    front.wait_log("records are written again, [1-9][0-9]* were not")
    assert answered(front, replies) == []


def test_a_disk_that_fails_lets_nobody_in(slow, people):
    account = people.new()
    replies, mark = [slow.imap(account)], slow.log_mark()
    slow.disk.set(errno=errno.EIO)
    for ask in (slow.imap, slow.pop3, slow.smtp):
        replies.append(ask(account))
        assert replies[-1].temporary
    line, = lines(slow, "", mark)
    assert "fdatasync(): Input/output error; look at the kernel's log" in line
    slow.disk.set()
    slow.wait(lambda: replies.append(slow.imap(account)) or replies[-1].ok, 10, "not back")
    slow.wait_log("records are written again, [1-9][0-9]* were not", mark)
    assert answered(slow, replies) == []


def test_a_slow_disk_is_waited_for_together(slow, people):
    crowd = people.many(40)
    assert all(reply.ok for reply in slow.storm(crowd))
    slow.wait(lambda: len(slow.audit(action="upstream-session-opened")) >= 40)
    time.sleep(1.2)                          # what nobody waits for is on disk, too
    slow.disk.set(msecs=400)
    before, mark = slow.disk.syncs(), slow.log_mark()
    replies = slow.storm(crowd)
    assert all(reply.ok for reply in replies)
    assert min(reply.elapsed for reply in replies) >= 0.4
    # Those of 40 logins, and of what the upstream said about them.
    assert slow.disk.syncs() - before <= 20
    assert answered(slow, replies) == [] and not lines(slow, "", mark)


def test_a_disk_that_hangs_is_given_up_and_taken_up_again(slow, people):
    slow.reload()                            # failures are logged every ten seconds: another broker
    account = people.new()
    replies, mark = [slow.imap(account)], slow.log_mark()
    assert replies[0].ok
    slow.disk.set(msecs=60000)
    replies.append(slow.imap(account))
    # It has waited, but no longer than anybody may.
    assert replies[-1].temporary and 4 < replies[-1].elapsed < 12
    for _ in range(3):
        replies.append(slow.imap(account))
        assert replies[-1].temporary and replies[-1].elapsed < 4, "waited once more"
    line, = lines(slow, "the disk does not take the records within 5 s", mark)
    assert "look what keeps the disk below it busy" in line
    # Whoever looks what is the matter is not kept waiting.
    assert slow.status()["logins"]
    slow.disk.set()
    slow.wait_log("records are written again, [1-9][0-9]* were not", mark)
    slow.wait(lambda: replies.append(slow.imap(account)) or replies[-1].ok, 10, "not back")
    assert answered(slow, replies) == []


def test_a_change_is_told_once_it_is_on_disk(slow, people):
    account = people.new()
    slow.disk.set(msecs=500)
    started = time.monotonic()
    slow.doveadm("modernauth", "forget", account.upn)
    assert time.monotonic() - started >= 0.5
    slow.disk.set(errno=errno.EIO)
    done = slow.doveadm("modernauth", "forget", account.upn, check=False)
    assert done.returncode != 0 and "it was done, but its record is not on disk" in done.stderr
    assert len(slow.audit(account.upn, action="cache-forgotten")) == 2


def test_a_reload_with_syncs_under_way_loses_and_repeats_nothing(slow, people):
    crowd, replies, enough = people.many(20), [], threading.Event()
    slow.disk.set(msecs=150)

    def load():
        while not enough.is_set():
            replies.extend(slow.storm(crowd, parallel=20))
    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(2):
            time.sleep(0.5)
            slow.reload()
    finally:
        enough.set()
        thread.join()
    assert len([reply for reply in replies if reply.ok]) > 20
    assert not [reply for reply in replies if reply.wrong]
    assert answered(slow, replies) == []


# -- kill -9

KILLS = {"modernauth": 65, "auth": 65, "imap-login": 60, "dovecot": 10}


def victims():
    """In any order, but none twice in a row: Dovecot does not start at once what dies at once."""
    left, last = collections.Counter(KILLS), None
    while +left:
        names = [name for name in left.elements() if name != last]
        last = random.choice(names or list(left.elements()))
        left[last] -= 1
        yield last


class Killing:
    """Clients that log in all the time, while somebody kills what they need."""

    def __init__(self, front, crowd):
        self.front, self.crowd, self.replies, self.killed = front, crowd, [], collections.Counter()
        self.over = False

    async def client(self, number):
        while not self.over:
            account = self.crowd[(number + len(self.replies)) % len(self.crowd)]
            try:
                reply = await asyncio.wait_for(self.front.quick_login(account), 20)
            except (asyncio.TimeoutError, asyncio.IncompleteReadError):
                continue
            self.replies.append(reply)
            # They wait more than they work: this machine has other things to do.
            await asyncio.sleep(0.02 if reply.ok else 0.05)

    def kill(self, name):
        pids = {pid for pid, its in self.front.processes().items() if its == name} if name != "modernauth" else \
            self.front.broker_pids()
        if not pids:
            return False
        self.killed[name] += 1
        for pid in pids:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        return True

    def kill_all(self):
        """As when the machine's memory is at its end, or somebody pulls the plug of a container."""
        front, pids = self.front, self.front.processes()
        for pid in pids:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        front.process.wait()
        front.process.stdout.close()
        # Whoever was about to fork.
        while front.processes():
            time.sleep(0.01)
        self.killed["dovecot"] += 1
        front.start(ready=False)

    async def killer(self):
        for name in victims():
            # Under load, and at no moment that anybody could foresee: somebody has got in since the last one, and some more time.
            before, limit = sum(reply.ok for reply in self.replies), time.monotonic() + 20
            while sum(reply.ok for reply in self.replies) <= before:
                assert time.monotonic() < limit, "nobody gets in any more:\n" + self.front.log()[-2000:]
                await asyncio.sleep(0.01)
            await asyncio.sleep(random.uniform(0, 0.05))
            if name == "dovecot":
                await asyncio.to_thread(self.kill_all)
            else:
                while not await asyncio.to_thread(self.kill, name):
                    await asyncio.sleep(0.01)
        self.over = True

    async def run(self):
        clients = [asyncio.create_task(self.client(number)) for number in range(4)]
        try:
            await self.killer()
        finally:
            self.over = True
            await asyncio.gather(*clients)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_whoever_was_let_in_is_on_record_whatever_is_killed(fronts, people):
    front = fronts.new(durability="group")
    front.expect("")                         # it says a lot; what counts is below
    killing = Killing(front, people.many(30))
    asyncio.run(killing.run())
    assert killing.killed == KILLS and sum(KILLS.values()) == 200
    front.wait(front.broker_answers, 20)
    front.stop()
    assert sum(reply.ok for reply in killing.replies) >= 200
    answered(front, killing.replies)
    status, rows, said = front.verify_audit(front.audit_path)
    assert status == 0 and not [row for row in rows if row["result"] == "finding"], (rows, said)
    assert "Panic" not in front.log()
