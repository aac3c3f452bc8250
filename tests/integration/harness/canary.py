# SPDX-License-Identifier: MIT
"""Looks for secrets where none may be: in logs, in the audit, in state directories, in core files, in /proc."""

import base64
import contextlib
import os
import re
import subprocess
import tempfile
import urllib.parse

from standin.entra_model import DEVICE_MARK, REFRESH_MARK

PASSWORD_MARK = "Pw%+&=of-a-person-"
# Tokens and assertions of the stand-ins are JWTs.
JWT = rb"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"


def inside(data):
    """Patterns for data somewhere within a longer base64 text: one for each of the three ways it can be aligned,
    without the characters at the ends that depend on the neighbours."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + data)
        begin = (shift * 8 + 5) // 6
        end = (shift + len(data)) * 8 // 6
        yield text[begin:end]


BEARER = list(inside(b"auth=Bearer ey"))


# What thousands of secrets have in common: to look for each of them takes minutes.
MARKS = {PASSWORD_MARK: "a password", REFRESH_MARK: "a refresh token", DEVICE_MARK: "a device code"}


class Canary:
    """Every password and client secret of a run."""

    def __init__(self):
        self.secrets = dict(MARKS)       # secret, or what marks it -> whose

    def add(self, secret, whose=""):
        # Short ones, and words, are found by chance.
        assert len(secret) >= 8, "too short to look for"
        if not any(mark in secret for mark in MARKS):
            self.secrets[secret] = whose
        return secret

    def patterns(self):
        """Octets that betray a secret -> a name for it that is no secret."""
        found = {}
        for number, (secret, whose) in enumerate(self.secrets.items()):
            raw = secret.encode()
            name = whose or "secret %d" % number
            found[raw] = name
            found[urllib.parse.quote(secret, safe="").encode()] = name + " (percent-encoded)"
            found[urllib.parse.quote_plus(secret).encode()] = name + " (form-encoded)"
            for text in inside(raw):
                if len(text) >= 10:
                    found[text] = name + " (base64)"
        return found

    def expression(self):
        """One regular expression for all, and the names."""
        names = self.patterns()
        words = [*sorted(names, key=len, reverse=True), *BEARER]
        return re.compile(b"|".join([*map(re.escape, words), JWT])), names

    def search_octets(self, data, expression, names):
        """Names of what was found, at most a few."""
        found = []
        for match in expression.finditer(data):
            name = names.get(match[0], "a token")
            begin = data.rfind(b"\n", 0, match.start()) + 1
            # The line without the secret shows where it comes from.
            line = data[begin:match.start()][-200:].decode("utf-8", "replace")
            found.append("%s after %r" % (name, line))
            if len(found) == 5:
                break
        return found

    def suspects(self, directory):
        """Files below directory with something in them, by grep: it is a thousand times faster than re."""
        with tempfile.NamedTemporaryFile(prefix="ma-words-") as words:
            words.write(b"\n".join([*self.patterns(), *BEARER]))
            words.flush()
            found = []
            for options in (["-F", "-f", words.name], ["-E", JWT.decode()]):
                done = subprocess.run(["grep", "-rlaZ", "--devices=skip", *options, directory], capture_output=True,
                                      env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
                assert done.returncode < 2 or not done.stderr, done.stderr
                found += [os.fsdecode(path) for path in done.stdout.split(b"\0") if path]
        return sorted(set(found))

    def search_tree(self, directory, skip=(), known=()):
        """Every file below directory; {path: what was found}. known: expressions for lines that are somebody else's."""
        suspects = [path for path in self.suspects(directory) if os.path.relpath(path, directory) not in skip]
        expression, names = self.expression() if suspects else (None, None)
        known, found = [re.compile(text.encode()) for text in known], {}
        for path in suspects:
            with open(path, "rb") as file:
                data = file.read()
            if known:
                data = b"\n".join(line for line in data.split(b"\n") if not any(text.search(line) for text in known))
            hits = self.search_octets(data, expression, names)
            if hits or not known:
                found[path] = hits or ["grep found something"]
        return found

    def search_processes(self, pids):
        """Command lines and environments."""
        with tempfile.TemporaryDirectory(prefix="ma-proc-") as copies:
            for pid in pids:
                for what in ("cmdline", "environ"):
                    with contextlib.suppress(OSError), open("/proc/%d/%s" % (pid, what), "rb") as file, \
                            open(os.path.join(copies, "%d.%s" % (pid, what)), "wb") as copy:
                        copy.write(file.read())
            return self.search_tree(copies)


def core_files(directory):
    return [os.path.join(where, name) for where, _, files in os.walk(directory) for name in files
            if re.fullmatch(r"core(\.\d+)?", name)]
