#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Who may include what, who may expose a secret, and a few things a file must have or must not."""
import pathlib
import re
import sys

# Directory -> prefixes of the project's headers that it may include, and whether Dovecot's are allowed.
DIRECTIONS = {
    "include/modernauth": (["modernauth/"], False),
    "src/core": (["modernauth/", "core/"], False),
    "src/client": (["modernauth/", "core/mem.h", "client/"], False),
    "src/net": (["modernauth/", "core/mem.h", "core/format.h", "core/forward-target.h", "net/"], False),
    "src/store": (["modernauth/", "core/mem.h", "core/chain.h", "core/chain-note.h", "core/chain-verify.h", "store/"], False),
    "src/compat": (["modernauth/", "core/mem.h", "compat/"], True),
    "src/passdb": (["modernauth/", "client/", "compat/", "passdb/"], True),
    "src/login": (["modernauth/", "client/", "compat/", "login/"], True),
    "src/doveadm": (["modernauth/", "core/mem.h", "core/hybrid-line.h", "core/chain-verify.h", "core/format.h",
                     "store/audit-files.h", "client/", "compat/", "doveadm/"], True),
    "src/sasl": (["modernauth/", "client/wire.h", "sasl/"], False),
    "src/broker": (["modernauth/", "core/", "client/", "compat/", "net/", "store/", "broker/"], True),
}

# System headers and libraries that have one place.
ONLY_IN = {
    "confuse.h": ["src/core/config-parse.c"],
    "curl/": ["src/net/"],
    "jansson.h": ["src/core/json.", "src/core/jwt.", "src/core/entra", "src/core/devices-row."],
    "sys/socket.h": ["src/net/", "src/client/", "src/broker/", "src/compat/", "src/sasl/"],
    "netdb.h": ["src/net/"],
    "pthread.h": ["src/store/worker.c"],
    "sqlite3.h": ["src/store/", "src/doveadm/report-db.c"],
    "sasl/sasl": ["src/sasl/"],
}

# Who may call mauth_secret_expose(), and for what.
EXPOSES = {
    "src/core/secret.c": "defines it",
    "src/core/assertion.c": "PEM and JWT go to OpenSSL",
    "src/core/cache.c": "tokens travel to the successor",
    "src/core/chain-key.c": "the audit's key becomes text, and text a key",
    "src/core/config-credential.c": "a secret loses its newline",
    "src/core/config-load.c": "the file's text goes to the parser",
    "src/core/config-picture.c": "what a configuration consists of becomes digests",
    "src/core/config-rule-users.c": "a file of users is no secret, but read like one",
    "src/core/device-generate.c": "a typed device password loses case and hyphens",
    "src/core/devices-hash.c": "a chosen device password goes to scrypt",
    "src/core/diagnose-token.c": "the token's claims are judged",
    "src/core/enrol-keep.c": "a device code is sealed",
    "src/core/enrolments.c": "a sealed refresh token is unsealed",
    "src/core/entra.c": "is it printable?",
    "src/core/entra-form.c": "the form is made of secrets",
    "src/core/flight-learn.c": "the token gets an id",
    "src/core/privacy.c": "the key of pseudonyms becomes text, and is used",
    "src/core/pseudonyms.c": "a name is unsealed",
    "src/core/request-policy.c": "the client's own token gets an id",
    "src/core/self-service.c": "a user is told his device password, once",
    "src/core/vault.c": "the key of device passwords is unsealed",
    "src/core/vault-export.c": "rows are read from an export",
    "src/core/vault-rekey.c": "a sealed value is sealed anew",
    "src/core/seal.c": "plain octets go to the cipher, the key file's text to its parser",
    "src/core/verifier.c": "the HMAC of a password",
    "src/store/audit-key.c": "the audit's key goes to its file",
    "src/store/key-file.c": "the keys go to their file",
    "src/store/sqlite-write.c": "values, whose secrets are sealed, go to SQLite",
    "src/net/http-curl-setup.c": "form and bearer token go to curl",
    "src/net/probe-curl.c": "the token goes to curl",
    "src/net/http-curl-setup.c": "the form goes to curl",
    "src/client/client.c": "the password goes to the broker",
    "src/broker/relay.c": "the token goes to the MTA",
    "src/broker/admin-relay.c": "a relay key is shown once",
    "src/broker/verbs.c": "the token goes to auth",
    "src/broker/admin-device.c": "a device password is shown once",
    "src/broker/admin-people.c": "a device password is shown once",
    "src/broker/handover-out.c": "tokens and files go to the successor",
    "src/passdb/passdb-modernauth.c": "the token goes to the login process",
    "src/doveadm/command.c": "a device password is looked at before it is shown",
    "src/doveadm/cmd-device.c": "a device password is shown once",
    "src/doveadm/cmd-relay.c": "a relay key is shown once",
    "src/doveadm/cmd-enroll.c": "a device password is shown once",
    "src/doveadm/cmd-store.c": "lines of an export go to its file",
    "src/doveadm/batch.c": "device passwords go to the file of a batch",
}

# Core is told the time and owns no process; (?<![\w>.]) keeps members and longer names out.
CORE_NEVER = ["time", "clock_gettime", "gettimeofday", "sleep", "usleep", "nanosleep", "getenv", "setenv", "exit",
              "printf", "system", "popen", "fork", "socket", "connect", "strtok", "strcpy", "strcat", "sprintf", "rand",
              "random"]

LINES_MAX = {"src": 600, "include": 600, "tests": 900}
SOURCES = [".c", ".h", ".def"]
SCRIPTS = [".py", ".sh"]


def without_comments_and_strings(text):
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"'
    return re.sub(pattern, lambda m: '""' if m.group(0)[0] == '"' else " " + "\n" * m.group(0).count("\n"), text,
                  flags=re.S)


def check_directions(path, text):
    where = path.rsplit("/", 1)[0]
    if where not in DIRECTIONS:
        yield f"{path}: {where} has no rule in tests/style/check_includes.py"
        return
    allowed, dovecot = DIRECTIONS[where]
    for number, kind, name in ((n, m.group(1), m.group(2)) for n, line in enumerate(text.splitlines(), 1)
                               if (m := re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line))):
        ours = "/" in name and kind == '"'
        if ours and not any(name.startswith(prefix) for prefix in allowed):
            yield f"{path}:{number}: {where} may not include {name}"
        if kind == '"' and not ours and not dovecot:
            yield f"{path}:{number}: {where} may not include Dovecot's {name} (ours are named with their directory)"
        for header, places in ONLY_IN.items():
            if name.startswith(header) and not any(path.startswith(place) for place in places):
                yield f"{path}:{number}: {name} belongs to {', '.join(places)}"


def check_secrets(path, code):
    calls = re.search(r"\bmauth_secret_expose\s*\(", code) is not None
    if calls and path not in EXPOSES and not path.startswith(("tests/", "include/")):
        yield f"{path}: exposes a secret and is not in the list of tests/style/check_includes.py"


def check_core(path, code):
    for number, line in enumerate(code.splitlines(), 1):
        for name in CORE_NEVER:
            if re.search(rf"(?<![\w>.])(?<!->){name}\s*\(", line):
                yield f"{path}:{number}: core must not call {name}()"


def check_file(top, path):
    name = str(path.relative_to(top))
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    head = lines[1] if lines and lines[0].startswith("#!") else lines[0] if lines else ""
    if "SPDX-License-Identifier: MIT" not in head:
        yield f"{name}: the first line (after #!) must be SPDX-License-Identifier: MIT"
    if len(lines) > LINES_MAX[name.split("/")[0]]:
        yield f"{name}: {len(lines)} lines; a file beyond {LINES_MAX[name.split('/')[0]]} is two modules"
    if path.suffix not in SOURCES:
        return
    code = without_comments_and_strings(text)
    yield from check_secrets(name, code)
    if name.startswith(("src/", "include/")):
        yield from check_directions(name, text)
    if name.startswith("src/core/"):
        yield from check_core(name, code)
    if re.search(r"/(?:work|tmp/build)/", text):
        yield f"{name}: names a path of somebody's machine"


def main(top):
    wrong, count = [], 0
    for directory in LINES_MAX:
        for path in sorted((top / directory).rglob("*")):
            if path.suffix in SOURCES + SCRIPTS and "corpus" not in path.parts and "__pycache__" not in path.parts:
                wrong += check_file(top, path)
                count += 1
    for name in EXPOSES:
        path = top / name
        if path.exists() and "mauth_secret_expose(" not in path.read_text() and name != "src/core/secret.c":
            wrong.append(f"{name}: is allowed to expose secrets and does not; take it off the list")
    print("\n".join(wrong) or f"{count} files")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()))
