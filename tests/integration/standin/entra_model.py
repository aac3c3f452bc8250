# SPDX-License-Identifier: MIT
"""The directory: tenants, domains, users, apps, smart lockout, refresh tokens, device codes.

Passwords and secrets are kept as SHA-256 only. Refresh tokens and device codes are remembered in clear, because a test
has to look for them where they must not be: GET entra/issued is the only way to them.
"""

import collections
import dataclasses
import hashlib
import hmac
import secrets
import time
import uuid

from .entra_errors import Aadsts

CONTOSO = "c0000000-0000-4000-8000-000000000001"
FABRIKAM = "f0000000-0000-4000-8000-000000000002"
APP = "a0000000-0000-4000-8000-%012d"
EXCHANGE_SCOPES = ["EAS.AccessAsUser.All", "EWS.AccessAsUser.All", "IMAP.AccessAsUser.All", "POP.AccessAsUser.All",
                   "SMTP.Send"]
GRAPH_ROLES = ["User.Read.All"]
EXCHANGE_ROLES = ["IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp"]
APP_SECRET = "s3cr~et+with/odd=chars&100%"
EXPIRED_SECRET = "expired+secret~1"
BAD_HASHES_REMEMBERED = 3


def sha256(text):
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")).hexdigest()


def object_id(name):
    """A GUID that is the same at every start."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "standin:" + name))


# By these a search for secrets knows all of them, however many there are.
REFRESH_MARK, DEVICE_MARK = "refresh-of-the-stand-in-", "device-code-of-the-stand-in-"


@dataclasses.dataclass
class User:
    upn: str
    tenant: str
    password_sha256: str = ""
    name: str = ""
    # what Entra says once the password is right
    mfa: bool = False
    disabled: bool = False
    locked: bool = False
    expired: bool = False
    ca_blocked: bool = False
    aadsts: int = 0
    pass_through: bool = False       # pass-through authentication: lockout knows no same-hash exemption
    # at Exchange
    mailbox: bool = True
    imap: bool = True
    pop: bool = True
    smtp: bool = True
    not_connected: bool = False
    smtp_reply: str = ""
    basic: list = dataclasses.field(default_factory=list)         # imap, pop3, smtp: where the password is taken
    fail_delay: float = 0
    full_access: list = dataclasses.field(default_factory=list)   # mailboxes of others that this user may open
    send_as: list = dataclasses.field(default_factory=list)
    autodiscover: str = "exo"        # exo | 404 | https://... (200 with that Url) | redirect:https://... (302)
    oid: str = ""
    # state
    bad_count: int = 0
    bad_hashes: collections.deque = None
    locked_until: float = 0

    def __post_init__(self):
        self.oid = self.oid or object_id(self.upn)
        self.name = self.name or self.upn.split("@")[0].title()
        self.bad_hashes = collections.deque(maxlen=BAD_HASHES_REMEMBERED)

    def describe(self):
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["bad_hashes"] = len(self.bad_hashes)
        return fields


USER_FIELDS = {field.name for field in dataclasses.fields(User)} - {"password_sha256", "bad_hashes"}


@dataclasses.dataclass
class App:
    client_id: str
    tenant: str
    name: str = ""
    public: bool = False
    secrets: dict = dataclasses.field(default_factory=dict)       # sha256 -> expired?
    certificates: list = dataclasses.field(default_factory=list)  # names of the Pki's client pairs
    scopes: list = dataclasses.field(default_factory=lambda: list(EXCHANGE_SCOPES))
    roles: list = dataclasses.field(default_factory=list)
    graph_roles: list = dataclasses.field(default_factory=lambda: list(GRAPH_ROLES))   # application permissions there
    mailboxes: list = dataclasses.field(default_factory=list)     # what an app-only token may open; "*" is all
    disabled: bool = False
    consented: bool = True
    registered: bool = True              # with Exchange, by New-ServicePrincipal, under the right object id

    def describe(self):
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["secrets"] = len(self.secrets)
        return fields


APP_FIELDS = {field.name for field in dataclasses.fields(App)} - {"secrets"}


@dataclasses.dataclass
class Domain:
    name: str
    tenant: str
    realm: str = "Managed"               # Managed | Federated
    cloud_passwords: bool = False        # AllowCloudPasswordValidation of a federated domain


@dataclasses.dataclass
class RefreshToken:
    user: str
    client_id: str
    scopes: list
    confidential: bool
    issued: float
    revoked: int = 0                     # the AADSTS number it is refused with


@dataclasses.dataclass
class Device:
    user_code: str
    client_id: str
    tenant: str
    scopes: list
    expires: float
    interval: int
    polls: int = 0
    last_poll: float = 0
    pending_polls: int = -1              # approved after this many "pending"; -1: only by the control API
    user: str = ""
    state: str = "pending"               # pending | approved | declined | expired | used


ALICE_PASSWORD = "alice-Passw0rd"
BOB_PASSWORD = "bob Passw0rd 2"
CAROL_PASSWORD = "p+\u00e4&=%/ \"\\"
DAVE_PASSWORD = "0123456789abcdef" * 16
PASSWORD = "Passw0rd!"                   # of everybody else

# upn: what differs from a plain user
DEFAULT_USERS = {
    "alice@contoso.com": {"password": ALICE_PASSWORD, "full_access": ["shared@contoso.com"],
                          "send_as": ["shared@contoso.com"]},
    "bob@contoso.com": {"password": BOB_PASSWORD},
    "carol@contoso.com": {"password": CAROL_PASSWORD},
    "dave@contoso.com": {"password": DAVE_PASSWORD},
    "erin@fabrikam.com": {},
    "shared@contoso.com": {"disabled": True},
    "mfa@contoso.com": {"mfa": True},
    "disabled@contoso.com": {"disabled": True},
    "locked@contoso.com": {"locked": True},
    "expired@contoso.com": {"expired": True},
    "blocked@contoso.com": {"ca_blocked": True},
    "fred@federated.contoso.com": {},
    "phs@phs.contoso.com": {},
    "onprem@contoso.com": {"mailbox": False, "autodiscover":
                           "https://mail.contoso.test/autodiscover/autodiscover.xml"},
    "hybrid@contoso.com": {"mailbox": False, "autodiscover":
                           "redirect:https://autodiscover.contoso.test/autodiscover/autodiscover.json"},
    "nomailbox@contoso.com": {"mailbox": False, "autodiscover": "404"},
    "notconnected@contoso.com": {"not_connected": True},
    "noimap@contoso.com": {"imap": False},
    "nopop@contoso.com": {"pop": False},
    "nosmtp@contoso.com": {"smtp": False},
    "slowfail@contoso.com": {"fail_delay": 9, "mailbox": False},
    "smtp.tenant@contoso.com": {"smtp_reply": "tenant-disabled"},
    "smtp.mailbox@contoso.com": {"smtp_reply": "mailbox-disabled"},
    "smtp.basic@contoso.com": {"smtp_reply": "basic-disabled"},
    "smtp.criteria@contoso.com": {"smtp_reply": "criteria"},
    "smtp.defaults@contoso.com": {"smtp_reply": "security-defaults"},
    "smtp.credentials@contoso.com": {"smtp_reply": "credentials"},
    "smtp.refused@contoso.com": {"smtp_reply": "refused"},
    "smtp.limit@contoso.com": {"smtp_reply": "limit"},
    "smtp.busy@contoso.com": {"smtp_reply": "busy"},
    "smtp.expiring@contoso.com": {"smtp_reply": "expiring"},
    "smtp.removed@contoso.com": {"smtp_reply": "removed"},
}
DEFAULT_APPS = [
    {"client_id": APP % 1, "name": "public", "public": True},
    {"client_id": APP % 2, "name": "secret", "secret": APP_SECRET, "expired_secret": EXPIRED_SECRET},
    {"client_id": APP % 3, "name": "certificate", "certificates": ["client", "client-expired"],
     "roles": EXCHANGE_ROLES, "mailboxes": ["*"]},
    {"client_id": APP % 4, "name": "daemon", "secret": APP_SECRET, "expired_secret": EXPIRED_SECRET,
     "roles": EXCHANGE_ROLES, "mailboxes": ["alice@contoso.com", "bob@contoso.com", "shared@contoso.com"]},
    {"client_id": APP % 5, "name": "disabled", "public": True, "disabled": True},
    {"client_id": APP % 6, "name": "unconsented", "public": True, "consented": False},
    {"client_id": APP % 7, "name": "fabrikam", "public": True, "tenant": FABRIKAM},
    {"client_id": APP % 8, "name": "roleless", "secret": APP_SECRET, "mailboxes": ["*"]},
]
DEFAULT_DOMAINS = [
    ("contoso.com", CONTOSO, "Managed", False), ("contoso.onmicrosoft.com", CONTOSO, "Managed", False),
    ("federated.contoso.com", CONTOSO, "Federated", False), ("phs.contoso.com", CONTOSO, "Federated", True),
    ("fabrikam.com", FABRIKAM, "Managed", False), ("fabrikam.onmicrosoft.com", FABRIKAM, "Managed", False),
]


def checked(cls_fields, fields):
    """fields, or a ValueError that names what the stand-in does not know: a typing error must not pass a test."""
    unknown = set(fields) - cls_fields
    if unknown:
        raise ValueError("unknown field: " + ", ".join(sorted(unknown)))
    return fields


class Directory:
    def __init__(self):
        self.domains = {row[0]: Domain(*row) for row in DEFAULT_DOMAINS}
        self.users, self.apps = {}, {}
        self.refresh_tokens = {}         # sha256 of the token -> RefreshToken
        self.devices = {}                # sha256 of the device code -> Device
        self.issued = []                 # refresh tokens and device codes in clear, for who looks for them in files
        for upn, fields in DEFAULT_USERS.items():
            self.put_user({"upn": upn, **fields})
        for fields in DEFAULT_APPS:
            self.put_app(dict(fields))

    # -- tenants

    def tenant_of(self, name):
        """The tenant's GUID by GUID or verified domain; None if there is none."""
        name = name.lower()
        if name in self.domains:
            return self.domains[name].tenant
        return name if any(domain.tenant == name for domain in self.domains.values()) else None

    def domain_of(self, upn):
        return self.domains.get(upn.rpartition("@")[2].lower())

    def put_domain(self, fields):
        fields = checked({field.name for field in dataclasses.fields(Domain)}, fields)
        domain = Domain(**{"tenant": CONTOSO, **fields})
        domain.name = domain.name.lower()
        self.domains[domain.name] = domain
        return domain

    # -- users

    def user(self, upn):
        return self.users.get(upn.lower())

    def put_user(self, fields):
        """Makes a user, or changes the fields given of one that exists. A new password revokes refresh tokens."""
        fields = dict(fields)
        upn = fields.pop("upn").lower()
        password = fields.pop("password", None)
        checked(USER_FIELDS, fields)
        domain = self.domain_of(upn)
        if domain is None and "tenant" not in fields:
            raise ValueError("no such domain: " + upn)
        user = self.users.get(upn)
        if user is None:
            fields.setdefault("tenant", domain.tenant if domain else CONTOSO)
            user = self.users[upn] = User(upn=upn, **fields)
            user.password_sha256 = sha256(PASSWORD if password is None else password)
            return user
        for name, value in fields.items():
            setattr(user, name, value)
        if "locked" in fields and not user.locked:
            user.locked_until = user.bad_count = 0
            user.bad_hashes.clear()
        if password is not None and sha256(password) != user.password_sha256:
            user.password_sha256 = sha256(password)
            self.revoke(upn, 50173, confidential=False)
        return user

    def check_password(self, user, password, settings):
        """Returns if password is right, else raises what Entra would say. Smart lockout counts here."""
        digest, now = sha256(password), time.time()
        domain = self.domain_of(user.upn)
        if domain is not None and domain.realm == "Federated" and not domain.cloud_passwords:
            raise Aadsts(50126)
        if user.locked or now < user.locked_until:
            raise Aadsts(50053)
        if user.locked_until:
            user.locked_until = user.bad_count = 0
        # Entra's password grant does not support blanks at either end of a password.
        if hmac.compare_digest(digest, user.password_sha256) and password == password.strip():
            user.bad_count = 0
            user.bad_hashes.clear()
            return
        exempt = settings["lockout_same_hash_exempt"] and not user.pass_through
        if not (exempt and digest in user.bad_hashes):
            user.bad_hashes.append(digest)
            user.bad_count += 1
        if user.bad_count >= settings["lockout_threshold"]:
            user.locked_until = now + settings["lockout_seconds"]
        raise Aadsts(50126)

    def check_state(self, user, signed_in=False):
        """Raises what forbids user to have a token although he proved who he is. signed_in: on a page of Entra's, so
        with a second factor; a refresh token says that for good."""
        for bad, code in ((user.disabled, 50057), (user.expired, 50055), (user.aadsts, user.aadsts),
                          (user.mfa and not signed_in, 50076), (user.ca_blocked, 53003)):
            if bad:
                raise Aadsts(code)

    # -- apps

    def put_app(self, fields):
        fields = dict(fields)
        client_id = fields.pop("client_id").lower()
        given = [(fields.pop("secret", None), False), (fields.pop("expired_secret", None), True)]
        checked(APP_FIELDS, fields)
        app = self.apps.get(client_id)
        if app is None:
            app = self.apps[client_id] = App(client_id, fields.pop("tenant", CONTOSO))
        for name, value in fields.items():
            setattr(app, name, list(value) if isinstance(value, list) else value)
        for secret, expired in given:
            if secret is not None:
                app.secrets = {key: was for key, was in app.secrets.items() if was != expired}
                app.secrets[sha256(secret)] = expired
        return app

    # -- stored grants

    def new_refresh_token(self, user, app, scopes):
        # Either half gives it away.
        token = "1.A" + "".join(REFRESH_MARK + secrets.token_urlsafe(300) for _ in range(2))
        self.issued.append(token)
        self.refresh_tokens[sha256(token)] = RefreshToken(user.upn, app.client_id, list(scopes), not app.public,
                                                          time.time())
        return token

    def revoke(self, upn, code, confidential=None):
        """Marks the refresh tokens of upn (all users: "*"); how many. confidential: only those of such clients."""
        count = 0
        for grant in self.refresh_tokens.values():
            if upn in ("*", grant.user) and confidential in (None, grant.confidential) and grant.revoked != code:
                grant.revoked = code
                count += 1
        return count

    def new_device(self, app, tenant, scopes, settings):
        code = "D" + DEVICE_MARK + secrets.token_urlsafe(150)
        self.issued.append(code)
        alphabet = "BCDFGHJKLMNPQRSTVWXZ23456789"
        device = Device("".join(secrets.choice(alphabet) for _ in range(9)), app.client_id, tenant, list(scopes),
                        time.time() + settings["device_expires_in"], settings["device_interval"],
                        pending_polls=settings["device_approve_after"], user=settings["device_user"])
        self.devices[sha256(code)] = device
        return code, device

    def find_device(self, key):
        """By device code, user code, or "latest"."""
        if key == "latest":
            return next(reversed(self.devices.values()), None)
        by_user_code = {device.user_code: device for device in self.devices.values()}
        return self.devices.get(sha256(key)) or by_user_code.get(key)
