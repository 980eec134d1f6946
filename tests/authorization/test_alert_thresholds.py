"""A1: what a rule's `alert_at` says reaches the ledger."""

from collections.abc import Callable
from pathlib import Path

from support.authorizer_harness import AuthorizerHarness
from support.policies import limit, minimal
from support.sidecar_process import chat, tester

from sidecar.domain.windows import Window

WINDOWS = [window.value for window in Window]


def alerts_of(harness: AuthorizerHarness) -> set[tuple[str, int]]:
    """Return rule and threshold of what the log is owed."""
    due = harness.ledger.due("log", harness.now_us, 100)
    return {(one.alert.rule, one.alert.percent) for one in due}


def test_without_alert_at_an_hour_and_longer_windows_have_three_thresholds(
    open_harness: Callable[..., AuthorizerHarness], tmp_path: Path
) -> None:
    """50, 80 and 100 %; a minute and a limit of concurrent calls have none."""
    harness = open_harness(minimal(tmp_path / "p", **{w: limit("1", window=w) for w in WINDOWS}))
    harness.authorize(chat(tester(), model="small-1"))
    long = [window for window in WINDOWS if window not in ("minute", "concurrent")]
    assert alerts_of(harness) == {(window, percent) for window in long for percent in (50, 80, 100)}


def test_alert_at_says_which_thresholds_a_limit_has(
    open_harness: Callable[..., AuthorizerHarness], tmp_path: Path
) -> None:
    """In any order, for every window, and beyond the ceiling as well."""
    extra = "// alert_at: 100%, 25%, 25%, 150%\n"
    files = {w: limit("1", window=w, extra=extra) for w in WINDOWS}
    harness = open_harness(minimal(tmp_path / "p", **files))
    harness.authorize(chat(tester(), model="small-1"))
    assert alerts_of(harness) == {(window, percent) for window in WINDOWS for percent in (25, 100)}


def test_a_scope_is_what_the_limit_counts_for(
    open_harness: Callable[..., AuthorizerHarness], tmp_path: Path
) -> None:
    """By the rule's `per`, each scope separately."""
    rule = limit("1", per="principal.id", extra="// alert_at: 100%\n")
    harness = open_harness(minimal(tmp_path / "p", each=rule))
    for who in ("ada", "bob", "ada"):
        harness.authorize(chat(tester(id=who), model="small-1"))
    assert [one.alert.scope for one in harness.ledger.due("log", harness.now_us, 9)] == [
        "ada",
        "bob",
    ]
