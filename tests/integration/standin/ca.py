# SPDX-License-Identifier: MIT
"""A throw-away public key infrastructure.

Everything is made new at each start and lives in one directory. The key of the CA never touches the disk, so the
certificates, although some of them name Microsoft's hosts, are worth nothing after the test.
"""

import datetime
import ipaddress
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER_NAMES = [
    "localhost", "login.test", "outlook.test", "smtp.test", "autodiscover.test", "*.standin.test",
    # The real names, for products that a resolver override, not their settings, points at 127.0.0.1.
    "login.microsoftonline.com", "outlook.office365.com", "outlook.office.com", "smtp.office365.com",
]
SERVER_ADDRESSES = ["127.0.0.1", "::1"]
DAY = datetime.timedelta(days=1)


def _now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None, microsecond=0)


def write_file(path, data, mode=0o644):
    """Replaces path with data, so that nobody ever reads half a file."""
    temporary = "%s.%d.tmp" % (path, os.getpid())
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(data)
    os.rename(temporary, path)


def pem_of(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def pem_of_key(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def _certificate(subject, key, issuer, issuer_key, days=(-1, 30), extensions=()):
    builder = (x509.CertificateBuilder()
               .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
               .issuer_name(issuer)
               .public_key(key.public_key())
               .serial_number(x509.random_serial_number())
               .not_valid_before(_now() + days[0] * DAY)
               .not_valid_after(_now() + days[1] * DAY))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


class Authority:
    """One certificate authority with its key in memory only."""

    def __init__(self, name):
        self.key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        usage = x509.KeyUsage(digital_signature=False, content_commitment=False, key_encipherment=False,
                              data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
                              encipher_only=False, decipher_only=False)
        self.certificate = _certificate(name, self.key, issuer, self.key, extensions=[
            (x509.BasicConstraints(ca=True, path_length=0), True), (usage, True), (identifier, False)])

    def server(self, names=None, addresses=None, days=(-1, 30)):
        """A server certificate and its key, both PEM in one byte string, the way ssl wants them."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = SERVER_NAMES if names is None else names
        addresses = SERVER_ADDRESSES if addresses is None else addresses
        alternative = x509.SubjectAlternativeName(
            [x509.DNSName(name) for name in names] +
            [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses])
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        certificate = _certificate(names[0], key, self.certificate.subject, self.key, days, [
            (x509.BasicConstraints(ca=False, path_length=None), True), (alternative, False), (issuer_id, False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
        return pem_of(certificate) + pem_of_key(key)


def client_pair(directory, name, days=(-1, 365)):
    """Writes name.crt and name.key, an RSA key pair for private_key_jwt; returns the certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = _certificate(name, key, subject, key, days)
    write_file(os.path.join(directory, name + ".crt"), pem_of(certificate))
    write_file(os.path.join(directory, name + ".key"), pem_of_key(key), 0o600)
    return certificate


class Pki:
    """All the certificates of one directory.

    Files: ca.pem (trust this), untrusted-ca.pem; server.pem, untrusted.pem, expired.pem, wrongname.pem (with
    their keys); client.crt/.key (registered with the app "certificate"), stranger.crt/.key (registered
    nowhere), client-expired.crt/.key (registered, out of date).
    """

    def __init__(self, directory):
        self.directory = directory
        good, bad = Authority("Standin Test CA"), Authority("Standin Untrusted CA")
        write_file(self.path("ca.pem"), pem_of(good.certificate))
        write_file(self.path("untrusted-ca.pem"), pem_of(bad.certificate))
        for name, pem in (("server", good.server()), ("untrusted", bad.server()),
                          ("expired", good.server(days=(-30, -1))),
                          ("wrongname", good.server(["wrong.invalid"], []))):
            write_file(self.path(name + ".pem"), pem, 0o600)
        self.clients = {"client": client_pair(directory, "client"),
                        "stranger": client_pair(directory, "stranger"),
                        "client-expired": client_pair(directory, "client-expired", days=(-30, -1))}

    def path(self, name):
        return os.path.join(self.directory, name)

    def context(self, name="server", alpn=None):
        """A TLS context for a server with the certificate of that name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.path(name + ".pem"))
        if alpn:
            context.set_alpn_protocols(alpn)
        return context
