"""Issuers of tokens and certificates: real keys, a real JWKS endpoint, a real CA."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from jwt.algorithms import (
    ECAlgorithm,
    OKPAlgorithm,
    RSAAlgorithm,
    get_default_algorithms,
)
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "mistral-spend-sidecar"
SUBJECT = "system:serviceaccount:dev-workspace:app"


class Issuer:
    """Signs tokens with three kinds of keys, and publishes their public halves."""

    def __init__(self) -> None:
        """Make the keys."""
        self.keys: dict[str, Any] = {
            "RS256": rsa.generate_private_key(65537, 2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }
        self.jwks = {"keys": [public_jwk(key, f"kid-{name}") for name, key in self.keys.items()]}

    def token(self, algorithm: str = "RS256", headers: Any = None, **changes: Any) -> str:
        """Sign a token of the shape that Kubernetes projects, with changes; None drops one."""
        header = {"alg": algorithm, "kid": f"kid-{algorithm}", **(headers or {})}
        claims = {**kubernetes_claims(), **changes}
        kept = (
            json.dumps({name: value for name, value in part.items() if value is not None})
            for part in (header, claims)
        )
        return self.sign(algorithm, *kept)

    def sign(self, algorithm: str, header: str, claims: str) -> str:
        """Sign a header and claims, whatever texts they are."""
        signed = f"{base64url(header.encode())}.{base64url(claims.encode())}"
        signer = get_default_algorithms()[algorithm]
        return f"{signed}.{base64url(signer.sign(signed.encode(), self.keys[algorithm]))}"

    @cached_property
    def public_pem(self) -> bytes:
        """The public RSA key, in PEM."""
        public: bytes = (
            self.keys["RS256"]
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        return public


def encoded(part: Any) -> str:
    """Encode a part of a token, also one that a library would refuse."""
    return base64url(json.dumps(part).encode())


def base64url(content: bytes) -> str:
    """Encode bytes in base64url without padding, as in tokens."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def kubernetes_claims() -> dict[str, Any]:
    """Return the claims of a projected service-account token, as the API server makes them."""
    now = int(time.time())
    return {
        "aud": [AUDIENCE],
        "exp": now + 3607,
        "iat": now,
        "iss": ISSUER,
        "jti": "0f8e4c1e-6c0e-4b1b-9d6f-3b1f6f0f0c11",
        "kubernetes.io": {
            "namespace": "dev-workspace",
            "node": {"name": "node-1", "uid": "2b0f7c1e-0000-4000-8000-000000000001"},
            "pod": {"name": "app-7d4b9", "uid": "2b0f7c1e-0000-4000-8000-000000000002"},
            "serviceaccount": {"name": "app", "uid": "2b0f7c1e-0000-4000-8000-000000000003"},
            "warnafter": now + 3607,
        },
        "nbf": now,
        "sub": SUBJECT,
    }


def public_jwk(key: Any, kid: str) -> dict[str, Any]:
    """Return the public half of a key for a JWKS."""
    kind = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    algorithm: Any = next((a for k, a in kind.items() if isinstance(key, k)), OKPAlgorithm)
    jwk: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {**jwk, "kid": kid, "use": "sig"}


class JwksServer(ThreadingHTTPServer):
    """Serves a JWKS. `answer` is its content, or "down", "hang", "drip" or "huge"."""

    daemon_threads = True

    def __init__(self, answer: Any) -> None:
        """Listen on loopback."""
        self.answer = answer
        self.released = threading.Event()
        self.reads = 0
        self.authorization: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The URL of the JWKS."""
        return f"http://127.0.0.1:{self.server_address[1]}/openid/v1/jwks"


class _Handler(BaseHTTPRequestHandler):
    server: JwksServer

    def do_GET(self) -> None:
        """Respond as `answer` says."""
        self.server.reads += 1
        self.server.authorization.append(self.headers.get("Authorization"))
        match self.server.answer:
            case "hang":
                self.server.released.wait(60)
            case "down":
                self.send_response(503)
                self.end_headers()
            case "drip" | "huge" as how:
                self.send_response(200)
                self.end_headers()
                piece, pause = (b" ", 0.05) if how == "drip" else (b" " * 2**16, 0)
                while not self.server.released.wait(pause):
                    self.wfile.write(piece)
            case content:
                text = content if isinstance(content, str) else json.dumps(content)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def handle(self) -> None:
        """Ignore a client that disconnects."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True


@contextmanager
def jwks_server(answer: Any) -> Iterator[JwksServer]:
    """Serve a JWKS on a port of loopback."""
    server = JwksServer(answer)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


class Authority:
    """A CA that signs certificates of servers and of clients.

    All have one name, so that only its signature tells a certificate from another CA's.
    """

    def __init__(self) -> None:
        """Create the CA's key and certificate."""
        self._ca = trustme.CA(organization_unit_name="ca")
        self.pem = self._ca.cert_pem.bytes()

    def pem_valid(self, seconds: int) -> bytes:
        """Return the CA's certificate as one that ends so many seconds from now, in PEM."""
        now, key = datetime.now(UTC), self._key()
        name = x509.load_pem_x509_certificate(self.pem).subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=2))
            .not_valid_after(now + timedelta(seconds=seconds))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        )
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _key(self) -> Any:
        return load_pem_private_key(self._ca.private_key_pem.bytes(), None)

    def issue_server(self) -> tuple[bytes, bytes]:
        """Return a certificate and its key for 127.0.0.1, in PEM."""
        issued = self._ca.issue_cert("127.0.0.1")
        return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()

    def issue(
        self, name: str, *names: x509.GeneralName, valid: tuple[int, int] = (-3600, 3600)
    ) -> tuple[bytes, bytes]:
        """Return a client's certificate and its key in PEM; `valid` is in seconds from now.

        trustme gives no certificate a URI as its name, as SPIFFE does, or no name at all.
        """
        now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.load_pem_x509_certificate(self.pem).subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(seconds=valid[0]))
            .not_valid_after(now + timedelta(seconds=valid[1]))
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key(), hashes.SHA256())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM), pem


def write_pair(directory: Path, pair: tuple[bytes, bytes]) -> tuple[str, str]:
    """Write a certificate and its key; return their paths."""
    certificate, key = directory / "tls.crt", directory / "tls.key"
    certificate.write_bytes(pair[0])
    key.write_bytes(pair[1])
    return str(certificate), str(key)


def secure_stub(
    address: str, ca: bytes, pair: tuple[bytes, bytes] | tuple[None, None] = (None, None)
) -> AuthorizationServiceStub:
    """Return a client with TLS, and with a client certificate if given."""
    credentials = grpc.ssl_channel_credentials(ca, pair[1], pair[0])
    options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
    channel = grpc.secure_channel(address, credentials, options)
    return AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a token."""
    return (("authorization", f"Bearer {token}"),)
