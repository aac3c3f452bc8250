# SPDX-License-Identifier: MIT
"""What is kept: new keys under load, export and import, keys and databases that are gone or broken, SIGKILL at random
moments; and nothing in it that anybody could read."""

import asyncio
import os
import random
import shutil
import sqlite3
import threading
import time

import pytest

from harness import settings
from harness.people import Account
from standin.entra_model import APP

DOMAIN, PASSWORDS = "store.test", "contoso.com"
DB, KEYS = "lib/modernauth.db", "lib/modernauth.keys"


def tenants(standin):
    standin.domain(DOMAIN)
    standin.domain("storeapp.test")
    text = settings.tenant(standin, "contoso", [PASSWORDS]) + settings.tenant(standin, "store", [DOMAIN],
                                                                             grants=["enrolled"])
    return text + settings.tenant(standin, "storeapp", ["storeapp.test"], grants=["app"], client_id=APP % 3,
                                  certificate_file=standin.path("client.crt"),
                                  private_key_file=standin.path("client.key"))


def new_site(fronts, standin, start=True, **options):
    front = fronts.new(start=start, tenants=tenants(standin), min_life="10s", **options)
    front.expect("login refused")
    return front


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    return new_site(fronts, running_standin)


def crowd_of(site, people, count):
    accounts = [people.new(domain=DOMAIN) for _ in range(count)]
    assert all(answer.verb == "OK" for answer in site.enrol(*accounts))
    return accounts


# -- new keys

@pytest.mark.sanitize
def test_a_new_key_under_load_fails_nobody(site, standin, people):
    accounts = crowd_of(site, people, 30)
    standin.entra(expires_in=11, refresh_rotation="revoke-old")
    before, outcome, replies = site.read(KEYS), {}, []

    async def load():
        stop = time.monotonic() + 4

        async def worker(number):
            place = number * 7
            while time.monotonic() < stop:
                place += 1
                replies.append(await site.quick_login(accounts[place % len(accounts)]))

        async def rekey():
            for _ in range(3):
                await asyncio.sleep(0.8)
                outcome["last"] = await asyncio.to_thread(site.ask, "REKEY")
        await asyncio.gather(rekey(), *(worker(number) for number in range(10)))
    asyncio.run(load())
    failed = [reply for reply in replies if not reply.ok]
    assert len(replies) > 50 and not failed, "%d of %d: %s" % (len(failed), len(replies), failed[:3])
    notes, last = outcome["last"]
    assert last.verb == "OK" and int(last["resealed"]) >= 30 and last["key_id"] in site.read(KEYS), last
    assert all(int(note["done"]) <= int(note["total"]) for note in notes)
    assert site.read(KEYS) != before
    site.kill_and_wait()
    assert all(reply.ok for reply in site.storm(accounts, parallel=30))


def test_a_kill_while_the_key_is_changed_loses_nothing(site, standin, people):
    accounts = crowd_of(site, people, 10)
    for _ in range(5):
        with site.broker("admin") as broker:
            broker.request("REKEY")
            time.sleep(random.random() * 0.02)
            site.kill_and_wait()
    assert all(reply.ok for reply in site.storm(accounts, parallel=10))
    assert site.ask("REKEY")[1].verb == "OK"
    standin.entra(expires_in=11)
    site.kill_and_wait()
    assert all(reply.ok for reply in site.storm(accounts, parallel=10))


# -- export, import

def import_lines(front, lines, **fields):
    with front.broker("admin") as broker:
        for line in lines:
            answer = broker.ask("IMPORT-LINE", data=line)
            if answer.verb != "OK":
                return answer
        return broker.ask("IMPORT", **fields)


@pytest.mark.sanitize
def test_an_export_and_the_keys_make_a_second_front_end(site, fronts, standin, people, canary):
    accounts = crowd_of(site, people, 3)
    scanner = people.new(domain="storeapp.test")
    scanner.password = site.add_device(scanner, "printer", services="imap").password
    login = people.new(name="link", domain=DOMAIN)
    site.enrol(login, sign_in=accounts[0], account=accounts[0].upn)
    standin.user(accounts[0].upn, full_access=[login.upn])
    rows, last = site.ask("EXPORT")
    lines = [row["data"] for row in rows]
    assert last.verb == "OK" and int(last["rows"]) == len(lines)
    other = new_site(fronts, standin)
    other.expect("store-imported")
    # Without the keys it is of no use to anybody.
    answer = import_lines(other, lines)
    assert answer.verb == "FAIL" and "key" in answer["reason"] + answer["advice"], answer
    other.stop()
    shutil.copy(site.path(KEYS), other.path(KEYS))
    for name in (DB, DB + "-wal", DB + "-shm"):
        if os.path.exists(other.path(name)):
            os.unlink(other.path(name))
    other.start()
    other.wait(other.broker_answers)
    answer = import_lines(other, lines[:-1])
    assert answer.verb == "FAIL", answer
    answer = import_lines(other, lines)
    assert answer.verb == "OK" and int(answer["rows"]) == len(lines) - 2, answer
    other.wait(lambda: other.ask("LIST")[1].verb == "OK")
    for account in (*accounts, scanner, login):
        assert other.imap(account).ok, account
    assert not other.pop3(scanner).ok
    # What is there is not overwritten unless that is asked for.
    other.add_device(accounts[1], "of the second one")
    answer = import_lines(other, lines)
    assert answer.verb == "FAIL" and other.device_row(accounts[1], "of the second one"), answer
    answer = import_lines(other, lines, replace="yes")
    assert answer.verb == "OK", answer
    other.wait(lambda: other.ask("LIST")[1].verb == "OK")
    assert other.device_row(accounts[1], "of the second one") is None
    assert other.imap(accounts[1]).ok
    other.write("export", "\n".join(lines))
    assert canary.search_tree(other.directory, other.secret_names()) == {}


@pytest.mark.parametrize("spoil", ["other order", "line missing", "line twice", "bit", "no header"])
def test_an_export_that_somebody_touched_is_refused_as_a_whole(site, people, spoil):
    crowd_of(site, people, 1)
    lines = [row["data"] for row in site.ask("EXPORT")[0]]
    if spoil == "other order":
        lines[1], lines[2] = lines[2], lines[1]
    elif spoil == "line missing":
        del lines[2]
    elif spoil == "line twice":
        lines.insert(2, lines[2])
    elif spoil == "bit":
        lines[2] = lines[2][:-9] + ("A" if lines[2][-9] != "A" else "B") + lines[2][-8:]
    else:
        del lines[0]
    site.expect("store-imported")
    before = site.ask("LIST")[1]["rows"]
    assert import_lines(site, lines, replace="yes").verb == "FAIL"
    assert site.ask("LIST")[1]["rows"] == before


# -- gone or broken

def warm_password_user(front, people):
    account = people.new()
    assert front.imap(account).ok
    return account


def tree(front):
    """Every file of the state directory that is the store's, but for scratch files of SQLite's: name -> octets."""
    return {name: open(front.path("lib/" + name), "rb").read() for name in sorted(os.listdir(front.path("lib")))
            if not name.endswith(("-shm", "-wal", "audit.head"))}


def break_keys(front):
    os.unlink(front.path(KEYS))


def other_keys(front):
    text = front.read(KEYS)
    words = text.split()
    longest = max(words, key=len)
    with open(front.path(KEYS), "w", encoding="ascii") as file:
        file.write(text.replace(longest, longest[:-6] + longest[-6:][::-1]))


def break_database(front):
    with open(front.path(DB), "r+b") as file:
        file.seek(2000)
        file.write(os.urandom(6000))


def no_database_at_all(front):
    with open(front.path(DB), "r+b") as file:
        file.truncate(0)
        file.write(b"This is somebody's text file.\n" * 200)


def open_keys(front):
    os.chmod(front.path(KEYS), 0o644)


def not_ours(front):
    os.chown(front.path("lib"), 0, 0)


@pytest.mark.parametrize("spoil", [break_keys, other_keys, open_keys, break_database, no_database_at_all, not_ours])
def test_a_store_that_cannot_be_used_is_said_and_left_alone(fronts, standin, people, spoil):
    front = new_site(fronts, standin)
    front.expect("store", "auth: Error: modernauth", "key file", "database", "config.seen")
    [enrolled] = crowd_of(front, people, 1)
    password_user = people.new()
    assert front.imap(enrolled).ok and front.imap(password_user).ok
    assert front.stop() == []
    copy = {name: open(front.path("lib/" + name), "rb").read() for name in os.listdir(front.path("lib"))}
    spoil(front)
    before = tree(front)
    front.start()
    line = front.wait_log("the store cannot be opened: .*").group(0)
    assert "to do: " in line and "get temporary failures until then" in line, line
    for _ in range(2):
        assert front.imap(enrolled).temporary
    # Those who do not need it notice nothing.
    assert front.imap(password_user).ok and front.imap(password_user).ok
    assert front.imap(people.new()).ok
    assert front.ask("LIST")[1].verb == "FAIL" and front.ask("ENROLL", user=enrolled.upn)[1].verb == "FAIL"
    time.sleep(0.3)
    assert tree(front) == before
    # It is mended while the service runs.
    owner = front.user
    os.chown(front.path("lib"), owner.pw_uid, owner.pw_gid)
    for name in os.listdir(front.path("lib")):
        os.unlink(front.path("lib/" + name))
    for name, data in copy.items():
        with open(front.path("lib/" + name), "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(data)
        os.chown(front.path("lib/" + name), owner.pw_uid, owner.pw_gid)
    front.reload()
    front.wait(lambda: front.ask("LIST")[1].verb == "OK", 20)
    assert front.imap(enrolled).ok


def test_keys_that_vanish_under_a_running_service_do_no_harm_until_the_next_start(fronts, standin, people):
    front = new_site(fronts, standin)
    front.expect("store", "auth: Error: modernauth", "key file", "config.seen")
    [enrolled] = crowd_of(front, people, 1)
    keys = front.read(KEYS)
    os.unlink(front.path(KEYS))
    assert front.imap(enrolled).ok
    device = front.add_device(enrolled, "second")
    front.kill_and_wait_for_trouble()
    assert front.imap(enrolled).temporary and not os.path.exists(front.path(KEYS))
    front.write(KEYS, keys, 0o600)
    os.chown(front.path(KEYS), front.user.pw_uid, front.user.pw_gid)
    front.wait(lambda: front.imap(enrolled).ok, 40)
    assert front.imap(enrolled, device.password).ok


# -- nothing to read

@pytest.mark.sanitize
def test_nothing_that_is_kept_can_be_read(site, standin, people, canary):
    accounts = crowd_of(site, people, 2)
    scanner = people.new(domain="storeapp.test")
    scanner.password = site.add_device(scanner, "printer").password
    assert all(site.imap(account).ok for account in (*accounts, scanner))
    pending = people.new(domain=DOMAIN)
    standin.entra(device_interval=1)
    with site.broker("admin") as broker:
        broker.request("ENROLL", user=pending.upn)
        assert broker.answer().verb == "CODE"
        site.ask("REKEY")
        site.write("export", "\n".join(row["data"] for row in site.ask("EXPORT")[0]))
        assert {DB, KEYS} <= {"lib/" + name for name in os.listdir(site.path("lib"))}
        assert os.path.getsize(site.path(DB + "-wal")) > 0
        assert canary.search_tree(site.directory, site.secret_names()) == {}
    site.expect_trouble(pending)
    assert site.ask("REVOKE", user=pending.upn)[1].verb == "OK"
    os.unlink(site.path("export"))
    # The search finds what it looks for.
    for issued in (standin.issued()[0], standin.issued()[-1], scanner.password.replace("-", "")):
        path = site.write("trap", "before %s after\n" % issued)
        assert list(canary.search_tree(site.directory, site.secret_names())) == [path]
        os.unlink(path)


def test_what_is_kept_belongs_to_the_broker_alone(site):
    assert os.stat(site.path("lib")).st_mode & 0o077 == 0
    for name in os.listdir(site.path("lib")):
        stat = os.stat(site.path("lib/" + name))
        assert stat.st_uid == site.user.pw_uid and stat.st_mode & 0o077 == 0, name


# -- SIGKILL

class Enroller(threading.Thread):
    """Enrols one user after the other, whatever happens to the broker; knows what was acknowledged."""

    def __init__(self, site, standin, names, stop):
        super().__init__()
        self.site, self.standin, self.names, self.stop = site, standin, names, stop
        self.acknowledged, self.failed = [], []

    def run(self):
        while not self.stop.is_set():
            upn = next(self.names)
            self.standin.user(upn, password="n0t-used-by-anybody")
            while not self.stop.is_set() and not self.enrol(upn):
                time.sleep(0.02)

    def enrol(self, upn):
        """True once it has ended, well or not; whoever loses the connection asks again."""
        try:
            with self.site.broker("admin", timeout=10) as broker:
                broker.request("ENROLL", user=upn)
                while (answer := broker.answer()) is not None:
                    if answer.verb == "CODE":
                        self.standin.device("approve", answer["user_code"], user=upn)
                    elif answer.verb == "FAIL":
                        self.failed.append(answer)
                        return True
                    elif answer.verb == "OK":
                        # None: there is one of an answer that was lost.
                        if "device_password" in answer.fields:
                            self.acknowledged.append(Account(upn, self.site.take_device(answer).password))
                        return True
        except (OSError, AssertionError):
            pass
        return False


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_hundred_kills_lose_no_enrolment_and_no_refresh_token(fronts, standin, people):
    front = new_site(fronts, standin, refresh_ahead="10s")
    front.expect("killed with signal", "lost the connection", "cannot connect to the broker", "refused a report",
                 "auth: Error", "throttling", "store cannot be opened", "refresh_ahead is shorter",
                 "enrolment-finished", "ending before the broker has confirmed")
    standin.entra(expires_in=11)
    accounts = crowd_of(front, people, 40)
    stop, replies = threading.Event(), []
    names = ("kill%05d@%s" % (number, DOMAIN) for number in range(100000))
    lock = threading.Lock()

    def next_name():
        while True:
            with lock:
                name = next(names)
            yield name
    enrollers = [Enroller(front, standin, next_name(), stop) for _ in range(5)]

    def rotate():
        place = random.randrange(len(accounts))
        while not stop.is_set():
            place += 1
            try:
                replies.append(front.imap(accounts[place % len(accounts)]))
            except (OSError, AssertionError):
                time.sleep(0.02)
    rotators = [threading.Thread(target=rotate) for _ in range(3)]
    threads = [*enrollers, *rotators]
    for thread in threads:
        thread.start()
    kills, deadline = 0, time.monotonic() + 115
    try:
        while kills < 100 and time.monotonic() < deadline:
            # Dovecot's master lets a service wait that dies before it has said that it runs.
            front.wait(front.broker_answers, 20)
            # Now and then long enough for a poll, mostly in the middle of something.
            time.sleep(random.expovariate(1 / 0.55))
            front.kill_broker()
            kills += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert kills == 100
    front.wait(front.broker_answers, 20)
    front.wait(lambda: front.ask("LIST")[1].verb == "OK", 20)
    assert not [reply for reply in replies if reply.wrong], "a right password was called wrong"
    assert len([reply for reply in replies if reply.ok]) > 50
    acknowledged = [account for enroller in enrollers for account in enroller.acknowledged]
    assert len(acknowledged) > 10, "%d, and %s" % (len(acknowledged), [enroller.failed[:3] for enroller in enrollers])
    states = {row["user"]: row["state"] for row in front.ask("LIST")[0]}
    assert {states.get(account.upn) for account in (*acknowledged, *accounts)} == {"active"}
    # Nothing is cached that is good enough: everybody's refresh token is used.
    time.sleep(2.1)
    before = standin.last_request()
    for reply in front.storm([*acknowledged, *accounts], parallel=20):
        assert reply.ok, reply
    asked = {record["username"] for record in standin.token_requests(since=before, grant="refresh_token", status=200)}
    assert asked >= {account.upn for account in (*acknowledged, *accounts)}
    with sqlite3.connect("file:%s?mode=ro" % front.path(DB), uri=True) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
