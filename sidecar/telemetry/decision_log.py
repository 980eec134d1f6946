"""The decision log: a file with a line of JSON per decision, Settle and Release."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sidecar.domain.clock import to_datetime
from sidecar.domain.decisions import Budget, Reason
from sidecar.domain.flags import setting
from sidecar.telemetry import line_file
from sidecar.telemetry.calls import Closed, Decided, ObservedCall
from sidecar.telemetry.line_queue import LineQueue, WhenFull

MASK = "***"

_REASONS = ("code", "rule", "message", "http_status")
_BUDGETS = ("rule", "scope", "meter", "window_end", "ceiling", "spent", "held", "remaining")
FIELDS = frozenset(
    (
        "kind", "at", "decision_id", "request_id", "hold_id", "effect", "mode", "principal.id",
        "principal.role", "principal.workspace", "principal.key_id", "model", "model_requested",
        "endpoint", "max_output_tokens", "held_cost_nano_usd", "policy.digest",
        "policy.generation", "charged_cost_nano_usd", "charged_tokens", "overrun", "asserted",
        *(f"reasons.{name}" for name in _REASONS),
        *(f"shadow_reasons.{name}" for name in _REASONS),
        *(f"budgets.{name}" for name in _BUDGETS),
    )
)  # fmt: skip
"""The paths of a line's fields, except labels, which are `principal.labels.NAME`."""


@dataclass(frozen=True, slots=True)
class DecisionLogSettings:
    """The decision log's file, and the fields in it."""

    PANEL: ClassVar = "Decision log"
    file: str = setting(
        "--decision-log",
        "Write each decision, Settle and Release as a line of JSON; - is standard output.",
        "FILE",
        default="",
    )
    when_full: WhenFull = setting(
        "--decision-log-full",
        "If lines cannot be written: block calls until they can, or drop and count lines.",
        default=WhenFull.DROP,
    )
    masks: Sequence[str] = setting(
        "--decision-log-mask",
        "A field whose value is left out, as in principal.id. Repeatable; separated by spaces in"
        " the variable.",
        "FIELD",
        default=(),
    )
    labels: Sequence[str] = setting(
        "--decision-log-label",
        "A label of principals to log; others are not. Repeatable; separated by spaces in the"
        " variable.",
        "NAME",
        default=(),
    )


class DecisionLog:
    """Writes decisions and final charges."""

    def __init__(self, settings: DecisionLogSettings) -> None:
        """Open the log. Raises ValueError, which names the flag."""
        self._labels = tuple(settings.labels)
        known = FIELDS | {f"principal.labels.{name}" for name in self._labels}
        for path in settings.masks:
            if path not in known:  # a typo must not reveal what should be masked
                raise ValueError(f"--decision-log-mask: {path}: no such field in the decision log")
        self._masks = [_split(path) for path in settings.masks]
        try:
            line_file.check(settings.file)
        except ValueError as error:
            raise ValueError(f"--decision-log: {error}") from None
        self.queue = LineQueue(settings.file, settings.when_full)
        self._reported_dropped = 0

    def on_call(self, call: ObservedCall) -> None:
        """Write the line of a call that decided or closed something."""
        if call.deciding is None and call.closing is None:
            self.queue.give_room_back()
        elif self.queue.admit():
            self._write(call)

    async def close(self) -> None:
        """Wait briefly for the last lines."""
        await self.queue.close()

    def _write(self, call: ObservedCall) -> None:
        line = {}
        if call.deciding is not None:
            line = self._decision(call.deciding) | {"asserted": list(call.asserted)}
        elif call.closing is not None:
            line = _closing(call.closing)
        for path in self._masks:
            _mask(line, path)
        if self.queue.dropped != self._reported_dropped:
            line["lines_dropped_before"] = self.queue.dropped - self._reported_dropped
            self._reported_dropped = self.queue.dropped
        self.queue.put(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def _decision(self, decided: Decided) -> dict[str, Any]:
        reservation, decision = decided.reservation, decided.decision
        call = reservation.call
        labels = {name: decided.labels[name] for name in self._labels if name in decided.labels}
        return {
            "kind": "decision",
            "at": _time(reservation.at_us),
            "decision_id": decision.decision_id,
            "request_id": decision.request_id,
            "hold_id": decision.hold_id,
            "mode": decided.mode,
            "effect": decision.effect.value,
            "principal": {
                "id": call.principal_id,
                "role": call.role,
                "workspace": call.workspace,
                "key_id": call.key_id,
                **({"labels": labels} if labels else {}),
            },
            "model": decision.model_id,
            "model_requested": call.model_requested,
            "endpoint": call.endpoint.value,
            "max_output_tokens": decision.max_output_tokens,
            "held_cost_nano_usd": decision.held_cost_nano_usd,
            "reasons": [_reason(reason) for reason in decision.reasons],
            "shadow_reasons": [_reason(reason) for reason in decision.shadow_reasons],
            "budgets": _budgets(decision.budgets),
            "policy": {
                "digest": decision.policy_digest,
                "generation": decision.policy_generation,
            },
        }


def _closing(closed: Closed) -> dict[str, Any]:
    return {
        "kind": closed.how,
        "at": _time(time.time_ns() // 1000),
        "hold_id": closed.hold_id,
        "charged_cost_nano_usd": closed.charge.cost_nano_usd,
        "charged_tokens": closed.charge.tokens,
        "overrun": closed.charge.overrun,
        "budgets": _budgets(closed.charge.budgets),
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {name: getattr(reason, name) for name in _REASONS}


def _budgets(budgets: Iterable[Budget]) -> list[dict[str, Any]]:
    return [
        {
            "rule": budget.rule,
            "scope": budget.scope,
            "meter": budget.meter.value,
            "window_end": None if budget.window_end_us is None else _time(budget.window_end_us),
            "ceiling": budget.ceiling,
            "spent": budget.spent,
            "held": budget.held,
            "remaining": budget.remaining,
        }
        for budget in budgets
    ]


def _time(at_us: int) -> str:
    return to_datetime(at_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _split(path: str) -> list[str]:
    """Split a path; a label's name may contain dots."""
    return path.split(".", 2) if path.startswith("principal.labels.") else path.split(".")


def _mask(value: Any, path: Sequence[str]) -> None:
    if isinstance(value, list):
        for one in value:
            _mask(one, path)
    elif path[0] in value:
        if len(path) == 1:
            value[path[0]] = MASK
        else:
            _mask(value[path[0]], path[1:])
