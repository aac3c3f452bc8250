# SPDX-License-Identifier: MIT
"""Users of the stand-in, made as tests need them."""

import dataclasses
import itertools
import secrets

from .canary import PASSWORD_MARK

_numbers = itertools.count(1)


@dataclasses.dataclass
class Account:
    upn: str
    password: str
    login: str = ""                  # what the client sends as user name

    def __post_init__(self):
        self.login = self.login or self.upn


class People:
    """New users with passwords that the canary knows."""

    def __init__(self, standin, canary):
        self.standin, self.canary = standin, canary

    def password(self, whose=""):
        # Characters that forms, SASL and tab-separated lines escape.
        return self.canary.add("%s%s#/~" % (PASSWORD_MARK, secrets.token_hex(9)), whose)

    def new(self, domain="contoso.com", name="", login="", **fields):
        """A user who can log in. fields: as standin.user()."""
        upn = "%s%04d@%s" % (name or "user", next(_numbers), domain)
        password = fields.pop("password", None)
        if password is None:
            password = self.password(upn)
        else:
            self.canary.add(password, upn)
        self.standin.user(upn, password=password, **fields)
        return Account(upn, password, login)

    def magic(self, code, *words, domain="contoso.com"):
        """A name that the stand-in answers with an AADSTS code whatever the password; each can be used like a user."""
        name = ".".join(["aadsts%s" % code, *words, "u%d" % next(_numbers)])
        return Account("%s@%s" % (name, domain), self.password(name))

    def many(self, count, domain="contoso.com"):
        first = next(_numbers)
        base = secrets.token_hex(6)
        pattern, password = "crowd%d-%%04d@%s" % (first, domain), "pw-%s-%%04d" % base
        self.standin.bulk_users(pattern, count, password=password)
        self.canary.add("pw-%s-" % base, "crowd%d" % first)
        return [Account(pattern % number, password % number) for number in range(count)]
