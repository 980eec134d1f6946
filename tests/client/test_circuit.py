"""The circuit breaker: while the sidecar is down for long, calls do not wait for it."""

import asyncio
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest
from mistral_spend import (
    Balances,
    Call,
    Denied,
    Refused,
    SidecarClient,
    Unavailable,
    settlement_queue,
)
from support.holds import ended, holds, verified
from support.relay import Relay, refuse
from support.sidecar_process import RunningSidecar, eventually, tester

MODEL = "small-1"
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
RESPONSE = {"model": MODEL, "usage": {"prompt_tokens": 7, "completion_tokens": 5}}
OPEN = "the circuit is open: 3 calls in a row had no answer"

Ways = pytest.mark.parametrize("kind", ["sync", "async"])


def ask(client: SidecarClient, kind: str, max_tokens: int = 100) -> Call:
    """Authorize a call, with the sync or the async client."""
    pending = client.authorize(tester(), MODEL, MESSAGES, max_tokens)
    return pending.begin() if kind == "sync" else asyncio.run(pending.begin_async())


def brief(
    address: str, way: Literal["deny", "allow"] = "deny", *, deadline_seconds: float = 0.2
) -> SidecarClient:
    """Return a client that waits little for each call."""
    return SidecarClient(address, when_unavailable=way, deadline_seconds=deadline_seconds)


def fail(client: SidecarClient, kind: str, calls: int = 3) -> None:
    """Authorize without a response, until the deadline, several times."""
    for _ in range(calls):
        with pytest.raises(Unavailable) as caught:
            ask(client, kind)
        assert "circuit" not in str(caught.value)


def unanswered(question: Callable[[], object]) -> str:
    """Authorize without a response; return the error's text."""
    with pytest.raises(Unavailable) as caught:
        question()
    return str(caught.value)


@Ways
def test_an_open_circuit_sends_one_probe_a_second_and_fails_other_calls(
    between: Relay, kind: str
) -> None:
    """A response to the probe closes the circuit for all calls."""
    between.always["Authorize"] = refuse
    with brief(between.address, deadline_seconds=1) as client:
        fail(client, kind)
        began, refused = time.monotonic(), 0
        for _ in range(40):
            with pytest.raises(Unavailable, match="does not answer") as caught:
                ask(client, kind)
            refused += OPEN in str(caught.value)
            assert (caught.value.http_status, caught.value.budgets) == (503, ())
        probes = len(set(between.authorized_ids)) - 3
        assert probes <= 1 + (time.monotonic() - began)
        assert probes + refused == 40
        between.always.clear()
        eventually(lambda: _allowed(client, kind), 20)
        before = len(set(between.authorized_ids))
        for _ in range(5):
            ask(client, kind).release()
        assert len(set(between.authorized_ids)) == before + 5


def _allowed(client: SidecarClient, kind: str) -> bool:
    try:
        ask(client, kind).release()
    except Unavailable:
        return False
    return True


@Ways
def test_a_probe_is_one_attempt_without_retries(between: Relay, kind: str) -> None:
    """Other calls retry until their deadline; a probe does not."""
    between.always["Authorize"] = refuse
    with brief(between.address, "allow") as client:

        def attempts() -> int:
            before = len(between.authorized_ids)
            assert not ask(client, kind).counted
            return len(between.authorized_ids) - before

        assert max(attempts() for _ in range(3)) > 1
        assert eventually(attempts, 20) == 1


@Ways
def test_fail_open_lets_calls_out_at_once_each_logged_and_counts_them_later(
    between: Relay, sidecar: RunningSidecar, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call that was not authorized has a line in the log, and is charged once."""
    between.always["Authorize"] = refuse
    with (
        caplog.at_level(logging.WARNING, "mistral_spend"),
        brief(between.address, "allow") as client,
    ):
        calls = [ask(client, kind) for _ in range(20)]
        assert not any(call.counted for call in calls)
        lines = [it.getMessage() for it in caplog.records if "uncounted" in it.getMessage()]
        assert len(lines) == 20
        assert any("CIRCUIT_OPEN" in line for line in lines)
        between.always.clear()
        settlements = [call.settle(RESPONSE) for call in calls]
        assert [it.result(30).charged_tokens for it in settlements] == [12] * 20
    assert [it.charged_tokens for it in ended(sidecar.ledger, 20)] == [12] * 20
    assert verified(sidecar.ledger)


def test_killed_and_started_again_under_threads_and_tasks(
    address: str, sidecar: RunningSidecar
) -> None:
    """One circuit for threads and event loops: open for all while it is away, closed for all after."""
    with brief(address, deadline_seconds=1) as client, ThreadPoolExecutor(8) as pool:
        for call in pool.map(lambda _: ask(client, "sync"), range(8)):
            call.settle(RESPONSE).result(30)
        assert sidecar.stop(signal.SIGKILL) == -signal.SIGKILL

        async def burst() -> list[Any]:
            pending = [client.authorize(tester(), MODEL, MESSAGES, 100) for _ in range(8)]
            return await asyncio.gather(
                *(it.begin_async() for it in pending), return_exceptions=True
            )

        def refused() -> bool:
            found = asyncio.run(burst())
            assert all(isinstance(it, Unavailable) for it in found)
            return sum(OPEN[:19] in str(it) for it in found) >= 7

        eventually(refused, 20)
        with pytest.raises(Unavailable):
            ask(client, "sync")
        sidecar.restart()
        eventually(lambda: _allowed(client, "sync"), 20)
        for call in asyncio.run(burst()):
            call.settle(RESPONSE).result(30)
    assert verified(sidecar.ledger)


def test_waiting_calls_end_when_the_circuit_opens(between: Relay) -> None:
    """A call with a deadline far away ends when other calls found no server."""
    between.always["Authorize"] = refuse
    with (
        SidecarClient(between.address, when_unavailable="deny", deadline_seconds=3600) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        waits = pool.submit(ask, client, "sync")
        eventually(lambda: between.authorized_ids, 20)
        client._deadline_seconds = 0.1  # noqa: SLF001 - as another call's would be
        fail(client, "sync")
        with pytest.raises(Unavailable):
            waits.result(60)


@Ways
def test_responses_of_any_kind_do_not_open_the_circuit(between: Relay, kind: str) -> None:
    """Deny and Refused are responses; a response between failures restarts the count."""
    with brief(between.address, deadline_seconds=1) as client:
        for _ in range(5):
            with pytest.raises(Denied) as denied:
                ask(client, kind, 2_000_000)
            assert not isinstance(denied.value, Unavailable)
            with pytest.raises(Refused):
                client.authorize(tester(id=""), MODEL, MESSAGES, 100).begin()
        assert between.calls["Authorize"] == 10
        for _ in range(3):
            between.always["Authorize"] = refuse
            fail(client, kind, 2)
            between.always.clear()
            ask(client, kind).release()


def test_each_rpc_has_its_own_circuit(between: Relay) -> None:
    """GetBudgets works while Authorize gets no response, and does not close its circuit."""
    between.always["Authorize"] = refuse
    with brief(between.address, deadline_seconds=1) as client:
        fail(client, "sync")
        assert isinstance(client.get_budgets(tester()), Balances)
        assert any(OPEN in unanswered(lambda: ask(client, "sync")) for _ in range(20))
        between.always = {"GetBudgets": refuse}
        for _ in range(3):
            assert OPEN not in unanswered(lambda: client.get_budgets(tester()))
        left = (
            unanswered(lambda: asyncio.run(client.get_budgets_async(tester()))) for _ in range(20)
        )
        assert any(OPEN in it for it in left)


def test_settlements_are_sent_while_the_circuit_is_open(
    between: Relay, sidecar: RunningSidecar
) -> None:
    """They are sent as soon as possible, whatever happens to calls."""
    with brief(between.address, deadline_seconds=1) as client:
        call = ask(client, "sync")
        between.always = {"Authorize": refuse, "Settle": refuse}
        settlement = call.settle(RESPONSE)
        fail(client, "sync")
        between.always = {"Authorize": refuse}
        assert settlement.result(30).charged_tokens == 12
        between.always.clear()
    assert [it.charged_tokens for it in holds(sidecar.ledger) if it.state == "settled"] == [12]


def test_an_unsent_call_is_not_reported_as_unsettled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sidecar could hold anything, so close waits for no release and logs no warning."""
    monkeypatch.setattr(settlement_queue, "GRACE_SECONDS", 3600)
    monkeypatch.setattr("mistral_spend.sidecar_client.RELEASE_UNKNOWN_SECONDS", 3600)
    with ThreadPoolExecutor(1) as pool:
        client = brief(f"unix:{tmp_path}/none")
        fail(client, "sync", 2)
        pool.submit(client.close).result(60)
    assert caplog.text == ""


def test_close_reports_lost_settlements_and_lost_releases_separately(
    between: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that were sent and are not settled, and calls that were held and never sent."""
    with caplog.at_level(logging.INFO, "mistral_spend"):
        with brief(between.address, deadline_seconds=1) as client:
            calls = [ask(client, "sync") for _ in range(3)]
            between.always = dict.fromkeys(("Authorize", "Settle", "Release"), refuse)
            calls[0].settle(RESPONSE)
            calls[1].settle(RESPONSE)
            calls[2].release()
            fail(client, "sync")
        lines = [it.getMessage() for it in caplog.records]
    assert lines == [
        "calls not settled: 2; their holds expire",
        "calls not sent, whose holds are not released: 1; these expire",
        "calls not sent: 3; if any of them has a hold, that expires",
    ]


def test_a_program_without_any_response_warns_of_no_settlement(
    tmp_path: Path,
) -> None:
    """It ends with Unavailable, and does not mention unsettled calls."""
    program = f"""
from mistral_spend import SidecarClient, Principal
client = SidecarClient("unix:{tmp_path}/none", when_unavailable="deny", deadline_seconds=0.2)
who = Principal(id="ada", role="tester", workspace="lab")
with client.authorize(who, {MODEL!r}, {MESSAGES!r}, 100):
    pass
"""
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "settled" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("mistral_spend.errors.Unavailable: ")
