# SPDX-License-Identifier: MIT
"""The control API: plain HTTP with JSON on 127.0.0.1. What it takes and answers is in the package's docstring."""

import json
import time

from . import httpd
from .entra import json_response
from .entra_model import sha256
from .exchange_common import new_refusal
from .exchange_mail import compose


class NotFound(Exception):
    """404, with words."""


def as_list(value):
    return value if isinstance(value, list) else [value]


class Control:
    def __init__(self, world, servers, proxy):
        """servers: name -> httpd.Connections, for /stats."""
        self.world, self.servers, self.proxy = world, servers, proxy
        self.routes = {
            ("GET", "ping"): lambda query, body: {"ok": True},
            ("POST", "reset"): self.reset,
            ("GET", "stats"): lambda query, body: {name: server.describe() for name, server in servers.items()},
            ("DELETE", "stats"): self.forget_stats,
            ("GET", "proxy"): lambda query, body: list(proxy.connects),
            ("GET", "users"): lambda query, body: [user.describe() for user in self.directory.users.values()],
            ("POST", "users"): self.put_users,
            ("POST", "users/bulk"): self.bulk_users,
            ("DELETE", "users"): self.delete_user,
            ("GET", "apps"): lambda query, body: [app.describe() for app in self.directory.apps.values()],
            ("POST", "apps"): lambda query, body: [self.directory.put_app(a).describe() for a in as_list(body)],
            ("GET", "domains"): lambda query, body: [vars(domain) for domain in self.directory.domains.values()],
            ("POST", "domains"): lambda query, body: [vars(self.directory.put_domain(d)) for d in as_list(body)],
            ("GET", "entra/settings"): lambda query, body: dict(world.entra),
            ("POST", "entra/settings"): self.change_entra,
            ("GET", "entra/faults"): lambda query, body: [vars(fault) for fault in world.faults.rules],
            ("POST", "entra/faults"): self.add_faults,
            ("DELETE", "entra/faults"): lambda query, body: world.faults.remove(
                int(query["id"]) if "id" in query else None),
            ("GET", "entra/requests"): lambda query, body: self.records(world.requests, query),
            ("DELETE", "entra/requests"): lambda query, body: world.requests.forget(),
            ("POST", "entra/mint"): self.mint,
            ("POST", "entra/refresh-tokens"): self.new_refresh_token,
            ("POST", "entra/revoke"): self.revoke,
            ("GET", "entra/issued"): lambda query, body: self.directory.issued[int(query.get("skip", 0)):],
            ("GET", "entra/devices"): lambda query, body: [vars(d) for d in self.directory.devices.values()],
            ("POST", "entra/devices"): self.change_device,
            ("GET", "exchange/settings"): lambda query, body: dict(world.exchange),
            ("POST", "exchange/settings"): self.change_exchange,
            ("GET", "exchange/sessions"): lambda query, body: self.records(world.sessions, query),
            ("DELETE", "exchange/sessions"): lambda query, body: world.sessions.forget(),
            ("GET", "exchange/live"): lambda query, body: [session.record for session in world.live.values()],
            ("GET", "exchange/refuse"): lambda query, body: [vars(rule) for rule in world.refusals],
            ("POST", "exchange/refuse"): self.refuse,
            ("DELETE", "exchange/refuse"): lambda query, body: world.refusals.clear(),
            ("POST", "exchange/expire"): lambda query, body: self.each_session(
                body, lambda session: session.expire()),
            ("POST", "exchange/kick"): lambda query, body: self.each_session(
                body, lambda session: session.kick(body.get("text", ""))),
            ("POST", "exchange/abort"): lambda query, body: self.each_session(
                body, lambda session: session.abort()),
            ("GET", "exchange/messages"): lambda query, body: list(world.outbox),
            ("POST", "exchange/messages"): self.add_message,
            ("DELETE", "exchange/messages"): lambda query, body: world.outbox.clear(),
            ("GET", "exchange/mailbox"): self.mailbox,
        }

    @property
    def directory(self):
        return self.world.directory

    async def __call__(self, request):
        handler = self.routes.get((request.method, request.path.strip("/")))
        if handler is None:
            routes = sorted(" ".join(route) for route in self.routes)
            return json_response({"error": "no such route", "routes": routes}, 404)
        try:
            body = json.loads(request.body) if request.body else {}
            return httpd.Response(200, [("Content-Type", "application/json")],
                                  json.dumps(handler(request.query, body)).encode())
        except (KeyError, NotFound) as error:
            return json_response({"error": "not found: %s" % error}, 404)
        except (ValueError, TypeError, AttributeError) as error:
            return json_response({"error": "%s: %s" % (type(error).__name__, error)}, 400)

    def reset(self, query, body):
        self.world.reset()
        self.forget_stats(query, body)

    def forget_stats(self, query, body):
        for server in self.servers.values():
            server.forget()
        self.proxy.connects.clear()

    def put_users(self, query, body):
        return [self.directory.put_user(user).describe() for user in as_list(body)]

    def bulk_users(self, query, body):
        """{"pattern": "user%04d@contoso.com", "count": 1000, "password": "..", ...}; also "%d" in password."""
        body = dict(body)
        pattern, count, first = body.pop("pattern"), body.pop("count"), body.pop("first", 0)
        for number in range(first, first + count):
            fields = dict(body)
            if "%" in fields.get("password", ""):
                fields["password"] = fields["password"] % number
            self.directory.put_user({"upn": pattern % number, **fields})
        return {"count": count}

    def delete_user(self, query, body):
        del self.directory.users[query["upn"].lower()]

    def change_entra(self, query, body):
        self.world.entra.change(body)
        return dict(self.world.entra)

    def change_exchange(self, query, body):
        self.world.exchange.change(body)
        return dict(self.world.exchange)

    def add_faults(self, query, body):
        return [self.world.faults.add(fault, self.world.entra).id for fault in as_list(body)]

    @staticmethod
    def records(recorder, query):
        """Other query words than since compare with the record's fields: ?username=alice@contoso.com&status=200"""
        wanted = {name: value for name, value in query.items() if name != "since"}
        records = [record for record in recorder.since(int(query.get("since", 0)))
                   if all(str(record.get(name)) == value for name, value in wanted.items())]
        return {"records": records, "last": recorder.last}

    def mint(self, query, body):
        """A token without the detour over the token endpoint; fields but the named ones are token settings."""
        body = dict(body)
        user = body.pop("user", None)
        client_id = body.pop("client_id", "a0000000-0000-4000-8000-00000000000" + ("1" if user else "4"))
        app = self.directory.apps[client_id]
        scopes, audience = body.pop("scopes", app.scopes), body.pop("aud", "https://outlook.office.com")
        unknown = set(body) - set(self.world.entra)
        if unknown:
            raise ValueError("unknown field: %s" % sorted(unknown))
        account = self.directory.users[user.lower()] if user else None
        token, lifetime = self.world.tokens.mint(app, audience, scopes, {**self.world.entra, **body}, account)
        return {"access_token": token, "sha256": sha256(token), "expires_in": lifetime}

    def new_refresh_token(self, query, body):
        app = self.directory.apps[body.get("client_id", "a0000000-0000-4000-8000-000000000001")]
        scopes = ["https://outlook.office.com/" + scope for scope in app.scopes] + ["offline_access"]
        token = self.directory.new_refresh_token(self.directory.users[body["user"].lower()], app,
                                                 body.get("scopes", scopes))
        return {"refresh_token": token, "sha256": sha256(token)}

    def revoke(self, query, body):
        return {"count": self.directory.revoke(body.get("user", "*").lower(), int(body.get("code", 50173)))}

    def change_device(self, query, body):
        device = self.directory.find_device(body.get("code", "latest"))
        if device is None:
            raise NotFound("device")
        states = {"approve": "approved", "decline": "declined", "expire": "expired"}
        if body["action"] not in states:
            raise ValueError("action is one of %s" % sorted(states))
        device.state = states[body["action"]]
        device.user = body.get("user", device.user)
        return vars(device)

    def refuse(self, query, body):
        self.world.refusals += [new_refusal(rule) for rule in as_list(body)]
        return {"count": len(self.world.refusals)}

    def each_session(self, body, act):
        """Sessions by user, token_sha256 and protocol; all if none is given."""
        sessions = [session for session in self.world.live.values()
                    if all(session.record[name] == body[name] for name in ("user", "token_sha256", "protocol")
                           if name in body)]
        for session in sessions:
            act(session)
        return {"count": len(sessions)}

    def add_message(self, query, body):
        """{"user", "folder"?, "raw"? | "subject"?, "text"?, "flags"?}"""
        folder = self.world.mailboxes.of(body["user"])[body.get("folder", "INBOX")]
        raw = body["raw"].encode() if "raw" in body else compose(
            body.get("subject", "Test"), body.get("text", "Text.\n"), body["user"],
            body.get("from", "bob@contoso.com"))
        return {"uid": folder.add(raw, body.get("flags", ())).uid, "time": time.time()}

    def mailbox(self, query, body):
        return {name: [{"uid": message.uid, "flags": sorted(message.flags), "size": len(message.data),
                        "data": message.data.decode("utf-8", "replace")} for message in folder.messages]
                for name, folder in self.world.mailboxes.of(query["user"]).items()}
