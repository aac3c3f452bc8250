#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every setting that the parser knows is explained in conf.d/modernauth.conf, with its default, and no other."""
import pathlib
import re
import sys

FACTORS = {"ms": 1, "s": 1000, "m": 60000, "h": 3600000, "d": 86400000}
CONSTANTS = {"SECOND": 1000, "MINUTE": 60000, "HOUR": 3600000, "DAY": 86400000}
# Given in an example because there is no default.
WITHOUT_DEFAULT = {
    ("", "default_domain"), ("", "aadsts_file"), ("tenant", "domains"), ("tenant", "tenant_id"),
    ("tenant", "client_id"), ("tenant", "client_secret_file"), ("tenant", "client_secret_expires"),
    ("tenant", "certificate_file"), ("tenant", "private_key_file"), ("", "key_file"),
    ("notice", "mail_to"), ("notice", "mail_from"), ("notice", "command"), ("audit", "keep"), ("audit", "max_size"),
    ("tenant", "upn_domain"), ("tenant", "ca_file"), ("tenant", "proxy"),
}


def parsed_settings(source):
    """(section, name) of every VALUE() and LIST() in the parser's tables."""
    found = set()
    for table, body in re.findall(r"static cfg_opt_t (\w+)_opts\[\] = \{(.*?)CFG_END", source, re.S):
        section = "" if table == "root" else table
        found |= {(section, name) for name in re.findall(r'(?:VALUE|LIST)\("(\w+)"\)', body)}
    return found


def documented_settings(text):
    """(section, name) -> value as written, and whether a comment explains it."""
    found, explained, section, comment, example = {}, set(), "", False, False
    for line in text.splitlines():
        # A section that is an example as a whole is commented out, its comments with it.
        example = example or re.match(r'# \w+ "[^"]*" \{$', line) is not None
        if example:
            example = line != "# }"
            line = re.sub("^# ?", "", line)
        opens = re.match(r"(\w+)(?: \"[^\"]*\")? \{$", line)
        setting = re.match(r"\s*(?:# )?(\w+) = (.*)$", line)
        if opens:
            section, comment = opens.group(1), False
        elif line == "}":
            section = ""
        elif setting:
            key = (section, setting.group(1))
            if key in found:
                sys.exit(f"conf.d/modernauth.conf has {key} twice")
            found[key] = setting.group(2)
            if comment:
                explained.add(key)
        elif line.strip().startswith("#"):
            comment = True
        else:
            comment = False
    return found, explained


def defaults(load, tenant):
    """(section, name) -> default as the source says it, where a table says it."""
    found = {}
    for section, name, standard in re.findall(
            r'\{ "(\w*)", "(\w+)", offsetof\([^)]*\),\s*[^,]+,\s*[^,]+,\s*([^,]+),\s*\w+ \}', load):
        found[section, name] = ("time", eval(standard.replace("/", "//"), {}, CONSTANTS))
    for section, name, standard in re.findall(
            r'\{ "(\w*)", "(\w+)", offsetof\([^)]*\), \d+, \d+, (\d+) \}', load):
        found[section, name] = ("number", int(standard))
    for section, name, standard in re.findall(r'\{ "(\w*)", "(\w+)", "([^"]+)",\s*offsetof', load):
        found[section, name] = ("text", standard)
    found["", "cache_max"] = ("size", eval(re.search(r"cache_max = (\d+)u << 20", load).group(1)))
    found["tenant", "cloud"] = ("text", re.search(r'value == NULL \? "(\w+)"', tenant).group(1))
    return found


def value_of(kind, written):
    text = written.strip('"')
    if kind == "time":
        number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()
        return int(number) * FACTORS[unit]
    if kind == "number":
        return int(text)
    if kind == "size":
        return int(re.fullmatch(r"(\d+) MiB", text).group(1))
    return text


def main(top):
    core = top / "src" / "core"
    known = parsed_settings((core / "config-parse.c").read_text())
    documented, explained = documented_settings((top / "conf.d" / "modernauth.conf").read_text())
    stated = defaults((core / "config-load.c").read_text(), (core / "config-tenant.c").read_text())
    wrong = []
    if len(known) < 20 or len(stated) < 12:
        wrong.append(f"only {len(known)} settings and {len(stated)} defaults found: this check cannot read the source")
    wrong += [f"{s or 'file'}: {n} is not in conf.d/modernauth.conf" for s, n in sorted(known - documented.keys())]
    wrong += [f"{s or 'file'}: {n} is documented, but unknown" for s, n in sorted(documented.keys() - known)]
    wrong += [f"{s or 'file'}: {n} is not explained" for s, n in sorted(documented.keys() - explained)]
    for key, (kind, standard) in sorted(stated.items()):
        if key not in WITHOUT_DEFAULT and key in documented and value_of(kind, documented[key]) != standard:
            wrong.append(f"{key[0] or 'file'}: {key[1]} is {standard} in the source, {documented[key]} in the file")
    print("\n".join(wrong) or f"{len(known)} settings, {len(stated)} defaults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()))
