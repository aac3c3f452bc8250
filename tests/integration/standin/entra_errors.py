# SPDX-License-Identifier: MIT
"""Entra's error replies: which HTTP status, `error` and text go with which AADSTS number, old and new.

Texts of the common ones are those of public transcripts; the rest are short and made up.
"""

import dataclasses
import json
import re
import time
import uuid

POLICY_ID = "0a1b2c3d-0000-4000-8000-00000000ca01"
MFA_TEXT = ("Due to a configuration change made by your administrator, or because you moved to a new location, "
            "you must use multi-factor authentication to access '00000002-0000-0ff1-ce00-000000000000'.")
CA_CLAIMS = json.dumps({"access_token": {"capolids": {"essential": True, "values": [POLICY_ID]}}},
                       separators=(",", ":"))
PASSWORD_CHANGE_URL = "https://portal.microsoftonline.com/ChangePassword.aspx"

NO_ISSUANCE = "The access policy does not allow token issuance."

# code: text
TEXTS = {
    50126: "Error validating credentials due to invalid username or password.",
    50034: "The user account {EUII Hidden} does not exist in the contoso.com directory. To sign into this "
           "application, the account must be added to the directory.",
    50053: "You've tried to sign in too many times with an incorrect user ID or password.",
    50055: "Password is expired.",
    50057: "The user account is disabled.",
    50059: "No tenant-identifying information found in either the request or implied by any provided credentials.",
    **dict.fromkeys((50072, 50076, 50078, 50079), MFA_TEXT),
    50074: "Strong Authentication is required.",
    50158: "External security challenge was not satisfied.",
    53000: "Your device is required to be managed to access this resource.",
    53003: "Access has been blocked by Conditional Access policies. " + NO_ISSUANCE,
    530035: "Access has been blocked by security defaults. " + NO_ISSUANCE,
    65001: "The user or administrator has not consented to use the application with ID 'app' named 'app'. Send an "
           "interactive authorization request for this user and resource.",
    700016: "Application with identifier 'app' was not found in the directory 'tenant'. This can happen if the "
            "application has not been installed by the administrator of the tenant or consented to by any user in "
            "the tenant. You may have sent your authentication request to the wrong tenant.",
    7000112: "Application 'app' is disabled.",
    7000215: "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
             "value, not the client secret ID, for a secret added to app 'app'.",
    7000218: "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    7000222: "The provided client secret keys for app 'app' are expired. Visit the Azure portal to create new "
             "keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for "
             "added security: https://aka.ms/certCreds.",
    700024: "Client assertion is not within its valid time range.",
    700025: "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
    700027: "Client assertion contains an invalid signature. [Reason - The key was not found.]",
    700023: "Client assertion audience claim does not match Realm issuer.",
    70000: "Provided grant is invalid or malformed.",
    70003: "The app requested an unsupported grant type.",
    70008: "The provided authorization code or refresh token has expired due to inactivity. Send a new "
           "interactive authorization request for this user and resource.",
    700082: "The refresh token has expired due to inactivity.",
    50173: "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might "
           "have changed or reset their password.",
    70011: "The provided request must include a 'scope' input parameter. The provided value for the input "
           "parameter 'scope' is not valid.",
    70016: "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
    70018: "Invalid verification code due to User typing in wrong user code for device code flow.",
    70019: "Verification code expired.",
    65004: "User declined to consent to access the app.",
    90002: "Tenant 'x' not found. Check to make sure you have the correct tenant ID and are signing into the "
           "correct cloud.",
    900144: "The request body must contain the following parameter: 'x'.",
    900561: "The endpoint only accepts POST requests. Received a GET request.",
    9001023: "The grant type is not supported over the /common or /consumers endpoints. Please use the "
             "/organizations or tenant-specific endpoint.",
    50196: "The server terminated an operation because it encountered a client request loop.",
    500011: "The resource principal named x was not found in the tenant.",
    28002: "Provided value for the input parameter 'scope' is not valid when requesting an access token: several "
           "resources.",
}

# error: (HTTP status, codes); everything else is invalid_grant with 400
GROUPS = {
    "invalid_client": (401, {70002, 7000215, 7000222, 7000218, 700025, 700027, 700024, 700023, 50012, 50013,
                             500133, 50027, 50048, 700030}),
    "unauthorized_client": (400, {700016, 700011, 70001, 7000112}),
    "invalid_request": (400, {90002, 900144, 900561, 90014, 9002313, 90023, 9001023, 50194, 90124, 90130, 50059,
                              50128, 90019, 90038, 900382, 90043}),
    "invalid_scope": (400, {70011, 28002, 700022, 700023}),
    "invalid_resource": (400, {500011, 500014, 650057}),
    "unsupported_grant_type": (400, {70003}),
    "authorization_pending": (400, {70016}),
    "authorization_declined": (400, {65004}),
    "bad_verification_code": (400, {70018, 90119}),
    "expired_token": (400, {70019, 90120}),
    "temporarily_unavailable": (503, {90033, 90006, 90012, 50033, 90090, 50087, 40010, 90024, 90025}),
    "server_error": (429, {90055}),
}
INTERACTION = {50072, 50074, 50076, 50078, 50079, 50158, 50131, 50097, 50129, 50155, 50005, 53000, 53001, 53002,
               53003, 53004, 53011, 530032, 530035, 530003}
# what `error` said in older builds, where it differed
OLD_ERRORS = {50053: "unauthorized_client", 50055: "user_password_expired",
              **dict.fromkeys(INTERACTION, "interaction_required")}
SUBERRORS = {
    "basic_action": {50072, 50074, 50076, 50078, 50079},
    "additional_action": {50158, 50125},
    "message_only": {50131, 50097, 50129, 50155, 50005, 53000, 53001, 53002, 53003, 53004, 53011, 530032, 530035,
                     530003},
    "user_password_expired": {50055},
    "consent_required": {65001},
    "bad_token": {700082, 50173},
    "token_expired": {70043},
}
ERROR_OF = {code: (error, status) for error, (status, codes) in reversed(GROUPS.items()) for code in codes}
SUBERROR_OF = {code: suberror for suberror, codes in SUBERRORS.items() for code in codes}


@dataclasses.dataclass(eq=False)
class Aadsts(Exception):
    """One refusal. Fields left None are filled from the tables above; suberror "" means none."""
    code: int
    text: str = None
    status: int = None
    error: str = None
    suberror: str = None
    codes: list = None
    old: bool = False            # old `error` spelling, \r\n between the parts of the description
    no_uri: bool = False
    no_codes: bool = False
    code_strings: bool = False
    retry_after: str = None

    def resolve(self):
        error, status = ERROR_OF.get(self.code, ("invalid_grant", 400))
        if self.old:
            error = OLD_ERRORS.get(self.code, error)
        self.error = self.error or error
        self.status = self.status or status
        self.text = self.text or TEXTS.get(self.code, "The request was refused for reason %d." % self.code)
        self.suberror = SUBERROR_OF.get(self.code, "") if self.suberror is None else self.suberror
        self.codes = self.codes or [self.code]
        return self

    def body(self, trace_id, correlation_id, separator=" "):
        """The JSON text, keys in the service's order."""
        self.resolve()
        separator = "\r\n" if self.old else separator
        stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        text = "AADSTS%d: %s" % (self.code, self.text)
        if len(self.codes) > 1 and self.codes[0] == 70002:
            text = "AADSTS70002: Error validating credentials. " + text
        reply = {"error": self.error,
                 "error_description": separator.join([text, "Trace ID: " + trace_id,
                                                      "Correlation ID: " + correlation_id, "Timestamp: " + stamp]),
                 "error_codes": [str(code) for code in self.codes] if self.code_strings else self.codes,
                 "timestamp": stamp, "trace_id": trace_id, "correlation_id": correlation_id,
                 "error_uri": "https://login.microsoftonline.com/error?code=%d" % self.code}
        if self.no_uri:
            del reply["error_uri"]
        if self.no_codes:
            del reply["error_codes"]
        if self.suberror:
            reply["suberror"] = self.suberror
        if self.code == 53003:
            reply["claims"] = CA_CLAIMS
        if self.code == 50055:
            reply["password_change_url"] = PASSWORD_CHANGE_URL
        return json.dumps(reply).encode()


MAGIC = re.compile(r"aadsts(\d+)((?:\.[a-z0-9_]+)*)@", re.IGNORECASE)
KNOWN_SUBERRORS = {"basic_action", "additional_action", "message_only", "user_password_expired",
                   "consent_required", "bad_token", "token_expired", "protection_policy_required",
                   "client_mismatch", "device_authentication_failed"}


def variant(refusal, words):
    """Applies the words of a magic user (or of a fault's "variants") to refusal."""
    for word in words:
        if word == "multi":
            refusal.codes = [70002, refusal.code]
        elif word == "old":
            refusal.old = True
        elif word == "nouri":
            refusal.no_uri = True
        elif word == "nocodes":
            refusal.no_codes = True
        elif word == "strings":
            refusal.code_strings = True
        elif word == "nosuberror":
            refusal.suberror = ""
        elif word in KNOWN_SUBERRORS:
            refusal.suberror = word
        elif re.fullmatch(r"http\d{3}", word):
            refusal.status = int(word[4:])
        elif re.fullmatch(r"err_[a-z_]+", word):
            refusal.error = word[4:]
        elif not re.fullmatch(r"u\d+", word):    # u17: only makes the name different
            raise ValueError("no such variant: " + word)
    return refusal


def magic(upn):
    """The refusal that a magic user name stands for, or None for the others."""
    match = MAGIC.match(upn)
    if not match:
        return None
    try:
        return variant(Aadsts(int(match[1])), [word for word in match[2].lower().split(".") if word])
    except ValueError as error:
        return Aadsts(9002313, "The stand-in knows %s" % error)


def guid():
    return str(uuid.uuid4())
