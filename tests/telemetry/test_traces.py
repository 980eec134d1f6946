"""Traces by OTLP, to a real collector, a dead one, and none."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from support.collector import Collector, attributes, collector
from support.commands import sidecar as command
from support.policies import deny, limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, tester

Start = Callable[..., RunningSidecar]

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
AUTHORIZE = "sidecar.v1.AuthorizationService/Authorize"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A budget, and a rule that denies large calls."""
    return minimal(
        tmp_path / "p",
        daily=limit("100000000", meter="tokens"),
        large=deny("request.tokens > 1000", message="no, {principal.id}"),
    )


def spans_of(server: Collector, running: RunningSidecar) -> list[Span]:
    """Stop the sidecar, which sends the last spans; return each call's span with its stages."""
    assert running.stop() == 0
    return sorted(
        server.spans, key=lambda span: (span.start_time_unix_nano, -span.end_time_unix_nano)
    )


def test_a_call_is_a_span_in_its_callers_trace_with_one_for_each_stage(
    start_sidecar: Start, policies: Path
) -> None:
    """The W3C header says which trace; stages follow one another, within the call."""
    with collector() as server:
        running = start_sidecar(policies, "--traces", env=server.env)
        metadata = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
        request = chat(tester(id="ada@example.com", labels={"token": "hunter3"}), model="small-1")
        answer = running.stub.Authorize(request, metadata=metadata)
        whole, *stages = spans_of(server, running)
    assert server.services == {"sidecar"}
    assert (whole.name, whole.trace_id.hex(), whole.parent_span_id.hex()) == (
        AUTHORIZE, TRACE, PARENT,
    )  # fmt: skip
    assert [stage.name for stage in stages] == ["identity", "queue", "policy", "ledger"]
    for stage in stages:
        assert (stage.trace_id, stage.parent_span_id) == (whole.trace_id, whole.span_id)
        assert whole.start_time_unix_nano <= stage.start_time_unix_nano
        assert stage.end_time_unix_nano <= whole.end_time_unix_nano
    assert attributes(whole) == {
        "rpc.system": "grpc",
        "rpc.service": "sidecar.v1.AuthorizationService",
        "rpc.method": "Authorize",
        "rpc.grpc.status": "OK",
        "sidecar.decision_id": answer.decision_id,
        "sidecar.effect": "allow",
        "sidecar.mode": "enforce",
        "sidecar.model": "small-1",
        "sidecar.reasons": [],
        "sidecar.rules": [],
    }
    assert server.headers[0]["authorization"] == "Bearer hunter2"


def test_a_trace_names_rules_and_no_principal(start_sidecar: Start, policies: Path) -> None:
    """A denial whose message has a name in it; a call that fails; a hold that is settled."""
    with collector() as server:
        running = start_sidecar(policies, "--traces", env=server.env)
        own = running.stub
        who = tester(id="ada@example.com", key_id="key-17", labels={"token": "hunter3"})
        denied = own.Authorize(chat(who, model="small-1", estimate={"input_tokens": 5000}))
        assert "ada@example.com" in denied.reasons[0].message
        hold = own.Authorize(chat(who, model="small-1")).hold_id
        own.Settle(pb.SettleRequest(hold_id=hold))
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            own.Authorize(chat(who, model=""))
        spans = spans_of(server, running)
        wholes = [span for span in spans if "/" in span.name]
        for private in (b"ada@example.com", b"key-17", b"hunter"):
            assert private not in b"".join(server.bodies)
    first, *_, last = map(attributes, wholes)
    assert (first["sidecar.effect"], first["sidecar.rules"]) == ("deny", ["large"])
    assert last["rpc.grpc.status"] == "INVALID_ARGUMENT"
    assert [span.name.rpartition("/")[2] for span in wholes] == [
        "Authorize", "Authorize", "Settle", "Authorize",
    ]  # fmt: skip


@pytest.mark.parametrize("header", ["", "00-xyz", f"00-{TRACE}-{PARENT}-00", "\x7f" * 500])
def test_an_invalid_trace_header_is_ignored(
    header: str, start_sidecar: Start, policies: Path
) -> None:
    """The call is decided; a caller that does not sample has no span."""
    with collector() as server:
        running = start_sidecar(policies, "--traces", env=server.env)
        metadata = (("traceparent", header),) if header.isprintable() else ()
        assert running.stub.Authorize(chat(tester(), model="small-1"), metadata=metadata).hold_id
        spans = spans_of(server, running)
    assert len(spans) == (0 if header.endswith("-00") else 5)


@pytest.mark.parametrize("answer", ["hang", 503, 400, None])
def test_a_dead_collector_slows_nothing(
    answer: int | str | None, start_sidecar: Start, policies: Path
) -> None:
    """One that hangs, fails, refuses, or is not there: calls are decided, and it stops."""
    with collector() as server:
        server.answer = answer or 200
        env = server.env
        if answer is None:
            server.shutdown()
            server.server_close()
        running = start_sidecar(policies, "--traces", env=env)
        requests = (
            chat(tester(), model="small-1", request_id=f"r{n}", dry_run=True) for n in range(3000)
        )
        assert len(list(running.stub.AuthorizeStream(requests, timeout=60))) == 3000
        assert running.stop() == 0
        server.released.set()
    assert "hunter2" not in running.log
    assert "Traceback" not in running.log


def test_a_collector_that_comes_back_is_sent_spans_again(
    start_sidecar: Start, policies: Path
) -> None:
    """And the log says both."""
    with collector() as server:
        server.answer = 400
        running = start_sidecar(policies, "--traces", env=server.env)
        own = running.stub
        own.Authorize(chat(tester(), model="small-1"))
        eventually(lambda: server.bodies)
        server.answer = 200
        bodies = len(server.bodies)
        own.Authorize(chat(tester(), model="small-1"))
        eventually(lambda: len(server.bodies) > bodies)
        assert running.stop() == 0
    assert "spans cannot be sent to the collector, and are lost until it works again" in running.log
    assert "spans can be sent again" in running.log


def test_without_the_extra_traces_stop_the_start(tmp_path: Path) -> None:
    """Exit code 2, and what to install."""
    minimal(tmp_path / "p")
    program = (
        "import sys\nsys.modules['opentelemetry'] = None\n"
        f"sys.argv = ['sidecar', 'serve', '--policies', {str(tmp_path / 'p')!r}, '--ledger',"
        f" {str(tmp_path / 'l')!r}, '--listen', '127.0.0.1:0', '--traces']\n"
        "from sidecar.cli.entry import main\nmain()"
    )
    code, _, err = command(program=program)
    assert (code, "mistral-spend-sidecar[otel]" in err) == (2, True), err
