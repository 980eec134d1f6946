"""Replays over gRPC: marked, with the state of the hold."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.outside import METRICS, page
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, recorded, tester

Start = Callable[..., RunningSidecar]


def ask(running: RunningSidecar, *, stream: bool, **changes: object) -> pb.AuthorizeResponse:
    """Authorize one call, by either RPC."""
    request = chat(tester(), model="small-1", **changes)
    answer: pb.AuthorizeResponse
    if stream:
        (answer,) = running.stub.AuthorizeStream(iter([request]))
    else:
        answer = running.stub.Authorize(request)
    return answer


def state(answer: pb.AuthorizeResponse) -> tuple[bool, str]:
    """Return whether it is a repeat, and the state of its hold."""
    return answer.replayed, pb.HoldState.Name(answer.hold_state).removeprefix("HOLD_STATE_")


@pytest.mark.parametrize("stream", [False, True], ids=["Authorize", "AuthorizeStream"])
def test_a_replay_is_marked_and_has_the_state_of_its_hold(
    stream: bool, start_sidecar: Start, tmp_path: Path
) -> None:
    """L3: the rest is the same to the byte, and each repeat is counted by that state."""
    running = start_sidecar(minimal(tmp_path / "p", daily=limit("500", meter="tokens")), *METRICS)
    first = ask(running, stream=stream, request_id="a")
    assert state(first) == (False, "OPEN")
    assert state(ask(running, stream=stream, request_id="a")) == (True, "OPEN")
    running.stub.Settle(pb.SettleRequest(hold_id=first.hold_id, usage=pb.Usage(input_tokens=1)))
    again = ask(running, stream=stream, request_id="a")
    assert state(again) == (True, "SETTLED")
    assert recorded(again) == recorded(first)
    released = ask(running, stream=stream, request_id="b")
    running.stub.Release(pb.ReleaseRequest(hold_id=released.hold_id))
    assert state(ask(running, stream=stream, request_id="b")) == (True, "RELEASED")
    denied = {"request_id": "c", "estimate": {"input_tokens": 450}}
    assert state(ask(running, stream=stream, **denied)) == (False, "UNSPECIFIED")
    assert state(ask(running, stream=stream, **denied)) == (True, "UNSPECIFIED")
    assert state(ask(running, stream=stream, request_id="a", dry_run=True)) == (
        False,
        "UNSPECIFIED",
    )
    lines = [
        line for line in page(running).splitlines() if line.startswith("sidecar_replays_total{")
    ]
    assert sorted(lines) == [
        'sidecar_replays_total{hold_state="expired"} 0.0',
        'sidecar_replays_total{hold_state="none"} 1.0',
        'sidecar_replays_total{hold_state="open"} 1.0',
        'sidecar_replays_total{hold_state="released"} 1.0',
        'sidecar_replays_total{hold_state="settled"} 1.0',
    ]


def test_a_call_larger_than_its_budget_gets_no_retry_after(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Waiting does not help; the sidecar's own reason comes first, with 403."""
    running = start_sidecar(
        minimal(tmp_path / "p", daily=limit("100", meter="tokens")), "--share", "1/2"
    )
    answer = ask(running, stream=False, estimate={"input_tokens": 10, "max_output_tokens": 60})
    assert [(r.code, r.rule, r.http_status) for r in answer.reasons] == [
        ("LARGER_THAN_BUDGET", "", 403), ("TOO_MUCH", "daily", 429),
    ]  # fmt: skip
    assert "this call may take 70 tokens, more than this sidecar's share, 1/2," in (
        answer.reasons[0].message
    )
    assert answer.reasons[1].message.endswith(
        "(requested 70 tokens, 50 left of 50, a share of 1/2)"
    )
    assert not answer.HasField("retry_after")
    later = ask(running, stream=False, estimate={"input_tokens": 1, "max_output_tokens": 49})
    assert later.effect == pb.EFFECT_ALLOW
    full = ask(running, stream=False, estimate={"input_tokens": 1, "max_output_tokens": 1})
    assert ([r.code for r in full.reasons], full.HasField("retry_after")) == (["TOO_MUCH"], True)
