"""Replays: a call goes out only on a decision that is its own."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mistral_spend import BudgetError, Call, Denied, Refused, Replayed, SidecarClient
from support.holds import holds, verified
from support.relay import Relay, lose_answer, refuse
from support.repeats import lost, repeated
from support.sidecar_process import RunningSidecar, eventually, tester

MODEL = "small-1"
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
RESPONSE = {"model": MODEL, "usage": {"prompt_tokens": 7, "completion_tokens": 5}}

Ways = pytest.mark.parametrize("kind", ["sync", "async"])
States = pytest.mark.parametrize("state", ["open", "settled", "released"])


def ask(client: SidecarClient, kind: str, max_tokens: int = 100) -> Call:
    """Authorize a call, with the sync or the async client."""
    pending = client.authorize(tester(), MODEL, MESSAGES, max_tokens)
    return pending.begin() if kind == "sync" else asyncio.run(pending.begin_async())


@Ways
@States
@pytest.mark.parametrize("way", ["deny", "allow"])
def test_a_replay_of_a_first_attempt_never_goes_out(
    between: Relay, address: str, sidecar: RunningSidecar, kind: str, state: str, way: Any
) -> None:
    """L1: another program repeats requests, or another call has the id; in any state of the hold."""
    between.faults["Authorize"] = [repeated(address, state)]
    with SidecarClient(between.address, when_unavailable=way) as client:
        with pytest.raises(Replayed, match="decided before this call was sent") as caught:
            ask(client, kind)
        assert isinstance(caught.value, Refused)
        assert caught.value.code == "REPLAYED"
        ask(client, kind).settle(RESPONSE)
    # The hold is another call's: it is neither released nor settled here.
    assert [it.state for it in holds(sidecar.ledger)] == [state, "settled"]
    assert verified(sidecar.ledger)


@Ways
def test_l3_its_own_retry_uses_the_hold_that_is_open(
    between: Relay, sidecar: RunningSidecar, kind: str
) -> None:
    """L3: the retry gets the lost decision, and the call goes out with it."""
    between.faults["Authorize"] = [lose_answer]
    with SidecarClient(between.address, when_unavailable="deny") as client:
        ask(client, kind).settle(RESPONSE).result(30)
    assert between.calls["Authorize"] == 2
    assert [it.charged_tokens for it in holds(sidecar.ledger)] == [12]


@Ways
@pytest.mark.parametrize("state", ["settled", "released"])
def test_its_own_retry_does_not_use_a_closed_hold(
    between: Relay, address: str, sidecar: RunningSidecar, kind: str, state: str
) -> None:
    """L1: no budget would count such a call."""
    between.faults["Authorize"] = [lost(address, state)]
    with (
        SidecarClient(between.address, when_unavailable="deny") as client,
        pytest.raises(Replayed, match=f"no longer open: HOLD_STATE_{state.upper()}"),
    ):
        ask(client, kind)
    assert [it.state for it in holds(sidecar.ledger)] == [state]


def _pass(forward: Callable[[], bytes]) -> bytes:
    return forward()


@Ways
def test_a_replayed_denial_of_its_own_retry_is_a_denial(
    between: Relay, address: str, kind: str
) -> None:
    """A replay of a first attempt is another call's decision; one of a retry is its own."""
    between.faults["Authorize"] = [lose_answer, _pass, repeated(address, "open")]
    with SidecarClient(between.address, when_unavailable="deny") as client:
        for expected in (Denied, Replayed):
            with pytest.raises(BudgetError) as caught:
                ask(client, kind, 2_000_000)
            assert type(caught.value) is expected


def test_an_uncounted_call_is_not_settled_on_the_hold_of_another(
    between: Relay, address: str, sidecar: RunningSidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """L1: if its request was decided before, the decision is another call's, and the log says so."""
    between.always["Authorize"] = refuse
    with SidecarClient(between.address, when_unavailable="allow", deadline_seconds=0.1) as client:

        def unasked() -> Call | None:
            before = len(between.authorized_ids)
            call = ask(client, "sync")
            return call if len(between.authorized_ids) == before else None

        call = eventually(unasked)
        between.always["Authorize"] = repeated(address, "open")
        with pytest.raises(Replayed):
            call.settle(RESPONSE).result(30)
    assert "REPLAYED" in caplog.text
    assert [it.state for it in holds(sidecar.ledger)] == ["open"]
