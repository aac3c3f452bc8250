# SPDX-License-Identifier: MIT
"""Runs the real doveadm with our plugin, in pipes or on a terminal of its own. MODERNAUTH_BUILD names a build directory
whose plugin is to be used instead of the installed one: doveadm loads plugins from one directory only, which is covered
by the build's in a mount namespace of its own, so that nothing has to be installed."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

MODULES = "/usr/lib/dovecot/modules/doveadm"
PLUGIN = "lib50_doveadm_modernauth_plugin.so"
BUILD = os.environ.get("MODERNAUTH_BUILD")
COVER = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
         'mount --bind "$0" %s && exec "$@"' % MODULES]
DEADLINE = 60
# For a checker: valgrind --trace-children=yes ...
WRAPPER = os.environ.get("MODERNAUTH_DOVEADM_WRAPPER", "").split()


def available():
    directory = os.path.join(BUILD, "src/doveadm") if BUILD else MODULES
    return os.path.exists(os.path.join(directory, PLUGIN))


def covered(command):
    return COVER + [os.path.join(BUILD, "src/doveadm")] + command if BUILD else command


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def rows(self):
        """Of -f tab."""
        header, *lines = [line for line in self.out.split("\n") if line]
        return [dict(zip(header.split("\t"), line.split("\t"))) for line in lines]

    def __repr__(self):
        return "status %s\n--- stdout\n%s\n--- stderr\n%s" % (self.status, self.out, self.err)


class Doveadm:
    def __init__(self, directory):
        self.base = str(directory)
        self.config = os.path.join(self.base, "dovecot.conf")
        self.socket = os.path.join(self.base, "modernauth-admin")
        with open(self.config, "w", encoding="ascii") as file:
            file.write("base_dir = %s\nlog_path = /dev/stderr\nssl = no\n" % self.base)

    def command(self, args):
        return covered(WRAPPER + ["doveadm", "-c", self.config] + list(args))

    def popen(self, *args, output="tab", **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        formatter = ["-f", output] if output else []
        return subprocess.Popen(self.command(formatter + ["modernauth"] + list(args)), cwd=self.base, **options)

    def run(self, *args, output="tab", **options):
        return self.finish(self.popen(*args, output=output, **options))

    @staticmethod
    def finish(process):
        out, err = process.communicate(timeout=DEADLINE)
        return Result(process.returncode, out.decode("utf-8"), err.decode("utf-8"))

    def terminal(self, *args, rows=24, columns=80):
        return Terminal(self.command(["modernauth"] + list(args)), rows, columns, self.base)


class Terminal:
    """doveadm with a terminal for stdin, stdout and stderr."""

    def __init__(self, command, rows, columns, cwd):
        self.raw = b""
        self.rows = self.columns = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            # Not before somebody reads, and with the right size.
            os.read(0, 1)
            os.execvp(command[0], command)
        self.resize(rows, columns)
        os.write(self.fd, b"\n")

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def write(self, text):
        os.write(self.fd, text.encode("utf-8"))

    def read(self, seconds):
        """Takes in what comes; False at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.raw += data
        return bool(data)

    def wait_for(self, text):
        end = time.monotonic() + DEADLINE
        while text not in self.text():
            assert self.read(0.1) and time.monotonic() < end, "no %r in %s" % (text, self.text())

    def text(self):
        return self.raw.decode("utf-8", "replace")

    def finish(self):
        """The exit status."""
        end = time.monotonic() + DEADLINE
        while self.read(0.1):
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def screen(self):
        """What the terminal shows at the end: plain lines, a picture that moves up and clears, nothing else."""
        lines, row, column, rest = [""], 0, 0, self.text()
        while rest:
            char, rest = rest[0], rest[1:]
            if char == "\r":
                column = 0
            elif char == "\n":
                row += 1
                while row >= len(lines):
                    lines.append("")
            elif char == "\033":
                end = next(i for i, c in enumerate(rest) if c.isalpha())
                sequence, rest = rest[:end + 1], rest[end + 1:]
                if sequence.endswith("A"):
                    row = max(row - int(sequence[1:-1]), 0)
                else:
                    assert sequence == "[J", "unexpected sequence %r" % sequence
                    lines = lines[:row] + [lines[row][:column]]
            else:
                lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1:]
                column += 1
        return lines
