"""The result of a case on each of two policy sets, as texts that show what differs."""

from dataclasses import dataclass

from sidecar.domain.amounts import format_amount
from sidecar.domain.windows import Window, windows_per_month
from sidecar.policy_tools.diff.fields import per
from sidecar.policy_tools.diff.outcomes import LimitOf, Total

UNLIMITED = "unlimited"
"""The ceiling of a limit that one of the sets does not have."""

Ceilings = tuple[tuple[str, str], ...]
"""Texts by the limit's rule."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case's result: the reasons to deny it, or the largest request that passes.

    `ceilings` are those of the limits that differ, if neither set denies it; `model` is the id of
    the model that the name stands for, if that changes.
    """

    denied: tuple[str, ...]
    most_tokens: int | None
    ceilings: Ceilings
    model: str = ""


def results(before: Total, after: Total) -> tuple[CaseResult, CaseResult] | None:
    """Return both results, None if they are the same."""
    ceilings = ((), ()) if before.denied or after.denied else _ceilings(before, after)
    shows_model = before.model != after.model and not (before.denied and after.denied)
    one, other = (
        CaseResult(each.denied, each.most_tokens, differing, each.model if shows_model else "")
        for each, differing in zip((before, after), ceilings, strict=True)
    )
    return None if one == other else (one, other)


def _ceilings(before: Total, after: Total) -> tuple[Ceilings, Ceilings]:
    """Return the ceilings that differ; a limit that only one set has is unlimited in the other."""
    old, new = ({each.limit.rule: each for each in total.limits} for total in (before, after))
    texts = [
        (rule, _ceiling(old.get(rule), new.get(rule)), _ceiling(new.get(rule), old.get(rule)))
        for rule in sorted(old.keys() | new.keys())
    ]
    differing = [(rule, one, other) for rule, one, other in texts if one != other]
    return (
        tuple((rule, one) for rule, one, _ in differing),
        tuple((rule, other) for rule, _, other in differing),
    )


def _ceiling(this: LimitOf | None, other: LimitOf | None) -> str:
    """Write a ceiling, with its window and scope where the other set's are not the same."""
    ceiling = None if this is None else this.limit.ceiling
    if this is None or ceiling is None:
        return UNLIMITED
    limit = this.limit
    text = format_amount(limit.meter, ceiling)
    if other is None or other.limit.window is not limit.window:
        text = f"{text} {per(limit.window)}"
        count = windows_per_month(limit.window)
        if other is not None and count is not None and limit.window is not Window.MONTH:
            most = format_amount(limit.meter, count * ceiling)
            text = f"{text}, up to {most} {per(Window.MONTH)}"
    if other is not None and other.per != this.per:
        return f"{text} for each {this.per}"
    if other is not None and other.limit.scope != limit.scope:
        return f"{text} for {limit.scope}"
    return text
