"""The client of Mistral's API for keys: retries, pages, errors and secrets."""

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from support.mistral_admin import ADMIN_KEY, Fault, MistralAdmin, mistral_admin

from sidecar.keys import mistral as client
from sidecar.keys.api_variants import ApiVariantName, Auth, MistralSettings, NewKey
from sidecar.keys.mistral import Mistral, MistralError, OutcomeUnknownError
from sidecar.keys.secret import Secret

T = TypeVar("T")

NEW = NewKey("dev-team-key-v2-0123456789ab", "ws_dev_1", "u_1", "Dev team — small models only")


@pytest.fixture
def server() -> Iterator[MistralAdmin]:
    """A stand-in for Mistral."""
    with mistral_admin() as started:
        yield started


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits between attempts."""
    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.01)


def ask(
    server: MistralAdmin,
    work: Callable[[Mistral], Coroutine[Any, Any, T]],
    admin_key: str = ADMIN_KEY,
    **settings: Any,
) -> T:
    """Run the work with a new client."""

    async def run() -> T:
        one = Mistral(MistralSettings(server.url, **settings), Secret(admin_key))
        try:
            return await work(one)
        finally:
            await one.close()

    return asyncio.run(run())


def refused(server: MistralAdmin, work: Any, kind: type[MistralError] = MistralError) -> str:
    """Return what an error says, which never has a secret in it."""
    with pytest.raises(kind) as caught:
        ask(server, work)
    trace = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in server.secrets if secret in trace]
    return str(caught.value)


@pytest.mark.parametrize("auth", Auth)
@pytest.mark.parametrize("shape", ApiVariantName)
def test_a_key_is_created_listed_tried_and_revoked(
    shape: ApiVariantName, auth: Auth, server: MistralAdmin
) -> None:
    """In both shapes, with either header."""

    async def work(mistral: Mistral) -> None:
        made = await mistral.create(NEW)
        assert await mistral.works(made.secret)
        (listed,) = await mistral.keys()
        assert (listed.id, listed.name, listed.workspace) == (made.key.id, NEW.name, "ws_dev_1")
        assert listed.created_at_us is not None
        assert listed.last_used_at_us is not None
        await mistral.revoke(listed.id)
        assert not await mistral.works(made.secret)
        await mistral.revoke(listed.id)
        assert await mistral.keys() == []

    ask(server, work, shape=shape, auth=auth)
    fields = {"admin": {"workspace_uuid", "user_id"}, "seed": {"workspace_id", "description"}}
    assert [set(key.fields) for key in server.keys.values()] == [fields[shape]]


def test_mistral_keys_path_replaces_the_path_of_the_variant(server: MistralAdmin) -> None:
    """The documents contradict each other, so the path can be given."""
    ask(server, lambda one: one.keys(), path="/v1/api-keys", shape=ApiVariantName.ADMIN)
    assert server.requests[-1][1].startswith("/v1/api-keys?")


@pytest.mark.parametrize("says_more", [True, False])
def test_every_page_is_read(says_more: bool, server: MistralAdmin) -> None:
    """Whether or not the server says that more follow."""
    server.page_size, server.says_more = 3, says_more
    names = [server.has(f"key-{number}").name for number in range(7)]
    assert [key.name for key in ask(server, lambda one: one.keys())] == names


@pytest.mark.parametrize("how", [500, 503, 429, "reset", "lost"])
def test_requests_without_side_effects_are_retried(how: int | str, server: MistralAdmin) -> None:
    """Lists, tests of a secret and revocations are repeated until there is a response."""
    key = server.has("dev-team-key")
    for kind in ("list", "models", "revoke"):
        server.faults.append(Fault(kind, how, range(1, 3)))

    async def work(mistral: Mistral) -> None:
        assert len(await mistral.keys()) == 1
        assert await mistral.works(Secret(key.secret))
        await mistral.revoke(key.id)

    ask(server, work)
    assert server.live == []
    assert server.seen == {"list": 3, "models": 3, "revoke": 3}


@pytest.mark.parametrize("how", [500, 502, "reset", "lost", "huge", "nonsense"])
def test_a_create_without_a_response_is_not_retried(how: int | str, server: MistralAdmin) -> None:
    """Whether there is a key now is not known, and says so."""
    server.faults.append(Fault("create", how))
    refused(server, lambda one: one.create(NEW), OutcomeUnknownError)
    assert server.seen["create"] == 1


def test_a_create_without_a_response_in_time_is_not_retried(server: MistralAdmin) -> None:
    """After a timeout a key may exist whose secret is lost."""
    server.faults.append(Fault("create", "late"))
    with pytest.raises(OutcomeUnknownError, match=r"no response in 0\.2 s"):
        ask(server, lambda one: one.create(NEW), timeout_seconds=0.2)
    assert [key.name for key in server.live] == [NEW.name]


def test_a_create_after_429_is_retried_after_retry_after(
    server: MistralAdmin,
) -> None:
    """429 certainly had no effect."""
    server.faults.append(Fault("create", 429, range(1, 3), {"Retry-After": "0"}))
    assert ask(server, lambda one: one.create(NEW)).key.name == NEW.name
    assert (server.seen["create"], len(server.live)) == (3, 1)


def test_a_create_that_was_not_sent_is_retried_and_fails_without_a_key() -> None:
    """Without a listener nothing was sent, so the outcome is known."""
    with mistral_admin() as gone:
        pass
    assert "ConnectError" in refused(gone, lambda one: one.create(NEW))


def test_a_long_retry_after_is_reported_and_not_waited_for(server: MistralAdmin) -> None:
    """The caller decides."""
    server.faults.append(Fault("list", 429, range(1, 99), {"Retry-After": "3600"}))
    message = refused(server, lambda one: one.keys())
    assert "distribute them across workspaces" in message
    assert "it asks to wait 3600 s" in message
    assert server.seen["list"] == 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "regenerate it on La Plateforme"), (403, "use a key with broader scope"),
        (429, "distribute them across workspaces"), (404, "--mistral-shape"),
        (422, "--mistral-shape"), (402, "review per-key usage"), (301, "try again later"),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(status: int, advice: str, server: MistralAdmin) -> None:
    """As the table of the original requirements does; of the body only a plain word is shown."""
    server.faults.append(Fault("list", status, range(1, 99), {"Location": "/v1/api-keys"}))
    message = refused(server, lambda one: one.keys())
    assert f"HTTP status {status} (made_up): " in message
    assert advice in message


@pytest.mark.parametrize("how", ["huge", "nonsense", "deep"])
def test_an_invalid_list_is_an_error_not_an_empty_list(how: str, server: MistralAdmin) -> None:
    """An empty list would leave live keys behind."""
    server.faults.append(Fault("list", how, range(1, 99)))
    refused(server, lambda one: one.keys())


def test_a_key_that_is_refused_does_not_work(server: MistralAdmin) -> None:
    """401 is a result; a 5xx is not."""
    assert not ask(server, lambda one: one.works(Secret("made-up")))
    server.faults.append(Fault("models", 500, range(1, 99)))
    refused(server, lambda one: one.works(Secret("made-up")))


@pytest.mark.parametrize("url", ["http://example.com", "ftp://127.0.0.1", "nonsense"])
def test_keys_are_not_sent_in_clear(url: str) -> None:
    """Anywhere but to this host."""
    with pytest.raises(ValueError, match="https://"):
        Mistral(MistralSettings(url), Secret(ADMIN_KEY))


def test_missing_fields_of_a_variant_are_named_before_the_request(server: MistralAdmin) -> None:
    """A key without a workspace is not requested."""
    with pytest.raises(ValueError, match="workspace_uuid and user_id"):
        ask(server, lambda one: one.create(NewKey("x", "ws")))
    assert server.seen["create"] == 0


def test_a_secret_is_never_shown() -> None:
    """Not in a repr, a string or a pickle; secrets can be compared."""
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret!r} {secret} {[secret]}"
    with pytest.raises(TypeError):
        secret.__reduce__()
    assert secret == Secret("hunter2")
    assert secret.digest != Secret("hunter3").digest
    for text in ("", "two words", "line\n", "\x7f", "é"):
        with pytest.raises(ValueError, match="is not a credential") as caught:
            Secret(text)
        assert not text or text not in str(caught.value).replace("white space", "")
