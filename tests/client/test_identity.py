"""Apps that prove who they are, over TLS, with files that are replaced while they run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from support.identities import AUDIENCE, ISSUER, Authority, Issuer, write_pair
from support.policies import minimal
from support.running import RunningSidecar

from sidecar.client import Budget, Refused
from sidecar.v1 import authorization_pb2 as pb

NOBODY = pb.Principal(role="tester", workspace="lab")
"""Whose id is proven."""


def test_a_token_is_read_anew_for_each_call(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """As Kubernetes replaces it; over TLS. A stale one is refused, and never goes out open."""
    issuer, authority = Issuer(), Authority()
    (tmp_path / "jwks.json").write_text(json.dumps(issuer.jwks))
    certificate, key = write_pair(tmp_path, authority.issue_server())
    sidecar = start_sidecar(
        minimal(tmp_path / "p"),
        "--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE,
        "--claim", "id=claims.sub", "--jwks", str(tmp_path / "jwks.json"),
        "--tls-cert", certificate, "--tls-key", key,
    )  # fmt: skip
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    token = tmp_path / "token"
    token.write_text(issuer.token() + "\n")
    with Budget(
        sidecar.addresses[0],
        when_unavailable="allow",
        ca_file=tmp_path / "ca.pem",
        token_file=token,
    ) as budget:
        with budget.authorize(NOBODY, "small-1", "x", 10) as call:
            assert call.settle().result(20).charged_tokens > 0
        token.write_text(issuer.token(exp=1))
        with pytest.raises(Refused, match="UNAUTHENTICATED"):
            budget.authorize(NOBODY, "small-1", "x", 10).begin()
        token.unlink()
        with pytest.raises(Refused, match="FILE_UNREADABLE"):
            budget.authorize(NOBODY, "small-1", "x", 10).begin()
        token.write_text(issuer.token(jti="another"))
        assert budget.authorize(NOBODY, "small-1", "x", 10).begin().counted


def test_a_certificate_that_was_replaced_is_used(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """The first is nobody's; the one that takes its place in the file proves who calls."""
    authority = Authority()
    server, client = tmp_path / "server", tmp_path / "client"
    server.mkdir()
    client.mkdir()
    certificate, key = write_pair(server, authority.issue_server())
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    sidecar = start_sidecar(
        minimal(tmp_path / "p"),
        "--identity", "mtls", "--tls-cert", certificate, "--tls-key", key,
        "--client-ca", str(tmp_path / "ca.pem"), "--claim", "id=claims.san_uri",
    )  # fmt: skip
    uri = x509.UniformResourceIdentifier("spiffe://lab/app")
    own, own_key = write_pair(client, authority.issue("app", uri, valid=(-7200, -3600)))
    files: dict[str, Any] = {"ca_file": tmp_path / "ca.pem", "cert_file": own, "key_file": own_key}
    with Budget(
        sidecar.addresses[0], when_unavailable="deny", deadline_seconds=3, **files
    ) as budget:
        with pytest.raises(Exception, match=r"UNAVAILABLE|UNAUTHENTICATED"):
            budget.get_budgets(NOBODY)
        write_pair(client, authority.issue("app", uri))
        with budget.authorize(NOBODY, "small-1", "x", 10) as call:
            assert list(call.decision.asserted if call.decision else ()) == ["role", "workspace"]


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("unix:/run/s.sock", True), ("127.0.0.1:50051", True), ("localhost:1", True),
        ("[::1]:50051", True), ("dns:///localhost:1", True), ("10.0.0.1:50051", False),
        ("sidecar.prod.svc:50051", False), ("dns:///sidecar:1", False), ("127.0.0.1.example.com:1", False),
    ],
)  # fmt: skip
def test_without_tls_nothing_leaves_the_host(address: str, local: bool) -> None:
    """A token in the open would be anybody's; the error says the way out."""
    if local:
        Budget(address, when_unavailable="deny").close()
    else:
        with pytest.raises(ValueError, match="give ca_file"):
            Budget(address, when_unavailable="deny")
