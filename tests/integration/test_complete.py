# SPDX-License-Identifier: MIT
"""Twenty thousand attempts of every kind and with every outcome, over all protocols, while things fail and Dovecot is
reloaded: what the audit says of them is compared with what clients and stand-ins saw. None missing, none double, none
wrong."""

import asyncio
import collections
import contextlib
import dataclasses
import os
import random
import time

import pytest

from harness import settings
from harness.clients import b64, fresh_address, imap_quote, imap_reply, plain, pop3_reply, smtp_reply
from harness.front import free_port

# Whole sessions, client to Exchange; and attempts at auth's socket, where a login process would stand.
SESSIONS = int(os.environ.get("MODERNAUTH_SESSIONS", "3000"))
ATTEMPTS = int(os.environ.get("MODERNAUTH_ATTEMPTS", "20000"))
PARALLEL = 48
PIPELINE = 400

DOWN, BROKEN, SLOW = settings.SPARE_DOMAINS[-3:]
RULES = """
rule "no" { users = {"denied*@contoso.com"} action = "deny" }
rule "watched" { users = {"watched*@contoso.com"} action = "monitor" }
"""


@dataclasses.dataclass
class Kind:
    """One sort of attempt: how often in a thousand, whose, and what is to become of it."""
    share: int
    users: str                       # "%04d" is a number
    count: int                       # users of this sort
    statuses: tuple                  # that the record may have
    reply: str                       # what the client hears: ok, wrong, temporary, no (in any words), none (it has gone)
    upstream: str = ""               # what the record of the second leg says; "" if there is none
    password: str = ""               # another one than the right one


KINDS = {
    "good": Kind(480, "good%04d@contoso.com", 200, ("ok",), "ok", "accepted"),
    "wrong": Kind(140, "mistaken%04d@contoso.com", 150, ("bad_credentials",), "wrong", password="not-this-one"),
    "unknown": Kind(70, "nobody%04d@contoso.com", 60, ("user_unknown",), "wrong"),
    "other": Kind(40, "other%04d@elsewhere.test", 20, ("not_ours",), "wrong"),
    "denied": Kind(60, "denied%04d@contoso.com", 40, ("policy",), "no"),
    "watched": Kind(50, "watched%04d@contoso.com", 40, ("not_ours",), "wrong"),
    "refused": Kind(50, "refused%04d@contoso.com", 30, ("ok",), "no", "refused"),
    "down": Kind(30, "down%%04d@%s" % DOWN, 20, ("ok",), "temporary", "failed"),
    "broken": Kind(40, "broken%%04d@%s" % BROKEN, 30, ("temporary",), "temporary"),
    "slow": Kind(10, "slow%%04d@%s" % SLOW, 10, ("timeout", "temporary"), "temporary"),
    "gone": Kind(30, "gone%04d@contoso.com", 1 << 20, ("ok", "cancelled"), "none"),
}
AT_THE_SOCKET = [name for name in KINDS if name not in ("refused", "down", "gone")]


@dataclasses.dataclass
class Attempt:
    kind: str
    user: str
    password: str
    protocol: str
    address: str = ""
    port: int = 0
    session: str = ""
    reply: object = None             # "ok", "wrong", "temporary", other words
    sent: int = 0                    # octets after the login
    received: int = 0
    bye: bool = False


def password_of(kind, number):
    return KINDS[kind].password or "right-%s-%04d" % (kind, number)


def draw(count, names, protocols):
    """count attempts of these kinds, in random order."""
    rng, numbers = random.Random(4711), collections.Counter()
    shares = [KINDS[name].share for name in names]
    for _ in range(count):
        name = rng.choices(names, shares)[0]
        number = rng.randrange(KINDS[name].count) if name != "gone" else numbers[name]
        numbers[name] += 1
        yield Attempt(name, KINDS[name].users % number, password_of(name, number), rng.choice(protocols))


# -- clients

def outcome(reply):
    return "ok" if reply.ok else "wrong" if reply.wrong else "temporary" if reply.temporary else reply.text


async def imap(attempt, reader, writer):
    await reader.readline()
    writer.write(b"a LOGIN %s %s\r\n" % (imap_quote(attempt.user), imap_quote(attempt.password)))
    yield None
    line = b"*"
    while line.startswith(b"*"):
        line = await reader.readline()
    yield imap_reply(line.decode().rstrip())


async def pop3(attempt, reader, writer):
    await reader.readline()
    writer.write(b"USER %s\r\n" % attempt.user.encode())
    await reader.readline()
    writer.write(b"PASS %s\r\n" % attempt.password.encode())
    yield None
    yield pop3_reply((await reader.readline()).decode().rstrip())


async def submission(attempt, reader, writer):
    await reader.readline()
    writer.write(b"EHLO client.test\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    writer.write(b"AUTH PLAIN %s\r\n" % plain(attempt.user, attempt.password).encode())
    yield None
    line = b"---- "
    while line[3:4] == b"-":
        line = await reader.readline()
    yield smtp_reply(line.decode().rstrip())


PROTOCOLS = {"imap": (imap, b"b NOOP\r\n", b"c LOGOUT\r\n"), "pop3": (pop3, b"NOOP\r\n", b"QUIT\r\n"),
             "submission": (submission, b"NOOP\r\n", b"QUIT\r\n")}


async def converse(attempt, reader, writer, number):
    """After the login: some commands, then a goodbye, or none."""
    _, noop, goodbye = PROTOCOLS[attempt.protocol]

    async def say(text):
        writer.write(text)
        attempt.sent += len(text)

    for _ in range(number % 3):
        await say(noop)
        attempt.received += len(await reader.readline())
    attempt.bye = number % 2 == 0
    if attempt.bye:
        await say(goodbye)
        attempt.received += len(await reader.read(1 << 20))
        while not reader.at_eof():
            attempt.received += len(await reader.read(1 << 20))


async def whole_session(front, attempt, number):
    attempt.address = fresh_address()
    reader, writer = await asyncio.open_connection("127.0.0.1", front.ports[attempt.protocol], limit=1 << 20,
                                                   local_addr=(attempt.address, 0))
    attempt.port = writer.get_extra_info("sockname")[1]
    try:
        steps = PROTOCOLS[attempt.protocol][0](attempt, reader, writer)
        await steps.__anext__()
        if attempt.kind == "gone":
            await writer.drain()
            await asyncio.sleep(0.3)
            await steps.aclose()
            return
        reply = await steps.__anext__()
        attempt.reply = outcome(reply)
        await steps.aclose()
        if reply.ok:
            await converse(attempt, reader, writer, number)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def whole_sessions(front, attempts):
    todo = iter(list(enumerate(attempts)))

    async def worker():
        for number, attempt in todo:
            try:
                await asyncio.wait_for(whole_session(front, attempt, number), 60)
            except (OSError, asyncio.TimeoutError) as error:
                attempt.reply = "%s" % (error or "timeout")

    await asyncio.gather(*(worker() for _ in range(PARALLEL)))


async def at_the_socket(front, attempts):
    """The same as a login process asks auth, many at a time."""
    reader, writer = await asyncio.open_unix_connection(front.socket_path("login/login"), limit=1 << 20)
    writer.write(b"VERSION\t1\t2\nCPID\t%d\n" % os.getpid())
    while await reader.readline() != b"DONE\n":
        pass
    gate, asked = asyncio.Semaphore(PIPELINE), {}

    async def ask():
        for number, attempt in enumerate(attempts, 1):
            await gate.acquire()
            asked[number] = attempt
            attempt.address, attempt.port, attempt.session = fresh_address(), number % 60000 + 1, "socket-%d" % number
            writer.write(("AUTH\t%d\tPLAIN\tservice=%s\tsession=%s\tlip=127.0.0.1\trip=%s\tlport=143\trport=%d\tsecured\t"
                          "resp=%s\n" % (number, attempt.protocol, attempt.session, attempt.address, attempt.port,
                                         plain(attempt.user, attempt.password))).encode())
            if number % 50 == 0:
                await writer.drain()

    async def hear():
        for _ in range(len(attempts)):
            fields = (await reader.readline()).decode().rstrip("\n").split("\t")
            attempt = asked.pop(int(fields[1]))
            attempt.reply = "ok" if fields[0] == "OK" else \
                "temporary" if "temp" in fields or "code=temp_fail" in fields else "wrong"
            gate.release()

    await asyncio.gather(ask(), hear())
    writer.close()


# -- the comparison

def compare(attempts, records, requests):
    """What is not as it should be, as text."""
    found, by_client = [], collections.defaultdict(list)
    second, ends = collections.defaultdict(list), collections.defaultdict(list)
    for record in records:
        action, own = record["event"]["action"], record["modernauth"]
        if action == "basic-auth-intercepted":
            by_client[record["source"]["ip"]].append(record)
        elif action.startswith("upstream-session"):
            second[own["session"]].append(record)
        elif action == "session-ended":
            ends[own["session"]].append(record)
    asked = {request["username"] for request in requests}
    for attempt in attempts:
        mine = by_client.pop(attempt.address, [])
        problem = judge(attempt, mine, second, ends, attempt.user in asked)
        if problem:
            found.append("%s: %s: %s" % (problem, attempt, [record["modernauth"] for record in mine]))
    found += ["a record of nobody's attempt: %s" % (record,) for record in by_client.items()]
    found += ["a second leg without a first: %s" % (record,) for record in [*second.items(), *ends.items()]]
    return found


def judge(attempt, mine, second, ends, was_asked):
    kind = KINDS[attempt.kind]
    if attempt.kind == "gone" and not mine and not was_asked:
        return ""                    # gone before anybody had heard of it
    if len(mine) != 1:
        return "%d records" % len(mine)
    record = mine[0]
    own = record["modernauth"]
    upstream, last = second.pop(own["session"], []), ends.pop(own["session"], [])
    if record["user"]["name"] != attempt.user or record["source"]["port"] != attempt.port or \
            record["service"]["name"] != attempt.protocol or attempt.session not in ("", own["session"]):
        return "another's record"
    if own["status"] not in kind.statuses:
        return "status"
    if kind.reply == "no" and attempt.reply == "ok" or kind.reply not in ("no", "none") and attempt.reply != kind.reply:
        return "the client saw something else"
    if attempt.session:
        return "a second leg" if upstream or last else ""
    if attempt.kind == "gone":
        return "the second leg" if len(upstream) != (own["status"] == "ok") or \
            len(last) != sum(leg["modernauth"]["status"] == "accepted" for leg in upstream) else ""
    if [leg["modernauth"]["status"] for leg in upstream] != [kind.upstream] * bool(kind.upstream):
        return "the second leg: %s" % upstream
    if len(last) != (kind.upstream == "accepted"):
        return "%d ends" % len(last)
    if any(leg["user"] != record["user"] or leg["source"]["ip"] != attempt.address or leg["modernauth"]["token_id"] !=
           own["token_id"] for leg in [*upstream, *last]):
        return "legs of others"
    return last and judge_end(attempt, last[0])


def judge_end(attempt, end):
    octets = (end["source"]["bytes"], end["destination"]["bytes"])
    if octets != (attempt.sent, attempt.received):
        return "octets: %s" % (octets,)
    if end["modernauth"]["status"] != "client" or (end["event"].get("reason") == "logged out") != attempt.bye:
        return "how it ended: %s" % end
    return ""


def compare_with_exchange(attempts, records, sessions):
    """Exchange's own count of each user's sessions is that of the audit."""
    ok = collections.Counter(session["user"] for session in sessions if session["result"] == "ok")
    opened = collections.Counter(record["user"]["name"] for record in records
                                 if record["event"]["action"] == "upstream-session-opened")
    return ["%s: Exchange saw %d sessions, the audit %d" % (user, ok[user], opened[user])
            for user in {attempt.user for attempt in attempts} if ok[user] != opened[user]]


def compare_with_entra(records, requests):
    """Every token that Entra has given is on record with a login, and every one on record is Entra's. A reload may part the login that had it
    fetched from its token: the next broker finds it in the cache."""
    given, used = collections.defaultdict(set), collections.defaultdict(set)
    for request in requests:
        if request["status"] == 200:
            given[request["username"]].add(request["access_token_sha256"])
    for record in records:
        own = record["modernauth"]
        if record["event"]["action"] == "basic-auth-intercepted" and own.get("token_source") in ("fetched", "joined", "cache"):
            used[record["user"]["name"]].add(own["token_id"])
    found = []
    for user in (given.keys() | used.keys()):
        tokens = {token[:len(next(iter(used[user]), ""))] for token in given[user]}
        if tokens != used[user] and not user.startswith("gone"):
            found.append("%s: Entra gave %s, the audit has %s" % (user, sorted(tokens), sorted(used[user])))
    return found


SPOILT = {
    # how: (which record, what becomes of it)
    "a lost attempt": ("basic-auth-intercepted", lambda record: []),
    "a lost answer": ("upstream-session-opened", lambda record: []),
    "a lost end": ("session-ended", lambda record: []),
    "a double attempt": ("basic-auth-intercepted", lambda record: [record, record]),
    "a double end": ("session-ended", lambda record: [record, record]),
    "an octet": ("session-ended", lambda record: [{**record, "source": {**record["source"], "bytes": 1}}]),
    "an address": ("basic-auth-intercepted", lambda record: [{**record, "source": {**record["source"], "ip": "192.0.2.1"}}]),
    "a user": ("basic-auth-intercepted", lambda record: [{**record, "user": {"name": "somebody@contoso.com"}}]),
}


def spoil(records, kind):
    """The records with one mistake: the comparison has to find it."""
    action, spoilt = SPOILT[kind]
    # Not one of those whose client has gone: of them more is allowed.
    at = next(number for number, record in enumerate(records) if record["event"]["action"] == action and
              not record["user"]["name"].startswith("gone"))
    return [*records[:at], *spoilt(records[at]), *records[at + 1:]]


def read(path):
    with open(path, "rb") as file:
        return file.read()


# -- the test

@pytest.fixture
def crowded(fronts, standin, canary):
    nowhere = free_port()
    tenants = settings.tenant(standin, "contoso", ["contoso.com"])
    tenants += settings.tenant(standin, "down", [DOWN], imap="imaps://127.0.0.1:%d" % nowhere,
                               pop3="pop3s://127.0.0.1:%d" % nowhere, submission="smtp://127.0.0.1:%d" % nowhere)
    tenants += settings.tenant(standin, "broken", [BROKEN]) + settings.tenant(standin, "slow", [SLOW])
    standin.exchange(imap_cap=5000, pop3_cap=5000, smtp_cap=5000, auth_failure_limit=100)
    standin.entra(lockout_threshold=10000)
    standin.fault(endpoint="token", user="*@" + BROKEN, action="status", status=503)
    standin.fault(endpoint="token", user="*@" + SLOW, action="hang")
    standin.fault(endpoint="token", user="gone*", latency_ms=1000)
    for name, kind in KINDS.items():
        canary.add("right-%s-" % name, name)
        if name not in ("unknown", "other", "denied", "watched"):
            standin.bulk_users(kind.users, min(kind.count, SESSIONS), password="right-%s-%%04d" % name)
    for number in range(KINDS["refused"].count):
        standin.refuse(user=KINDS["refused"].users % number)
    front = fronts.new(tenants=tenants, extra=RULES, deadline="12s", request_timeout="6s",
                       dovecot="login_proxy_max_reconnects = 0\nshutdown_clients = no\n")
    front.expect("upstream (refused|failed)", "Error: proxy", "answers none of", "Entra", "breaker", "token request",
                 "connect\\(", "slow", "broken", "IPC proxy", "auth_failure", "lost the connection", "deadline",
                 "Warning: master", "SIGTERM", "Killed with signal 15")
    return front


@pytest.mark.slow
def test_every_one_of_twenty_thousand_attempts_is_on_record_once(crowded, standin):
    front, begun = crowded, time.monotonic()
    whole = list(draw(SESSIONS, list(KINDS), list(PROTOCOLS)))
    short = list(draw(ATTEMPTS - SESSIONS, AT_THE_SOCKET, list(PROTOCOLS)))
    since, last = standin.last_request(), standin.last_session()

    async def all_of_them():
        sessions = asyncio.create_task(whole_sessions(front, whole))
        await asyncio.sleep(2)
        await asyncio.to_thread(front.doveadm, "reload")
        await sessions
        middle = time.monotonic()
        await at_the_socket(front, short)
        return middle

    middle = asyncio.run(all_of_them())
    ended = time.monotonic()
    opened = [attempt for attempt in whole if attempt.reply == "ok"]
    # Looked for as text: there are too many to parse more than once.
    front.wait(lambda: front.status()["open"] == 0 and read(front.audit_path).count(b'"session-ended"') >= len(opened), 30,
               "ends are missing")
    records, requests = front.audit(), standin.token_requests(since=since)
    found = compare([*whole, *short], records, requests)
    found += compare_with_exchange(whole, records, standin.sessions(since=last))
    found += compare_with_entra(records, requests)
    print("%d sessions in %.1f s, %d attempts in %.1f s, %d records, compared in %.1f s" % (
        len(whole), middle - begun, len(short), ended - middle, len(records), time.monotonic() - ended))
    print(collections.Counter((attempt.kind, attempt.reply) for attempt in [*whole, *short]))
    assert not found, "%d findings:\n%s" % (len(found), "\n".join(found[:10]))
    assert [kind for kind in SPOILT if not compare([*whole, *short], spoil(records, kind), requests)] == []
    assert {record["modernauth"]["status"] for record in records if record["event"]["action"] ==
            "basic-auth-intercepted"} >= {status for kind in KINDS.values() for status in kind.statuses[:1]}
