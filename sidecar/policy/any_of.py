"""Whether any of many conditions holds or fails, asked at once.

`a || b` of CEL is false only when both are false, and an error unless one is true. So
one expression of all the conditions of deny rules, when it is false, says that none
holds and none fails; only otherwise do the rules have to be asked one by one.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from sidecar.policy.cel.engine import CelError, Engine, EvaluationError, Program, ResultKind

MAX_CHARACTERS = 20_000
"""Of one expression; the evaluators take 100,000."""


class AnyOf:
    """Conditions of one engine, joined."""

    def __init__(self, engine: Engine, conditions: Sequence[str]) -> None:
        """Compile them. Each is known to compile by itself."""
        self._programs: list[Program] | None = None
        if engine.joins:
            # What does not compile when joined is too deep: then this has no answer.
            with contextlib.suppress(CelError):
                self._programs = [
                    engine.compile(_join(some), ResultKind.CONDITION)
                    for some in _batches(conditions)
                ]

    def none(self, binding: Any) -> bool:
        """Whether certainly none holds and none fails; False is no answer."""
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
    """Join in halves, so that the depth grows with the logarithm."""
    if len(conditions) == 1:
        return f"(\n{conditions[0]}\n)"  # a comment at its end ends with the line
    half = len(conditions) // 2
    return f"({_join(conditions[:half])} || {_join(conditions[half:])})"
