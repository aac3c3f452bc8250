# SPDX-License-Identifier: MIT
r'''Stand-ins for Microsoft Entra ID and Exchange Online, for tests. Nothing here ever leaves 127.0.0.1.

Starting
========
From a shell, in the directory above this package:

    python3 -m standin --dir DIR [--ports entra=8443,imaps=9993,...] [--no-h2]

writes certificates to DIR, then DIR/ports.json (replaced in one step, when everything listens), and stays in the
foreground until SIGTERM. From a test: client.Standin, which starts that as a process and wraps the control API:

    with Standin().start(directory) as standin:
        standin.fault(endpoint="token", user="alice@*", action="status", status=503, times=2)
        ... standin.token_url(), standin.ca_file, standin.ports["imaps"] ...
        assert standin.token_requests(username="alice@contoso.com")[0]["status"] == 503
        standin.reset()          # between tests: everything back to the defaults below

Ports (names in ports.json)
    entra             HTTPS; HTTP/2 by ALPN unless --no-h2; TLS 1.2 or newer
    entra_untrusted, entra_expired, entra_wrongname   the same behind a certificate that must be refused
    entra_silent      takes the TCP connection and never answers
    proxy             HTTP proxy: CONNECT anything:anything ends at entra (or at another port of ours, if named)
    imaps, pop3s, smtps     TLS from the start
    imap, pop3, smtp        STARTTLS, STLS, STARTTLS
    imaps_untrusted, imaps_expired, imaps_wrongname, pop3s_untrusted, smtp_untrusted
    control           the control API, plain HTTP
Files in DIR
    ca.pem            trust this; the others: untrusted-ca.pem
    client.crt/.key   registered with the app "certificate"; stranger.crt/.key: with none;
    client-expired.crt/.key: registered, but out of date. RSA 2,048, PEM
Server certificates are ECDSA P-256 for localhost, 127.0.0.1, ::1, login.test, outlook.test, smtp.test,
autodiscover.test, *.standin.test and Microsoft's worldwide hosts.

Tenants
=======
    contoso   c0000000-0000-4000-8000-000000000001  contoso.com, contoso.onmicrosoft.com (Managed),
              federated.contoso.com (Federated: every password is answered 50126),
              phs.contoso.com (Federated with AllowCloudPasswordValidation)
    fabrikam  f0000000-0000-4000-8000-000000000002  fabrikam.com, fabrikam.onmicrosoft.com
/organizations works for password, refresh and device grants; /common and /consumers: no passwords (9001023).

Apps (client_id a0000000-0000-4000-8000-00000000000N; entra_model.APP % N)
====
    N  name         kind
    1  public       public client; delegated scopes IMAP, POP, SMTP, EWS, EAS
    2  secret       secret  s3cr~et+with/odd=chars&100%   (expired one: expired+secret~1)
    3  certificate  client.crt by PS256/x5t#S256 or RS256/x5t; app roles, every mailbox
    4  daemon       the secrets of 2; app roles; mailboxes alice, bob, shared
    5  disabled     7000112          6  unconsented  65001
    7  fabrikam     public client of the other tenant: 700016 in contoso
    8  roleless     the secret of 2, every mailbox, no app role: "authenticated but not connected"

Users (password Passw0rd! unless given)
=====
    alice@contoso.com  alice-Passw0rd     full access to and send-as for shared@contoso.com
    bob@contoso.com    bob Passw0rd 2
    carol@contoso.com  p+ä&=%/ "\         (10 characters, the eighth is a blank, the last a backslash)
    dave@contoso.com   0123456789abcdef sixteen times (256 characters)
    erin@fabrikam.com  of the other tenant
    shared@contoso.com cannot sign in (50057); a mailbox
    mfa@ 50076, disabled@ 50057, locked@ 50053, expired@ 50055, blocked@ 53003 (contoso.com)
    fred@federated.contoso.com, phs@phs.contoso.com
    notconnected@, noimap@   token good; IMAP says OK, then "authenticated but not connected"; POP3 +OK, then
                             "-ERR Server Unavailable. 21"; SMTP (notconnected@) 535 5.7.3
    nopop@; nosmtp@          SMTP 535 5.7.139 ... disabled for the Mailbox
    slowfail@                nine seconds; no mailbox
    onprem@, hybrid@, nomailbox@   no mailbox; Autodiscover: another Url, 302, 404
    smtp.tenant@ smtp.mailbox@ smtp.basic@ smtp.criteria@ smtp.defaults@ smtp.credentials@ smtp.refused@ (535),
    smtp.limit@ (432) smtp.busy@ (421) smtp.expiring@ (501 5.5.127) smtp.removed@ (550 5.7.30)
Each mailbox has one message in INBOX, subject "Welcome to the stand-in, UPN".

Magic users (password grant, any password, any existing domain or none; past tenant, app and scope checks)
    aadsts<CODE>[.WORD...]@contoso.com    e.g. aadsts50076@contoso.com, aadsts50126.multi.u7@contoso.com
    words: multi      error_codes [70002, CODE] and the text to match
           old        historic spelling of "error", \r\n between the parts of error_description
           nouri      no error_uri            nocodes   no error_codes          strings  error_codes as strings
           nosuberror, or a suberror: basic_action additional_action message_only user_password_expired
                      consent_required bad_token token_expired protection_policy_required client_mismatch
                      device_authentication_failed
           http503    another HTTP status     err_server_error  another "error"
           u7         no effect, makes many names for one behaviour
    Any number is taken; unknown ones (999999) are invalid_grant, 400. See entra_errors.py for status, error, text.

What Entra does
===============
    POST /{tenant}/oauth2/v2.0/token      password, client_credentials, refresh_token, device_code; client_secret
                                          (in the form or by HTTP Basic) or client_assertion; /oauth2/token: v1,
                                          with resource= and numbers as strings
    POST /{tenant}/oauth2/v2.0/devicecode
    GET  /{tenant}[/v2.0]/.well-known/openid-configuration, /common/discovery/instance,
         /{tenant}/discovery/v2.0/keys
    GET  /common/userrealm/{upn}, /GetUserRealm.srf?login=
    GET  /v1.0/users/{upn or id}?$select=  Microsoft Graph, with an app-only token of the scope
                                          https://graph.microsoft.com/.default or the stand-in's own address/.default
    GET  /autodiscover/autodiscover.json/v1.0/{mail}?Protocol=, /autodiscover/autodiscover.json?Email=&Protocol=
Order of checks at the token endpoint: grant type, tenant, app, client authentication, scope, magic user, user,
realm, lock-out, password, state (disabled, expired, aadsts, mfa, ca_blocked). Passwords with a blank at either end
are wrong. Lock-out: lockout_threshold bad passwords, the last three distinct ones not counted again; then 50053
for lockout_seconds whatever the password. Refresh tokens of public clients die (50173) with a password change;
they need no second factor, since they come from a sign-in that had one.
The assertion's aud must be exactly the URL asked, or that with the tenant's GUID.

Control API (JSON in and out; 400 for unknown fields, so that a typing error cannot pass a test)
===========
    GET  ping   POST reset   GET|DELETE stats       stats: per HTTP port connections, open, max_open, requests,
                                                    in_flight, max_in_flight, by_version {"1.1": n, "2": n}
    GET  proxy                                      targets of CONNECT since the last DELETE stats or reset
    GET|POST users       {"upn", "password", "mfa", "disabled", "locked", "expired", "ca_blocked", "aadsts": CODE,
                          "pass_through", "mailbox", "imap", "pop", "smtp", "not_connected", "smtp_reply",
                          "fail_delay", "basic": ["imap", "pop3", "smtp"] (where Exchange
                          still takes the password), "full_access": [..], "send_as": [..], "autodiscover", "tenant"}, or a list;
                          an existing user keeps what is not given. "locked": false unlocks
    POST users/bulk      {"pattern": "user%04d@contoso.com", "count", "first"?, "password"?: "pw-%04d", ...}
    DELETE users?upn=
    GET|POST apps        {"client_id", "name", "public", "secret", "expired_secret", "certificates":
                          ["client" | PEM], "scopes", "roles", "graph_roles" (every app has
                          User.Read.All), "mailboxes", "disabled", "consented", "registered", "tenant"}
    GET|POST domains     {"name", "tenant", "realm": "Managed"|"Federated", "cloud_passwords"}
    GET|POST entra/settings     see ENTRA_SETTINGS in world.py
    GET|POST entra/faults, DELETE entra/faults[?id=]
        {"action", "endpoint": glob of token|devicecode|realm|discovery|graph|autodiscover|other, "user": glob,
         "client_id": glob, "grant": glob, "times": N (0: until deleted), "skip": N, "latency_ms": N, ...}; the
        first rule that matches is taken. Actions:
        none       only latency_ms                token      "token": {any of the token settings}, e.g.
                                                  {"token_size": 16384} {"missing": ["access_token"]} {"upn": ".."}
                                                  {"opaque": true} {"audience": "https://graph.microsoft.com"}
                                                  {"nonprintable": "\u0007"} {"numbers_as_strings": true}
                                                  {"refresh_in": 1800} {"token_type": "mac"}
                                                  {"expires_in": 60} {"token_exp_in": 3}
                                                  {"body_padding_kib": 80} {"extra": {"k": 1}}
        status     "status", "body" (503 without body: an HTML page), "content_type", "headers": {},
                   "retry_after": 7 | "date:7" (HTTP date in 7 s) | any text
        aadsts     "code", "variants": ["old", ...], "status"?, "retry_after"?: for any grant
        truncate   half the JSON, honest Content-Length     short    half the body, then close
        empty      no body                                  garbage  "kib" KiB of x
        redirect   to "location" (else /redirect-trap, which is recorded: endpoint "other")
        reset      RST before an answer    reset-mid  RST after headers and half of the body
        close      FIN before an answer
        hang       never an answer         goaway, refuse-stream   HTTP/2 only (HTTP/1.1: close)
    GET|DELETE entra/requests[?since=SEQ&FIELD=VALUE...]    {"records": [..], "last": SEQ}; fields: seq time
        answered method path endpoint grant client_id username scope fields password_sha256 secret_sha256
        assertion_sha256 assertion_alg refresh_token_sha256 device_code_sha256 access_token_sha256
        new_refresh_token_sha256 client_request_id correlation_id trace_id http_version connection peer authority
        headers body_size status (null: none was sent) mode aadsts fault [id, action]. No
        password and no token is ever kept in clear.
    POST entra/mint              {"user"?, "client_id"?, "aud"?, "scopes"?, token settings} -> access_token,
                                 sha256, expires_in; without user: app-only, app 4
    POST entra/refresh-tokens    {"user", "client_id"?, "scopes"?} -> refresh_token, sha256
    POST entra/revoke            {"user": upn|"*", "code": 50173}
    GET  entra/issued[?skip=N]   refresh tokens and device codes in clear, oldest first: for the search for secrets in
                                 files. Nothing else shows them
    GET|POST entra/devices       {"code": "latest"|user code|device code, "action": "approve"|"decline"|"expire",
                                 "user"?}
    GET|POST exchange/settings   see EXCHANGE_SETTINGS in world.py
    GET|DELETE exchange/sessions[?since=&FIELD=VALUE]   fields: seq time protocol (imap|pop3|smtp) listener peer
        tls starttls attempts [{mech form ("initial"|"two-step"|"basic") user token_sha256|password_sha256 result
        outcome tls time}] mech user token_sha256 result logged_in not_connected token_upn token_appid token_exp
        commands verbs ended closed. result: ok, malformed-blob, cancelled, malformed-token, bad-signature,
        wrong-audience, expired, not-yet-valid, unknown-user, wrong-tenant, no-scope, no-role, not-allowed,
        no-mailbox, protocol-disabled, not-connected, connection-limit, basic-disabled, wrong-password, one-line-auth, smtp:NAME,
        no-mailbox, protocol-disabled, not-connected, not-registered, connection-limit, basic-disabled, one-line-auth,
        smtp:NAME,
        control:KIND
    GET exchange/live            the records of running sessions
    GET|POST|DELETE exchange/refuse   {"token_sha256" | "user" | "all": true, "protocols": ["imap", "pop3",
        "smtp"], "times": 0, "text", "kind": refuse|not-connected|unavailable|limit|close|reset|hang}
    POST exchange/expire|kick|abort   {"user"?, "token_sha256"?, "protocol"?} ends running sessions: as if the
        token had ended; with a farewell ("text"); without one
    GET|POST|DELETE exchange/messages  what was submitted; POST puts a message into a mailbox: {"user", "folder"?,
        "raw" | "subject" "text" "from", "flags"?}
    GET exchange/mailbox?user=   every folder with its messages

Where no transcript is known the wording is a guess: SMTP greeting and EHLO, IMAP and POP3 beyond their connection
limits, POP3 "not connected", POP3 at the token's end, device code numbers for declined and bad codes.
'''
