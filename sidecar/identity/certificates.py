"""Certificates: authentication by client certificates, and the sidecar's own TLS files."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from sidecar.identity.caller import Caller, PresentedCredentials, UnauthenticatedError
from sidecar.identity.pins import Pins, pinned
from sidecar.identity.proofs import CallerCache, ClaimMapping, caller_of

MAX_FILE_BYTES = 1_048_576


class CertificateVerifier:
    """Authenticates callers by the client certificate of their connection.

    gRPC has verified it against the client CA. Its expiry is checked here, since a connection
    may outlive it.
    """

    def __init__(
        self, mapping: ClaimMapping, pins: Pins, clock: Callable[[], float] = time.time
    ) -> None:
        """Map certificates to principals; the clock is in seconds since the epoch."""
        self._mapping = mapping
        self._pins = pins
        self._clock = clock
        self._cache = CallerCache()

    def problem(self) -> str:
        """See Authenticator.problem. Listeners report on the sidecar's own certificate."""
        return ""

    async def caller(self, presented: PresentedCredentials) -> Caller:
        """See Authenticator.caller."""
        pem = presented.certificate()
        if pem is None:
            raise UnauthenticatedError("CERTIFICATE_MISSING", "the connection has no certificate")
        now = self._clock()
        digest, caller = self._cache.find(pem, now)
        if caller is None:
            try:
                certificate = x509.load_pem_x509_certificate(pem)
                until, claims = certificate.not_valid_after_utc.timestamp(), claims_of(certificate)
            except Exception:  # gRPC accepts certificates that cryptography cannot parse
                message = "the certificate cannot be read"
                raise UnauthenticatedError("CERTIFICATE_INVALID", message) from None
            made = caller_of(self._mapping, claims, until, "CERTIFICATE_EXPIRED")
            caller = pinned(made, self._pins)
            self._cache.add(digest, caller, now, until)
        caller.check_still_proven(now)
        return caller


def claims_of(certificate: x509.Certificate) -> Mapping[str, Any]:
    """Return a certificate's claims about its holder.

    `san_uri` and `common_name` are names of which there is just one: SPIFFE asks for one URI,
    and of two, readers might take different ones. `san_dns` is the first DNS name; `san_uris`
    and `san_dnses` are all. Claims that it does not have are left out.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    claims: dict[str, Any] = {}
    if uris := names.get_values_for_type(x509.UniformResourceIdentifier):
        claims["san_uris"] = uris
        if len(uris) == 1:
            claims["san_uri"] = uris[0]
    if dns_names := names.get_values_for_type(x509.DNSName):
        claims["san_dns"], claims["san_dnses"] = dns_names[0], dns_names
    common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(common_names) == 1:
        claims["common_name"] = str(common_names[0].value)
    return claims


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of the sidecar's certificate and key, and of its callers' CA, all in PEM."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True, slots=True)
class TlsContent:
    """The content of the TLS files, with a key that fits the certificate."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    expires_at: float
    """When the certificate ends, in seconds since the epoch."""
    client_cas_expire_at: tuple[float, ...]
    """When each certificate of `client_ca` ends, the earliest first."""


def read_tls(files: TlsFiles) -> TlsContent:
    """Read the files. Raises ValueError, which names the file and has nothing of a key."""
    certificate, key = _read(files.certificate), _read(files.key)
    ca = None if files.client_ca is None else _read(files.client_ca)
    try:
        own = x509.load_pem_x509_certificates(certificate)[0]
        public = own.public_key()
    except ValueError:
        raise ValueError(f"{files.certificate}: is not a certificate in PEM") from None
    try:
        of_key = load_pem_private_key(key, None).public_key()
    except Exception:  # such as an unsupported kind of key
        raise ValueError(f"{files.key}: is not a private key in PEM without a password") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != of_key.public_bytes(*form):
        raise ValueError(f"{files.key}: is not the key of {files.certificate}")
    try:
        cas = [] if ca is None else x509.load_pem_x509_certificates(ca)
    except ValueError:
        raise ValueError(f"{files.client_ca}: is not a certificate in PEM") from None
    # Of several CAs with one name, gRPC takes the first: an old one must not hide its successor.
    cas.sort(key=lambda one: one.not_valid_after_utc, reverse=True)
    return TlsContent(
        certificate,
        key,
        b"".join(one.public_bytes(Encoding.PEM) for one in cas) or None,
        own.not_valid_after_utc.timestamp(),
        tuple(one.not_valid_after_utc.timestamp() for one in reversed(cas)),
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
