# SPDX-License-Identifier: MIT
"""Looks for secrets where none may be: in logs, in the audit, in state directories, in core files, in /proc."""

import base64
import os
import re
import urllib.parse

# Tokens and assertions of the stand-ins are JWTs.
JWT = rb"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
FILE_MAX = 512 * 1024 * 1024


def inside(data):
    """Patterns for data somewhere within a longer base64 text: one for each of the three ways it can be aligned,
    without the characters at the ends that depend on the neighbours."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + data)
        begin = (shift * 8 + 5) // 6
        end = (shift + len(data)) * 8 // 6
        yield text[begin:end]


class Canary:
    """Every password and client secret of a run."""

    def __init__(self):
        self.secrets = {}                # secret -> whose

    def add(self, secret, whose=""):
        # Short ones, and words, are found by chance.
        assert len(secret) >= 8, "too short to look for"
        self.secrets[secret] = whose
        return secret

    def patterns(self, few=False):
        """Octets that betray a secret -> a name for it that is no secret."""
        found = {}
        for secret, whose in self.secrets.items():
            raw = secret.encode()
            name = whose or "secret %d" % (list(self.secrets).index(secret))
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
        words = sorted(names, key=len, reverse=True)
        bearer = [text for text in inside(b"auth=Bearer ey")]
        parts = [re.escape(word) for word in words] + [JWT] + [re.escape(text) for text in bearer]
        return re.compile(b"|".join(parts)), names

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

    def search_tree(self, directory, skip=()):
        """Every file below directory; {path: what was found}."""
        expression, names = self.expression()
        found = {}
        for where, _, files in os.walk(directory):
            for name in files:
                path = os.path.join(where, name)
                if os.path.relpath(path, directory) in skip or not os.path.isfile(path) or os.path.islink(path):
                    continue
                if os.path.getsize(path) > FILE_MAX:
                    found[path] = ["too large to look at"]
                    continue
                with open(path, "rb") as file:
                    hits = self.search_octets(file.read(), expression, names)
                if hits:
                    found[path] = hits
        return found

    def search_processes(self, pids):
        """Command lines and environments."""
        expression, names = self.expression()
        found = {}
        for pid in pids:
            for what in ("cmdline", "environ"):
                try:
                    with open("/proc/%d/%s" % (pid, what), "rb") as file:
                        hits = self.search_octets(file.read(), expression, names)
                except OSError:
                    continue
                if hits:
                    found["/proc/%d/%s" % (pid, what)] = hits
        return found


def core_files(directory):
    return [os.path.join(where, name) for where, _, files in os.walk(directory) for name in files
            if re.fullmatch(r"core(\.\d+)?", name)]
