"""A guarded client that accepts less output or another model, where limits deny a call."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mistral_spend import Denied, SidecarClient
from mistral_spend.mistral import guard
from mistralai.client import Mistral
from support.holds import ended
from support.mistral_standin import API_KEY, last_received
from support.policies import THREE_PRICES, limit, minimal
from support.sidecar_process import RunningSidecar, tester


@pytest.fixture
def sidecar(start_sidecar: Callable[..., RunningSidecar], tmp_path: Path) -> RunningSidecar:
    """A cent: 1,000 output tokens of dear-1, less its input."""
    cent = limit("0.01", meter="cost", window="total")
    return start_sidecar(minimal(tmp_path / "p", models_yaml=THREE_PRICES, cent=cent))


@pytest.fixture
def client(sidecar: RunningSidecar) -> Iterator[SidecarClient]:
    """Fail closed."""
    with SidecarClient(sidecar.addresses[0], when_unavailable="deny") as made:
        yield made


def complete(mistral: Mistral, how: str, max_tokens: int) -> None:
    """Send one chat with a guarded client."""
    request: dict[str, Any] = {"model": "dear-latest", "max_tokens": max_tokens}
    request["messages"] = [{"role": "user", "content": "hello"}]
    if how == "sync":
        mistral.chat.complete(**request)
    elif how == "stream":
        assert list(mistral.chat.stream(**request))
    else:

        async def app() -> None:
            async with mistral:
                await mistral.chat.complete_async(**request)

        asyncio.run(app())


@pytest.mark.parametrize("how", ["sync", "stream", "asyncio"])
def test_a_call_that_is_too_large_is_sent_with_the_output_that_fits(
    how: str, sidecar: RunningSidecar, client: SidecarClient, mistral_url: str
) -> None:
    """To the model that the app named, and with a hold on what is sent."""
    mistral = guard(
        Mistral(api_key=API_KEY, server_url=mistral_url), client, tester(),
        when_denied="shrink", min_output_tokens=900, fallback_models=["cheap-1"],
    )  # fmt: skip
    complete(mistral, how, 5000)
    body = last_received(mistral_url)
    assert body["model"] == "dear-latest"
    assert 900 < body["max_tokens"] < 1000
    (hold,) = ended(sidecar.ledger, 1)
    assert hold.held_tokens > body["max_tokens"]
    assert hold.charged_tokens == 17


@pytest.mark.parametrize("how", ["sync", "stream", "asyncio"])
@pytest.mark.parametrize("least", [None, 1000])
def test_a_call_falls_back_to_a_model_that_the_app_named(
    how: str, least: int | None, client: SidecarClient, mistral_url: str
) -> None:
    """Its first choice that fits, with the output it requested, where less is not enough."""
    mistral = guard(
        Mistral(api_key=API_KEY, server_url=mistral_url), client, tester(),
        when_denied="shrink", min_output_tokens=least, fallback_models=["none-1", "cheap-1"],
    )  # fmt: skip
    complete(mistral, how, 5000)
    body = last_received(mistral_url)
    assert (body["model"], body["max_tokens"]) == ("cheap-1", 5000)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"when_denied": "shrink", "min_output_tokens": 1000},
        {"when_denied": "shrink", "fallback_models": ["none-1"]},
    ],
    ids=["by default", "below the least output", "only models it did not name"],
)
def test_a_call_is_denied_where_the_app_accepts_nothing_that_fits(
    options: dict[str, Any], client: SidecarClient, mistral_url: str
) -> None:
    """The error says what would fit."""
    mistral = guard(Mistral(api_key=API_KEY, server_url=mistral_url), client, tester(), **options)
    with pytest.raises(Denied, match="TOO_MUCH") as denied:
        complete(mistral, "sync", 5000)
    assert 900 < denied.value.fitting_max_output_tokens < 1000
    assert denied.value.fitting_models == ("cheaper-1", "cheap-1")


@pytest.mark.parametrize(
    "options",
    [
        {"when_denied": "shrink"},
        {"min_output_tokens": 10},
        {"fallback_models": ["cheap-1"]},
        {"when_denied": "shrink", "min_output_tokens": 0},
        {"when_denied": "shrink", "fallback_models": "cheap-1"},
        {"when_denied": "retry"},
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], client: SidecarClient
) -> None:
    """When the client is made, not when a call is denied."""
    with pytest.raises(ValueError, match=r"when_denied|min_output_tokens|fallback_models"):
        guard(Mistral(api_key=API_KEY), client, tester(), **options)
