# SPDX-License-Identifier: MIT
"""Microsoft Entra's endpoints: an application for httpd.py."""

import asyncio
import base64
import email.utils
import re
import secrets
import time
import urllib.parse
import uuid

from . import httpd
from .entra_errors import Aadsts, guid, magic
from .entra_model import sha256
from .entra_tokens import (AssertionChecker, EXCHANGE_AUDIENCES, GRAPH, GRAPH_APP, b64url, compact,
                           load_certificates)

OIDC = {"openid", "profile", "offline_access", "email"}
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SECRET_FIELDS = {"password": "password_sha256", "client_secret": "secret_sha256",
                 "client_assertion": "assertion_sha256", "refresh_token": "refresh_token_sha256",
                 "device_code": "device_code_sha256"}
SECRET_HEADERS = {"authorization", "cookie", "proxy-authorization"}
# The stand-in is Graph, too, under whatever name of its own it is asked.
OWN_ADDRESS = re.compile(r"^https://(127\.0\.0\.1|localhost|login\.test)(:\d+)?$")
USER_IN_PATH = re.compile(r"^/v1\.0/users/([^/]+)$", re.IGNORECASE)
GRAPH_PERMISSIONS = {"User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}
UPN_IN_PATH = re.compile(r"^/common/userrealm/([^/]+)$", re.IGNORECASE)
FORM = "application/x-www-form-urlencoded"


def parse_form(body):
    """Form fields, '+' and %xx decoded; bytes that are no UTF-8 survive as surrogates."""
    return dict(urllib.parse.parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="utf-8",
                                       errors="surrogateescape", max_num_fields=64))


def json_response(value, status=200, headers=()):
    return httpd.Response(status, [("Content-Type", "application/json; charset=utf-8"), *headers], compact(value))


def graph_error(status, code, message):
    return json_response({"error": {"code": code, "message": message, "innerError": {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()), "request-id": guid(),
        "client-request-id": guid()}}}, status)


def need(form, *names):
    for name in names:
        if not form.get(name):
            raise Aadsts(900144, "The request body must contain the following parameter: '%s'." % name)


class Entra:
    def __init__(self, world):
        self.world = world

    @property
    def directory(self):
        return self.world.directory

    async def __call__(self, request):
        """Answers one request, and records it without any secret in clear."""
        try:
            form = parse_form(request.body) if request.method == "POST" else {}
        except ValueError:
            form = {}
        endpoint = self.endpoint_of(request.path)
        record = self.record(request, form, endpoint)
        fault = self.world.faults.take(endpoint, record["username"], record["client_id"], record["grant"])
        record["fault"] = fault and (fault.id, fault.action)
        await self.delay(fault)
        settings = {**self.world.entra, **fault.token} if fault else self.world.entra
        headers = self.headers(request, record, settings)
        try:
            response = (fault and fault.instead(request)) or self.route(request, form, endpoint, settings, record)
        except Aadsts as refusal:
            refusal.old = refusal.old or settings["old_errors"]
            response = self.refuse(refusal.resolve(), record, settings)
        if fault:
            fault.afterwards(response)
        response.headers = headers + response.headers
        record["status"] = None if response.mode in (httpd.RESET, httpd.HANG, httpd.CLOSE) else response.status
        record["mode"], record["answered"] = response.mode, time.time()
        return response

    async def delay(self, fault):
        latency = self.world.entra["latency_ms"] + (fault.latency_ms if fault else 0)
        if latency:
            await asyncio.sleep(latency / 1000)

    @staticmethod
    def endpoint_of(path):
        path = path.lower()
        for ending, name in (("/oauth2/v2.0/token", "token"), ("/oauth2/token", "token"),
                             ("/oauth2/v2.0/devicecode", "devicecode"),
                             ("/.well-known/openid-configuration", "discovery"), ("/getuserrealm.srf", "realm"),
                             ("/discovery/instance", "discovery")):
            if path.endswith(ending):
                return name
        if UPN_IN_PATH.match(path):
            return "realm"
        if path.startswith("/v1.0/"):
            return "graph"
        return "autodiscover" if path.startswith("/autodiscover/") else "other"

    def record(self, request, form, endpoint):
        realm = UPN_IN_PATH.match(request.path) or USER_IN_PATH.match(request.path)
        given = request.headers.get("client-request-id", "")
        try:
            correlation = str(uuid.UUID(given))
        except ValueError:
            correlation = guid()
        user = form.get("username") or (realm and realm[1]) or request.query.get("login") or \
            request.query.get("Email") or ""
        hidden = {name: "sha256:" + sha256(value) if name in SECRET_HEADERS else value
                  for name, value in request.headers.items()}
        return self.world.requests.new(
            method=request.method, path=request.path, query=sorted(request.query), endpoint=endpoint,
            grant=form.get("grant_type", ""), client_id=form.get("client_id", ""), username=user,
            scope=form.get("scope", ""), fields=sorted(form), client_request_id=given, correlation_id=correlation,
            trace_id=guid(), http_version=request.http_version, connection=request.connection, peer=request.peer,
            authority=request.authority, headers=hidden, body_size=len(request.body), status=None, aadsts=None,
            **{name: sha256(form[field]) if field in form else None for field, name in SECRET_FIELDS.items()})

    @staticmethod
    def headers(request, record, settings):
        headers = [
            ("Cache-Control", "no-store, no-cache"), ("Pragma", "no-cache"), ("Expires", "-1"),
            ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
            ("X-Content-Type-Options", "nosniff"), ("P3P", 'CP="DSP CUR OTPi IND OTRi ONL FIN"'),
            ("x-ms-request-id", record["trace_id"]), ("x-ms-ests-server", "2.1.11513.17 - WUS2 ProdSlices"),
            ("Set-Cookie", "fpc=%s; path=/; secure; HttpOnly; SameSite=None" % secrets.token_urlsafe(16)),
            ("Set-Cookie", "x-ms-gateway-slice=estsfd; path=/; secure; samesite=none; httponly")]
        if settings["date_offset"]:
            headers.append(("Date", email.utils.formatdate(time.time() + settings["date_offset"], usegmt=True)))
        if request.headers.get("return-client-request-id", "").lower() == "true" and record["client_request_id"]:
            headers.append(("client-request-id", record["client_request_id"]))
        return headers

    @staticmethod
    def refuse(refusal, record, settings):
        record["aadsts"] = refusal.code
        headers = [("Content-Type", "application/json; charset=utf-8"),
                   ("x-ms-clitelem", "1,%d,0,," % refusal.code)]
        if refusal.retry_after is not None:
            headers.append(("Retry-After", refusal.retry_after))
        body = refusal.body(record["trace_id"], record["correlation_id"], settings["description_separator"])
        return httpd.Response(refusal.status, headers, body)

    # -- routes

    def route(self, request, form, endpoint, settings, record):
        parts = request.path.strip("/").split("/")
        if endpoint in ("token", "devicecode"):
            if request.method != "POST":
                raise Aadsts(900561)
            if request.headers.get("content-type", "").split(";")[0].strip().lower() != FORM:
                raise Aadsts(900144, "The request body must contain the following parameter: 'grant_type'.")
            handle = self.token if endpoint == "token" else self.devicecode
            return handle(request, form, parts[0], settings, record)
        if endpoint == "discovery":
            return self.discovery(request, parts, settings)
        if endpoint == "realm":
            return self.realm(request, record["username"])
        if endpoint == "graph":
            return self.graph(request)
        if endpoint == "autodiscover":
            return self.autodiscover(request, parts)
        if request.path.endswith("/discovery/v2.0/keys"):
            return json_response(self.world.tokens.jwks())
        return httpd.Response(404, [("Content-Type", "text/html; charset=utf-8")], b"<html>not found</html>")

    def discovery(self, request, parts, settings):
        base = "https://" + request.authority
        if parts[-2:] == ["discovery", "instance"]:
            target = request.query.get("authorization_endpoint", "")
            tenant = urllib.parse.urlsplit(target).path.strip("/").split("/")[0]
            return json_response({"tenant_discovery_endpoint":
                                  "%s/%s/v2.0/.well-known/openid-configuration" % (base, tenant),
                                  "api-version": "1.1", "metadata": []})
        name = parts[0].lower()
        shared = name in ("common", "organizations", "consumers")
        tenant = "{tenantid}" if shared else self.directory.tenant_of(name)
        if tenant is None:
            raise Aadsts(90002, "Tenant '%s' not found." % name)
        where = name if shared else tenant
        version = "/v2.0" if "v2.0" in parts else ""
        return json_response({
            "token_endpoint": "%s/%s/oauth2%s/token" % (base, where, version),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt",
                                                      "client_secret_basic"],
            "jwks_uri": "%s/%s/discovery/v2.0/keys" % (base, where),
            "issuer": "https://login.microsoftonline.com/%s/v2.0" % tenant,
            "authorization_endpoint": "%s/%s/oauth2%s/authorize" % (base, where, version),
            "device_authorization_endpoint": "%s/%s/oauth2%s/devicecode" % (base, where, version),
            "tenant_region_scope": settings["region"][0], "cloud_instance_name": settings["cloud_instance"],
            **({"tenant_region_sub_scope": settings["region"][1]} if settings["region"][1] else {}),
            "cloud_graph_host_name": "graph.windows.net", "msgraph_host": "graph.microsoft.com"})

    def realm(self, request, upn):
        domain = self.directory.domain_of(upn)
        name = upn.rpartition("@")[2].lower()
        federated = domain is not None and domain.realm == "Federated"
        sts = "https://sts.%s/adfs" % name
        if request.path.lower().endswith(".srf"):
            kind = "Unknown" if domain is None else domain.realm
            reply = {"State": 3 if federated else 4, "UserState": 2 if federated else 1, "Login": upn,
                     "NameSpaceType": kind, "DomainName": name, "CloudInstanceName": "microsoftonline.com"}
            return json_response({**reply, **({"AuthURL": sts + "/ls/"} if federated else {})})
        if domain is None:
            return json_response({"ver": "1.0", "account_type": "Unknown", "cloud_instance_name":
                                  "microsoftonline.com", "cloud_audience_urn": "urn:federation:MicrosoftOnline"})
        reply = {"ver": "1.0", "account_type": domain.realm, "domain_name": name}
        if federated:
            reply.update(federation_protocol="WSTrust", federation_metadata_url=sts + "/services/trust/mex",
                         federation_active_auth_url=sts + "/services/trust/2005/usernamemixed")
        reply.update(cloud_instance_name="microsoftonline.com",
                     cloud_audience_urn="urn:federation:MicrosoftOnline")
        return json_response(reply)

    def autodiscover(self, request, parts):
        mail = parts[-1] if len(parts) > 3 else request.query.get("Email", "")
        protocol = request.query.get("Protocol", "")
        if not mail or not protocol:
            return json_response({"ErrorCode": "MandatoryParameterMissing",
                                  "ErrorMessage": "A valid smtp address must be provided"}, 400)
        if protocol.lower() not in ("autodiscoverv1", "activesync", "ews", "rest"):
            return json_response({"ErrorCode": "ProtocolNotSupported", "ErrorMessage": "Unsupported protocol."},
                                 400)
        user = self.directory.user(mail)
        place = user.autodiscover if user else "404"
        if place == "404":
            return json_response({"ErrorCode": "UserNotFound", "ErrorMessage": "The given user is not found"}, 404)
        if place.startswith("redirect:"):
            target = "%s?Email=%s&Protocol=%s&RedirectCount=1" % (place[9:], urllib.parse.quote(mail), protocol)
            return httpd.Response(302, [("Location", target)])
        url = "https://outlook.office365.com/autodiscover/autodiscover.xml" if place == "exo" else place
        return json_response({"Protocol": protocol, "Url": url})

    # -- Microsoft Graph: is an account enabled?

    def graph(self, request):
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            claims = self.world.tokens.read(token) if scheme.lower() == "bearer" else {}
        except ValueError:
            claims = {}
        if claims.get("aud") not in (GRAPH, GRAPH_APP) or claims.get("exp", 0) < time.time():
            return graph_error(401, "InvalidAuthenticationToken", "Access token is empty, expired or for another audience.")
        named = USER_IN_PATH.match(request.path)
        if request.method != "GET" or not named:
            return graph_error(400, "Request_BadRequest", "Resource not found for the segment.")
        roles = set(claims.get("roles", ()))
        if not roles & (GRAPH_PERMISSIONS | {"User.ReadBasic.All"}):
            return graph_error(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
        user = next((user for user in self.directory.users.values() if named[1].lower() in (user.upn, user.oid)), None)
        if user is None or user.tenant != claims.get("tid"):
            return graph_error(404, "Request_ResourceNotFound", "Resource '%s' does not exist or one of its queried "
                               "reference-property objects are not present." % named[1])
        known = {"id": user.oid, "userPrincipalName": user.upn, "displayName": user.name}
        if roles & GRAPH_PERMISSIONS:
            known["accountEnabled"] = not user.disabled
        wanted = request.query.get("$select", "id,displayName,userPrincipalName").split(",")
        return json_response({"@odata.context": GRAPH + "/v1.0/$metadata#users(%s)/$entity" % ",".join(wanted),
                              **{name: known[name] for name in wanted if name in known}})

    # -- the token endpoint

    def token(self, request, form, tenant_name, settings, record):
        need(form, "grant_type")
        grant = form["grant_type"]
        handlers = {"password": self.grant_password, "client_credentials": self.grant_client,
                    "refresh_token": self.grant_refresh, DEVICE_GRANT: self.grant_device, "device_code":
                    self.grant_device}
        if grant not in handlers:
            raise Aadsts(70003, "The app requested an unsupported grant type '%s'." % grant)
        if "/v2.0/" not in request.path:
            # v1: one resource instead of scopes, and numbers are strings.
            need(form, "resource")
            form = {**form, "scope": form["resource"].rstrip("/") + "/.default"}
            settings = {**settings, "numbers_as_strings": True}
        tenant = self.tenant(tenant_name, grant, form)
        app = self.client(request, form, tenant_name, tenant, settings, record)
        return handlers[grant](form, tenant, app, settings, record)

    def tenant(self, name, grant, form):
        name = name.lower()
        if name in ("common", "consumers", "organizations"):
            if grant == "client_credentials":
                raise Aadsts(50059)
            if grant == "password" and name != "organizations":
                raise Aadsts(9001023)
            domain = self.directory.domain_of(form.get("username", ""))
            if grant == "password" and domain is None:
                raise Aadsts(50059)
            return domain.tenant if domain else None
        tenant = self.directory.tenant_of(name)
        if tenant is None:
            raise Aadsts(90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are "
                                "signing into the correct cloud." % name)
        return tenant

    def client(self, request, form, tenant_name, tenant, settings, record):
        """The app, authenticated."""
        form = dict(form)
        basic = request.headers.get("authorization", "")
        if basic.lower().startswith("basic "):
            try:
                name, _, secret = base64.b64decode(basic[6:], validate=True).decode().partition(":")
            except ValueError:
                raise Aadsts(900144) from None
            form["client_id"], form["client_secret"] = urllib.parse.unquote(name), urllib.parse.unquote(secret)
            record["client_id"], record["secret_sha256"] = form["client_id"], sha256(form["client_secret"])
        need(form, "client_id")
        client_id = form["client_id"].lower()
        app = self.directory.apps.get(client_id)
        if app is None or tenant not in (None, app.tenant):
            raise Aadsts(700016, "Application with identifier '%s' was not found in the directory '%s'. This can "
                                 "happen if the application has not been installed by the administrator of the "
                                 "tenant or consented to by any user in the tenant. You may have sent your "
                                 "authentication request to the wrong tenant." % (client_id, tenant_name))
        if app.disabled:
            raise Aadsts(7000112, "Application '%s'(%s) is disabled." % (client_id, app.name))
        secret, assertion = form.get("client_secret"), form.get("client_assertion")
        if app.public and form["grant_type"] != "client_credentials":
            if secret or assertion:
                raise Aadsts(700025)
        elif assertion:
            self.check_assertion(request, form, app, tenant, settings, record)
        elif not secret:
            raise Aadsts(7000218)
        elif sha256(secret) not in app.secrets:
            raise Aadsts(7000215)
        elif app.secrets[sha256(secret)]:
            raise Aadsts(7000222)
        return app

    def check_assertion(self, request, form, app, tenant, settings, record):
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Aadsts(900144, "The request body must contain the following parameter: 'client_assertion_type'.")
        base = "https://%s/" % request.authority
        path = request.raw_path.lstrip("/").split("/", 1)
        audiences = {base + path[0] + "/" + path[1], base + str(tenant) + "/" + path[1]}
        checker = AssertionChecker(load_certificates(self.world.pki, app.certificates), settings,
                                   self.world.jti_seen)
        record["assertion_alg"] = checker.check(form["client_assertion"], app.client_id, audiences)

    def scopes(self, text, app, settings, first_only=False):
        """(audience, granted scopes, OIDC scopes) of a scope parameter."""
        words = text.split()
        if not words:
            raise Aadsts(900144, "The request body must contain the following parameter: 'scope'.")
        oidc = [word for word in words if word in OIDC]
        asked = [word.rpartition("/") for word in words if word not in OIDC]
        asked = [(host.rstrip("/") or GRAPH, name) for host, _, name in asked] or [(GRAPH, "User.Read")]
        asked = [(GRAPH if OWN_ADDRESS.match(host) else host, name) for host, name in asked]
        hosts = list(dict.fromkeys(host for host, _ in asked))
        for host in hosts:
            if host not in EXCHANGE_AUDIENCES and host not in (GRAPH, GRAPH_APP):
                raise Aadsts(500011, "The resource principal named %s was not found in the tenant." % host)
        if len(hosts) > 1 and not first_only:
            # One Graph scope in the list makes it a Graph token, which Exchange refuses.
            hosts = [GRAPH] if {GRAPH, GRAPH_APP} & set(hosts) else hosts
            if hosts != [GRAPH]:
                raise Aadsts(28002)
        names = [name for host, name in asked if host == hosts[0]]
        if not (app.consented or settings["consent_all"]):
            raise Aadsts(65001)
        if hosts[0] in (GRAPH, GRAPH_APP):
            return hosts[0], names or ["User.Read"], oidc
        if names == [".default"]:
            return hosts[0], app.scopes, oidc
        if not set(names) <= set(app.scopes):
            raise Aadsts(70011, "The provided value for the input parameter 'scope' is not valid. The scope '%s' "
                                "is not valid." % text)
        return hosts[0], names, oidc

    def grant_password(self, form, tenant, app, settings, record):
        need(form, "username", "password")
        granted = self.scopes(form.get("scope", ""), app, settings)
        refusal = magic(form["username"])
        if refusal is not None:
            raise refusal
        user = self.directory.user(form["username"])
        if user is None or user.tenant != tenant:
            raise Aadsts(50034)
        self.directory.check_password(user, form["password"], settings)
        self.directory.check_state(user)
        return self.issue(form, app, granted, settings, record, user)

    def grant_client(self, form, tenant, app, settings, record):
        words = form.get("scope", "").split()
        need(form, "scope")
        if len(words) != 1 or not words[0].endswith("/.default"):
            raise Aadsts(70011)
        granted = self.scopes(words[0], app, settings)
        return self.issue(form, app, granted, settings, record)

    def grant_refresh(self, form, tenant, app, settings, record):
        need(form, "refresh_token")
        grant = self.directory.refresh_tokens.get(sha256(form["refresh_token"]))
        if grant is None or grant.client_id != app.client_id:
            raise Aadsts(70000, suberror="bad_token" if grant is None else "client_mismatch")
        record["username"] = record["username"] or grant.user
        if grant.revoked:
            raise Aadsts(grant.revoked)
        user = self.directory.user(grant.user)
        if user is None or tenant not in (None, user.tenant):
            raise Aadsts(50034)
        self.directory.check_state(user, signed_in=True)
        granted = self.scopes(form.get("scope") or " ".join(grant.scopes), app, settings, first_only=True)
        if settings["refresh_rotation"] == "revoke-old":
            grant.revoked = 70000
        granted = granted[0], granted[1], list(set(granted[2]) | {"offline_access"})
        if settings["refresh_rotation"] == "none":
            granted[2].remove("offline_access")
        return self.issue(form, app, granted, settings, record, user)

    def devicecode(self, request, form, tenant_name, settings, record):
        app = self.directory.apps.get(form.get("client_id", "").lower())
        tenant = self.tenant(tenant_name, "device", form)
        if app is None or tenant not in (None, app.tenant):
            raise Aadsts(700016)
        self.scopes(form.get("scope", ""), app, settings)
        code, device = self.directory.new_device(app, app.tenant, form["scope"].split(), settings)
        message = ("To sign in, use a web browser to open the page https://microsoft.com/devicelogin and enter "
                   "the code %s to authenticate." % device.user_code)
        return json_response({"user_code": device.user_code, "device_code": code,
                              "verification_uri": "https://microsoft.com/devicelogin",
                              "expires_in": settings["device_expires_in"], "interval": settings["device_interval"],
                              "message": message})

    def grant_device(self, form, tenant, app, settings, record):
        code = form.get("device_code") or form.get("code") or ""    # "code": a habit of v1 clients
        device = self.directory.devices.get(sha256(code))
        if device is None or device.client_id != app.client_id or device.state == "used":
            raise Aadsts(70018)
        now, last, device.last_poll = time.time(), device.last_poll, time.time()
        if device.state == "declined":
            raise Aadsts(65004)
        if device.state == "expired" or now > device.expires:
            raise Aadsts(70019)
        if settings["device_slow_down"] and now - last < device.interval:
            device.interval += 5
            raise Aadsts(70016, error="slow_down")
        device.polls += 1
        if device.state == "pending" and 0 <= device.pending_polls < device.polls:
            device.state = "approved"
        if device.state == "pending":
            raise Aadsts(70016)
        device.state = "used"
        user = self.directory.user(device.user)
        record["username"] = user.upn
        return self.issue(form, app, self.scopes(" ".join(device.scopes), app, settings), settings, record, user)

    def issue(self, form, app, granted, settings, record, user=None):
        audience, scopes, oidc = granted
        token, lifetime = self.world.tokens.mint(app, audience, scopes, settings, user)
        record["access_token_sha256"] = sha256(token)
        reply = {"token_type": settings["token_type"]}
        if user is not None:
            reply["scope"] = " ".join("%s/%s" % (audience, name) for name in scopes)
        reply.update(expires_in=lifetime, ext_expires_in=lifetime)
        if settings["refresh_in"] is not None:
            reply["refresh_in"] = settings["refresh_in"]
        reply["access_token"] = token
        if user is not None:
            if "offline_access" in oidc:
                kept = ["%s/%s" % (audience, name) for name in scopes] + sorted(oidc)
                reply["refresh_token"] = self.directory.new_refresh_token(user, app, kept)
                record["new_refresh_token_sha256"] = sha256(reply["refresh_token"])
            if "openid" in oidc:
                reply["id_token"] = self.world.tokens.id_token(app, user)
            if form.get("client_info") == "1":
                reply["client_info"] = b64url(compact({"uid": user.oid, "utid": user.tenant}))
        if settings["numbers_as_strings"]:
            reply = {name: str(value) if isinstance(value, int) else value for name, value in reply.items()}
        if settings["body_padding_kib"]:
            reply["padding"] = "p" * (settings["body_padding_kib"] * 1024)
        reply.update(settings["extra"])
        return json_response({name: value for name, value in reply.items() if name not in settings["missing"]})
