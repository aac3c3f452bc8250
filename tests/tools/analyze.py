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
    words = shlex.split(entry["command"])
    words[words.index("-o") + 1] = os.devnull
    # The dependency file would be written beside the build's own.
    words = [w for w in words if not w.startswith("-M") and not w.endswith(".o.d")]
    if "-MF" in words:
        del words[words.index("-MF")]
    run = subprocess.run(words + ["-fanalyzer"], cwd=entry["directory"], capture_output=True, text=True)
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
