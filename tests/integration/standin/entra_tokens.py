# SPDX-License-Identifier: MIT
"""Access tokens of a believable shape, their verification, and the verification of client assertions."""

import base64
import calendar
import hashlib
import json
import re
import secrets
import time

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .entra_errors import Aadsts, guid
from .entra_model import object_id, sha256

GRAPH = "https://graph.microsoft.com"
GRAPH_APP = "00000003-0000-0000-c000-000000000000"
EXCHANGE_APP = "00000002-0000-0ff1-ce00-000000000000"
EXCHANGE_AUDIENCES = {"https://outlook.office.com", "https://outlook.office365.com", EXCHANGE_APP,
                      "https://ps.outlook.com"}
GROUP_OCTETS = 39    # of one group GUID in the claims, with quotes and comma
CLOCK_SKEW = 300
B64URL = re.compile(r"[A-Za-z0-9_-]*")


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text):
    if not B64URL.fullmatch(text):
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


class TokenFactory:
    """Mints and reads tokens, signed with a key that lives as long as the process."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = self.key.public_key()
        der = self.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.kid = b64url(hashlib.sha1(der).digest())
        self.opaque = {}     # sha256 of an opaque token -> its claims

    def jwks(self):
        numbers = self.public.public_numbers()
        return {"keys": [{"kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid, "e": "AQAB",
                          "n": b64url(numbers.n.to_bytes(256, "big"))}]}

    def sign(self, claims):
        header = {"typ": "JWT", "nonce": secrets.token_urlsafe(32), "alg": "RS256", "x5t": self.kid,
                  "kid": self.kid}
        text = b64url(compact(header)) + "." + b64url(compact(claims))
        return text + "." + b64url(self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))

    def sign_padded(self, claims, size):
        """A token of size octets (give or take one), filled up with groups, as real ones grow."""
        bare = len(self.sign({**claims, "groups": [], "xms_fill": ""}))
        missing = max(0, (size - bare) * 3 // 4)
        groups = [guid() for _ in range(max(0, missing // GROUP_OCTETS - 1))]
        missing -= max(0, len(groups) * GROUP_OCTETS - 1)
        return self.sign({**claims, "groups": groups, "xms_fill": "f" * missing})

    def claims(self, app, audience, scopes, settings, user=None):
        now = int(time.time())
        lifetime = expires_in(settings)
        ends = settings["token_exp_in"] if settings["token_exp_in"] is not None else lifetime
        claims = {"aud": settings["audience"] or audience, "iss": "https://sts.windows.net/%s/" % app.tenant,
                  "iat": now, "nbf": now - CLOCK_SKEW, "exp": now + int(ends), "aio": secrets.token_urlsafe(36),
                  "app_displayname": app.name, "appid": app.client_id, "appidacr": "0" if app.public else "1",
                  "idp": "https://sts.windows.net/%s/" % app.tenant, "jti": guid(),
                  "uti": secrets.token_urlsafe(16), "tid": app.tenant, "ver": "1.0"}
        if user is None:
            principal = object_id("sp:" + app.client_id)
            roles = app.graph_roles if audience in (GRAPH, GRAPH_APP) else app.roles
            claims.update(idtyp="app", oid=principal, sub=principal, roles=list(roles))
        else:
            upn = settings["upn"] or user.upn
            claims.update(idtyp="user", acr="1", amr=["pwd"], ipaddr="192.0.2.1", name=user.name, oid=user.oid,
                          tid=user.tenant, puid="10032" + user.oid[:11].replace("-", ""), scp=" ".join(scopes),
                          sub=b64url(hashlib.sha256(upn.encode()).digest()), unique_name=upn, upn=upn,
                          wids=["b79fbf4d-3ef9-4689-8143-76b194e85509"])
        return claims, lifetime

    def mint(self, app, audience, scopes, settings, user=None):
        """The token as the client is to see it, and the expires_in that goes with it."""
        claims, lifetime = self.claims(app, audience, scopes, settings, user)
        if settings["opaque"]:
            size = max(700, settings["token_size"])
            token = ("EwB" + secrets.token_urlsafe(size))[:size]
            self.opaque[sha256(token)] = claims
        elif settings["token_size"]:
            token = self.sign_padded(claims, settings["token_size"])
        else:
            token = self.sign(claims)
        if settings["nonprintable"]:
            token = token[:40] + settings["nonprintable"] + token[40:]
        return token, lifetime

    def id_token(self, app, user):
        now = int(time.time())
        return self.sign({"aud": app.client_id, "iss": "https://login.microsoftonline.com/%s/v2.0" % user.tenant,
                          "iat": now, "nbf": now, "exp": now + 3600, "name": user.name, "oid": user.oid,
                          "preferred_username": user.upn, "tid": user.tenant, "ver": "2.0"})

    def read(self, token):
        """The claims of a token of ours. ValueError says what is wrong: "malformed-token" or "bad-signature"."""
        opaque = self.opaque.get(sha256(token))
        if opaque is not None:
            return opaque
        try:
            head, body, signature = token.split(".")
            signature, claims = unb64url(signature), json.loads(unb64url(body))
            if not isinstance(claims, dict):
                raise ValueError
        except ValueError:
            raise ValueError("malformed-token") from None
        try:
            self.public.verify(signature, (head + "." + body).encode(), padding.PKCS1v15(), hashes.SHA256())
        except exceptions.InvalidSignature:
            raise ValueError("bad-signature") from None
        return claims


def expires_in(settings):
    """A number, or a random one between the two of a list."""
    value = settings["expires_in"]
    if isinstance(value, list):
        return value[0] + secrets.randbelow(value[1] - value[0] + 1)
    return value


class AssertionChecker:
    """Checks a client_assertion the way Entra does; raises Aadsts."""

    def __init__(self, certificates, settings, jti_seen):
        """certificates: x509 certificates that the app has registered."""
        self.settings, self.jti_seen = settings, jti_seen
        self.by_sha1 = {b64url(c.fingerprint(hashes.SHA1())): c for c in certificates}
        self.by_sha256 = {b64url(c.fingerprint(hashes.SHA256())): c for c in certificates}

    def check(self, jwt, client_id, audiences):
        """The algorithm of a good assertion. audiences: spellings of our own URL that count as exact."""
        try:
            head, body, signature = jwt.split(".")
            header, claims = json.loads(unb64url(head)), json.loads(unb64url(body))
            signature = unb64url(signature)
            if not isinstance(header, dict) or not isinstance(claims, dict):
                raise ValueError
        except ValueError:
            raise Aadsts(50027, "JWT token is invalid or malformed.") from None
        self.check_signature(header, (head + "." + body).encode(), signature)
        self.check_claims(claims, client_id, audiences)
        return header["alg"]

    def check_signature(self, header, signed, signature):
        algorithm = header.get("alg")
        if header.get("typ") != "JWT":
            raise Aadsts(50027, "JWT token is invalid or malformed: typ.")
        if algorithm == "PS256" and not self.settings["refuse_ps256"]:
            certificate = self.by_sha256.get(header.get("x5t#S256"))
            how = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        elif algorithm == "RS256":
            certificate = self.by_sha1.get(header.get("x5t"))
            how = padding.PKCS1v15()
        else:
            raise Aadsts(700027, "Client assertion contains an invalid signature. [Reason - The algorithm is not "
                                 "supported.]")
        if certificate is None:
            raise Aadsts(700027)
        if calendar.timegm(certificate.not_valid_after.utctimetuple()) < time.time():
            raise Aadsts(700027, "Client assertion contains an invalid signature. [Reason - The key used is "
                                 "expired.]")
        try:
            certificate.public_key().verify(signature, signed, how, hashes.SHA256())
        except exceptions.InvalidSignature:
            raise Aadsts(700027, "Client assertion contains an invalid signature. [Reason - The key was found, "
                                 "but use of the key to verify the signature failed.]") from None

    def check_claims(self, claims, client_id, audiences):
        if claims.get("aud") not in audiences:
            raise Aadsts(700023)
        if claims.get("iss") != claims.get("sub"):
            raise Aadsts(50048, "Subject doesn't match issuer claim in the client assertion.")
        if str(claims.get("sub")).lower() != client_id:
            raise Aadsts(50013, "Assertion is not within its application.")
        try:
            begins, ends = (int(claims[name]) for name in ("nbf", "exp"))
        except (KeyError, TypeError, ValueError):
            raise Aadsts(50027, "JWT token is invalid or malformed: nbf, exp.") from None
        if not begins - CLOCK_SKEW <= time.time() <= ends + CLOCK_SKEW:
            raise Aadsts(700024)
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti:
            raise Aadsts(50027, "JWT token is invalid or malformed: jti.")
        if self.settings["refuse_jti_replay"] and jti in self.jti_seen:
            raise Aadsts(50013, "Assertion has been used before.")
        self.jti_seen.add(jti)


def load_certificates(pki, names):
    """By names of the Pki's pairs, or as PEM text."""
    return [x509.load_pem_x509_certificate(name.encode()) if name.startswith("-----") else pki.clients[name]
            for name in names]
