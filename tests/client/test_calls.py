"""A call within `client.authorize`, and the ways in which its block ends."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mistral_spend import Call, Denied, Refused, SidecarClient
from mistral_spend.v1 import authorization_pb2 as pb
from mistralai.client.models import ConversationResponse
from support.holds import ended, holds, verified
from support.policies import limit, minimal
from support.relay import Relay, hang
from support.sidecar_process import RunningSidecar, tester

MODEL = "small-1"
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
RESPONSE = {"model": MODEL, "usage": {"prompt_tokens": 7, "completion_tokens": 5}}
CONVERSATION = ConversationResponse.model_validate(
    {"conversation_id": "c", "outputs": [], "usage": RESPONSE["usage"]}
)
BYTES = 106
HELD = 100 + BYTES
"""max_tokens, and the bytes of the request."""


@pytest.fixture
def client(address: str) -> Any:
    """Fail closed."""
    with SidecarClient(address, when_unavailable="deny") as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One sidecar for all the ways."""
    folder = tmp_path_factory.mktemp("shared")
    policies = minimal(folder / "p", daily=limit("1000000", meter="tokens"))
    one = RunningSidecar(policies, folder / "ledger.sqlite").start()
    yield one
    assert verified(one.ledger)
    assert one.stop() == 0


def ways_to_end() -> list[tuple[str, Callable[[Call], object], tuple[str, str, int]]]:
    """Return what a block does with its call, and state, outcome and tokens charged."""

    def raise_(error: BaseException) -> None:
        raise error

    def usage_and_error(call: Call) -> None:
        call.usage = RESPONSE["usage"]
        raise_(RuntimeError())

    class Refusal(Exception):  # noqa: N818 - as an SDK might
        status_code = 429

    class ConnectError(Exception):
        pass

    return [
        ("settles", lambda call: call.settle(RESPONSE), ("settled", "ok", 12)),
        ("gives the usage", lambda call: setattr(call, "usage", RESPONSE["usage"]), ("settled", "ok", 12)),
        ("observes chunks", lambda call: [call.observe({"model": MODEL}), call.observe({"data": RESPONSE})], ("settled", "ok", 12)),
        ("settles a conversation, without a model", lambda call: call.settle({"conversation_id": "c", "usage": RESPONSE["usage"]}), ("settled", "ok", 12)),
        ("settles with a usage alone", lambda call: call.settle({"usage": RESPONSE["usage"]}), ("settled", "ok", 12)),
        ("observes an event without a model", lambda call: call.observe({"event": "done", "data": {"usage": RESPONSE["usage"]}}), ("settled", "ok", 12)),
        ("settles a line of a batch's output", lambda call: call.settle({"custom_id": "1", "response": {"status_code": 200, "body": RESPONSE}}), ("settled", "ok", 12)),
        ("settles an SDK's conversation", lambda call: call.settle(CONVERSATION), ("settled", "ok", 12)),
        ("says nothing", lambda _: None, ("settled", "ok", HELD)),
        ("settles without a usage", lambda call: call.settle({"model": MODEL}), ("settled", "ok", HELD)),
        ("releases", lambda call: call.release(), ("released", "not sent", 0)),
        ("releases and settles", lambda call: [call.release(), call.settle(RESPONSE)], ("released", "not sent", 0)),
        ("raises", lambda _: raise_(RuntimeError()), ("settled", "failed", HELD)),
        ("raises after the usage", usage_and_error, ("settled", "ok", 12)),
        ("is interrupted", lambda _: raise_(KeyboardInterrupt()), ("settled", "cancelled", HELD)),
        ("is cancelled", lambda _: raise_(asyncio.CancelledError()), ("settled", "cancelled", HELD)),
        ("raises what looks like a refusal", lambda _: raise_(Refusal()), ("settled", "failed", HELD)),
        ("says that Mistral refused it", lambda call: call.failed(Refusal()), ("settled", "failed", 0)),
        ("says that it did not leave", lambda call: call.failed(ConnectError()), ("released", "ConnectError", 0)),
        ("says that it failed", lambda call: call.failed(TimeoutError()), ("settled", "failed", HELD)),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("_what", "does", "expected"), ways_to_end(), ids=lambda it: it if isinstance(it, str) else ""
)
def test_l5_a_block_ends_its_call_and_an_unknown_usage_is_charged_as_held(
    shared: RunningSidecar, kind: str, _what: str, does: Any, expected: Any
) -> None:
    """L5: however a block ends, its call ends once and at once."""
    before = len(holds(shared.ledger))
    client = SidecarClient(shared.addresses[0], when_unavailable="deny")
    pending = client.authorize(tester(), MODEL, MESSAGES, 100)

    def sync() -> None:
        with pending as call:
            does(call)

    async def concurrent() -> None:
        async with pending as call:
            does(call)

    with suppress(Exception, asyncio.CancelledError, KeyboardInterrupt):
        sync() if kind == "sync" else asyncio.run(concurrent())
    client.close()
    *_, hold = ended(shared.ledger, before + 1)
    assert (*expected, HELD) == (hold.state, hold.outcome, hold.charged_tokens, hold.held_tokens)


def test_a_call_says_what_to_send_and_what_is_left(client: SidecarClient) -> None:
    """max_tokens is what is held; without one from the app, it is the role's maximum."""
    with client.authorize(tester(), MODEL, MESSAGES) as call:
        assert call.max_tokens == 10_000 - BYTES - 1  # null is longer than 100
        assert call.counted
        (left,) = call.budgets
        assert (left.ceiling, left.held) == (1_000_000, 10_000)
        settlement = call.settle(RESPONSE).result(20)
    assert (settlement.charged_tokens, settlement.charged_cost_nano_usd) == (12, 12_000)
    (left,) = client.get_budgets(tester()).budgets
    assert (left.spent, left.held) == (12, 0)
    (left,) = asyncio.run(client.get_budgets_async(tester())).budgets
    assert left.spent == 12


def test_an_unlimited_budget_has_neither_ceiling_nor_remaining(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """A minimum over what is left ignores unlimited budgets, since they are not 0."""
    sidecar = start_sidecar(
        minimal(
            tmp_path / "q",
            daily=limit("1000", meter="tokens"),
            open_end=limit("unlimited", meter="tokens"),
            calls=limit("5", window="concurrent"),
        )
    )
    with SidecarClient(sidecar.addresses[0], when_unavailable="deny") as client:
        with client.authorize(tester(), MODEL, MESSAGES, 100) as call:
            budgets = {it.rule: (it.ceiling, it.remaining, it.unlimited) for it in call.budgets}
            assert budgets == {
                "daily": (1000, 1000 - HELD, False),
                "open-end": (None, None, True),
                "calls": (5, 4, False),
            }
            with pytest.raises(Denied) as caught:
                client.authorize(tester(), MODEL, MESSAGES, 2000).begin()
            assert [it.remaining for it in caught.value.budgets if it.unlimited] in ([], [None])
        left = client.get_budgets(tester())
        assert min(it.remaining for it in left.budgets if it.remaining is not None) <= 5
        assert {it.rule for it in left.budgets if it.remaining is None} == {"open-end"}
        assert {it.rule: it.window_end is None for it in left.budgets} == {
            "daily": False, "open-end": False, "calls": True,
        }  # fmt: skip
        assert left.answer.policy_generation == 1


def test_a_denied_call_raises_reasons_status_budgets_and_retry_after(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """The block never runs."""
    sidecar = start_sidecar(
        minimal(tmp_path / "q", minute=limit("300", meter="tokens", window="minute"))
    )
    client = SidecarClient(sidecar.addresses[0], when_unavailable="allow")
    before = client.authorize(tester(), MODEL, MESSAGES, 100).begin()
    with pytest.raises(Denied, match="TOO_MUCH: too much for lab") as caught:
        client.authorize(tester(), MODEL, MESSAGES, 100).begin()
    before.release()
    denied = caught.value
    assert (
        denied.http_status,
        [r.rule for r in denied.reasons],
        denied.budgets[0].remaining,
    ) == (429, ["minute"], 300 - HELD)
    assert 0 < (denied.retry_after_seconds or 0) <= 60
    client.close()


@pytest.mark.parametrize("way", ["deny", "allow"])
def test_a_malformed_request_is_refused_whatever_when_unavailable_is(
    address: str, way: Any
) -> None:
    """It never goes out uncounted, and is not retried."""
    client = SidecarClient(address, when_unavailable=way)
    with pytest.raises(Refused, match=r"INVALID_ARGUMENT: principal\.id") as caught:
        client.authorize(tester(id=""), MODEL, MESSAGES, 100).begin()
    assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(Refused):
        asyncio.run(client.authorize(tester(id=""), MODEL, MESSAGES, 100).begin_async())
    client.close()
    with pytest.raises(Refused, match="closed"):
        client.get_budgets(tester())


def test_there_is_no_default_for_an_outage(address: str) -> None:
    """The app has to choose `when_unavailable`."""
    with pytest.raises(TypeError, match="when_unavailable"):
        SidecarClient(address)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="deny"):
        SidecarClient(address, when_unavailable="open")  # type: ignore[arg-type]


@pytest.mark.parametrize("delay_seconds", [0.0, 0.02, 0.1, 0.4])
def test_a_call_cancelled_during_authorize_is_released(
    between: Relay, sidecar: RunningSidecar, delay_seconds: float
) -> None:
    """The call was never sent: whether or not the sidecar had decided, nothing stays held or spent."""
    between.faults["Authorize"] = [lambda forward: hang(forward, 0.3)]

    async def app() -> None:
        async with SidecarClient(between.address, when_unavailable="deny") as client:

            async def call() -> None:
                async with client.authorize(tester(), MODEL, MESSAGES, 100):
                    await asyncio.sleep(20)

            task = asyncio.create_task(call())
            await asyncio.sleep(delay_seconds)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(app())
    found = holds(sidecar.ledger)
    called = between.calls["Authorize"] > 0
    # With no time to ask there is no hold; with time enough the call is inside its block.
    assert found == [] or ended(sidecar.ledger)[0].state in {"released", "settled"}
    assert called or found == []
    if 0 < delay_seconds < 0.3:
        assert [it.state for it in found] == ["released"]
    assert verified(sidecar.ledger)


def test_a_call_cancelled_during_the_response_is_charged_as_held(
    client: SidecarClient, sidecar: RunningSidecar
) -> None:
    """L5: between sending and the answer its cost is unknown; it is charged as held, at once."""

    async def app() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), client.authorize(tester(), MODEL, MESSAGES, 100):
                await asyncio.sleep(20)

    asyncio.run(app())
    (hold,) = ended(sidecar.ledger)
    assert (hold.state, hold.outcome, hold.charged_tokens) == ("settled", "cancelled", HELD)


def test_a_response_of_another_model_is_charged_at_its_price(
    client: SidecarClient, sidecar: RunningSidecar
) -> None:
    """An alias may have moved: ten times the price, as the response says."""
    with client.authorize(tester(), MODEL, MESSAGES, 100) as call:
        settlement = call.settle({**RESPONSE, "model": "dear-1"})
    assert settlement.result(20).charged_cost_nano_usd == 120_000
    assert ended(sidecar.ledger)[0].response_model == "dear-1"


def test_a_usage_that_is_not_json_raises_at_once(
    client: SidecarClient, sidecar: RunningSidecar
) -> None:
    """The app gets the error; the call is charged as held."""
    with pytest.raises(TypeError), client.authorize(tester(), MODEL, MESSAGES, 100) as call:
        call.usage = object()
    assert ended(sidecar.ledger)[0].charged_tokens == HELD


def test_64_callers_at_once_share_one_budget(
    client: SidecarClient, sidecar: RunningSidecar
) -> None:
    """L1, L2: threads and tasks, of one client; all are settled when it is closed."""

    def threaded(number: int) -> None:
        with client.authorize(tester(id=f"t{number}"), MODEL, MESSAGES, 100) as call:
            call.settle(RESPONSE)

    async def task(number: int) -> None:
        async with client.authorize(tester(id=f"a{number}"), MODEL, MESSAGES, 100) as call:
            call.settle(RESPONSE)

    async def tasks() -> None:
        await asyncio.gather(*(task(number) for number in range(64)))

    with ThreadPoolExecutor(64) as pool:
        others = threading.Thread(target=lambda: asyncio.run(tasks()))
        others.start()
        list(pool.map(threaded, range(64)))
        others.join()
    client.close()
    found = holds(sidecar.ledger)
    assert [(it.state, it.charged_tokens) for it in found] == [("settled", 12)] * 128
    assert verified(sidecar.ledger)


def test_an_authorization_may_be_used_again(client: SidecarClient, sidecar: RunningSidecar) -> None:
    """Each block is a call of its own, with a hold of its own."""
    pending = client.authorize(tester(), MODEL, MESSAGES, 100)
    for _ in range(2):
        with pending as call:
            call.settle(RESPONSE)
    assert [it.charged_tokens for it in ended(sidecar.ledger, 2)] == [12, 12]


def test_estimates_go_to_the_sidecar(client: SidecarClient, sidecar: RunningSidecar) -> None:
    """The app's own bounds, and `n`, which multiplies what is held."""
    better = pb.Estimate(input_tokens=10)
    with client.authorize(tester(), MODEL, MESSAGES, 100, estimate=better, n=3):
        pass
    assert ended(sidecar.ledger)[0].held_tokens == 10 + 3 * 100
