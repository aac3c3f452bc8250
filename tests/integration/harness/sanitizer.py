# SPDX-License-Identifier: MIT
"""MODERNAUTH_SANITIZE=asan: the broker of an ASan+UBSan build (MODERNAUTH_BUILD). =valgrind: the broker, auth and the
login processes under valgrind. Findings are files in the front end's directory san/."""

import glob
import os
import re
import shutil

KIND = os.environ.get("MODERNAUTH_SANITIZE", "")
BUILD = os.environ.get("MODERNAUTH_BUILD", "")
LIBEXEC = "/usr/lib/dovecot"
# How much longer everything takes.
SLOWER = {"": 1, "asan": 3, "valgrind": 15}[KIND]
# Processes of Dovecot that carry a module of ours.
HOSTS = ["auth", "imap-login", "pop3-login", "submission-login"]
VALGRIND = ("valgrind -q --vgdb=no --trace-children=no --child-silent-after-fork=yes --leak-check=full "
            "--num-callers=40 --show-leak-kinds=definite,indirect --log-file=%(san)s/%(name)s.%%p")


def wrapper(front, name, command):
    path = front.path("san/" + name + ".sh")
    with open(path, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\n" + command + "\n")
    os.chmod(path, 0o755)
    return path


def dovecot_settings(front):
    """Text for dovecot.conf; makes the wrapper scripts."""
    if not KIND:
        return ""
    san = front.path("san")
    os.mkdir(san)
    os.chmod(san, 0o1777)
    if KIND == "asan":
        binary = os.path.join(BUILD, "src/broker/modernauth")
        # The broker makes itself undumpable, which LeakSanitizer's ptrace does not survive; valgrind looks for leaks.
        command = ("export ASAN_OPTIONS=detect_leaks=0:log_path=%s/broker:abort_on_error=0\n"
                   "export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=0:log_path=%s/broker\n"
                   "exec %s \"$@\"" % (san, san, binary))
        return service("modernauth", wrapper(front, "modernauth", command) + " -f " + front.config_path)
    # The master kills what does not leave within six seconds of a reload; a successor needs longer to begin.
    broker = "exec %s %s/modernauth \"$@\"" % (VALGRIND % {"san": san, "name": "modernauth"}, LIBEXEC)
    text = "shutdown_clients = no\n" + service("modernauth", wrapper(front, "modernauth", broker) + " -f " +
                                               front.config_path)
    for name in HOSTS:
        command = "exec %s %s/%s \"$@\"" % (VALGRIND % {"san": san, "name": name}, LIBEXEC, name)
        # A login process under valgrind cannot read /proc/self/exe from within its chroot.
        extra = "" if name == "auth" else "  chroot =\n"
        text += service(name, wrapper(front, name, command), extra)
    return text


def service(name, executable, extra=""):
    return "service %s {\n  executable = %s\n  vsz_limit = 0\n%s}\n" % (name, executable, extra)


def findings(front):
    """What the sanitizer reported about our code."""
    found = []
    for path in glob.glob(front.path("san/*")):
        if path.endswith(".sh"):
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if os.path.basename(path).startswith(("modernauth", "broker")):
            blocks = [text] if text.strip() else []
        else:
            # Dovecot's own leaks at exit are Dovecot's; ours have one of our functions in the stack.
            blocks = [block for block in re.split(r"==\d+== \n", text) if re.search(r"mauth_|modernauth", block)]
        found += ["%s:\n%s" % (os.path.basename(path), block[:4000]) for block in blocks]
    return found


def available():
    return KIND != "valgrind" or shutil.which("valgrind") is not None
