"""Apps that authenticate over TLS, with files that are replaced while they run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from mistral_spend import Refused, SidecarClient
from mistral_spend.v1 import authorization_pb2 as pb
from support import typescript
from support.commands import sidecar
from support.identities import AUDIENCE, ISSUER, Authority, Issuer, write_pair
from support.policies import minimal
from support.sidecar_process import RunningSidecar

UNNAMED = pb.Principal(role="tester", workspace="lab")
"""Whose id is proven."""


def with_tokens(
    start_sidecar: Callable[..., RunningSidecar], folder: Path, issuer: Issuer, authority: Authority
) -> RunningSidecar:
    """Start a sidecar that accepts the issuer's tokens; write its CA to a file."""
    (folder / "jwks.json").write_text(json.dumps(issuer.jwks))
    (folder / "ca.pem").write_bytes(authority.pem)
    certificate, key = write_pair(folder, authority.issue_server())
    return start_sidecar(
        minimal(folder / "p"),
        "--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE,
        "--claim", "id=claims.sub", "--jwks", str(folder / "jwks.json"),
        "--tls-cert", certificate, "--tls-key", key,
    )  # fmt: skip


def with_certificates(
    start_sidecar: Callable[..., RunningSidecar], folder: Path, authority: Authority
) -> RunningSidecar:
    """Start a sidecar that accepts the authority's certificates; write its CA to a file."""
    (folder / "server").mkdir()
    (folder / "ca.pem").write_bytes(authority.pem)
    certificate, key = write_pair(folder / "server", authority.issue_server())
    return start_sidecar(
        minimal(folder / "p"),
        "--identity", "mtls", "--tls-cert", certificate, "--tls-key", key,
        "--client-ca", str(folder / "ca.pem"), "--claim", "id=claims.san_uri",
    )  # fmt: skip


def test_the_token_file_is_read_for_each_call(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """Kubernetes replaces it; over TLS. A stale token is refused, and the call does not go out."""
    issuer, authority = Issuer(), Authority()
    sidecar = with_tokens(start_sidecar, tmp_path, issuer, authority)
    token = tmp_path / "token"
    token.write_text(issuer.token() + "\n")
    with SidecarClient(
        sidecar.addresses[0],
        when_unavailable="allow",
        ca_file=tmp_path / "ca.pem",
        token_file=token,
    ) as client:
        with client.authorize(UNNAMED, "small-1", "x", 10) as call:
            assert call.settle().result(20).charged_tokens > 0
        token.write_text(issuer.token(exp=1))
        with pytest.raises(Refused, match="UNAUTHENTICATED"):
            client.authorize(UNNAMED, "small-1", "x", 10).begin()
        token.unlink()
        with pytest.raises(Refused, match="FILE_UNREADABLE"):
            client.authorize(UNNAMED, "small-1", "x", 10).begin()
        token.write_text(issuer.token(jti="another"))
        assert client.authorize(UNNAMED, "small-1", "x", 10).begin().counted


def test_sidecar_budgets_can_authenticate(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """Proven fields may be left out. Without a token it is refused."""
    issuer, authority = Issuer(), Authority()
    started = with_tokens(start_sidecar, tmp_path, issuer, authority)
    (tmp_path / "token").write_text(issuer.token())
    ask = ("budgets", "--role", "tester", "--workspace", "lab", "--address", started.addresses[0])
    tls = (*ask, "--ca-file", tmp_path / "ca.pem")
    code, out, err = sidecar(*tls, "--token-file", tmp_path / "token")
    assert (code, err) == (0, "")
    assert "ceiling" in out
    code, _, err = sidecar(*tls)
    assert (code, "UNAUTHENTICATED" in err) == (1, True)
    code, _, err = sidecar(*ask[:-1], "sidecar.lab:50051")
    assert (code, "give ca_file" in err) == (2, True)


def test_a_replaced_certificate_is_used(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """The first has expired; the one that replaces it in the file proves the caller."""
    authority = Authority()
    sidecar, folder = with_certificates(start_sidecar, tmp_path, authority), tmp_path / "client"
    folder.mkdir()
    uri = x509.UniformResourceIdentifier("spiffe://lab/app")
    own, own_key = write_pair(folder, authority.issue("app", uri, valid=(-7200, -3600)))
    files: dict[str, Any] = {"ca_file": tmp_path / "ca.pem", "cert_file": own, "key_file": own_key}
    with SidecarClient(
        sidecar.addresses[0], when_unavailable="deny", deadline_seconds=3, **files
    ) as client:
        with pytest.raises(Exception, match=r"UNAVAILABLE|UNAUTHENTICATED"):
            client.get_budgets(UNNAMED)
        write_pair(folder, authority.issue("app", uri))
        with client.authorize(UNNAMED, "small-1", "x", 10) as call:
            assert list(call.decision.asserted if call.decision else ()) == ["role", "workspace"]


TYPESCRIPT = """
import { copyFileSync, rmSync } from "node:fs";
import { SidecarClient } from "./dist/src/index.js";

const { ADDRESS, FILES, REPLACED, BY } = process.env;
const client = new SidecarClient(ADDRESS, {
  whenUnavailable: "deny", deadlineMs: 5000, ...JSON.parse(FILES),
});
const principal = { role: "tester", workspace: "lab" };
const seen = [];
const ask = async () => {
  try {
    const call = await client.authorize({ principal, model: "small-1", messages: "x", maxTokens: 9 });
    await call.settle({ usage: { prompt_tokens: 1, completion_tokens: 1 } });
    seen.push("settled");
  } catch (error) {
    seen.push(error.code ?? error.name);
  }
};
await ask();
for (const file of JSON.parse(BY)) {
  if (file) copyFileSync(file, REPLACED);
  else rmSync(REPLACED);
  await ask();
}
client.close();
console.log(JSON.stringify(seen));
"""


def typescript_sees(sidecar: RunningSidecar, files: dict[str, Path], by: list[Path | None]) -> Any:
    """Authorize with these files, and again after each replacement of the last one (None removes it)."""
    typescript.built()
    done = typescript.run(
        "--input-type=module", "-e", TYPESCRIPT,
        ADDRESS=sidecar.addresses[0], FILES=json.dumps({name: str(it) for name, it in files.items()}),
        REPLACED=str(list(files.values())[-1]), BY=json.dumps([it and str(it) for it in by]),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_typescript_client_reads_the_token_file_for_each_call(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """As the Python client does."""
    issuer, authority = Issuer(), Authority()
    sidecar = with_tokens(start_sidecar, tmp_path, issuer, authority)
    tokens = {"first": issuer.token(), "stale": issuer.token(exp=1), "next": issuer.token(jti="2")}
    for name, text in tokens.items():
        (tmp_path / name).write_text(text + "\n")
    files = {"caFile": tmp_path / "ca.pem", "tokenFile": tmp_path / "first"}
    seen = typescript_sees(sidecar, files, [tmp_path / "stale", None, tmp_path / "next"])
    assert seen == ["settled", "UNAUTHENTICATED", "FILE_UNREADABLE", "settled"]


def test_the_typescript_client_uses_replaced_certificates(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """It authenticates; a certificate that does not fit its key, as during a replacement, is refused."""
    authority = Authority()
    sidecar = with_certificates(start_sidecar, tmp_path, authority)
    uri = x509.UniformResourceIdentifier("spiffe://lab/app")
    pairs = []
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        pairs.append(list(map(Path, write_pair(tmp_path / name, authority.issue("app", uri)))))
    (old, _), (new, new_key) = pairs
    files = {"caFile": tmp_path / "ca.pem", "keyFile": new_key, "certFile": old}
    seen = typescript_sees(sidecar, files, [new, None])
    assert seen == ["CERTIFICATES_UNUSABLE", "settled", "FILE_UNREADABLE"]


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("unix:/run/s.sock", True), ("127.0.0.1:50051", True), ("localhost:1", True),
        ("[::1]:50051", True), ("dns:///localhost:1", True), ("10.0.0.1:50051", False),
        ("sidecar.prod.svc:50051", False), ("dns:///sidecar:1", False), ("127.0.0.1.example.com:1", False),
    ],
)  # fmt: skip
def test_without_tls_nothing_leaves_the_host(address: str, local: bool) -> None:
    """A token in the open could be read on the way; the error says the way out."""
    if local:
        SidecarClient(address, when_unavailable="deny").close()
    else:
        with pytest.raises(ValueError, match="give ca_file"):
            SidecarClient(address, when_unavailable="deny")
