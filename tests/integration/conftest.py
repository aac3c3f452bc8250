# SPDX-License-Identifier: MIT
"""Fixtures of the integration tests: stand-ins, front ends, users; and what must hold after every module and at the end
of the run: nothing unexpected in the logs, no process left, no secret anywhere."""

import os
import shutil
import tempfile
import time

import pytest

from harness import sanitizer, settings
from harness.canary import Canary, core_files
from harness.front import Front
from harness.people import People
from standin.client import Standin
from standin.entra_model import APP_SECRET, EXPIRED_SECRET
from standin.world import ENTRA_SETTINGS, EXCHANGE_SETTINGS


def pytest_collection_modifyitems(config, items):
    # Modules go to pytest-xdist's processes as a whole: the long ones first, so that none is left alone at the end.
    slow = {item.module for item in items if item.get_closest_marker("slow")}
    longest = "test_store"
    items.sort(key=lambda item: (item.module.__name__ != longest, item.module not in slow))
    if not sanitizer.KIND:
        return
    for item in items:
        item.add_marker(pytest.mark.timeout(600))
    if sanitizer.KIND == "valgrind":
        # A front end takes a quarter of a minute to start then: only what a module shares.
        own = [item for item in items if "fronts" in item._fixtureinfo.argnames]
        config.hook.pytest_deselected(items=own)
        items[:] = [item for item in items if item not in own]


def pytest_sessionstart(session):
    for path in ("modernauth", "modules/auth/libauthdb_modernauth.so", "modules/login/libmodernauth_login.so",
                 "modules/doveadm/lib50_doveadm_modernauth_plugin.so"):
        assert os.path.exists(os.path.join(sanitizer.LIBEXEC, path)), \
            "%s is not installed: meson install -C BUILD" % path
    assert sanitizer.available(), "valgrind is not installed"


@pytest.fixture(scope="session")
def canary():
    canary = Canary()
    canary.add(APP_SECRET, "client secret")
    canary.add(EXPIRED_SECRET, "client secret")
    return canary


@pytest.fixture(scope="session")
def running_standin(canary):
    # Not pytest's own directory: the broker's user must be able to read the CA's certificate.
    directory = tempfile.mkdtemp(prefix="ma-standin-", dir="/tmp")
    os.chmod(directory, 0o755)
    with Standin().start(directory) as standin:
        for name, tenant in settings.EXTRA_DOMAINS.items():
            standin.domain(name, tenant=tenant)
        yield standin
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def standin(running_standin):
    """The stand-ins; what a test changed in their settings is undone after it, its users and records stay."""
    yield running_standin
    running_standin.clear_faults()
    running_standin.clear_refusals()
    running_standin.entra(**ENTRA_SETTINGS)
    running_standin.exchange(**EXCHANGE_SETTINGS)


@pytest.fixture
def people(standin, canary):
    return People(standin, canary)


class Fronts:
    """Makes front ends, and looks at each when it goes."""

    def __init__(self, standin, canary):
        self.standin, self.canary, self.fronts = standin, canary, []

    def new(self, start=True, **options):
        front = Front(self.standin, self.canary, **options)
        self.fronts.append(front)
        return front.start() if start else front

    def close(self):
        """Problems of all of them, as text."""
        problems = []
        for front in self.fronts:
            problems += ["%s: %s" % item for item in self.canary.search_processes(front.processes()).items()]
            front.terminate()
        while self.fronts:
            problems += self.examine(self.fronts.pop())
        return problems

    def examine(self, front):
        found = self.canary.search_processes(front.processes())
        started = time.monotonic()
        left = front.stop()
        if os.environ.get("MODERNAUTH_KEEP"):
            print("%s stopped in %.1f s" % (front.directory, time.monotonic() - started))
        if left:
            found["left behind"] = left
        if front.complaints():
            found["log"] = front.complaints()[:20]
        if os.path.isfile(front.audit_path) and os.path.exists(front.path("audit.key")) and not front.audit_touched:
            status, rows, said = front.verify_audit(front.audit_path)
            if status not in (0, 66) or [row for row in rows if row["result"] == "finding"]:
                found["audit"] = (status, rows, said)
        if core_files(front.directory):
            found["core files"] = core_files(front.directory)
        for number, text in enumerate(sanitizer.findings(front)):
            found["%s %d" % (sanitizer.KIND, number)] = text
        # The files with the settings hold the secrets that an admin put there.
        found.update(self.canary.search_tree(front.directory, front.secret_names(), front.dovecots_own))
        keep = os.environ.get("MODERNAUTH_KEEP")
        if found and keep:
            shutil.copytree(front.directory, os.path.join(keep, os.path.basename(front.directory)), symlinks=True,
                            ignore=lambda _, names: [name for name in names if name in ("run",)])
        front.remove()
        return ["%s: %s" % item for item in found.items()]


@pytest.fixture(scope="module")
def fronts(running_standin, canary):
    """Front ends of one module. Fails the module's last test if something is wrong with one of them."""
    fronts = Fronts(running_standin, canary)
    yield fronts
    problems = fronts.close()
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def shared_fronts(running_standin, canary):
    fronts = Fronts(running_standin, canary)
    yield fronts
    problems = fronts.close()
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def shared_front(shared_fronts):
    return shared_fronts.new()


@pytest.fixture
def front(shared_front):
    """The front end that most tests share: every tenant, default settings."""
    return shared_front


_spare = iter(settings.SPARE_DOMAINS)


@pytest.fixture
def spare_domain():
    """A domain whose tenant (and so whose breaker) no other test uses."""
    return next(_spare)
