"""Authentication by client certificates: valid and invalid ones."""

import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from mistral_spend.v1 import authorization_pb2 as pb
from support.identities import Authority, secure_stub, write_pair
from support.policies import minimal
from support.sidecar_process import RunningSidecar, chat, error_info, eventually, tester

Start = Callable[..., RunningSidecar]

NAME = "spiffe://cluster.local/ns/lab/sa/app"
URI, DNS = x509.UniformResourceIdentifier(NAME), x509.DNSName("app.lab.svc")
NULL_RECORDERS = pb.Principal(role="tester", workspace="lab")


@dataclass
class Site:
    """A sidecar that requires client certificates, and their CA."""

    sidecar: RunningSidecar
    authority: Authority
    folder: Path

    def ask(self, pair: Any, request: pb.AuthorizeRequest | None = None) -> pb.AuthorizeResponse:
        """Authorize on a new connection with this certificate."""
        stub = secure_stub(self.sidecar.addresses[0], self.authority.pem, pair)
        answer: pb.AuthorizeResponse = stub.Authorize(
            request or chat(NULL_RECORDERS, model="small-1"), timeout=10
        )
        return answer


@pytest.fixture
def site(start_sidecar: Start, tmp_path: Path) -> Site:
    """A site whose principals are the URIs in certificates."""
    authority = Authority()
    certificate, key = write_pair(tmp_path, authority.issue_server())
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    sidecar = start_sidecar(
        minimal(tmp_path / "p"), "--identity", "mtls", "--claim", "id=claims.san_uri",
        "--tls-cert", certificate, "--tls-key", key, "--client-ca", str(tmp_path / "ca.crt"),
        "--listen", "0.0.0.0:0",
    )  # fmt: skip
    sidecar.addresses = [each.replace("0.0.0.0", "127.0.0.1") for each in sidecar.addresses]  # noqa: S104
    return Site(sidecar, authority, tmp_path)


def test_only_a_valid_certificate_with_a_name_is_accepted(site: Site) -> None:
    """Missing, of another CA, expired, not yet valid: no connection; without a name: no decision."""
    answer = site.ask(site.authority.issue("app", URI, DNS))
    assert (answer.effect, list(answer.asserted)) == (pb.EFFECT_ALLOW, ["role", "workspace"])
    for pair in (
        (None, None),
        Authority().issue("app", URI),
        site.authority.issue("app", URI, valid=(-3600, -1)),
        site.authority.issue("app", URI, valid=(3600, 7200)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            site.ask(pair)
        assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
    for names in ((), (DNS,), (x509.UniformResourceIdentifier("spiffe://" + "x" * 300),)):
        with pytest.raises(grpc.RpcError) as caught:
            site.ask(site.authority.issue("app", *names))
        assert grpc.StatusCode.UNAUTHENTICATED is caught.value.code()
        assert error_info(caught.value).reason == "PRINCIPAL_UNPROVEN"
    with pytest.raises(grpc.RpcError):  # TLS is not optional
        site.sidecar.stub.Authorize(chat(NULL_RECORDERS), timeout=5)


@pytest.mark.parametrize(
    ("common_name", "names"),
    [
        ("app\0", [URI]),
        ("app\x1b[2J", [URI]),
        ("app", [URI, x509.DNSName("app.lab\0.evil.example")]),
        ("app", [x509.UniformResourceIdentifier(f"{NAME}\0evil")]),
        ("app", [URI, x509.UniformResourceIdentifier("spiffe://cluster.local/ns/lab/sa/eve")]),
    ],
    ids=[
        "NUL in the subject",
        "escape in the subject",
        "NUL in a DNS name",
        "NUL in a URI",
        "two URIs",
    ],
)
def test_a_certificate_with_a_doubtful_name_proves_nothing(
    common_name: str, names: list[x509.GeneralName], site: Site
) -> None:
    """In any of its names; and with two URIs, of which SPIFFE allows one."""
    with pytest.raises(grpc.RpcError) as caught:
        site.ask(site.authority.issue(common_name, *names))
    assert grpc.StatusCode.UNAUTHENTICATED is caught.value.code()
    assert error_info(caught.value).reason == "PRINCIPAL_UNPROVEN"


def test_the_record_has_the_proven_name_not_the_requests(site: Site) -> None:
    """The certificate's name, never the one that the request made up."""
    pair = site.authority.issue("app", URI)
    assert site.ask(pair).hold_id
    denied = site.ask(pair, chat(tester(id="mallory"), model="small-1"))
    assert [reason.code for reason in denied.reasons] == ["PRINCIPAL_CONTRADICTED"]
    assert site.sidecar.stop() == 0
    connection = sqlite3.connect(site.sidecar.ledger)
    found = connection.execute("SELECT effect, principal FROM all_decisions ORDER BY id").fetchall()
    connection.close()
    assert found == [("allow", NAME), ("deny", NAME)]


def test_a_caller_cannot_close_the_hold_of_another(site: Site) -> None:
    """Another principal's hold is unknown."""
    held = site.ask(site.authority.issue("app", URI))
    eve = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/lab/sa/eve")
    stub = secure_stub(
        site.sidecar.addresses[0], site.authority.pem, site.authority.issue("eve", eve)
    )
    with pytest.raises(grpc.RpcError) as caught:
        stub.Settle(pb.SettleRequest(hold_id=held.hold_id))
    assert error_info(caught.value).reason == "HOLD_UNKNOWN"


def test_a_connection_does_not_outlive_its_certificate(site: Site) -> None:
    """TLS checks a certificate only once, at the handshake."""
    pair = site.authority.issue("app", URI, valid=(-60, 4))
    stub = secure_stub(site.sidecar.addresses[0], site.authority.pem, pair)
    assert stub.Authorize(chat(NULL_RECORDERS, model="small-1")).hold_id

    def reason() -> str:
        try:
            stub.Authorize(chat(NULL_RECORDERS, model="small-1"))
        except grpc.RpcError as error:
            return str(error_info(error).reason)
        return ""

    assert eventually(reason) == "CERTIFICATE_EXPIRED"


def test_certificates_change_under_load_and_a_broken_one_does_not(site: Site) -> None:
    """No call fails; new connections see the new certificate; a broken file keeps the old one."""
    pair = site.authority.issue("app", URI)
    done, failed = threading.Event(), list[grpc.RpcError]()
    answered = [0]

    def load() -> None:
        while not done.is_set():
            try:
                answered[0] += bool(site.ask(pair).decision_id)  # a new connection each time
            except grpc.RpcError as error:
                failed.append(error)

    clients = [threading.Thread(target=load) for _ in range(2)]
    for client in clients:
        client.start()
    old = (site.folder / "tls.crt").read_bytes()
    new = site.authority.issue_server()
    write_pair(site.folder, (old, new[1]))  # halfway: they do not go together
    time.sleep(1.5)
    write_pair(site.folder, new)
    assert eventually(lambda: _shown(site) == new[0])
    (site.folder / "tls.crt").write_text("broken")
    time.sleep(1.5)
    assert _shown(site) == new[0]
    before = answered[0]
    assert eventually(lambda: answered[0] > before + 5)
    done.set()
    for client in clients:
        client.join()
    assert failed == []
    assert site.sidecar.stop() == 0
    assert site.sidecar.log.count("is not the key of") == 1
    assert site.sidecar.log.count("is not a certificate in PEM") == 1
    assert "PRIVATE" not in site.sidecar.log


def test_a_client_ca_that_is_replaced_is_trusted_no_longer(site: Site) -> None:
    """From the next connection on; the new CA is trusted."""
    pair = site.authority.issue("app", URI)
    assert site.ask(pair).hold_id
    other = Authority()
    (site.folder / "ca.crt").write_bytes(other.pem)

    def let_in(who: Any) -> bool:
        try:
            return bool(site.ask(who).hold_id)
        except grpc.RpcError:
            return False

    assert eventually(lambda: not let_in(pair))
    assert let_in(other.issue("app", URI))


@pytest.mark.parametrize(
    ("claim", "expected"),
    [("id=claims.san_dns", "app.lab.svc"), ("id=claims.common_name", "app"),
     ('id="spiffe://b" in claims.san_uris ? "b" : ""', "b")],
)  # fmt: skip
def test_a_certificate_has_several_names(
    claim: str, expected: str, start_sidecar: Start, tmp_path: Path
) -> None:
    """--claim decides which one is used."""
    authority = Authority()
    certificate, key = write_pair(tmp_path, authority.issue_server())
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    sidecar = start_sidecar(
        minimal(tmp_path / "p"), "--identity", "mtls", "--claim", claim,
        "--tls-cert", certificate, "--tls-key", key, "--client-ca", str(tmp_path / "ca.crt"),
    )  # fmt: skip
    pair = authority.issue("app", URI, x509.UniformResourceIdentifier("spiffe://b"), DNS)
    answer = Site(sidecar, authority, tmp_path).ask(
        pair, chat(tester(id=expected), model="small-1")
    )
    assert answer.effect == pb.EFFECT_ALLOW


def _shown(site: Site) -> bytes:
    """Return the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = site.sidecar.addresses[0].rpartition(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as tls:
        shown = tls.getpeercert(binary_form=True)
    assert shown
    return ssl.DER_cert_to_PEM_cert(shown).encode()
