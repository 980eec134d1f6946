"""Apps whose sidecar is killed, restarted, hangs, or loses what it says."""

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mistral_spend import Call, Denied, Refused, SidecarClient, Unavailable
from mistral_spend.errors import NoAnswer
from support.holds import ended, holds, verified
from support.relay import Lost, Relay, hang, lose_answer, refuse
from support.sidecar_process import RunningSidecar, tester

MODEL = "small-1"
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
RESPONSE = {"model": MODEL, "usage": {"prompt_tokens": 7, "completion_tokens": 5}}

Ways = pytest.mark.parametrize("kind", ["sync", "async"])


def begin(client: SidecarClient, kind: str, max_tokens: int = 100) -> Call:
    """Authorize a call, with the sync or the async client."""
    pending = client.authorize(tester(), MODEL, MESSAGES, max_tokens)
    return pending.begin() if kind == "sync" else asyncio.run(pending.begin_async())


@Ways
def test_l3_after_lost_responses_the_call_is_held_and_charged_once(
    between: Relay, sidecar: RunningSidecar, kind: str
) -> None:
    """L3: three responses are lost, and one never comes."""
    between.faults["Authorize"] = [lose_answer, hang, lose_answer, refuse]
    between.faults["Settle"] = [lose_answer, refuse, lose_answer]
    with SidecarClient(between.address, when_unavailable="deny", deadline_seconds=20) as client:
        settlement = begin(client, kind).settle(RESPONSE).result(30)
    assert settlement.charged_tokens == 12
    assert (between.calls["Authorize"], between.calls["Settle"]) == (5, 4)
    assert [it.charged_tokens for it in ended(sidecar.ledger)] == [12]
    assert verified(sidecar.ledger)


def kill(sidecar: RunningSidecar) -> None:
    """Kill the sidecar."""
    assert sidecar.stop(signal.SIGKILL) == -signal.SIGKILL


@Ways
def test_l3_a_kill_between_decision_and_response_keeps_the_hold(
    between: Relay, sidecar: RunningSidecar, kind: str
) -> None:
    """L3, L4: the hold was on disk before the crash, and the retry gets it."""

    def die(forward: Callable[[], bytes]) -> bytes:
        forward()
        kill(sidecar)
        threading.Thread(target=sidecar.restart).start()
        raise Lost

    between.faults["Authorize"] = [die]
    with SidecarClient(between.address, when_unavailable="deny", deadline_seconds=30) as client:
        call = begin(client, kind)
        assert call.counted
        call.settle(RESPONSE).result(30)
    assert [(it.state, it.charged_tokens) for it in holds(sidecar.ledger)] == [("settled", 12)]
    assert verified(sidecar.ledger)


def test_a_kill_before_settle_costs_only_a_retry(address: str, sidecar: RunningSidecar) -> None:
    """The block ends at once with the app's result; the settlement follows later."""
    with SidecarClient(address, when_unavailable="deny") as client:
        with client.authorize(tester(), MODEL, MESSAGES, 100) as call:
            kill(sidecar)
        settlement = call.settle(RESPONSE)  # the first end counts: as held
        assert not settlement.done()
        sidecar.restart()
        settlement.result(30)
    assert [(it.state, it.charged_tokens) for it in holds(sidecar.ledger)] == [("settled", 206)]
    assert verified(sidecar.ledger)


def test_restarts_under_many_callers_lose_and_double_nothing(
    address: str, sidecar: RunningSidecar
) -> None:
    """L3: 16 callers, three kills on one ledger; each call that went out is charged once."""
    sent = 0
    going = threading.Event()
    lock = threading.Lock()

    def caller(client: SidecarClient) -> None:
        nonlocal sent
        while not going.is_set():
            with client.authorize(tester(), MODEL, MESSAGES, 100) as call:
                call.settle(RESPONSE)
            with lock:
                sent += 1

    with (
        SidecarClient(address, when_unavailable="deny", deadline_seconds=60) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        callers = [pool.submit(caller, client) for _ in range(16)]
        for _ in range(3):
            time.sleep(0.3)
            kill(sidecar)
            sidecar.restart()
        going.set()
        for one in callers:
            one.result(60)
    found = ended(sidecar.ledger, sent)
    assert {("settled", 12)} == {(it.state, it.charged_tokens) for it in found}
    assert verified(sidecar.ledger)


@Ways
@pytest.mark.parametrize("fault", [refuse, hang, lose_answer])
def test_fail_closed_raises_and_holds_nothing_for_long(
    between: Relay, sidecar: RunningSidecar, kind: str, fault: Any
) -> None:
    """No answer within the deadline is a Deny of the client's own; what was held is given back."""
    between.always["Authorize"] = fault
    with SidecarClient(between.address, when_unavailable="deny", deadline_seconds=0.5) as client:
        with pytest.raises(Unavailable, match="does not answer") as caught:
            begin(client, kind)
        assert (
            caught.value.http_status,
            caught.value.reasons[0].code,
        ) == (503, "SIDECAR_UNAVAILABLE")
        assert isinstance(caught.value, Denied)
        between.always.clear()
    assert {"released"} >= {it.state for it in holds(sidecar.ledger)}
    assert verified(sidecar.ledger)


@Ways
def test_fail_open_lets_the_call_out_marked_and_counts_it_later(
    between: Relay, sidecar: RunningSidecar, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and marked; when the sidecar is back, it is charged once."""
    between.always["Authorize"] = lose_answer
    with (
        caplog.at_level(logging.WARNING, "mistral_spend"),
        SidecarClient(between.address, when_unavailable="allow", deadline_seconds=0.5) as client,
    ):
        call = begin(client, kind, 77)
        assert (call.counted, call.max_tokens, call.budgets) == (False, 77, ())
        assert "goes out uncounted" in caplog.text
        settlement = call.settle(RESPONSE)
        between.always.clear()
        assert settlement.result(30).charged_tokens == 12
    assert [(it.state, it.charged_tokens) for it in holds(sidecar.ledger)] == [("settled", 12)]


def test_fail_open_does_not_send_a_denied_call(between: Relay, sidecar: RunningSidecar) -> None:
    """A Deny is a response: there is no retry, and no call goes out."""
    with SidecarClient(between.address, when_unavailable="allow") as client:
        for kind in ("sync", "async"):
            with pytest.raises(Denied) as caught:
                begin(client, kind, 2_000_000)
            assert not isinstance(caught.value, Unavailable)
    assert (between.calls["Authorize"], between.calls["Settle"]) == (2, 0)
    assert holds(sidecar.ledger) == []


def test_an_uncounted_call_that_is_denied_afterwards_is_logged(
    between: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """A denied call cannot be counted, and the log says so."""
    between.faults["Authorize"] = [refuse]
    with SidecarClient(between.address, when_unavailable="allow", deadline_seconds=0.01) as client:
        call = begin(client, "sync", 2_000_000)
        with pytest.raises(Refused, match="no hold"):
            call.settle(RESPONSE).result(20)
    assert "Settle of" in caplog.text


def test_a_wrong_address_fails_closed_in_time(tmp_path: Path) -> None:
    """The error says what is wrong."""
    with SidecarClient(
        f"unix:{tmp_path}/none", when_unavailable="deny", deadline_seconds=0.3
    ) as client:
        with pytest.raises(Unavailable, match="UNAVAILABLE"):
            begin(client, "sync")
        with pytest.raises(Unavailable):
            asyncio.run(client.get_budgets_async(tester()))


def test_a_settlement_that_cannot_be_sent_is_logged(
    between: Relay, sidecar: RunningSidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """L5: close waits a few seconds at most; the hold expires at its worst case."""
    client = SidecarClient(between.address, when_unavailable="deny")
    between.always["Settle"] = refuse
    settlement = begin(client, "sync").settle(RESPONSE)
    client.close()
    assert not settlement.done() or isinstance(settlement.exception(), NoAnswer | Refused)
    assert "not settled" in caplog.text
    assert [it.state for it in holds(sidecar.ledger)] == ["open"]


def test_an_app_that_ends_without_close_has_settled_its_last_call(
    between: Relay, sidecar: RunningSidecar
) -> None:
    """The last settlement is sent, with retries, before the process ends."""
    between.faults["Settle"] = [refuse, refuse, refuse]
    program = f"""
from mistral_spend import SidecarClient, Principal
client = SidecarClient({between.address!r}, when_unavailable="deny")
who = Principal(id="ada", role="tester", workspace="lab")
with client.authorize(who, {MODEL!r}, {MESSAGES!r}, 100) as call:
    call.settle({RESPONSE!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # noqa: S603 - our own
    assert [(it.state, it.charged_tokens) for it in holds(sidecar.ledger)] == [("settled", 12)]
