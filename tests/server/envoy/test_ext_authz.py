"""Envoy's external authorization, with ordinary and deceptive requests."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar as run
from support.envoys import BODY, CHAT, ask, check_request, client_headers, refusal
from support.identities import AUDIENCE, ISSUER, Issuer
from support.odd_texts import CONTROLS, UNUSUAL
from support.policies import ROLES, SHIPPED, limit, minimal
from support.sidecar_process import RunningSidecar, error_info, principal

from sidecar.contract.validation import InvalidFieldError
from sidecar.contract.validation import check_authorize as check_contract
from sidecar.envoy.v3 import ext_authz_pb2 as envoy
from sidecar.server.envoy.mistral_request import ENDPOINTS, MAX_BODY_BYTES, authorize_request
from sidecar.server.errors import RefusedError
from sidecar.server.strict_json import MAX_DEPTH

Start = Callable[..., RunningSidecar]

FROM = (
    "--ext-authz", "--ext-authz-from", "id=header:X-User",
    "--ext-authz-from", "role=extension:role",
    "--ext-authz-from", "region=extension:region",
    "--ext-authz-from", "labels.peer=peer",
    "--pin", "workspace=dev-workspace",
)  # fmt: skip
DEVELOPER = {"role": "developer"}
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "mistral_requests.json").read_text())
TOO_LARGE = (SHIPPED / "role-request-size.cel").read_text()


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One sidecar with Envoy's external authorization."""
    ledger = tmp_path_factory.mktemp("envoy") / "ledger.sqlite"
    one = RunningSidecar(SHIPPED, ledger, FROM).start()
    yield one
    assert one.stop() == 0
    assert "unexpected" not in one.log


def check(sidecar: RunningSidecar, *args: Any, **kwargs: Any) -> envoy.CheckResponse:
    """Check a request, by default of a developer."""
    request = check_request(*args, **{**DEVELOPER, **kwargs})
    return ask(sidecar.addresses[0], request)


def held(sidecar: RunningSidecar) -> int:
    """Return how many holds there are."""
    connection = sqlite3.connect(f"file:{sidecar.ledger}?mode=ro", uri=True)
    (count,) = connection.execute("SELECT count(*) FROM holds").fetchone()
    connection.close()
    return int(count)


def test_an_allowed_request_gets_headers_for_its_sender(sidecar: RunningSidecar) -> None:
    """Ids and budgets for the client, none for Mistral; the hold is settled as any other."""
    answer = check(sidecar)
    assert (answer.status.code, answer.WhichOneof("http_response")) == (0, "ok_response")
    headers = client_headers(answer)
    assert set(headers) == {
        "x-sidecar-decision-id", "x-sidecar-hold-id", "x-sidecar-hold-expires-at",
        "x-sidecar-budgets",
    }  # fmt: skip
    assert "workspace-monthly-budget;meter=cost;remaining=" in headers["x-sidecar-budgets"]
    assert dict(answer.dynamic_metadata) == {
        "decision_id": headers["x-sidecar-decision-id"],
        "hold_id": headers["x-sidecar-hold-id"],
    }
    usage = json.dumps({"prompt_tokens": 8, "completion_tokens": 9})
    settled = sidecar.stub.Settle(
        pb.SettleRequest(hold_id=headers["x-sidecar-hold-id"], usage_json=usage)
    )
    assert (settled.charged_tokens, settled.overrun) == (17, False)


def test_the_hold_is_the_worst_case_of_the_body(sidecar: RunningSidecar) -> None:
    """Every byte of the body, max_tokens for each choice, the tier and the route's region."""
    body = {**BODY, "n": 3, "service_tier": "priority", "safe_prompt": True}
    hold_id = client_headers(check(sidecar, body, region="eu"))["x-sidecar-hold-id"]
    connection = sqlite3.connect(f"file:{sidecar.ledger}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute("SELECT * FROM holds WHERE hold_id = ?", (hold_id,)).fetchone())
    connection.close()
    assert row["held_output_tokens"] == 300
    assert row["held_input_tokens"] == len(json.dumps(body)) + 512
    assert (row["service_tier"], row["region"]) == ("priority", "eu")


@pytest.mark.parametrize(
    ("path", "body", "endpoint"),
    [
        (
            "/v1/fim/completions",
            {"model": "codestral-latest", "prompt": "x", "max_tokens": 9},
            "FIM",
        ),
        ("/v1/embeddings", {"model": "mistral-embed", "input": ["x"]}, "EMBEDDINGS"),
        ("/v1/moderations", {"model": "mistral-moderation-2603", "input": "x"}, "MODERATION"),
        ("/v1/ocr", {"model": "mistral-ocr-latest", "document": {}, "pages": [0, 1]}, "OCR 2"),
        (
            "/v1/ocr",
            {"model": "mistral-ocr-latest", "pages": [0, 1], "document_annotation_format": None},
            "OCR 2",
        ),
        (
            "/v1/ocr",
            {"model": "mistral-ocr-latest", "pages": [0, 1], "document_annotation_format": {}},
            "OCR 0 2",
        ),
        (
            "/v1/ocr",
            {
                "model": "mistral-ocr-latest",
                "pages": "0,2",
                "bbox_annotation_format": {"type": "x"},
            },
            "OCR 0 2",
        ),
        (
            "/v1/audio/speech",
            {"model": "voxtral-mini-tts-2603", "input": "héllo"},
            "SPEECH 0 0 5",
        ),
    ],
)
def test_every_endpoint_bounded_by_its_body_is_authorized(
    path: str, body: dict[str, Any], endpoint: str, start_sidecar: Start, tmp_path: Path
) -> None:
    """By its path, with what its body says."""
    only = minimal(
        tmp_path / "p", only=limit('request.endpoint == "nothing" ? 1 : 1', meter="requests")
    )
    (only / "models.yaml").write_text((SHIPPED / "models.yaml").read_text())
    (only / "no.cel").write_text(
        "// METADATA\n// effect: deny\n// owner: a@b.c\n// reason: SEEN\n// http_status: 418\n"
        "// message: {request.endpoint} {request.pages} {request.annotated_pages}"
        " {request.characters}\ntrue\n"
    )
    sidecar = start_sidecar(only, "--ext-authz", "--pin", "id=a", "--pin", "role=tester",
                            "--pin", "workspace=lab")  # fmt: skip
    answer = ask(sidecar.addresses[0], check_request(body, path=path))
    assert refusal(answer) == (418, "SEEN")
    words = [*endpoint.split(), "0", "0", "0"][:4]
    assert " ".join(words) == json.loads(answer.denied_response.body)["message"]


def test_a_body_without_max_tokens_is_denied_with_a_value_to_send(sidecar: RunningSidecar) -> None:
    """Envoy cannot change the body, and nothing is held; a request with that value is allowed."""
    before = held(sidecar)
    for missing in ({"max_tokens": None}, {}):
        body = {key: value for key, value in BODY.items() if key != "max_tokens"} | missing
        answer = check(sidecar, body)
        assert refusal(answer) == (400, "MAX_TOKENS_MISSING")
    send = int(client_headers(answer)["x-sidecar-max-tokens"])
    assert f"send at most {send}" in answer.denied_response.body
    assert before == held(sidecar)
    assert check(sidecar, {**BODY, "max_tokens": send - 10}).status.code == 0


def test_max_tokens_above_the_roles_is_denied_with_a_smaller_value(sidecar: RunningSidecar) -> None:
    """Denied by the rule, with its status, and a value that would be allowed."""
    answer = check(sidecar, {**BODY, "max_tokens": 10**6})
    assert refusal(answer) == (403, "REQUEST_TOO_LARGE")
    send = int(client_headers(answer)["x-sidecar-max-tokens"])
    assert 0 < send < 10**6
    assert f"a max_tokens of {send} would be allowed" in answer.denied_response.body
    assert client_headers(answer)["x-sidecar-decision-id"].startswith("dec_")


@pytest.mark.parametrize(
    ("max_tokens", "code", "role_max"),
    [
        (8000, "LARGER_THAN_BUDGET", "10_000"),
        (8000, "LARGER_THAN_BUDGET", "unlimited"),
        (10**6, "REQUEST_TOO_LARGE", "10_000"),
        (None, "LARGER_THAN_BUDGET", "10_000"),
    ],
    ids=["limits alone", "no maximum", "the role's maximum, too", "no max_tokens"],
)
def test_a_denial_by_a_budget_names_the_max_tokens_that_fits_it(
    max_tokens: int | None, code: str, role_max: str, start_sidecar: Start, tmp_path: Path
) -> None:
    """The body is allowed with that value, and with no larger one."""
    thousand = limit("1000", meter="tokens", window="total")
    roles = ROLES.replace("10_000", role_max)
    policies = minimal(tmp_path / "p", roles_yaml=roles, thousand=thousand, role_size=TOO_LARGE)
    sidecar = start_sidecar(policies, *FROM[:5], "--pin", "workspace=lab")
    body = {**BODY, "model": "small-1"}
    answer = check(sidecar, {**body, "max_tokens": max_tokens}, role="tester")
    assert refusal(answer)[1] == code
    send = int(client_headers(answer)["x-sidecar-max-tokens"])
    assert f"a max_tokens of {send} would be allowed now" in answer.denied_response.body
    assert 800 < send < 1000
    larger = check(sidecar, {**body, "max_tokens": send + 100}, role="tester")
    assert refusal(larger)[1] == "LARGER_THAN_BUDGET"
    assert check(sidecar, {**body, "max_tokens": send}, role="tester").status.code == 0


def test_a_used_up_budget_gets_retry_after(start_sidecar: Start, tmp_path: Path) -> None:
    """429 with Retry-After in whole seconds; also for a caller over its rate."""
    policies = minimal(tmp_path / "p", few=limit("1", window="minute"))
    sidecar = start_sidecar(policies, *FROM[:3], "--pin", "role=tester", "--pin", "workspace=lab")
    request = check_request({**BODY, "model": "small-1"})
    assert ask(sidecar.addresses[0], request).status.code == 0
    answer = ask(sidecar.addresses[0], request)
    assert refusal(answer) == (429, "TOO_MUCH")
    assert 0 < int(client_headers(answer)["retry-after"]) <= 61
    sidecar.stop()
    sidecar.args += ("--max-rate", "0.001")
    sidecar.restart()
    ask(sidecar.addresses[0], request)
    answer = ask(sidecar.addresses[0], request)
    assert refusal(answer) == (429, "CALLER_TOO_FAST")
    assert int(client_headers(answer)["retry-after"]) > 60


def test_two_requests_with_one_x_request_id_are_two(sidecar: RunningSidecar) -> None:
    """A client that repeats an id is charged twice."""
    ids = {
        client_headers(check(sidecar, None, {"x-request-id": "same"}))["x-sidecar-hold-id"]
        for _ in "12"
    }
    assert len(ids) == 2


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
GOOD = json.dumps(BODY).encode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            b'{"model":"mistral-small-latest","model":"mistral-large-latest","max_tokens":1}',
            "BODY_MALFORMED",
        ),
        (b'{"model":"mistral-small-latest","mod\\u0065l":"x","max_tokens":1}', "BODY_MALFORMED"),
        (GOOD.replace(b'"content"', b'"role": "user", "content"'), "BODY_MALFORMED"),
        (GOOD.replace(b'"model"', b'"MODEL": "x", "model"'), "INVALID_FIELD"),
        (
            GOOD.replace(b'"max_tokens"', '"max_to\u212aens": 1, "max_tokens"'.encode()),
            "INVALID_FIELD",
        ),
        (DEEP, "BODY_MALFORMED"),
        (
            GOOD.replace(b"100", b'100, "metadata": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH),
            "BODY_MALFORMED",
        ),
        (GOOD.replace(b"100", b"1" * 5000), "BODY_MALFORMED"),
        (GOOD.replace(b"100", b"1" * 60), "INVALID_FIELD"),
        (GOOD.replace(b"100", b"1e999"), "BODY_MALFORMED"),
        (GOOD.replace(b"100", b"NaN"), "BODY_MALFORMED"),
        (GOOD.replace(b"100", b"Infinity"), "BODY_MALFORMED"),
        (GOOD.decode().encode("utf-16"), "BODY_MALFORMED"),
        (GOOD.decode().encode("utf-16-le"), "BODY_MALFORMED"),
        (b"\xef\xbb\xbf" + GOOD, "BODY_MALFORMED"),
        (GOOD.replace(b"blue", b"\xff"), "BODY_MALFORMED"),
        (GOOD + b"x", "BODY_MALFORMED"),
        (GOOD + GOOD, "BODY_MALFORMED"),
        (b"[" + GOOD + b"]", "BODY_MALFORMED"),
        (b"null", "BODY_MALFORMED"),
        (b"{", "BODY_MALFORMED"),
        (b"{'model': 1}", "BODY_MALFORMED"),
        (GOOD.replace(b"100", b'"100"'), "INVALID_FIELD"),
        (GOOD.replace(b"100", b"100.0"), "INVALID_FIELD"),
        (GOOD.replace(b"100", b"1e2"), "INVALID_FIELD"),
        (GOOD.replace(b"100", b"true"), "INVALID_FIELD"),
        (GOOD.replace(b"100", b"-1"), "INVALID_FIELD"),
        (GOOD.replace(b"100", b"0"), "INVALID_FIELD"),
        (GOOD.replace(b"100", b"[100]"), "INVALID_FIELD"),
        (GOOD.replace(b"100", b'100, "n": 0'), "INVALID_FIELD"),
        (GOOD.replace(b"100", b'100, "n": 1000000000'), "INVALID_FIELD"),
        (GOOD.replace(b"100", b'100, "n": "2"'), "INVALID_FIELD"),
        (GOOD.replace(b'"mistral-small-latest"', b'["mistral-small-latest"]'), "INVALID_FIELD"),
        (GOOD.replace(b'"mistral-small-latest"', b'"\\ud800"'), "INVALID_FIELD"),
        (GOOD.replace(b'"mistral-small-latest"', b'"a\\u0000"'), "INVALID_FIELD"),
        (GOOD.replace(b'"mistral-small-latest"', b"null"), "INVALID_FIELD"),
        (GOOD.replace(b'"mistral-small-latest"', b'"' + b"m" * 300 + b'"'), "INVALID_FIELD"),
        (GOOD.replace(b"100", b'100, "service_tier": 1'), "INVALID_FIELD"),
        (GOOD.replace(b"100", b'100, "safe_prompt": "yes"'), "INVALID_FIELD"),
        (
            GOOD.replace(b"100", b'100, "messages": {}').replace(b"messages", b"m", 1),
            "INVALID_FIELD",
        ),
        (b"", "BODY_MISSING"),
        (GOOD.replace(b"blue", b"b" * MAX_BODY_BYTES), "BODY_TOO_LARGE"),
    ],
    ids=range(42),
)
def test_a_body_that_two_could_read_apart_is_refused(
    body: bytes, code: str, sidecar: RunningSidecar
) -> None:
    """The error names the field without its content; nothing is held."""
    before = held(sidecar)
    answer = check(sidecar, body)
    status, found = refusal(answer)
    assert (code, status in {400, 413}) == (found, True), answer.denied_response.body
    assert "mistral-small" not in answer.denied_response.body
    assert before == held(sidecar)


@pytest.mark.parametrize(
    "part",
    [{"type": "image_url", "image_url": "https://example.com/a.png"}, {"type": "document_url"},
     {"type": "input_audio"}, {"type": ["text"]}, {}, "text"],
    ids=str,
)  # fmt: skip
def test_a_message_that_bytes_do_not_bound_is_refused(part: Any, sidecar: RunningSidecar) -> None:
    """Images, documents and audio take unknown tokens; text in parts is allowed."""
    text = {"type": "text", "text": "Why?"}
    for content, status in (([text], 0), ([text, part], 7)):
        body = {**BODY, "messages": [{"role": "user", "content": content}]}
        answer = check(sidecar, body)
        assert status == answer.status.code
    assert refusal(answer) == (403, "INPUT_UNBOUNDED")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda it: it["name"])
def test_envoys_bodies_are_read_as_by_the_clients(vector: dict[str, Any]) -> None:
    """What a client would not bound is refused, and no body is held for less. No bound is for tools."""
    endpoint: Any = pb.Endpoint.Value(f"ENDPOINT_{vector['endpoint']}")
    args = (
        endpoint,
        json.dumps(vector["request"]).encode(),
        vector.get("tokens_per_attachment", 0),
    )
    if "unbounded" in vector or vector["name"].startswith("tool of Mistral"):
        with pytest.raises((RefusedError, InvalidFieldError)):
            check_contract(authorize_request(*args))
    else:
        made = authorize_request(*args).estimate
        assert (made.input_bytes > 0) is True
        if endpoint in (pb.ENDPOINT_OCR, pb.ENDPOINT_SPEECH):
            made.ClearField("input_bytes")
        assert made == pb.Estimate(**vector["estimate"])


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "image_generation"}]},
        {"tools": [{"type": "document_library", "library_ids": ["x"]}]},
        {"tools": [{"type": "connector", "connector_id": "x"}]},
        {"prompt_mode": "research"},
        {"guardrails": [{}]},
        {"agent_id": "x"},
        {"messages": [{"role": "user", "content": {"type": "image_url", "image_url": "x"}}]},
        {"messages": [{"role": "user", "content": [[{"type": "image_url", "image_url": "x"}]]}]},
        {"messages": [{"role": "user", "content": "x", "Content": [{"type": "image_url"}]}]},
    ],
    ids=str,
)
def test_what_mistral_adds_or_runs_is_refused(
    body: dict[str, Any], sidecar: RunningSidecar
) -> None:
    """Tools, prompts, agents, and parts that a reader of another kind might find; nothing is held."""
    before = held(sidecar)
    status, code = refusal(check(sidecar, {**BODY, **body}))
    assert (status, code) in {(403, "INPUT_UNBOUNDED"), (400, "INVALID_FIELD")}
    assert before == held(sidecar)


def test_an_operator_may_bound_attachments(start_sidecar: Start) -> None:
    """Each is held as so many tokens, in place of its bytes; tools are still refused."""
    sidecar = start_sidecar(None, *FROM, "--ext-authz-attachment-tokens", "700")
    image = {"type": "image_url", "image_url": "data:image/png;base64," + "A" * 9000}
    body = {**BODY, "messages": [{"role": "user", "content": [image, image]}]}
    assert check(sidecar, body).status.code == 0
    connection = sqlite3.connect(f"file:{sidecar.ledger}?mode=ro", uri=True)
    (tokens,) = connection.execute("SELECT held_input_tokens FROM holds").fetchone()
    connection.close()
    assert 1400 < tokens < 1600
    assert refusal(check(sidecar, {**body, "tools": [{"type": "web_search"}]}))[0] == 403


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"x-envoy-auth-partial-body": "true"}, 413, "BODY_TRUNCATED"),
        ({"x-envoy-auth-partial-body": "true,false"}, 413, "BODY_TRUNCATED"),
        ({"x-envoy-auth-partial-body": "", "content-length": ""}, 413, "BODY_TRUNCATED"),
        ({"content-length": "100000"}, 413, "BODY_TRUNCATED"),
        ({"content-length": "1"}, 413, "BODY_TRUNCATED"),
        ({"content-encoding": "gzip"}, 415, "BODY_ENCODED"),
        ({"content-type": "multipart/form-data; boundary=x"}, 415, "BODY_NOT_JSON"),
        ({"content-type": "application/json; charset=utf-16"}, 415, "BODY_NOT_JSON"),
        ({"content-type": ""}, 415, "BODY_NOT_JSON"),
    ],
    ids=str,
)
def test_an_incomplete_or_encoded_body_is_refused(
    headers: dict[str, str], status: int, code: str, sidecar: RunningSidecar
) -> None:
    """Truncated, compressed, or of another type."""
    assert (status, code) == refusal(check(sidecar, None, headers))


def test_a_chunked_body_is_complete_if_envoy_says_so(sidecar: RunningSidecar) -> None:
    """Without its length; and by its length, where Envoy does not say."""
    assert check(sidecar, None, {"content-length": ""}).status.code == 0
    assert check(sidecar, None, {"x-envoy-auth-partial-body": ""}).status.code == 0


@pytest.mark.parametrize(
    "path",
    ["//v1/chat/completions", "/v1/chat/completions/", "/V1/chat/completions",
     "/v1/chat%2fcompletions", "/%761/chat/completions", "/v1/./chat/completions",
     "/v1/embeddings/../chat/completions", "/v1/chat/completions?x=1", "/v1/chat/completions#x",
     "/v1/chat/completions;x", "https://api.mistral.ai/v1/chat/completions", "/v1/models", ""],
)  # fmt: skip
def test_a_path_that_only_looks_like_one_is_refused(path: str, sidecar: RunningSidecar) -> None:
    """Even if Mistral would accept it."""
    assert refusal(check(sidecar, path=path)) == (403, "ENDPOINT_UNKNOWN")


def test_endpoints_that_no_body_bounds_are_refused(sidecar: RunningSidecar) -> None:
    """Audio without its length, documents without their pages; and other methods than POST."""
    body = {"model": "voxtral-mini-2602"}
    answer = check(sidecar, body, path="/v1/audio/transcriptions")
    assert refusal(answer) == (403, "AUDIO_UNBOUNDED")
    for pages in (None, [], "3-0", "0-", ["0"], [True]):
        answer = check(sidecar, {"model": "mistral-ocr-latest", "pages": pages}, path="/v1/ocr")
        assert refusal(answer)[0] == 400
    for method in ("GET", "post", "PUT"):
        assert refusal(check(sidecar, method=method)) == (405, "METHOD_NOT_ALLOWED")


def test_only_configured_sources_say_who_calls(sidecar: RunningSidecar) -> None:
    """Headers with similar names are ignored; repeated ones are ambiguous."""
    spoofed = {
        "x-role": "admin",
        "role": "admin",
        "x-principal-id": "root",
        "x-sidecar-role": "admin",
    }
    assert check(sidecar, None, spoofed).status.code == 0
    assert refusal(check(sidecar, None, {"x-user": "bob,ada"})) == (400, "PRINCIPAL_AMBIGUOUS")
    assert refusal(check(sidecar, None, {"x-user": ""})) == (400, "INVALID_FIELD")
    assert refusal(check(sidecar, None, {"x-user": "a\x1bb"})) == (400, "INVALID_FIELD")
    assert refusal(check(sidecar, None, {"x-user": "a" * 300})) == (400, "INVALID_FIELD")
    request = check_request(role="developer")
    http = request.attributes.request.http
    headers = dict(http.headers)
    http.headers.clear()
    http.header_map.headers.extend(
        envoy.HeaderValue(key=name.title(), raw_value=value.encode())
        for name, value in headers.items()
    )
    assert ask(sidecar.addresses[0], request).status.code == 0
    http.header_map.headers.add(key="x-user", raw_value=b"bob")
    assert refusal(ask(sidecar.addresses[0], request)) == (400, "PRINCIPAL_AMBIGUOUS")


@pytest.mark.parametrize(
    "value",
    [b"\xff", b"ada\xc0\x80", b"ada\xed\xa0\x80", b"ada\0", "ada\ufe0f".encode()],
    ids=ascii,
)
def test_a_header_that_is_no_readable_text_names_no_principal(
    value: bytes, sidecar: RunningSidecar
) -> None:
    """Invalid and overlong UTF-8, halves of a pair, a NUL, and what cannot be seen."""
    request = check_request(None, {"x-user": ""}, role="developer")
    http = request.attributes.request.http
    headers = dict(http.headers)
    http.headers.clear()
    http.header_map.headers.extend(
        envoy.HeaderValue(key=name, raw_value=text.encode()) for name, text in headers.items()
    )
    http.header_map.headers.add(key="x-user", raw_value=value)
    assert refusal(ask(sidecar.addresses[0], request)) == (400, "INVALID_FIELD")


@pytest.mark.parametrize("text", (CONTROLS | UNUSUAL).values(), ids=ascii)
def test_odd_texts_of_any_source_are_refused_or_kept(text: str, sidecar: RunningSidecar) -> None:
    """What cannot be printed is refused, whichever source has it; all else stays as it is."""
    for request, kept in (
        (check_request(None, {"x-user": text}, role="developer"), 0),
        (check_request(peer=text, role="developer"), 0),
        (check_request(role="developer", region=text), 403),  # no price is for such a region
    ):
        answer = ask(sidecar.addresses[0], request)
        status = refusal(answer)[0] if answer.status.code else 0
        assert status == (kept if text.isprintable() else 400)


def test_pins_count_for_envoy_too(start_sidecar: Start) -> None:
    """A source that contradicts a pin is denied and recorded, without a suggestion."""
    sidecar = start_sidecar(
        None, *FROM[:5], "--pin", "workspace=dev-workspace", "--pin", "role=developer"
    )
    answer = check(sidecar, {**BODY, "max_tokens": 10**6}, role="admin")
    assert refusal(answer) == (403, "PRINCIPAL_CONTRADICTED")
    assert "x-sidecar-max-tokens" not in client_headers(answer)
    assert check(sidecar).status.code == 0


def test_envoy_itself_has_to_authenticate(start_sidecar: Start, tmp_path: Path) -> None:
    """Where callers do: by a token in the metadata of its own call, not in the request to Mistral."""
    issuer = Issuer()
    (tmp_path / "jwks.json").write_text(json.dumps(issuer.jwks))
    sidecar = start_sidecar(
        minimal(tmp_path / "p"), "--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE,
        "--claim", "id=claims.sub", "--jwks", str(tmp_path / "jwks.json"), *FROM[:3],
    )  # fmt: skip
    request = check_request(None, {"authorization": f"Bearer {issuer.token()}"})
    with pytest.raises(grpc.RpcError) as caught:
        ask(sidecar.addresses[0], request)
    assert grpc.StatusCode.UNAUTHENTICATED is caught.value.code()
    assert error_info(caught.value).reason == "TOKEN_MISSING"


def test_it_is_off_by_default(shared_sidecar: RunningSidecar) -> None:
    """The method is then unknown."""
    with pytest.raises(grpc.RpcError) as caught:
        ask(shared_sidecar.addresses[0], check_request())
    assert grpc.StatusCode.UNIMPLEMENTED is caught.value.code()


def test_an_invalid_check_request_ends_the_call(sidecar: RunningSidecar) -> None:
    """An empty one is denied."""
    assert refusal(ask(sidecar.addresses[0], envoy.CheckRequest())) == (403, "ENDPOINT_UNKNOWN")
    with grpc.insecure_channel(sidecar.addresses[0]) as channel:
        check: Any = channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\xff\xff", timeout=10)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--ext-authz-attachment-tokens", "9"), "--ext-authz-attachment-tokens needs --ext-authz"),
        (("--ext-authz-from", "id=peer"), "--ext-authz-from needs --ext-authz"),
        (("--ext-authz", "--ext-authz-from", "id"), "id: has to be FIELD=SOURCE"),
        (("--ext-authz", "--ext-authz-from", "name=peer"), "name=peer: has to be FIELD=SOURCE"),
        (("--ext-authz", "--ext-authz-from", "labels.=peer"), "has to be FIELD=SOURCE"),
        (("--ext-authz", "--ext-authz-from", "id=peer:x"), "has to be FIELD=SOURCE"),
        (("--ext-authz", "--ext-authz-from", "id=header"), "has to be FIELD=SOURCE"),
        (("--ext-authz", "--ext-authz-from", "id=cookie:x"), "has to be FIELD=SOURCE"),
        (("--ext-authz", "--ext-authz-from", "id=header:Authorization"), "has a secret"),
        (("--ext-authz", "--ext-authz-from", "id=peer", "--ext-authz-from", "id=header:x"),
         "id has two sources"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_invalid_sources_are_refused_at_start(
    args: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    """Wrong usage, exit code 2, with the flag."""
    code, _, error = run("serve", "--policies", SHIPPED, "--ledger", tmp_path / "l.sqlite", *args)
    assert code == 2
    assert expected in " ".join(error.split())


def test_apps_can_call_the_same_listener(sidecar: RunningSidecar) -> None:
    """It uses the same budgets."""
    client_headers(check(sidecar))
    assert CHAT in ENDPOINTS
    budgets = sidecar.stub.GetBudgets(
        pb.GetBudgetsRequest(principal=principal(workspace=""))
    ).budgets
    assert any(budget.held for budget in budgets)
