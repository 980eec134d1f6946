"""Conditions joined by `||`: one evaluation shows that none of them is true.

CEL's `a || b` is false only if both are false; if neither is true and one fails, it is an
error. If the disjunction of all deny rules is false, none is true and none fails; otherwise
the rules have to be evaluated one by one.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from sidecar.policy.cel.engine import CelError, Engine, EvaluationError, Program, ResultKind

MAX_CHARACTERS = 20_000
"""The most characters of one expression; the engines accept 100,000."""


class AnyOf:
    """The disjunction of conditions, for one engine."""

    def __init__(self, engine: Engine, conditions: Sequence[str]) -> None:
        """Join and compile the conditions, each of which compiles by itself."""
        self._programs: list[Program] | None = None
        if engine.joins:
            # A joined expression may nest too deep to compile; then `none` is always False.
            with contextlib.suppress(CelError):
                self._programs = [
                    engine.compile(_join(some), ResultKind.CONDITION)
                    for some in _batches(conditions)
                ]

    def none(self, binding: Any) -> bool:
        """Whether certainly no condition is true and none fails; False means unknown."""
        if self._programs is None:
            return False
        try:
            return not any(program.evaluate(binding) for program in self._programs)
        except EvaluationError:
            return False


def _batches(conditions: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for condition in conditions:
        if batch and sum(map(len, batch)) + len(condition) > MAX_CHARACTERS:
            yield batch
            batch = []
        batch.append(condition)
    if batch:
        yield batch


def _join(conditions: Sequence[str]) -> str:
    """Join the conditions as a balanced tree, whose depth grows only logarithmically."""
    if len(conditions) == 1:
        return f"(\n{conditions[0]}\n)"  # a comment at its end ends with the line
    half = len(conditions) // 2
    return f"({_join(conditions[:half])} || {_join(conditions[half:])})"
