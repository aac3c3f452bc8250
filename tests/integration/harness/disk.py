# SPDX-License-Identifier: MIT
"""Disks that are full, read-only, slow or broken, below the audit of one front end."""

import os
import subprocess

import pytest

from . import sanitizer

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slow_disk.c")


def mount(front, options):
    """A tmpfs over the directory of the audit. Whoever mounts unmounts."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options + ",mode=0700,uid=%d,gid=%d" % (
        front.user.pw_uid, front.user.pw_gid), "none", front.audit_dir], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("cannot mount a file system: " + done.stderr.strip())


def unmount(front):
    """The topmost one; false if there is none."""
    return subprocess.run(["umount", "-l", front.audit_dir], capture_output=True).returncode == 0


def fill(front):
    """Leaves no room at all. The path of what takes it."""
    path = os.path.join(front.audit_dir, "ballast")
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            pass
    return path


class SlowDisk:
    """Has the broker of a front end that has not started yet believe in a disk that does what it is told here."""

    def __init__(self, front):
        self.front, self.control = front, front.path("slow-disk")
        library = front.path("slow_disk.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True)
        self.set()
        front.write("slow-disk.count", "", 0o666)
        text = front.read("dovecot.conf")
        wrapper = front.write("slow-disk.sh", "#!/bin/sh\nexport SLOW_DISK=%s LD_PRELOAD=%s\nexec %s/modernauth \"$@\"\n" % (
            self.control, library, sanitizer.LIBEXEC), 0o755)
        front.write("dovecot.conf", text + sanitizer.service("modernauth", wrapper + " -f " + front.config_path))

    def set(self, msecs=0, errno=0):
        """What each sync from now on, and one under way, does."""
        self.front.write("slow-disk", "%d %d\n" % (msecs, errno))

    def syncs(self):
        return os.path.getsize(self.front.path("slow-disk.count"))
