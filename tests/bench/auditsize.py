#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""auditsize.py --build BUILD [--format FORMAT]... MB...: how long "audit verify" and "audit export" take for sealed audits of so many megabytes,
and how much memory. Needs the doveadm plugin installed, no Dovecot running. Prints a line of JSON for each."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time


def run(directory, *args):
    """Seconds, peak memory in MB and exit status of a doveadm command, and how many lines it wrote."""
    begin = time.monotonic()
    process = subprocess.Popen(["doveadm", "-c", os.path.join(directory, "dovecot.conf"), "modernauth", "audit", *args], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    lines = 0
    while part := process.stdout.read(1 << 20):
        lines += part.count(b"\n")
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    for pipe in (process.stdout, process.stderr):
        pipe.close()
    return {"seconds": round(time.monotonic() - begin, 2), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_mb": round(usage.ru_maxrss / 1024, 1), "exit": process.returncode, "lines": lines, "said": said.strip()}


def measure(build, size, formats):
    with tempfile.TemporaryDirectory(prefix="auditsize-") as directory:
        with open(os.path.join(directory, "dovecot.conf"), "w", encoding="utf-8") as file:
            file.write("log_path = %s/log\nbase_dir = %s/run\n" % (directory, directory))
        subprocess.run([os.path.join(build, "tests/bench/chainbench"), directory, str(size)], check=True, stdout=subprocess.DEVNULL)
        path = os.path.join(directory, "audit.jsonl")
        with open(path, "rb") as file:
            records = sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
        yield {"command": "verify", "mb": size, "records": records, **run(directory, "verify", "--key", os.path.join(directory, "key"), path)}
        for form in formats:
            yield {"command": "export " + form, "mb": size, "records": records, **run(directory, "export", "--format", form, path)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--format", action="append", choices=["ecs", "ocsf", "cef", "syslog"])
    parser.add_argument("mb", nargs="+", type=int)
    args = parser.parse_args()
    for size in args.mb:
        for row in measure(args.build, size, args.format or ["ecs", "ocsf", "cef", "syslog"]):
            print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
