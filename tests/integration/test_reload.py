# SPDX-License-Identifier: MIT
"""doveadm reload starts a second broker beside the first: warm users stay warm, no login fails, and a broken new
modernauth.conf leaves the old one in force."""

import asyncio
import subprocess
import time

import pytest

from harness import settings
from standin.client import sha256


@pytest.fixture(scope="module")
def own_front(fronts):
    # Dovecot's login processes end the sessions that they proxy two seconds after a reload, unless told not to.
    return fronts.new(dovecot="shutdown_clients = no\n")


@pytest.mark.sanitize
def test_warm_users_and_known_bad_passwords_survive_a_reload(own_front, standin, people):
    front = own_front
    accounts, wrong = [people.new() for _ in range(5)], people.password()
    assert all(front.imap(account).ok for account in accounts)
    assert front.imap(accounts[0], wrong).wrong
    before = standin.last_request()
    for _ in range(2):
        mark = front.log_mark()
        front.reload()
        front.wait_log(r"took over from the predecessor: \d+ tokens", mark)
        for account in accounts:
            assert front.imap(account).ok
        assert front.imap(accounts[0], wrong).wrong
    assert standin.token_requests(since=before) == []
    assert {record["modernauth"]["token_source"] for record in front.attempts(accounts[1].upn)[1:]} == {"cache"}


@pytest.mark.slow
def test_a_reload_with_a_thousand_warm_users_under_load_fails_nobody_and_asks_nothing(fronts, standin, people):
    front = fronts.new()
    crowd = people.many(1000)
    assert all(reply.ok for reply in front.storm(crowd, parallel=100))
    before, replies = standin.last_request(), []

    async def load():
        stop = time.monotonic() + 5
        reloads = []

        async def worker(number):
            place = number * 41
            while time.monotonic() < stop:
                place += 1
                replies.append(await front.quick_login(crowd[place % len(crowd)]))

        async def reload():
            for _ in range(2):
                await asyncio.sleep(1)
                reloads.append(await asyncio.create_subprocess_exec("doveadm", "-c", front.dovecot_path, "reload"))
                await reloads[-1].wait()
        await asyncio.gather(reload(), *(worker(number) for number in range(24)))
        assert [process.returncode for process in reloads] == [0, 0]
    asyncio.run(load())
    failed = [reply for reply in replies if not reply.ok]
    assert len(replies) > 100 and not failed, "%d of %d: %s" % (len(failed), len(replies), failed[:3])
    assert all(reply.ok for reply in front.storm(crowd, parallel=50))
    assert standin.token_requests(since=before) == []
    front.wait(lambda: len(front.broker_pids()) == 1, 10, "two brokers side by side")


def test_logins_that_wait_for_entra_survive_a_reload(own_front, standin, people):
    """The old broker's answer may take longer than it lives: the successor asks again."""
    front = own_front
    accounts = [people.new() for _ in range(10)]
    standin.fault(endpoint="token", user="user*", latency_ms=2500)

    async def both():
        logins = [asyncio.create_task(front.quick_login(account)) for account in accounts]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(front.doveadm, "reload")
        return await asyncio.gather(*logins)
    replies = asyncio.run(both())
    assert all(reply.ok for reply in replies), replies
    for account in accounts:
        # One record for one attempt, whichever broker answered it.
        assert len(front.attempts(account.upn)) == 1


def test_sessions_outlive_a_reload_and_are_still_reported(own_front, standin, people):
    front, account = own_front, people.new()
    reply = front.imap(account, keep=True)
    front.reload()
    reply.sock.send("b SELECT INBOX\r\n")
    assert reply.sock.until("b").startswith("b OK")
    reply.sock.send("c LOGOUT\r\n")
    reply.sock.close()
    assert len(front.wait_upstream(account.upn)) == 1


def test_a_broken_file_leaves_the_old_one_in_force(fronts, standin, people):
    front = fronts.new()
    front.expect("configuration: ", "continuing with the previous configuration")
    account, cold = people.new(), people.new()
    assert front.imap(account).ok
    good = front.read("modernauth.conf")
    before = standin.last_request()
    for broken in ("nonsense\n", good + "\nsurprise = 1\n", good.replace("tenant_id", "tenant_ip", 1), ""):
        front.write("modernauth.conf", broken)
        mark = front.log_mark()
        front.reload()
        front.wait_log(r"modernauth\.conf(:\d+)?: .*", mark)
        front.wait_log("continuing with the previous configuration, the file is broken", mark)
        assert front.imap(account).ok
    assert standin.token_requests(since=before) == []
    # The old one serves new users as well, and after the file has been mended the new one does.
    assert front.imap(cold).ok
    front.write("modernauth.conf", good)
    mark = front.log_mark()
    front.reload()
    assert front.imap(account).ok and front.imap(cold).ok
    assert "previous configuration" not in front.log(mark)
    assert len(standin.token_requests(since=before)) == 1


def test_logins_go_on_while_a_broken_file_is_loaded(fronts, standin, people):
    front = fronts.new()
    front.expect("configuration: ", "continuing with the previous configuration")
    crowd = [people.new() for _ in range(20)]
    assert all(reply.ok for reply in front.storm(crowd))
    front.write("modernauth.conf", "nonsense\n")
    replies = []

    async def load():
        stop = time.monotonic() + 2.5

        async def worker(number):
            while time.monotonic() < stop:
                replies.append(await front.quick_login(crowd[number]))

        async def reload():
            await asyncio.sleep(0.7)
            await asyncio.to_thread(front.doveadm, "reload")
        await asyncio.gather(reload(), *(worker(number) for number in range(10)))
    asyncio.run(load())
    assert [reply for reply in replies if not reply.ok] == []


def test_a_new_file_takes_effect_and_forgets_what_it_must(fronts, standin, people):
    """A tenant with another app: its tokens are not the new configuration's to give; the other tenant's are."""
    front = fronts.new()
    account, other = people.new(), people.new(domain="secret.test")
    assert front.imap(account).ok and front.imap(other).ok
    tenants = settings.tenant(standin, "contoso", ["contoso.com", "secret.test"])
    front.write("modernauth.conf", settings.modernauth_conf(front, tenants))
    before = standin.last_request()
    front.reload()
    assert front.imap(other).ok and front.imap(account).ok
    asked = standin.token_requests(since=before)
    assert other.upn in {record["username"] for record in asked}
    assert all(record["client_id"].endswith("1") for record in asked)


def test_a_tenant_that_is_gone_serves_nobody(fronts, standin, people):
    front = fronts.new()
    account = people.new(domain="secret.test")
    assert front.imap(account).ok
    only = settings.tenant(standin, "contoso", ["contoso.com"])
    front.write("modernauth.conf", settings.modernauth_conf(front, only))
    front.reload()
    assert front.imap(account).wrong
    assert front.attempts(account.upn)[-1]["modernauth"]["decision"] == "not-ours"


def test_an_audit_may_move_with_a_reload(fronts, people):
    front, account = fronts.new(), people.new()
    assert front.imap(account).ok
    first, front.audit_path = front.audit_path, front.path("audit/other.jsonl")
    front.write("modernauth.conf", front.read("modernauth.conf").replace(first, front.audit_path))
    front.reload()
    assert front.imap(account).ok
    assert len(front.attempts(account.upn)) == 1


@pytest.mark.slow
def test_many_reloads_in_a_row_leave_one_broker_that_works(fronts, standin, people):
    front = fronts.new()
    # Dovecot's own processes do not like that at all.
    front.expect(r"run/config\) failed: (No such file|.*Connection reset)", "submission-login: Error: connect", "master: Error: service")
    accounts = [people.new() for _ in range(20)]
    assert all(reply.ok for reply in front.storm(accounts))
    before = standin.last_request()
    for _ in range(8):
        front.doveadm("reload")
        time.sleep(0.1)
    assert all(reply.ok for reply in front.storm(accounts))
    front.wait(lambda: len(front.broker_pids()) == 1, 30, "more than one broker stayed")
    assert all(reply.ok for reply in front.storm(accounts))
    assert standin.token_requests(since=before) == [], front.log()


def test_a_stop_and_a_start_forget_tokens(fronts, standin, people):
    """Nothing of them is ever on a disk."""
    front, account = fronts.new(), people.new()
    assert front.imap(account).ok
    assert front.stop() == []
    front.start()
    assert front.imap(account).ok
    assert len(standin.token_requests(username=account.upn, password_sha256=sha256(account.password))) == 2


def test_stopping_with_open_requests_answers_them(fronts, standin, people):
    front, account = fronts.new(), people.new()
    front.expect(r"auth: Error: modernauth\(", "login refused")
    standin.fault(endpoint="token", user=account.upn, latency_ms=4000)

    async def both():
        login = asyncio.create_task(front.quick_login(account))
        await asyncio.sleep(0.5)
        left = await asyncio.to_thread(front.stop)
        return await login, left
    reply, left = asyncio.run(both())
    assert left == [] and not reply.ok and not reply.wrong


def test_doveconf_shows_a_valid_configuration(own_front):
    done = subprocess.run(["doveconf", "-n", "-c", own_front.dovecot_path], capture_output=True, text=True, check=True)
    assert "driver = modernauth" in done.stdout and "login_plugins = \" modernauth_login\"" in done.stdout
    assert not done.stderr.strip(), done.stderr
