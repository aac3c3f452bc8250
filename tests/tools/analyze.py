#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""gcc's static analyzer over src/, with the flags of the build directory given."""
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor


def analyze(entry):
    words = []
    rest = iter(shlex.split(entry["command"]))
    for word in rest:
        if word in ("-o", "-MF", "-MQ"):
            next(rest)              # outputs: the build's own stay as they are
        elif word != "-MD":
            words.append(word)
    run = subprocess.run([*words, "-o", os.devnull, "-fanalyzer", "-fdiagnostics-color=never"],
                         cwd=entry["directory"], capture_output=True, text=True)
    return run.returncode, run.stderr


def main(build):
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as db:
        entries = json.load(db)
    sources = {}
    for entry in entries:
        path = os.path.abspath(os.path.join(entry["directory"], entry["file"]))
        if "/src/" in path and path.endswith(".c"):
            sources.setdefault(path, entry)
    bad = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for code, text in pool.map(analyze, sources.values()):
            if code != 0 or "warning:" in text:
                print(text)
                bad += 1
    print("%d files, %d with findings" % (len(sources), bad))
    return 1 if bad or not sources else 0


sys.exit(main(sys.argv[1]))
