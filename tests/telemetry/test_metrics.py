"""Metrics: correct, bounded, and without private values."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families
from support.authorizer_harness import AuthorizerHarness
from support.commands import sidecar as command
from support.outside import METRICS, page, samples, value
from support.policies import deny, limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, principal, tester

from sidecar.alerts.counts import AlertCounts
from sidecar.authorization.policy_reload import PolicyStatus
from sidecar.authorization.proposal import Call
from sidecar.domain.clock import GuardedClock
from sidecar.telemetry.calls import ObservedCall
from sidecar.telemetry.counters import MAX_SERIES, OTHER
from sidecar.telemetry.labels import MAX_CHARACTERS, label
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.sources import Sources

Start = Callable[..., RunningSidecar]
OpenHarness = Callable[..., AuthorizerHarness]


def test_decisions_are_counted_by_effect_reason_rule_and_mode(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Enforced decisions, dry runs, replays and shadow rules."""
    policies = minimal(
        tmp_path / "p",
        trial=deny("true", mode="shadow"),
        large=deny("request.tokens > 1000"),
        daily=limit("500", meter="tokens"),
    )
    running = start_sidecar(policies, *METRICS)
    own = running.stub
    own.Authorize(chat(tester(), model="small-1", request_id="one"))
    own.Authorize(chat(tester(), model="small-1", request_id="one"))
    own.Authorize(chat(tester(), model="small-1", dry_run=True))
    own.Authorize(chat(tester(), model="small-1", estimate={"input_tokens": 5000}))
    own.Authorize(chat(tester(), model="small-1", estimate={"input_tokens": 450}))
    requests = [chat(tester(), model="small-1", request_id=f"s{n}", dry_run=True) for n in range(3)]
    assert len(list(own.AuthorizeStream(iter(requests)))) == 3
    own.Explain(pb.ExplainRequest(request=chat(tester(), model="small-1")))
    found = samples(page(running))

    def decisions(effect: str, mode: str) -> float | None:
        return value(found, "sidecar_decisions_total", effect=effect, mode=mode)

    def reasons(code: str, rule: str, mode: str) -> float | None:
        return value(found, "sidecar_decision_reasons_total", code=code, rule=rule, mode=mode)

    assert decisions("allow", "enforce") == 1
    assert decisions("allow", "repeat") == 1
    assert decisions("allow", "dry_run") == 4
    assert decisions("deny", "enforce") == 2
    assert reasons("NO", "large", "enforce") == 1
    assert reasons("TOO_MUCH", "daily", "enforce") == 1
    assert reasons("NO", "trial", "shadow") == 7
    assert value(found, "sidecar_calls_total", method="Explain", code="OK") == 1
    assert value(found, "sidecar_calls_total", method="AuthorizeStream", code="OK") == 3
    for stage in ("identity", "policy", "ledger", "whole"):
        assert value(found, "sidecar_authorize_seconds_count", stage=stage) == 8


def test_calls_that_fail_are_counted_by_their_status(start_sidecar: Start) -> None:
    """A malformed request, an unknown hold, and a stream that ends with a bad request."""
    running = start_sidecar(None, *METRICS)
    own = running.stub
    for call in (
        lambda: own.Authorize(pb.AuthorizeRequest()),
        lambda: own.Settle(pb.SettleRequest(hold_id="none")),
        lambda: list(own.AuthorizeStream(iter([pb.AuthorizeRequest()]))),
    ):
        with pytest.raises(Exception, match="StatusCode"):
            call()
    found = samples(page(running))
    for method, code in (
        ("Authorize", "INVALID_ARGUMENT"),
        ("Settle", "NOT_FOUND"),
        ("AuthorizeStream", "INVALID_ARGUMENT"),
    ):
        assert value(found, "sidecar_calls_total", method=method, code=code) == 1
    assert value(found, "sidecar_authorize_seconds_count", stage="whole") == 0


def test_holds_are_counted_once_however_often_they_are_closed(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Settled twice, released twice, expired, and settled with more than was held."""
    policies = minimal(tmp_path / "p", daily=limit("100000", meter="tokens"))
    running = start_sidecar(policies, *METRICS)
    own = running.stub

    def hold(ttl: int = 600) -> str:
        answer = own.Authorize(chat(tester(), model="small-1", hold_ttl_seconds=ttl))
        return str(answer.hold_id)

    settled, released, over = hold(), hold(), hold()
    hold(1)
    hold()
    for _ in range(2):
        own.Settle(pb.SettleRequest(hold_id=settled))
        own.Release(pb.ReleaseRequest(hold_id=released))
        own.Settle(pb.SettleRequest(hold_id=over, usage=pb.Usage(output_tokens=9999)))

    def closed(state: str) -> float | None:
        return value(samples(page(running)), "sidecar_holds_closed_total", state=state)

    eventually(lambda: closed("expired") == 1)
    assert (closed("settled"), closed("released")) == (2, 1)
    found = samples(page(running))
    assert value(found, "sidecar_overruns_total") == 1
    assert value(found, "sidecar_holds_open") == 1
    groups = value(found, "sidecar_commit_group_requests_count")
    assert groups == value(found, "sidecar_commit_seconds_count")
    assert value(found, "sidecar_commit_group_requests_sum") is not None
    # One for the overrun, and one because it is more than ten times what was held.
    assert value(found, "sidecar_alerts_raised_total", kind="overrun") == 2


def test_budget_metrics_are_read_from_the_ledger_at_each_scrape(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L8: also after a hold has expired without a call."""
    extra = "// on_expiry: release\n"
    policies = minimal(tmp_path / "p", daily=limit("1000", meter="tokens", extra=extra))
    running = start_sidecar(policies, *METRICS)
    labels = {"rule": "daily", "scope": "lab"}
    running.stub.Authorize(chat(tester(), model="small-1", hold_ttl_seconds=1))
    remaining = "sidecar_budget_remaining_tokens"
    assert value(samples(page(running)), remaining, **labels) == 800
    eventually(lambda: value(samples(page(running)), remaining, **labels) == 1000)
    assert value(samples(page(running)), "sidecar_budget_ceiling_tokens", **labels) == 1000


def test_a_budget_without_a_ceiling_is_infinite(start_sidecar: Start, tmp_path: Path) -> None:
    """And money is in USD."""
    policies = minimal(
        tmp_path / "p",
        free=limit("workspace.monthly_budget_usd", meter="cost"),
        money=limit("2", meter="cost"),
    )
    running = start_sidecar(policies, *METRICS)
    running.stub.Authorize(chat(tester(), model="small-1"))
    found = samples(page(running))
    ceiling = "sidecar_budget_ceiling_usd"
    assert value(found, ceiling, rule="free", scope="lab") == float("inf")
    assert value(found, ceiling, rule="money", scope="lab") == 2
    remaining = value(found, "sidecar_budget_remaining_usd", rule="money", scope="lab")
    assert remaining == pytest.approx(2 - 0.0002)


@pytest.mark.parametrize("scope", ['"', "\\", 'a"b\\c\\n', "émoji 🦊", "}", "#", "a" * 256])
def test_a_scope_of_any_characters_is_one_label(
    scope: str, start_sidecar: Start, tmp_path: Path
) -> None:
    """Prometheus reads back what the app sent, or a short form of it."""
    policies = minimal(tmp_path / "p", each=limit("10", per="principal.id"))
    running = start_sidecar(policies, *METRICS)
    running.stub.Authorize(chat(tester(id=scope), model="small-1"))
    found = samples(page(running))
    shown = scope if len(scope) <= MAX_CHARACTERS else label(scope)
    assert value(found, "sidecar_budget_remaining_requests", rule="each", scope=shown) == 9


def test_a_rule_cannot_break_the_page(start_sidecar: Start, tmp_path: Path) -> None:
    """A scope with a new line, that would look like another metric."""
    per = r'principal.id + "\n" + "sidecar_ready 0\n"'
    policies = minimal(tmp_path / "p", each=limit("10", per=per))
    running = start_sidecar(policies, *METRICS)
    running.stub.Authorize(chat(tester(), model="small-1"))
    found = samples(page(running))
    assert value(found, "sidecar_ready") == 1
    assert len([1 for name, _ in found if name == "sidecar_budget_remaining_requests"]) == 1


@pytest.mark.parametrize(
    "text", ["\ud800", "a\nb", "a\x00", "x" * 10_000, "\ud800" * 500, "\u202e"]
)
def test_a_label_is_short_printable_and_unique(text: str) -> None:
    """Half a surrogate pair, control characters, and texts without end."""
    shown = label(text)
    assert shown.isprintable()
    assert len(shown) <= MAX_CHARACTERS
    assert shown.encode()
    assert len({label(text), label(text + "y"), label("y" + text)}) == 3


def metrics_of(harness: AuthorizerHarness, budgets: int = 200) -> Metrics:
    """Return metrics of an authorizer."""
    policy = harness.authorizer.policy
    status = PolicyStatus(policy.digest, policy.generation, len(policy.rules), "", harness.now_us)
    sources = Sources(
        ledger=harness.ledger,
        clock=GuardedClock(lambda: harness.now_us, lambda: harness.now_us),
        policies=lambda: status,
        loads={"loaded": 1},
        ready=lambda: True,
        alerts=AlertCounts(),
        log_dropped=lambda: 0,
    )
    return Metrics(sources, budgets)


def test_a_hundred_thousand_principals_are_as_many_series_as_were_allowed(
    open_harness: OpenHarness, tmp_path: Path
) -> None:
    """The budgets used last are shown; the rest are counted."""
    harness = open_harness(minimal(tmp_path / "p", each=limit("10", per="principal.id")))
    metrics = metrics_of(harness, 50)
    request = chat(tester(), model="small-1", dry_run=True)

    decision = harness.authorize(request)
    proposer = harness.authorizer._proposer  # noqa: SLF001 - one real proposal, for many principals
    reservation = proposer.propose(
        Call(harness.authorizer.policy, request), frozenset()
    ).reservation
    (line,) = reservation.lines
    for number in range(100_000):
        limit_of_one = line.limit._replace(scope=f"p{number}")
        one = replace(reservation, lines=(line._replace(limit=limit_of_one),))
        call = ObservedCall("Authorize", {}, metrics.on_call)
        call.decided(one, decision, {}, dry_run=False)
        call.end("OK")
    text = harness.run(metrics.page()).decode()
    scopes = {
        sample.labels["scope"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "sidecar_budget_remaining_requests"
    }
    assert scopes == {f"p{number}" for number in range(99_950, 100_000)}
    assert value(samples(text), "sidecar_budgets_dropped_total") == 99_950
    assert len(text) < 50_000


def test_policies_that_are_replaced_for_ever_do_not_add_series_for_ever(
    open_harness: OpenHarness,
) -> None:
    """Past a bound, reasons of rules that were never seen are counted together."""
    harness = open_harness()
    metrics = metrics_of(harness)
    for number in range(MAX_SERIES + 500):
        metrics._reasons.add("NO", f"rule-{number}", "enforce")  # noqa: SLF001
    found = samples(harness.run(metrics.page()).decode())
    counted = {labels: count for (name, labels), count in found.items() if "reasons" in name}
    assert len(counted) == MAX_SERIES + 1
    assert value(found, "sidecar_decision_reasons_total", code=OTHER, rule=OTHER, mode=OTHER) == 500


def test_metrics_show_a_principal_only_if_a_limit_counts_by_it(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Nor labels, request ids or key ids."""
    policies = minimal(tmp_path / "p", daily=limit("1000", meter="tokens"))
    running = start_sidecar(policies, *METRICS)
    who = principal(
        id="ada@example.com", role="tester", workspace="lab", key_id="key-17",
        labels={"token": "hunter2"},
    )  # fmt: skip
    running.stub.Authorize(chat(who, model="small-1", request_id="req-4711"))
    with pytest.raises(Exception, match="StatusCode"):
        running.stub.Authorize(chat(who, model="hunter2" * 100))
    running.stub.Authorize(chat(who, model="hunter2"))
    text = page(running)
    for private in ("ada@example", "key-17", "hunter2", "req-4711"):
        assert private not in text


def test_telemetry_that_is_off_is_not_loaded() -> None:
    """Prometheus' client and OpenTelemetry take time and memory."""
    program = (
        "import sys\nfrom sidecar.cli import serve\n"
        "print({'prometheus_client', 'opentelemetry', 'requests'} & set(sys.modules))"
    )
    assert command(program=program)[1] == "set()\n"


def test_metrics_show_reloaded_and_refused_policies(start_sidecar: Start, tmp_path: Path) -> None:
    """The generation and the digest of the served set, and since when the files are invalid."""
    directory = minimal(tmp_path / "p")
    running = start_sidecar(directory, "--reload-seconds", "0.1", *METRICS)

    def now(name: str, **labels: str) -> float | None:
        return value(samples(page(running)), f"sidecar_policy_{name}", **labels)

    first = running.stub.Authorize(chat(tester(), model="small-1")).policy_digest
    assert (now("generation"), now("info", digest=first)) == (1, 1)
    (directory / "large.cel").write_text(deny("request.tokens > 1000"))
    eventually(lambda: now("generation") == 2)
    second = running.stub.Authorize(chat(tester(), model="small-1")).policy_digest
    assert (now("info", digest=first), now("info", digest=second)) == (None, 1)
    assert now("stale_since_timestamp_seconds") == 0
    (directory / "large.cel").write_text("no rule")
    eventually(lambda: now("stale_since_timestamp_seconds"))
    assert (now("reloads_total", result="loaded"), now("generation")) == (2, 2)
    assert now("reloads_total", result="refused")
