#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""README's list of packages builds it: it names what tests/lib.sh installs for that."""

import os
import re
import sys


def main(top):
    with open(os.path.join(top, "tests/lib.sh"), encoding="utf-8") as file:
        packages = re.search(r"build_packages=\(([^)]*)\)", file.read()).group(1).split()
    with open(os.path.join(top, "README.md"), encoding="utf-8") as file:
        command = re.search(r"^apt-get install (build-essential(?:.*\\\n)*.*)$", file.read(), re.M).group(1)
    named = set(command.replace("\\\n", " ").split())
    missing = [name for name in packages if name.endswith("-dev") and name not in named]
    for name in missing:
        print("README.md: its apt-get does not install %s" % name)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "."))
