"""The SDK of Mistral, with one line changed."""

import asyncio
import gc
import inspect
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from mistral_spend import Denied, SidecarClient, Unbounded, Unguarded
from mistral_spend.mistral import guard
from mistralai.client import Mistral
from mistralai.client.chat import Chat
from mistralai.client.embeddings import Embeddings
from mistralai.client.errors import SDKError
from mistralai.client.fim import Fim
from mistralai.client.models import UserMessage
from mistralai.client.ocr import Ocr
from mistralai.client.utils import BackoffStrategy, RetryConfig
from pydantic import BaseModel
from support.holds import Hold, ended, holds, verified
from support.mistral_standin import API_KEY, last_received, mistral_standin
from support.policies import MODELS, deny, limit, minimal
from support.sidecar_process import RunningSidecar, tester

SCAN = """\
  scan-1:
    family: scan
    prices:
      - effective_from: 2020-01-01
        usd_per_thousand_pages: 2
        usd_per_thousand_annotated_pages: 3
"""
T = TypeVar("T")


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One sidecar for all; requests of 20,000 tokens are denied, and all to the US."""
    folder = tmp_path_factory.mktemp("guard")
    policies = minimal(
        folder / "p",
        daily=limit("1000000", meter="tokens"),
        not_in_the_us=deny('request.region == "us"', message="not in the US"),
        models_yaml=MODELS + SCAN,
    )
    one = RunningSidecar(policies, folder / "ledger.sqlite").start()
    yield one
    assert verified(one.ledger)
    assert one.stop() == 0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One stand-in for Mistral."""
    with mistral_standin() as found:
        yield found


@pytest.fixture
def sidecar_client(sidecar: RunningSidecar) -> Iterator[SidecarClient]:
    """Fail closed."""
    with SidecarClient(sidecar.addresses[0], when_unavailable="deny") as made:
        yield made


@pytest.fixture
def mistral(sidecar_client: SidecarClient, url: str) -> Iterator[Mistral]:
    """Return the SDK's client, guarded: the one changed line."""
    with guard(Mistral(api_key=API_KEY, server_url=url), sidecar_client, tester()) as made:
        yield made


def run(mistral: Mistral, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own, and close the client's connections."""

    async def app() -> T:
        async with mistral:
            return await work

    return asyncio.run(app())


def chat(text: object, **rest: Any) -> dict[str, Any]:
    """Return arguments of the SDK."""
    return {"model": "small-1", "messages": [{"role": "user", "content": text}], **rest}


class NewHolds:
    """The holds that end after this was made."""

    def __init__(self, sidecar: RunningSidecar) -> None:
        """Remember the number of holds so far."""
        self._ledger = sidecar.ledger
        self._before = len(holds(self._ledger))

    def one(self) -> Hold:
        """Wait for one more hold, and for its end."""
        return self.all(1)[0]

    def open(self) -> int:
        """Return the number of open holds."""
        return sum(it.state == "open" for it in holds(self._ledger))

    def all(self, count: int) -> list[Hold]:
        """Wait for this many more holds, and for their ends."""
        return ended(self._ledger, self._before + count)[self._before :]


@pytest.fixture
def new_holds(sidecar: RunningSidecar) -> NewHolds:
    """Record the holds of this test only."""
    return NewHolds(sidecar)


def test_chat_sends_what_is_held_and_settles_what_was_used(
    mistral: Mistral, new_holds: NewHolds, url: str
) -> None:
    """max_tokens comes from the sidecar if the app sent none; the SDK's response is unchanged."""
    response = mistral.chat.complete(**chat("hello"))
    assert response.choices[0].message is not None
    hold = new_holds.one()
    assert hold.charged_tokens == 5 + 12 == response.usage.total_tokens
    assert hold.held_tokens == 10_000
    assert 9000 < last_received(url)["max_tokens"] < 10_000
    run(mistral, mistral.chat.complete_async(**chat("hello", max_tokens=3)))
    assert last_received(url)["max_tokens"] == 3


def test_messages_from_an_iterator_are_measured_and_sent(
    mistral: Mistral, new_holds: NewHolds, url: str
) -> None:
    """Measuring them does not use up the iterator."""
    mistral.chat.complete(
        model="small-1", messages=(UserMessage(content=it) for it in ["a", "b"]), max_tokens=5
    )
    assert [it["content"] for it in last_received(url)["messages"]] == ["a", "b"]
    assert new_holds.one().held_tokens > 60


def test_a_stream_settles_with_the_usage_of_its_last_chunk(
    mistral: Mistral, new_holds: NewHolds
) -> None:
    """All chunks reach the app, in the SDK's own types."""
    events = list(mistral.chat.stream(**chat("hello", max_tokens=4)))
    assert [len(events), events[-1].data.usage is not None] == [4, True]
    assert new_holds.one()[:4] == ("settled", "ok", new_holds.one().held_tokens, 5 + 4)


def test_a_stream_of_asyncio_does_so_too(mistral: Mistral, new_holds: NewHolds) -> None:
    """The same, in an `async with`."""

    async def app() -> int:
        async with await mistral.chat.stream_async(**chat("hello", max_tokens=4)) as stream:
            return len([event async for event in stream])

    assert run(mistral, app()) == 4
    assert new_holds.one()[3] == 9


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_embeddings_by_tokens(mistral: Mistral, new_holds: NewHolds, kind: str) -> None:
    """They have no max_tokens."""
    request: dict[str, Any] = {"model": "small-1", "inputs": ["one", "two"]}
    if kind == "sync":
        mistral.embeddings.create(**request)
    else:
        run(mistral, mistral.embeddings.create_async(**request))
    assert new_holds.one().charged_tokens == 2


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_ocr_by_pages(
    sidecar_client: SidecarClient, url: str, new_holds: NewHolds, kind: str
) -> None:
    """Three pages at 2 USD per thousand; five were held."""
    mistral = guard(
        Mistral(api_key=API_KEY, server_url=url), sidecar_client, tester(), pages_per_document=5
    )
    request: dict[str, Any] = {
        "model": "scan-1",
        "document": {"type": "document_url", "document_url": "https://example.com"},
    }
    if kind == "sync":
        mistral.ocr.process(**request)
    else:
        run(mistral, mistral.ocr.process_async(**request))
    assert new_holds.one().cost_nano_usd == 3 * 2_000_000
    with pytest.raises(Unbounded, match="by the page"):
        guard(Mistral(api_key=API_KEY), sidecar_client, tester()).ocr.process(**request)


def test_ocr_with_annotations_is_held_at_their_price(
    sidecar_client: SidecarClient, url: str, new_holds: NewHolds
) -> None:
    """The SDK's response has no count of annotated pages, so they are charged as held."""
    mistral = guard(Mistral(api_key=API_KEY, server_url=url), sidecar_client, tester())
    mistral.ocr.process(
        model="scan-1",
        document={"type": "document_url", "document_url": "https://example.com"},
        pages="0-7",
        document_annotation_format={"type": "json_object"},
    )
    assert new_holds.one().cost_nano_usd == 8 * 3_000_000


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_fim_streams(mistral: Mistral, new_holds: NewHolds, kind: str) -> None:
    """Sync and async."""

    async def app() -> None:
        events = await mistral.fim.stream_async(model="small-1", prompt="x", max_tokens=3)
        assert len([event async for event in events]) == 3
        await mistral.fim.complete_async(model="small-1", prompt="x", max_tokens=3)

    if kind == "sync":
        assert len(list(mistral.fim.stream(model="small-1", prompt="x", max_tokens=3))) == 3
        mistral.fim.complete(model="small-1", prompt="x", max_tokens=3)
    else:
        run(mistral, app())
    assert [it.charged_tokens for it in new_holds.all(2)] == [7, 7]


@pytest.mark.parametrize("way", ["closes it", "leaves its with", "drops it"])
def test_l5_a_stream_that_the_app_ends_early_is_charged_as_held(
    mistral: Mistral, new_holds: NewHolds, way: str
) -> None:
    """L5: it is unknown what Mistral had generated by then."""
    stream = mistral.chat.stream(**chat("hello", max_tokens=10))
    next(stream)
    match way:
        case "closes it":
            stream.close()  # type: ignore[no-untyped-call]
        case "leaves its with":
            with stream:
                next(stream)
        case _:
            for _ in stream:
                break
            # Whether the app goes on with it is not known, until it drops it.
            assert new_holds.open() == 1
    if way == "drops it":
        del stream
        gc.collect()
    hold = new_holds.one()
    assert (hold.outcome, hold.charged_tokens) == ("cancelled", hold.held_tokens)


@pytest.mark.parametrize("way", ["closes it", "drops it", "is cancelled"])
def test_l5_a_stream_of_asyncio_that_ends_early_does_so_too(
    mistral: Mistral, new_holds: NewHolds, way: str
) -> None:
    """L5: cancellation within the stream included."""

    async def app() -> None:
        stream = await mistral.chat.stream_async(**chat("hello", max_tokens=10))
        await anext(stream)
        if way == "closes it":
            await stream.close()  # type: ignore[no-untyped-call]
        elif way == "is cancelled":
            task = asyncio.create_task(drain(stream))
            task.cancel()
            await asyncio.wait([task])

    async def drain(stream: AsyncIterator[Any]) -> None:
        async for _ in stream:
            await asyncio.sleep(20)

    run(mistral, app())
    gc.collect()
    hold = new_holds.one()
    assert (hold.outcome, hold.charged_tokens) == ("cancelled", hold.held_tokens)


@pytest.mark.parametrize("trouble", ["[no usage]", "[broken]"])
def test_l5_a_stream_without_usage_is_charged_as_held(
    mistral: Mistral, new_holds: NewHolds, trouble: str
) -> None:
    """L5: whether Mistral leaves it out, or the stream ends before its time, which the SDK does not mind."""
    assert list(mistral.chat.stream(**chat(trouble, max_tokens=10)))
    hold = new_holds.one()
    assert (hold.state, hold.charged_tokens) == ("settled", hold.held_tokens)


def test_l5_a_count_that_is_left_out_is_charged_as_held(
    mistral: Mistral, new_holds: NewHolds
) -> None:
    """L5: the SDK fills in 0, and that is not what Mistral said."""
    mistral.chat.complete(**chat("[half a usage]", max_tokens=50))
    assert 50 < new_holds.one().charged_tokens < 60


@pytest.mark.parametrize(("status", "part"), [(429, 0), (400, 0), (422, 0), (500, 1), (503, 1)])
def test_a_4xx_is_released_and_a_5xx_is_charged_as_held(
    mistral: Mistral, new_holds: NewHolds, status: int, part: int
) -> None:
    """L5: a 4xx was not served; of a 5xx it is unknown. The SDK's own error is raised."""
    with pytest.raises(Exception, match=r"error|Validation|Response") as caught:
        mistral.chat.complete(**chat(f"[status {status}]", max_tokens=10))
    assert isinstance(caught.value, SDKError) or status == 422
    hold = new_holds.one()
    assert (hold.outcome, hold.charged_tokens) == ("failed", part * hold.held_tokens)


def test_a_4xx_after_the_sdks_own_retries_is_charged_as_held(
    mistral: Mistral, new_holds: NewHolds
) -> None:
    """L5: the last error says nothing of the attempts before it."""
    retries = RetryConfig("backoff", BackoffStrategy(1, 2, 1, 10), retry_connection_errors=True)
    with pytest.raises(SDKError):
        mistral.chat.complete(**chat("[status 429]", max_tokens=10, retries=retries))
    hold = new_holds.one()
    assert hold.charged_tokens == hold.held_tokens


def test_a_call_that_did_not_leave_is_released(
    sidecar_client: SidecarClient, new_holds: NewHolds
) -> None:
    """No server listens there: nothing was sent."""
    mistral = guard(
        Mistral(api_key=API_KEY, server_url="http://127.0.0.1:9"), sidecar_client, tester()
    )
    with pytest.raises(Exception, match=r"[Cc]onnect"):
        mistral.chat.complete(**chat("hello"))
    assert new_holds.one()[:2] == ("released", "ConnectError")


def test_a_timeout_of_the_sdk_is_charged_as_held(mistral: Mistral, new_holds: NewHolds) -> None:
    """L5: Mistral may be at it still; and so for a task that is cancelled while it waits."""
    with pytest.raises(Exception, match="timed out"):
        mistral.chat.complete(**chat("[hang]", max_tokens=10, timeout_ms=300))
    assert new_holds.one().outcome == "failed"


def test_a_task_cancelled_during_the_response_is_charged_as_held(
    mistral: Mistral, new_holds: NewHolds
) -> None:
    """L5: at once, as cancelled."""

    async def app() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await mistral.chat.complete_async(**chat("[hang]", max_tokens=10))

    run(mistral, app())
    hold = new_holds.one()
    assert (hold.outcome, hold.charged_tokens) == ("cancelled", hold.held_tokens)


def test_a_denied_call_never_reaches_mistral(mistral: Mistral, url: str) -> None:
    """A call whose size has no bound does not reach it either."""
    mistral.chat.complete(**chat("the last", max_tokens=1))
    for method in (mistral.chat.complete, mistral.chat.stream):
        with pytest.raises(Denied, match="TOO_MUCH"):
            method(**chat("no", max_tokens=2_000_000))
        with pytest.raises(Unbounded):
            method(**chat([{"type": "image_url", "image_url": "x"}]))
    assert last_received(url)["messages"][0]["content"] == "the last"


class Answer(BaseModel):
    """The type that `parse` returns."""

    text: str


def test_parse_is_guarded_too(mistral: Mistral, new_holds: NewHolds, url: str) -> None:
    """Its JSON schema is sent and counted; a response that does not parse is charged, too."""
    with pytest.raises(ValueError, match="Expecting value"):
        mistral.chat.parse(Answer, **chat("hello", max_tokens=3))
    assert "schema" in json.dumps(last_received(url)["response_format"])
    assert new_holds.one().charged_tokens == 8


def test_unguarded_parts_of_the_sdk_are_not_available(mistral: Mistral) -> None:
    """Agents, conversations, audio and batches also cost money; models and files do not."""
    for part in ("agents", "beta", "audio", "batch", "responses", "classifiers", "realtime"):
        with pytest.raises(Unguarded, match="is not guarded"):
            getattr(mistral, part)
        assert not hasattr(mistral, part)
    assert mistral.models is not None
    assert mistral.files is not None
    assert isinstance(mistral, Mistral)


def test_every_way_to_spend_of_the_guarded_parts_is_overridden(mistral: Mistral) -> None:
    """A method of a newer SDK would go out without authorization; then this test fails."""
    for part, kind in (
        (mistral.chat, Chat),
        (mistral.fim, Fim),
        (mistral.embeddings, Embeddings),
        (mistral.ocr, Ocr),
    ):
        names = {
            name for name, _ in inspect.getmembers(kind, inspect.isfunction) if name in vars(kind)
        }
        own = set(vars(type(part)))
        assert names - own <= {"parse", "parse_async", "parse_stream", "parse_stream_async"}


def test_the_given_client_stays_as_it_is(
    sidecar_client: SidecarClient, url: str, new_holds: NewHolds
) -> None:
    """Guarding changes no class and no other client; closing the guarded closes what it shares."""
    client = Mistral(api_key=API_KEY, server_url=url)
    with guard(client, sidecar_client, tester()) as mistral:
        mistral.chat.complete(**chat("hello", max_tokens=2))
        client.chat.complete(**chat("unasked", max_tokens=2))
    assert new_holds.one().charged_tokens == 7


US = "https://api.us.mistral.ai"


@pytest.mark.parametrize(
    ("server", "region", "request_url"),
    [
        ({"server": "us"}, "", None),
        ({"server": "us"}, "us", None),
        ({"server_url": f"{US}/"}, "", None),
        ({}, "us", None),
        ({}, "", US),
    ],
    ids=["the SDK's server", "the same twice", "its URL", "given", "the request's URL"],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_region_is_that_of_the_server(
    server: dict[str, Any],
    region: str,
    request_url: str | None,
    kind: str,
    sidecar_client: SidecarClient,
) -> None:
    """However the SDK is configured, rules and prices see the region of its server."""
    mistral = guard(Mistral(api_key=API_KEY, **server), sidecar_client, tester(), region=region)

    def complete() -> None:
        request = chat("hello", server_url=request_url)
        if kind == "sync":
            mistral.chat.complete(**request)
        else:
            run(mistral, mistral.chat.complete_async(**request))

    with pytest.raises(Denied, match="not in the US"):
        complete()


def test_a_region_that_contradicts_the_server_is_refused(sidecar_client: SidecarClient) -> None:
    """The client goes to one of them, and it is unclear which was meant."""
    client = Mistral(api_key=API_KEY, server="eu")
    with pytest.raises(ValueError, match="in eu, and region='us'"):
        guard(client, sidecar_client, tester(), region="us")
    mistral = guard(client, sidecar_client, tester(), region="eu")
    with pytest.raises(ValueError, match="in us, and region='eu'"):
        mistral.chat.complete(**chat("hello"), server_url=US)


def test_a_proxy_has_the_region_that_the_app_gives(
    sidecar_client: SidecarClient, url: str, new_holds: NewHolds
) -> None:
    """Without a region it is the global endpoint."""
    for region in ("", "eu"):
        guard(
            Mistral(api_key=API_KEY, server_url=url), sidecar_client, tester(), region=region
        ).chat.complete(**chat("hello"))
    assert [it.state for it in new_holds.all(2)] == ["settled", "settled"]
