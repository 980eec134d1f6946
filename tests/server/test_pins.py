"""Pins: values of every caller that the deployment sets."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar as run
from support.policies import SHIPPED
from support.sidecar_process import RunningSidecar, chat, error_info, principal

Start = Callable[..., RunningSidecar]

PINNED = {"id": "app", "role": "developer", "workspace": "dev-workspace", "key_id": "dev-team-key"}


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """A sidecar that pins the whole principal."""
    ledger = tmp_path_factory.mktemp("pinned") / "ledger.sqlite"
    pins = " ".join(f"{name}={value}" for name, value in PINNED.items())
    one = RunningSidecar(SHIPPED, ledger, env={"SIDECAR_PIN": pins}).start()
    yield one
    assert one.stop() == 0


def test_a_pinned_principal_need_not_be_sent(pinned: RunningSidecar) -> None:
    """Without a principal in the request, the pinned one is used."""
    request = chat()
    request.ClearField("principal")
    answer = pinned.stub.Authorize(request)
    assert (answer.effect, list(answer.asserted)) == (pb.EFFECT_ALLOW, [])
    assert pinned.stub.GetBudgets(pb.GetBudgetsRequest()).budgets
    labelled = pinned.stub.Authorize(chat(pb.Principal(labels={"team": "ml"})))
    assert list(labelled.asserted) == ["labels"]


@pytest.mark.parametrize("name", PINNED)
def test_each_field_that_contradicts_a_pin_is_denied(name: str, pinned: RunningSidecar) -> None:
    """A normal Deny, recorded without the app's value; other RPCs are refused."""
    who = pb.Principal(**{**PINNED, name: "mallory"})  # type: ignore[arg-type]
    answer = pinned.stub.Authorize(chat(who))
    (reason,) = answer.reasons
    assert answer.effect == pb.EFFECT_DENY
    assert (reason.code, reason.rule, reason.http_status) == ("PRINCIPAL_CONTRADICTED", "", 403)
    assert f"principal.{name}" in reason.message
    assert list(answer.budgets) == []
    connection = sqlite3.connect(f"file:{pinned.ledger}?mode=ro", uri=True)
    columns = "effect, principal, role, workspace, key_id, reasons"
    row = connection.execute(
        f"SELECT {columns} FROM all_decisions WHERE decision_id = ?", (answer.decision_id,)
    ).fetchone()
    connection.close()
    assert row[:5] == ("deny", *PINNED.values())
    assert json.loads(row[5])[0]["code"] == "PRINCIPAL_CONTRADICTED"
    calls: tuple[Callable[[], Any], ...] = (
        lambda: pinned.stub.GetBudgets(pb.GetBudgetsRequest(principal=who)),
        lambda: pinned.stub.Explain(pb.ExplainRequest(request=chat(who))),
    )
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert grpc.StatusCode.PERMISSION_DENIED is caught.value.code()
        assert error_info(caught.value).metadata["field"] == f"principal.{name}"


def test_a_dry_run_is_bound_too(pinned: RunningSidecar) -> None:
    """Explain does not reveal what other principals may do."""
    answer = pinned.stub.Authorize(chat(principal(role="admin"), dry_run=True))
    assert [reason.code for reason in answer.reasons] == ["PRINCIPAL_CONTRADICTED"]


def test_fields_that_are_not_pinned_are_asserted_by_the_app(shared_sidecar: RunningSidecar) -> None:
    """The response says so, also in a stream and for a replay."""
    request = chat(principal(key_id="k", labels={"team": "ml"}), request_id="asserted")
    for _ in range(2):
        answer = shared_sidecar.stub.Authorize(request)
        assert list(answer.asserted) == ["id", "role", "workspace", "key_id", "labels"]
    (streamed,) = shared_sidecar.stub.AuthorizeStream(iter([request]))
    assert streamed == answer


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--pin", "name=x"), "--pin: name=x: must be FIELD=…"),
        (("--claim", "id=claims.sub"), "--claim needs --identity token or --identity mtls"),
        (("--jwks", "keys.json"), "--jwks needs --identity token"),
        (("--identity", "token"), "--identity token needs --jwks and --issuer and --audience"),
        (("--identity", "mtls"), "--identity mtls needs --tls-cert, --tls-key and --client-ca"),
        (("--identity", "mtls", "--tls-cert", "x", "--tls-key", "y", "--client-ca", "z"),
         "--claim: the principal's id is required"),
        (("--tls-cert", "x"), "--tls-cert and --tls-key need each other"),
        (("--tls-cert", "x", "--tls-key", "y"), "x: cannot be read: No such file"),
        (("--client-ca", "x"), "--client-ca needs --identity mtls"),
        (("--listen", "0.0.0.0:50051"), "--identity mtls, or --identity token with --tls-cert"),
        (("--listen", ":50051"), "not HOST:PORT"),
        (("--socket-mode", "rw"), "octal"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_contradicting_flags_are_refused_by_name(
    args: tuple[str, ...], expected: str, tmp_path: Any
) -> None:
    """Wrong usage, exit code 2, and the way out."""
    code, _, error = run(
        "serve", "--policies", SHIPPED, "--ledger", tmp_path / "ledger.sqlite", *args
    )
    assert code == 2
    assert expected in " ".join(error.split())


def test_unknown_pins_and_variables_are_warnings_at_start(start_sidecar: Start) -> None:
    """A pinned workspace without an entry, and a misspelt variable; other programs' variables are ignored."""
    log = start_sidecar(
        None,
        *("--pin", "workspace=dev-workspce", "--pin", "id=any-app"),
        env={"SIDECAR_SHAR": "1/2", "SIDECAR_SERVICE_HOST": "10.0.0.1"},
    ).log
    assert "--pin workspace=dev-workspce: the policies have no such workspace" in log
    assert "SIDECAR_SHAR is not read: did you mean SIDECAR_SHARE?" in log
    assert "a new ledger, with which every budget is full" in log
    assert log.count("WARNING") == 3


TOKEN = ("--identity", "token", "--issuer", "i", "--audience", "a")
JWKS = ("--jwks", "http://localhost:1/")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--claim", "id=claims.sub("), "--claim: id:1:11: '(' is never closed"),
        (("--claim", "id=1"), "--claim: id:1:1: is of type int, but has to be a string"),
        (("--claim", "id=claim.sub"), "--claim: id:1:1: no variable 'claim'"),
        (("--claim", "id=claims.a", "--claim", "id=claims.b"), "id is given twice"),
        (("--claim", "role=claims.role"), "the principal's id is required"),
        (("--claim", "id=claims.sub", "--algorithm", "HS256"), "--algorithm HS256: only signatures"),
        (("--claim", "id=claims.sub", "--algorithm", "none"), "--algorithm none: only signatures"),
        (("--claim", "id=claims.sub", "--jwks", "http://example.com/"), "--jwks: must begin with"),
        (("--claim", "id=claims.sub", "--jwks", "nowhere.json"), "--jwks nowhere.json: cannot be"),
        (("--claim", "id=claims.sub", "--listen", "[::]:1"), "not a loopback address"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_invalid_settings_of_tokens_are_refused_at_start(
    args: tuple[str, ...], expected: str, tmp_path: Any
) -> None:
    """With the flag, and the place in an expression."""
    test_contradicting_flags_are_refused_by_name(
        (*TOKEN, *(() if "--jwks" in args else JWKS), *args), expected, tmp_path
    )


def test_without_authentication_its_libraries_are_not_loaded() -> None:
    """The pod's own mode loads neither PyJWT, cryptography nor an HTTP client."""
    program = (
        "import asyncio, sys; import sidecar.cli.serve;"
        " from sidecar.identity.settings import IdentitySettings, open_authenticator;"
        " asyncio.run(open_authenticator(IdentitySettings(pins=('id=a',))));"
        " print([name for name in ('jwt', 'cryptography', 'httpx2') if name in sys.modules])"
    )
    assert run(program=program) == (0, "[]\n", "")
