"""Log lines about decisions: every denial, and a sample of the allows."""

import logging
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from sidecar.domain.decisions import Effect
from sidecar.domain.flags import setting
from sidecar.telemetry.calls import ObservedCall

log = logging.getLogger(__name__)

_WHOLE = 2**32


class Which(StrEnum):
    """Which decisions are logged."""

    NONE = "none"
    DENY = "deny"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class DecisionLineSettings:
    """Which decisions are logged; `allow_sample` is the share of allows, from 0 to 1."""

    PANEL: ClassVar = "Logs, metrics and probes"
    which: Which = setting("--log-decisions", "Which decisions are logged.", default=Which.NONE)
    allow_sample: float = setting(
        "--log-allow-sample",
        "The part of the allows that is logged, chosen by their ids.",
        default=1.0,
        min=0,
        max=1,
    )


class DecisionLines:
    """Logs decisions, without principals and labels."""

    def __init__(self, settings: DecisionLineSettings) -> None:
        """Log the decisions that the settings ask for."""
        self._denials_only = settings.which is Which.DENY
        self._allows_below = int(settings.allow_sample * _WHOLE)

    def on_call(self, call: ObservedCall) -> None:
        """Log a decision, if it is selected."""
        if call.deciding is None:
            return
        decision, mode = call.deciding.decision, call.deciding.mode
        if decision.effect is Effect.ALLOW and (
            self._denials_only or not self._is_sampled(decision.decision_id)
        ):
            return
        reasons = [reason.code for reason in decision.reasons]
        fields = {
            "decision_id": decision.decision_id,
            "effect": decision.effect.value,
            "mode": mode,
            "model": decision.model_id,
            "reasons": reasons,
            "rules": [reason.rule for reason in decision.reasons if reason.rule],
        }
        summary = " ".join((decision.effect.value, *reasons))
        log.info(
            "decision %s (%s): %s", decision.decision_id, mode, summary, extra={"fields": fields}
        )

    def _is_sampled(self, decision_id: str) -> bool:
        """Sample by the id, so that it is reproducible which decisions have a line."""
        return zlib.crc32(decision_id.encode()) < self._allows_below
