"""The yardstick on Redis answers as the sidecar does; else the comparison would not be fair."""

from collections.abc import Iterator
from typing import Any

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub
from support import tools
from support.sidecar_process import chat, principal, stub

from bench import servers, yardstick
from bench.load import PAIR, SETTLE, UNARY, Load
from bench.servers import Server
from bench.sidecars import Sidecar, roomy


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """A sidecar and the yardstick on the same policies; prod-workspace has room for one call."""
    folder = tmp_path_factory.mktemp("both")
    policies = roomy(folder / "policies")
    file = policies / "workspaces.yaml"
    before, after = file.read_text().rsplit("monthly_budget_usd: 100000000", 1)
    file.write_text(f"{before}monthly_budget_usd: 0.0001{after}")
    with pytest.MonkeyPatch.context() as patch, servers.stopped_at_end() as started:
        patch.setattr(servers, "STARTS", 1)
        with tools.needed():
            started.append(yardstick.start(folder / "redis", policies))
        started.append(Sidecar("sidecar", folder / "sidecar", policies=policies))
        yield started[1], started[0]


@pytest.fixture
def stubs(both: tuple[Server, Server]) -> list[AuthorizationServiceStub]:
    """Clients of both."""
    return [stub(server.address) for server in both]


def budgets(answer: pb.AuthorizeResponse | pb.SettleResponse) -> list[tuple[object, ...]]:
    """Return the balances in an answer, without windows, and without the limit of no key."""
    return sorted(
        (it.rule, it.meter, it.scope, it.ceiling, it.spent, it.held, it.remaining, it.unlimited)
        for it in answer.budgets
        if it.scope
    )


def verdict(answer: pb.AuthorizeResponse) -> tuple[object, ...]:
    """Return what an app acts on."""
    return (
        answer.effect, answer.resolved_model if answer.hold_id else "", answer.max_output_tokens,
        answer.held_cost_nano_usd, bool(answer.hold_id),
        sorted((it.code, it.rule, it.http_status) for it in answer.reasons),
    )  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [
        chat(),
        chat(principal(key_id="dev-team-key")),
        chat(principal(id="bo", role="admin", workspace="ml-workspace"), model="mistral-large-3"),
        chat(principal(id="bo", workspace="ml-workspace", labels={"team": "ml"})),
        chat(principal(role="ghost", workspace="nowhere"), model="unheard-of"),
        chat(principal(workspace="ml-workspace")),
        chat(principal(workspace="prod-workspace", labels={"service": "search"})),
        chat(principal(key_id="old-dev-team-key")),
        chat(principal(key_id="hackathon-key")),
        chat(principal(key_id="ml-team-key")),
        chat(principal(key_id="made-up-key")),
        chat(principal(key_id="dev-team-key"), model="mistral-large-latest"),
        chat(estimate={"input_tokens": 1901}),
    ],
    ids=[
        "allowed", "by a key", "an admin", "a label", "unknown names", "no rule allows",
        "a service", "a revoked key", "an expired key", "a key of others", "an unknown key",
        "a model", "too large",
    ],
)  # fmt: skip
def test_a_call_is_decided_alike(
    stubs: list[AuthorizationServiceStub], request_: pb.AuthorizeRequest
) -> None:
    """Both allow it and hold the same on the same budgets, or deny it for the same reasons."""
    ours, theirs = (it.Authorize(request_) for it in stubs)
    assert verdict(theirs) == verdict(ours)
    if ours.effect == pb.EFFECT_ALLOW:
        assert budgets(theirs) == budgets(ours)


def test_a_limit_without_room_denies_alike(stubs: list[AuthorizationServiceStub]) -> None:
    """The second call of the workspace has no room, and holds nothing on the other budgets."""
    who = principal(id="ci", workspace="prod-workspace", labels={"service": "ci"})
    first = [it.Authorize(chat(who)) for it in stubs]
    assert {it.effect for it in first} == {pb.EFFECT_ALLOW}
    ours, theirs = (it.Authorize(chat(who)) for it in stubs)
    assert verdict(theirs) == verdict(ours)
    assert [it.code for it in theirs.reasons] == ["MONTHLY_BUDGET_EXHAUSTED"]
    assert budgets(theirs) == budgets(ours)


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 90, "output_tokens": 60},
        {"input_tokens": 90},
        {},
        {"input_tokens": 400, "output_tokens": 100},
    ],
    ids=["less", "half reported", "nothing reported", "more"],
)
def test_a_hold_is_settled_alike(
    stubs: list[AuthorizationServiceStub], usage: dict[str, Any]
) -> None:
    """The charge, the overrun and the balances are the same; a second Settle changes nothing."""
    answers = []
    for it in stubs:
        hold_id = it.Authorize(chat(principal(id="eve"))).hold_id
        answers.append([
            it.Settle(pb.SettleRequest(hold_id=hold_id, usage=pb.Usage(**reported)))
            for reported in (usage, {"input_tokens": 1, "output_tokens": 1})
        ])  # fmt: skip
    for ours, theirs in zip(*answers, strict=True):
        assert theirs.charged_cost_nano_usd == ours.charged_cost_nano_usd > 0
        assert (theirs.charged_tokens, theirs.overrun) == (ours.charged_tokens, ours.overrun)
        assert budgets(theirs) == budgets(ours)


@pytest.mark.parametrize("rpc", [UNARY, SETTLE, PAIR])
def test_each_load_runs_on_the_yardstick(both: tuple[Server, Server], rpc: str) -> None:
    """It has two processes, and both count."""
    tools.program("h2load")
    _, theirs = both
    row = Load(theirs, rpc, 8, 100).run()
    assert row.calls == 100
    assert row.cpu_us_per_call > 0
    assert len(theirs.pids()) == 2
