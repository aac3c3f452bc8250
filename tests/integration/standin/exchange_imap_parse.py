# SPDX-License-Identifier: MIT
"""IMAP syntax: commands with literals into tokens, sequence sets, LIST patterns, FETCH sections."""

import re


class String(bytes):
    """A quoted string or a literal, as opposed to an atom."""


class Malformed(ValueError):
    """Answered with BAD Command Argument Error."""


LITERAL = re.compile(rb"\{(\d{1,10})(\+?)\}$")
SECTION = re.compile(rb"(BODY(?:\.PEEK)?)\[(.*)\](?:<(\d{1,10})\.(\d{1,10})>)?$", re.IGNORECASE | re.DOTALL)
FIELDS = re.compile(rb"HEADER\.FIELDS(\.NOT)? ?\((.*)\)$", re.IGNORECASE | re.DOTALL)
ATOM = re.compile(rb'(?:[^ ()"\[]+|\[[^\]]*(?:\]|$))+')
DEPTH_MAX = 8


def _quoted(text, at):
    out, at = bytearray(), at + 1
    while at < len(text) and text[at:at + 1] != b'"':
        if text[at:at + 1] == b"\\":
            at += 1
        out += text[at:at + 1]
        at += 1
    if at >= len(text):
        raise Malformed("unterminated string")
    return String(out), at + 1


def _atom(text, at):
    """An atom; brackets keep what is between them together: BODY[HEADER.FIELDS (TO)]<0.9> is one."""
    match = ATOM.match(text, at)
    return match[0], match.end()


def tokens(parts):
    """parts: text, literal, text, ... of one command. Lists become Python lists."""
    root = []
    stack = [root]
    for index, part in enumerate(parts):
        if index % 2:
            stack[-1].append(String(part))
            continue
        at = 0
        while at < len(part):
            char = part[at:at + 1]
            if char == b" ":
                at += 1
            elif char == b"(":
                if len(stack) > DEPTH_MAX:
                    raise Malformed("too deep")
                stack[-1].append([])
                stack.append(stack[-1][-1])
                at += 1
            elif char == b")":
                if len(stack) == 1:
                    raise Malformed("stray parenthesis")
                stack.pop()
                at += 1
            else:
                token, at = _quoted(part, at) if char == b'"' else _atom(part, at)
                stack[-1].append(token)
    if len(stack) != 1:
        raise Malformed("open parenthesis")
    return root


def is_set(token):
    return isinstance(token, bytes) and re.fullmatch(rb"[\d*]+(:[\d*]+)?(,[\d*]+(:[\d*]+)?)*", token) is not None


def sequence(token, largest):
    """A predicate for the numbers of a sequence set."""
    if not is_set(token):
        raise Malformed("sequence set")
    ranges = []
    for part in token.split(b","):
        ends = [largest if end == b"*" else int(end) for end in part.split(b":")]
        ranges.append((min(ends), max(ends)))
    return lambda number: any(low <= number <= high for low, high in ranges)


def list_pattern(pattern):
    text = re.escape(pattern).replace(r"\*", ".*").replace("%", "[^/]*")
    return re.compile(text, re.IGNORECASE)


def header_fields(header, names, inverted):
    """The fields of header that names lists (or does not), with the empty line."""
    wanted = {name.strip(b'"').lower() for name in names.split()}
    out, keep = b"", False
    for line in header.rstrip(b"\r\n").split(b"\r\n"):
        if line[:1] not in (b" ", b"\t"):
            keep = (line.partition(b":")[0].strip().lower() in wanted) != inverted
        if keep:
            out += line + b"\r\n"
    return out + b"\r\n"


def section(message, name):
    """What BODY[name] is of message."""
    header, text = message.split()
    upper = name.upper()
    if upper == b"":
        return message.data
    if upper in (b"HEADER", b"MIME", b"1.MIME"):
        return header
    if upper in (b"TEXT", b"1"):
        return text
    fields = FIELDS.match(name)
    if not fields:
        raise Malformed("section")
    return header_fields(header, fields[2], bool(fields[1]))
