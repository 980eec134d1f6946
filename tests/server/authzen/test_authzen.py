"""The AuthZEN adapter: evaluations are translated to the contract's RPCs and back."""

import json
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar as run
from support.http_calls import Answer, connect, request, send
from support.identities import AUDIENCE, ISSUER, SUBJECT, Authority, Issuer, write_pair
from support.policies import SHIPPED, THREE_PRICES, minimal
from support.sidecar_process import RunningSidecar, eventually

from sidecar.server.authzen.messages import MAX_EVALUATIONS
from sidecar.server.authzen.server import MAX_BODY_BYTES

Start = Callable[..., RunningSidecar]

ONE, MANY, CONFIGURATION = (
    "/access/v1/evaluation", "/access/v1/evaluations", "/.well-known/authzen-configuration",
)  # fmt: skip
QUESTION: dict[str, Any] = {
    "subject": {
        "type": "user", "id": "ada",
        "properties": {"role": "developer", "workspace": "dev-workspace", "department": ["x"]},
    },
    "resource": {"type": "model", "id": "mistral-small-latest"},
    "action": {"name": "chat"},
    "context": {"estimate": {"input_tokens": 100, "max_output_tokens": 100}, "ip": "10.0.0.1"},
}  # fmt: skip
LARGE = {"type": "model", "id": "mistral-large-latest"}  # not for developers
SMALL = QUESTION["resource"]


def changed(**changes: Any) -> dict[str, Any]:
    """Return an evaluation with changes, by paths such as subject__id; None drops a field."""
    question = json.loads(json.dumps(QUESTION))
    for path, value in changes.items():
        *parents, name = path.split("__")
        entity = question
        for parent in parents:
            entity = entity[parent]
        if value is None:
            del entity[name]
        else:
            entity[name] = value
    return dict(question)


def address_of(sidecar: RunningSidecar) -> str:
    """Return the address of AuthZEN from the log."""
    (line,) = [line for line in sidecar.log.splitlines() if "AUTHZEN on " in line]
    return line.rpartition(" on ")[2]


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One sidecar with AuthZEN."""
    ledger = tmp_path_factory.mktemp("authzen") / "ledger.sqlite"
    one = RunningSidecar(SHIPPED, ledger, ("--authzen-listen", "127.0.0.1:0")).start()
    yield one
    assert one.stop() == 0
    assert "unexpected" not in one.log


def evaluate(sidecar: RunningSidecar, body: Any, path: str = ONE, **headers: str) -> Answer:
    """Send one evaluation; return the response."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    (answer,) = send(address_of(sidecar), request(path, body, sent))
    return answer


def decisions(sidecar: RunningSidecar) -> int:
    """Return the number of recorded decisions."""
    connection = sqlite3.connect(f"file:{sidecar.ledger}?mode=ro", uri=True)
    (count,) = connection.execute("SELECT count(*) FROM all_decisions").fetchone()
    connection.close()
    return int(count)


def test_an_evaluation_is_a_question_that_holds_nothing(sidecar: RunningSidecar) -> None:
    """The response has all fields of the contract's; nothing is recorded."""
    before = decisions(sidecar)
    answer = evaluate(sidecar, QUESTION)
    assert (answer.status, answer.json["decision"]) == (200, True)
    context = answer.json["context"]
    assert (context["hold_id"], context["reasons"]) == ("", [])
    assert (context["max_output_tokens"], context["resolved_model"]) == (100, "mistral-small-2603")
    assert context["asserted"] == ["id", "role", "workspace"]
    fields = {field.name for field in pb.AuthorizeResponse.DESCRIPTOR.fields}
    written = {"retry_after": "retry_after_seconds"}
    assert {written.get(name, name) for name in fields - {"effect"}} == set(context)
    budgets = {budget["rule"]: budget for budget in context["budgets"]}
    assert budgets["workspace-monthly-budget"]["meter"] == "cost"
    assert type(budgets["workspace-monthly-budget"]["remaining"]) is int
    assert before == decisions(sidecar)


def test_the_context_has_the_warnings_about_a_call(start_sidecar: Start, tmp_path: Path) -> None:
    """Such as of a model that retires."""
    policies = minimal(tmp_path / "p", models_yaml=THREE_PRICES)
    sidecar = start_sidecar(policies, "--authzen-listen", "127.0.0.1:0")
    who = {"role": "tester", "workspace": "lab"}
    body = changed(subject__properties=who, resource__id="cheap-1")
    (warning,) = evaluate(sidecar, body).json["context"]["warnings"]
    assert (warning["code"], "2199-01-01" in warning["message"]) == ("MODEL_RETIRES", True)


def test_it_holds_where_the_context_says_so(sidecar: RunningSidecar) -> None:
    """A repeat gets the same hold, until that is settled: then it is denied."""
    body = changed(context__hold=True, context__request_id="r-1", context__hold_ttl_seconds=30)
    first, again = evaluate(sidecar, body).json, evaluate(sidecar, body).json
    assert first["context"]["hold_id"]
    assert (first["context"].pop("replayed"), again["context"].pop("replayed")) == (False, True)
    assert (first, first["context"]["hold_state"]) == (again, "open")
    settled = sidecar.stub.Settle(
        pb.SettleRequest(
            hold_id=first["context"]["hold_id"], usage=pb.Usage(input_tokens=1, output_tokens=2)
        )
    )
    assert settled.charged_tokens == 3
    closed = evaluate(sidecar, body).json
    assert (closed["decision"], closed["context"]["hold_state"]) == (False, "settled")
    assert [(r["code"], r["http_status"]) for r in closed["context"]["reasons"]] == [
        ("HOLD_CLOSED", 409)
    ]
    other = evaluate(
        sidecar, changed(context__hold=True, context__request_id="r-1", resource=LARGE)
    )
    assert (other.status, b"request_id was used before" in other.content) == (409, True)


def test_every_unit_of_the_estimate_is_translated(sidecar: RunningSidecar) -> None:
    """Calls of tools are an object of counts, as in the contract; each action has its unit."""
    for action, model, estimate, cost in (
        ("chat", "mistral-medium-latest", {"input_tokens": 100, "max_output_tokens": 100,
                                           "tool_calls": {"web_search": 1}}, 30_900_000),
        ("speech", "voxtral-mini-tts-2603", {"characters": 1000}, 16_000_000),
        ("realtime", "voxtral-mini-transcribe-realtime-2602", {"audio_seconds": 60}, 6_000_000),
        ("ocr", "mistral-ocr-latest", {"annotated_pages": 8}, 40_000_000),
    ):  # fmt: skip
        body = changed(
            action__name=action,
            resource__id=model,
            context__estimate=estimate,
            subject__properties__role="admin",
            subject__properties__workspace="ml-workspace",
        )
        answer = evaluate(sidecar, body).json
        assert answer["decision"] is True, answer
        assert cost == answer["context"]["held_cost_nano_usd"]


def test_a_denial_is_a_normal_answer_with_every_reason(sidecar: RunningSidecar) -> None:
    """200 and false, with codes and HTTP statuses; also for unknown names."""
    answer = evaluate(sidecar, changed(resource=LARGE, context__hold=True)).json
    assert answer["decision"] is False
    assert "MODEL_NOT_ALLOWED" in [reason["code"] for reason in answer["context"]["reasons"]]
    assert answer["context"]["decision_id"]
    for body, code in (
        (changed(resource__type="book"), "RESOURCE_TYPE_UNKNOWN"),
        (changed(action__name="can_read"), "ACTION_UNKNOWN"),
    ):
        answer = evaluate(sidecar, body)
        assert (answer.status, answer.json["decision"]) == (200, False)
        assert answer.json["context"]["error"]["code"] == code


@pytest.mark.parametrize(
    ("semantic", "resources", "expected"),
    [
        (None, [SMALL, LARGE, SMALL], [True, False, True]),
        ("execute_all", [SMALL, LARGE, SMALL], [True, False, True]),
        ("deny_on_first_deny", [SMALL, LARGE, SMALL], [True, False]),
        ("deny_on_first_deny", [SMALL, {"type": "model"}, SMALL], [True, False]),
        ("permit_on_first_permit", [LARGE, SMALL, LARGE], [False, True]),
        ("permit_on_first_permit", [LARGE, LARGE], [False, False]),
    ],
)
def test_a_batch_ends_as_its_semantic_says(
    semantic: str | None, resources: list[Any], expected: list[bool], sidecar: RunningSidecar
) -> None:
    """The request's defaults fill in omitted fields; the order is kept."""
    body = {**changed(resource=None), "evaluations": [{"resource": one} for one in resources]}
    if semantic:
        body["options"] = {"evaluations_semantic": semantic, "another": 1}
    answer = evaluate(sidecar, body, MANY).json
    assert list(answer) == ["evaluations"]
    assert expected == [each["decision"] for each in answer["evaluations"]]


def test_the_first_model_that_may_be_called_is_held(sidecar: RunningSidecar) -> None:
    """By one batch: denied, held, and no third."""
    body = {
        **changed(resource=None, context__hold=True),
        "evaluations": [{"resource": one} for one in (LARGE, SMALL, SMALL)],
        "options": {"evaluations_semantic": "permit_on_first_permit"},
    }
    answer = evaluate(sidecar, body, MANY).json["evaluations"]
    assert [answer[0]["context"]["hold_id"], bool(answer[1]["context"]["hold_id"])] == ["", True]
    assert len(answer) == 2


def test_one_malformed_evaluation_is_denied_alone(sidecar: RunningSidecar) -> None:
    """With its error; the rest of the batch is answered."""
    batch = [{}, {"subject": 1}, {"context": {"estimate": {"tokens": 1}}}, {"context": {}}]
    answer = evaluate(sidecar, {**QUESTION, "evaluations": batch}, MANY).json["evaluations"]
    assert [each["decision"] for each in answer] == [True, False, False, False]
    assert [each["context"]["error"]["status"] for each in answer[1:]] == [400] * 3


def test_a_batch_without_evaluations_is_a_single_one(sidecar: RunningSidecar) -> None:
    """Missing or empty, as the API has it."""
    for body in (QUESTION, {**QUESTION, "evaluations": []}):
        assert evaluate(sidecar, body, MANY).json["decision"] is True


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subject": None}, "subject"), ({"resource": None}, "resource"), ({"action": None}, "action"),
        ({"subject__type": None}, "subject.type"), ({"subject__id": None}, "subject.id"),
        ({"resource__type": None}, "resource.type"), ({"resource__id": None}, "resource.id"),
        ({"action__name": None}, "action.name"), ({"action__name": 1}, "action.name"),
        ({"subject": "ada"}, "subject"), ({"subject__id": 1}, "subject.id"),
        ({"subject__id": "\ud800"}, "subject.id"), ({"subject__id": ""}, "principal.id"),
        ({"subject__properties": []}, "subject.properties"),
        ({"subject__properties__role": ["developer"]}, "subject.properties.role"),
        ({"subject__properties__role": None}, "principal.role"),
        ({"subject__properties__labels": {"a": 1}}, "subject.properties.labels.a"),
        ({"subject__properties__labels": {f"k{i}": "v" for i in range(65)}}, "principal.labels"),
        ({"context": "x"}, "context"), ({"context__hold": "true"}, "context.hold"),
        ({"context__hold": 1}, "context.hold"), ({"context__request_id": 7}, "context.request_id"),
        ({"context__hold_ttl_seconds": 0}, "context.hold_ttl_seconds"),
        ({"context__hold_ttl_seconds": 10**30}, "context.hold_ttl_seconds"),
        ({"context__estimate": {}}, "estimate.input_tokens"),
        ({"context__estimate__max_output_tokens": "100"}, "context.estimate.max_output_tokens"),
        ({"context__estimate__max_output_tokens": 1.5}, "context.estimate.max_output_tokens"),
        ({"context__estimate__max_output_tokens": True}, "context.estimate.max_output_tokens"),
        ({"context__estimate__max_output_tokens": -1}, "estimate.max_output_tokens"),
        ({"context__estimate__max_output_tokens": 10**30}, "context.estimate.max_output_tokens"),
        ({"context__estimate__tool_calls": 1}, "context.estimate.tool_calls"),
        ({"context__estimate__tool_calls": {"a": "1"}}, "context.estimate.tool_calls.a"),
        ({"context__estimate__tool_calls": {"a": None}}, "context.estimate.tool_calls.a"),
        ({"context__estimate__tool_calls": {"a": 10**30}}, "context.estimate.tool_calls.a"),
        ({"context__estimate__tool_calls": {"a": -1}}, "estimate.tool_calls"),
        ({"context__estimate__tool_calls": {"\ud800": 1}}, "context.estimate.tool_calls"),
        ({"context__estimate__input_bytes": 1}, "context.estimate"),
        ({"context__estimate__\ud800": 1}, "context.estimate"),
        ({"context__estimate__maxOutputTokens": 1}, "context.estimate"),
        ({"options": {"evaluations_semantic": "any"}, "_": MANY}, "options.evaluations_semantic"),
        ({"evaluations": {}, "_": MANY}, "evaluations"),
        ({"evaluations": [1], "_": MANY}, "evaluations"),
        ({"evaluations": [{}] * (MAX_EVALUATIONS + 1), "_": MANY}, "evaluations"),
    ],
    ids=str,
)  # fmt: skip
def test_a_malformed_evaluation_is_refused_by_its_field(
    changes: dict[str, Any], field: str, sidecar: RunningSidecar
) -> None:
    """400, and none of its content."""
    path = changes.pop("_", ONE)
    answer = evaluate(sidecar, changed(**changes), path)
    assert answer.status == 400
    assert answer.content.decode().startswith(f"{field} "), answer
    assert b"ada" not in answer.content


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"[]", b"null", b'{"subject": 1, "subject": 2}', b'{"a": NaN}',
        b"\xef\xbb\xbf{}", json.dumps(QUESTION).encode("utf-16"), json.dumps(QUESTION).encode() + b"{}",
        b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
    ids=range(10),
)  # fmt: skip
def test_a_body_that_is_not_one_object_is_refused(body: bytes, sidecar: RunningSidecar) -> None:
    """400 for every endpoint, as the certification requires."""
    for path in (ONE, MANY):
        assert evaluate(sidecar, body, path).status == 400


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", ONE, {"Content-Type": "text/plain"}, 400),
        ("POST", ONE, {"Content-Type": ""}, 400),
        ("POST", ONE, {"Content-Encoding": "gzip"}, 400),
        ("POST", ONE, {"Origin": "http://localhost"}, 403),
        ("POST", ONE + "?x", {}, 404), ("POST", "/" + ONE, {}, 404), ("POST", ONE + "/", {}, 404),
        ("POST", "/access/v1/%65valuation", {}, 404), ("POST", ONE.upper(), {}, 404),
        ("POST", "/access/v1/search/subject", {}, 404),
        ("HEAD", ONE, {}, 405), ("CONNECT", ONE, {}, 405), ("GET", ONE, {"Upgrade": "websocket", "Connection": "Upgrade"}, 405),
        ("GET", ONE, {}, 405), ("OPTIONS", ONE, {}, 405), ("POST", CONFIGURATION, {}, 405),
        ("POST", ONE, {"X-Request-ID": "x" * 300}, 400),
    ],
    ids=str,
)  # fmt: skip
def test_other_types_paths_and_methods_are_refused(
    method: str, path: str, headers: dict[str, str], status: int, sidecar: RunningSidecar
) -> None:
    """Also requests of pages in a browser."""
    (answer,) = send(address_of(sidecar), request(path, QUESTION, headers, method))
    assert answer.status == status


def test_a_response_repeats_the_request_id(sidecar: RunningSidecar) -> None:
    """Of good and of bad requests; without one it has none."""
    for body in (QUESTION, b"x"):
        answer = evaluate(sidecar, body, X_Request_ID="bfe9eb29 é")
        assert answer.headers["x-request-id"] == "bfe9eb29 é"
    assert "x-request-id" not in evaluate(sidecar, QUESTION).headers


def test_metadata_has_the_listeners_url(sidecar: RunningSidecar, start_sidecar: Start) -> None:
    """By the listener's address, or by --authzen-url."""
    (answer,) = send(address_of(sidecar), request(CONFIGURATION, b"", {}, "GET"))
    url = f"http://{address_of(sidecar)}"
    assert answer.json == {
        "policy_decision_point": url,
        "access_evaluation_endpoint": f"{url}{ONE}",
        "access_evaluations_endpoint": f"{url}{MANY}",
    }
    named = start_sidecar(
        None, "--authzen-listen", "127.0.0.1:0", "--authzen-url", "https://pdp.example.com/"
    )
    (answer,) = send(address_of(named), request(CONFIGURATION, b"", {}, "GET"))
    assert answer.json["access_evaluation_endpoint"] == f"https://pdp.example.com{ONE}"


def test_it_listens_on_a_unix_socket_with_the_configured_mode(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Also where a killed process left one; not where a process listens."""
    address = f"unix:{tmp_path}/authzen.sock"
    args = ("--authzen-listen", address, "--socket-mode", "0600", "--pin", "id=app")
    sidecar = start_sidecar(None, *args)
    assert (tmp_path / "authzen.sock").stat().st_mode & 0o777 == 0o600
    (answer,) = send(address, request(ONE, changed(subject__id="")))
    assert answer.json["context"]["asserted"] == ["role", "workspace"]
    (answer,) = send(address, request(ONE, QUESTION))
    assert [r["code"] for r in answer.json["context"]["reasons"]] == ["PRINCIPAL_CONTRADICTED"]
    code, _, error = run(
        "serve", "--policies", SHIPPED, "--ledger", tmp_path / "other.sqlite",
        "--listen", "127.0.0.1:0", "--authzen-listen", address,
    )  # fmt: skip
    assert (code, "another process listens there" in error) == (2, True)
    sidecar.stop(9)
    sidecar.restart()
    assert send(address, request(ONE, changed(subject__id="")))[0].status == 200


def test_callers_authenticate_with_the_same_tokens(start_sidecar: Start, tmp_path: Path) -> None:
    """401 without a token, or with two; the subject is the one that the token proves."""
    issuer = Issuer()
    (tmp_path / "jwks.json").write_text(json.dumps(issuer.jwks))
    sidecar = start_sidecar(
        minimal(tmp_path / "p"), "--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE,
        "--claim", "id=claims.sub", "--jwks", str(tmp_path / "jwks.json"), "--pin", "role=tester",
        "--pin", "workspace=lab", "--authzen-listen", "127.0.0.1:0",
    )  # fmt: skip
    body = {
        **QUESTION,
        "subject": {"type": "x", "id": SUBJECT},
        "resource": {"type": "model", "id": "small-1"},
    }
    assert evaluate(sidecar, body).status == 401
    token = issuer.token()
    answer = evaluate(sidecar, body, Authorization=f"Bearer {token}")
    assert (answer.json["decision"], answer.json["context"]["asserted"]) == (True, [])
    other = evaluate(
        sidecar, {**body, "subject": {"type": "x", "id": "eve"}}, Authorization=f"Bearer {token}"
    )
    assert other.json["context"]["reasons"][0]["code"] == "PRINCIPAL_CONTRADICTED"
    twice = request(ONE, body, {"Authorization": f"Bearer {token}", "authorization": "Bearer x"})
    assert [each.status for each in send(address_of(sidecar), twice)] == [401]


def test_callers_authenticate_with_certificates_which_may_be_replaced(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """TLS with the sidecar's own files, as its other listeners have."""
    authority = Authority()
    certificate, key = write_pair(tmp_path, authority.issue_server())
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    sidecar = start_sidecar(
        minimal(tmp_path / "p"), "--identity", "mtls", "--claim", "id=claims.common_name",
        "--tls-cert", certificate, "--tls-key", key, "--client-ca", str(tmp_path / "ca.crt"),
        "--authzen-listen", "0.0.0.0:0", "--pin", "role=tester", "--pin", "workspace=lab",
    )  # fmt: skip
    port = address_of(sidecar).rpartition(":")[2]
    body = changed(subject__properties=None, resource__id="small-1")

    def ask(pair: tuple[bytes, bytes] | None, room: str = "") -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if pair is not None:
            folder = tmp_path / "client"
            folder.mkdir(exist_ok=True)
            context.load_cert_chain(*write_pair(folder, pair))
        with connect(f"127.0.0.1:{port}") as plain, context.wrap_socket(plain) as tls:
            tls.sendall(request(ONE, {**body, "subject": {"type": "x", "id": "app"}, "x": room}))
            read = tls.recv(65_536)
            shown = tls.getpeercert(binary_form=True) or b""
            return int(read.split()[1]) if read else 0, shown

    pair = authority.issue("app")
    status, shown = ask(pair)
    assert status == 200
    assert ask(pair, "x" * 200_000)[0] == 200
    for wrong in (None, Authority().issue("app")):
        with pytest.raises((OSError, ValueError)):  # no handshake, so no answer
            ask(wrong)
    write_pair(tmp_path, authority.issue_server())
    assert eventually(lambda: ask(pair)[1] != shown)


def test_a_caller_over_its_rate_gets_retry_after(start_sidecar: Start) -> None:
    """429 with Retry-After; in a batch, the evaluations before are answered."""
    sidecar = start_sidecar(None, "--authzen-listen", "127.0.0.1:0", "--max-rate", "0.01")
    (one, two) = evaluate(sidecar, {**QUESTION, "evaluations": [{}, {}]}, MANY).json["evaluations"]
    assert (one["decision"], two["context"]["error"]["status"]) == (True, 429)
    answer = evaluate(sidecar, QUESTION)
    assert (answer.status, int(answer.headers["retry-after"]) > 1) == (429, True)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--authzen-listen", "0.0.0.0:8080"), "--authzen-listen: 0.0.0.0:8080: not a loopback address"),
        (("--authzen-listen", "nowhere"), "--authzen-listen: nowhere: not HOST:PORT"),
        (("--authzen-listen", "unix:/nowhere/a.sock"), "--authzen-listen: unix:/nowhere/a.sock: cannot"),
        (("--authzen-url", "https://a"), "--authzen-url needs --authzen-listen"),
        (("--authzen-listen", "127.0.0.1:0", "--authzen-url", "a"), "--authzen-url: a is not an http or https URL"),
        (("--authzen-listen", "127.0.0.1:0", "--authzen-url", "https://a?b"), "has a query"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_where_it_cannot_listen_is_refused_at_start(
    args: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    """Wrong usage, exit code 2, with the flag."""
    code, _, error = run(
        "serve",
        "--policies",
        SHIPPED,
        "--ledger",
        tmp_path / "l.sqlite",
        "--listen",
        "127.0.0.1:0",
        *args,
    )
    assert code == 2
    assert expected in " ".join(error.split())


def test_an_address_that_is_taken_is_said_plainly(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """At start, with the flag and without a traceback; so is a path that is too long."""
    long = f"unix:{tmp_path}/{'x' * 108}"
    for flag, address, why in (
        ("--authzen-listen", address_of(sidecar), "Address already in use"),
        ("--authzen-listen", long, "has at most"),
        ("--listen", long, "has at most"),
        ("--admin-listen", long, "has at most"),
    ):
        code, out, error = run(
            "serve", "--policies", SHIPPED, "--ledger", tmp_path / "l.sqlite",
            *(() if flag == "--listen" else ("--listen", "127.0.0.1:0")), flag, address,
        )  # fmt: skip
        assert (code, "Traceback" in error, "SERVING" in out + error) == (2, False, False), error
        assert f"sidecar: {flag}" in error
        assert f"{address}: " in error
        assert why in error


def test_a_larger_body_is_not_read(sidecar: RunningSidecar) -> None:
    """413, by content-length or by bytes; the sidecar continues."""
    huge = b" " * (MAX_BODY_BYTES + 1)
    assert evaluate(sidecar, huge).status == 413
    chunked = request(ONE, b"", {"Content-Length": "", "Transfer-Encoding": "chunked"})
    (answer,) = send(address_of(sidecar), chunked + b"%x\r\n" % len(huge) + huge + b"\r\n0\r\n\r\n")
    assert answer.status == 413
    assert evaluate(sidecar, QUESTION).json["decision"] is True
