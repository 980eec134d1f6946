"""Certificates that end and keys that cannot be read, in readiness, metrics and log."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from support.identities import (
    AUDIENCE,
    ISSUER,
    Authority,
    Issuer,
    bearer,
    jwks_server,
    secure_stub,
    write_pair,
)
from support.outside import METRICS, page
from support.sidecar_process import RunningSidecar, chat, eventually

from sidecar.identity.certificates import TlsFiles, read_tls
from sidecar.server import tls

Start = Callable[..., RunningSidecar]

TOKEN = ("--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE, "--claim", "id=claims.sub")  # fmt: skip


def metric(running: RunningSidecar, name: str) -> float | None:
    """Return a metric without labels; None if it has no value."""
    values = [line.split()[1] for line in page(running).splitlines() if line.startswith(f"{name} ")]
    return float(values[0]) if values else None


def ready(running: RunningSidecar) -> float | None:
    """Return the metric of readiness."""
    return metric(running, "sidecar_ready")


def test_a_certificate_that_ends_is_reported_before_and_after(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """A warning; not ready once it has ended; and ready again with a new one, without a call."""
    authority = Authority()
    files = write_pair(tmp_path, authority.issue("sidecar", valid=(-3600, 3)))
    running = start_sidecar(None, "--tls-cert", files[0], "--tls-key", files[1], *METRICS)
    eventually(lambda: ready(running) == 0, 30)
    left = metric(running, "sidecar_tls_certificate_expiry_seconds")
    assert left is not None
    assert left < 0
    assert metric(running, "sidecar_jwks_age_seconds") is None
    write_pair(tmp_path, authority.issue_server())
    eventually(lambda: ready(running) == 1, 30)
    assert running.stop() == 0
    assert "TLS: the certificate ends at" in running.log
    assert "not ready: the certificate of --tls-cert has ended at" in running.log


def test_a_client_ca_that_ends_is_reported_before_and_after(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """No client can connect then; it is not ready until the file has a CA that is valid."""
    server, clients = Authority(), Authority()
    certificate, key = write_pair(tmp_path, server.issue_server())
    ca = tmp_path / "ca.crt"
    ca.write_bytes(clients.pem_valid(5))
    mtls = ("--identity", "mtls", "--claim", "id=claims.common_name", "--unproven", "allow")
    files = ("--tls-cert", certificate, "--tls-key", key, "--client-ca", str(ca))
    running = start_sidecar(None, *mtls, *files, *METRICS)
    call = chat()
    call.principal.id = ""

    def ask() -> str:
        stub = secure_stub(running.addresses[0], server.pem, clients.issue("ada"))
        return str(stub.Authorize(call, timeout=20).hold_id)

    eventually(lambda: ready(running) == 0, 30)
    assert (metric(running, "sidecar_tls_client_ca_expiry_seconds") or 0) < 0
    assert (metric(running, "sidecar_tls_certificate_expiry_seconds") or 0) > 0
    with pytest.raises(grpc.RpcError):
        ask()
    ca.write_bytes(clients.pem_valid(-60) + clients.pem)
    eventually(lambda: ready(running) == 1, 30)
    assert ask()
    assert running.stop() == 0
    assert "TLS: a client CA ends at" in running.log
    assert "not ready: the client CA has ended at" in running.log


def test_a_unix_socket_needs_no_certificate(start_sidecar: Start, tmp_path: Path) -> None:
    """It stays ready, and the log says that the certificate has ended."""
    files = write_pair(tmp_path, Authority().issue("sidecar", valid=(-3600, -60)))
    listen = ("--listen", "127.0.0.1:0", "--listen", f"unix:{tmp_path}/s")
    running = start_sidecar(None, *listen, "--tls-cert", files[0], "--tls-key", files[1], *METRICS)
    eventually(lambda: (metric(running, "sidecar_tls_certificate_expiry_seconds") or 0) < 0)
    assert ready(running) == 1
    running.stop()
    assert "TLS: the certificate ends at" in running.log
    assert "not ready" not in running.log


def test_each_warning_of_a_certificate_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is looked at; a new certificate begins anew, and each CA has its own."""
    authority = Authority()
    at = [0.0]

    def read() -> tls.Content:
        files = TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "ca.crt")
        return read_tls(files)

    write_pair(tmp_path, authority.issue("x", valid=(-60, 8 * 86_400)))
    cas = [authority.pem_valid(days * 86_400) for days in (6, 8, 8)]
    (tmp_path / "ca.crt").write_bytes(b"".join(cas))
    credentials = tls.Credentials(read, lambda: at[0])
    assert credentials.problem() == ""
    for days, lines in ((8.0, 1), (6.0, 2), (0.5, 3), (-1.0, 4), (8.0, 4)):
        write_pair(tmp_path, authority.issue("x", valid=(-3 * 86_400, int(days * 86_400))))
        at[0] += tls.EXPIRY_CHECK_SECONDS
        for _ in range(3):
            assert bool(credentials.problem()) == (days < 0)
        assert len(caplog.records) == lines


def test_without_keys_it_is_not_ready_and_reads_them_without_a_call(start_sidecar: Start) -> None:
    """From the start on; the age of keys that were never read is infinite."""
    issuer = Issuer()
    with jwks_server("down") as server:
        running = start_sidecar(None, *TOKEN, "--jwks", server.url, *METRICS)
        eventually(lambda: ready(running) == 0)
        assert metric(running, "sidecar_jwks_age_seconds") == float("inf")
        server.answer = issuer.jwks
        eventually(lambda: ready(running) == 1, 30)
        assert (metric(running, "sidecar_jwks_age_seconds") or 0) < float("inf")
        token = bearer(issuer.token())
        request = chat()
        request.principal.id = ""
        assert running.stub.Authorize(request, metadata=token).hold_id
    running.stop()
    assert "not ready: the JWKS cannot be read" in running.log
    assert "no token is valid" in running.log
    assert "ready again" in running.log
