# SPDX-License-Identifier: MIT
"""Records in other formats, read back: strict parsers of CEF and RFC 5424, written from the specifications, and the public schemas."""

import datetime
import ipaddress
import json
import os
import re

import jsonschema

SCHEMAS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "schemas")


def schema(name):
    with open(os.path.join(SCHEMAS, name), encoding="utf-8") as file:
        return json.load(file)


class Ocsf:
    def __init__(self):
        self.schema = schema("ocsf-1.8.0.json")
        self.validator = jsonschema.Draft7Validator(self.schema)

    def check(self, event):
        errors = [error.message for error in self.validator.iter_errors(event)]
        assert errors == [], (errors, event)


class Ecs:
    """Every field that is ECS' is of its type, its values are allowed ones, and categories have the types that they may have."""
    OURS = ("modernauth", "chain")

    def __init__(self):
        known = schema("ecs-9.0.0.json")
        self.fields, self.expected_types = known["fields"], known["expected_types"]

    def check(self, record):
        for name, field in self.fields.items():
            assert not field.get("required") or self.at(record, name) is not None or name not in ("@timestamp", "ecs.version")
        self.walk(record, "")
        types = record["event"].get("type", [])
        for category in record["event"].get("category", []):
            # A record of two categories may have the types of either.
            assert any(set(types) <= set(self.expected_types[other]) for other in record["event"]["category"]), (category, types)

    @staticmethod
    def at(record, path):
        for key in path.split("."):
            record = record.get(key) if isinstance(record, dict) else None
        return record

    def walk(self, value, path):
        for key, inner in value.items():
            name = path + key
            if name in self.OURS:
                continue
            if isinstance(inner, dict) and name not in self.fields:
                self.walk(inner, name + ".")
                continue
            assert name in self.fields, "ECS has no field " + name
            field = self.fields[name]
            values = inner if field.get("array") else [inner]
            assert isinstance(values, list), name
            for one in values:
                self.check_value(name, field, one)

    @staticmethod
    def check_value(name, field, value):
        kind = field["type"]
        if kind == "date":
            datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        elif kind == "ip":
            ipaddress.ip_address(value)
        elif kind == "long":
            assert isinstance(value, int) and not isinstance(value, bool), name
        elif kind == "boolean":
            assert isinstance(value, bool), name
        else:
            assert kind in ("keyword", "match_only_text", "wildcard", "constant_keyword"), (name, kind)
            assert isinstance(value, str), name
        assert "allowed" not in field or value in field["allowed"], (name, value)


HEADER = ("version", "vendor", "product", "device_version", "signature", "name", "severity")
CEF_KEYS = {  # of the extension dictionary: its data types and lengths
    "externalId": 40, "cat": 1023, "outcome": 63, "reason": 1023, "act": 63, "duser": 1023, "app": 31, "proto": 31, "msg": 1023,
    "requestClientApplication": 1023, "dvchost": 100, **{"cs%d" % n: 4000 for n in range(1, 7)}}
CEF_NUMBERS = {"rt", "spt", "dpt", "in", "out", "cn1", "cn2", "cn3", "dvcpid"}
CEF_ADDRESSES = {"src": 4, "dst": 4, "c6a2": 6, "c6a3": 6}


def parse_cef(line):
    """Header and extension. Fails where the specification leaves no doubt."""
    assert line.startswith("CEF:0|") and "\n" not in line and "\r" not in line
    fields = re.match(r"((?:[^|\\]|\\[|\\])*\|){7}", line)
    assert fields, line
    parts = re.findall(r"((?:[^|\\]|\\[|\\])*)\|", fields.group(0))
    header = dict(zip(HEADER, [re.sub(r"\\([|\\])", r"\1", part) for part in parts]))
    extension, rest = {}, line[fields.end():]
    pair = re.compile(r"([A-Za-z0-9]+)=((?:[^=\\]|\\[=\\nr])*?)(?: (?=[A-Za-z0-9]+=)|$)")
    while rest:
        found = pair.match(rest)
        assert found, rest
        key, value = found.groups()
        assert key not in extension, key
        extension[key] = re.sub(r"\\([=\\nr])", lambda m: {"n": "\n", "r": "\r"}.get(m.group(1), m.group(1)), value)
        rest = rest[found.end():]
    check_cef(header, extension)
    return header, extension


def check_cef(header, extension):
    assert header["version"] == "CEF:0" and header["vendor"] and header["product"] and header["name"]
    assert 0 <= int(header["severity"]) <= 10
    for key, value in extension.items():
        if key in CEF_NUMBERS:
            int(value)
        elif key in CEF_ADDRESSES:
            assert ipaddress.ip_address(value).version == CEF_ADDRESSES[key]
        elif key.endswith("Label"):
            assert key[:-5] in extension
        elif key in CEF_KEYS:
            assert len(value) <= CEF_KEYS[key], (key, len(value))
        else:
            assert key.startswith("modernauth"), "no key of the dictionary: " + key
    for key in extension:
        assert not re.fullmatch(r"(cs|cn|c6a)\d", key) or key + "Label" in extension, key


def parse_syslog(line):
    """The parts of an RFC 5424 message; structured data as {SD-ID: {name: value}}."""
    head = re.match(r"<(\d{1,3})>1 (\S+) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) ", line)
    assert head and int(head.group(1)) <= 191, line
    datetime.datetime.fromisoformat(head.group(2).replace("Z", "+00:00"))
    rest, data = line[head.end():], {}
    value = r'(?:[^"\\\]]|\\["\\\]])*'
    element = re.compile(r'\[([!#-<>-\\^-~]{1,32})((?: [!#-<>-\\^-~]{1,32}="%s")*)\]' % value)
    if rest.startswith("- "):
        rest = rest[1:]
    while rest.startswith("["):
        found = element.match(rest)
        assert found and found.group(1) not in data, rest
        data[found.group(1)] = {name: re.sub(r'\\(["\\\]])', r"\1", text) for name, text in re.findall(
            r' ([!#-<>-\\^-~]{1,32})="(%s)"' % value, found.group(2))}
        rest = rest[found.end():]
    assert rest.startswith(" "), rest
    message = rest[1:]
    assert message.startswith("\ufeff") or message.isascii()
    return {"pri": int(head.group(1)), "time": head.group(2), "host": head.group(3), "app": head.group(4), "pid": head.group(5),
            "msgid": head.group(6), "data": data, "message": message.lstrip("\ufeff")}
