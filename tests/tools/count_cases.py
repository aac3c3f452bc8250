#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Counts test cases of the newest meson test log, or of that with a --logbase: cmocka's own numbers, one for each program without
them."""
import glob
import json
import os
import re
import sys


def main(log_dir, base="testlog"):
    logs = glob.glob(os.path.join(log_dir, base + "*.json"))
    if not logs:
        print(0, 1)
        return
    ok = bad = 0
    with open(max(logs, key=os.path.getmtime), encoding="utf-8") as log:
        for line in log:
            entry = json.loads(line)
            text = entry.get("stdout", "") + entry.get("stderr", "")
            cases_ok = sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", text)))
            cases_bad = sum(map(int, re.findall(r"\[  FAILED  \] (\d+) test", text)))
            if entry["result"] == "SKIP":
                continue
            if entry["result"] != "OK" and cases_bad == 0:
                cases_bad = 1           # crashed, or failed outside of a case
            if entry["result"] == "OK" and cases_ok == 0:
                cases_ok = 1
            ok += cases_ok
            bad += cases_bad
    print(ok, bad)


main(*sys.argv[1:])
