"""Bounds on the usage that a Settle may report: above them it is a mistake or an attack."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.domain.flags import setting
from sidecar.domain.usage import MAX_COUNT, UsageReport


class UsageTooLargeError(SidecarError):
    """A reported count is above its bound. Nothing is charged, and the hold stays open."""

    code, reason = ErrorCode.INVALID, "USAGE_TOO_LARGE"

    def __init__(self, name: str, flag: str, most: int) -> None:
        """Keep the name of the count; the text has the bound and the flag that sets it."""
        super().__init__(f"usage.{name} is above {most}, the most that {flag} lets one call use")
        self.field = f"usage.{name}"


def _bound(flag: str, what: str, default: int) -> Any:
    text = f"The most {what} that a Settle may report of one call; more is refused."
    return setting(flag, text, "COUNT", default=default, min=1, max=MAX_COUNT)


@dataclass(frozen=True, slots=True)
class UsageBounds:
    """The largest counts of one call, far above any real one by default."""

    PANEL: ClassVar = "Reported usage"
    max_settled_tokens: int = _bound("--max-settled-tokens", "tokens", 100_000_000)
    max_settled_pages: int = _bound("--max-settled-pages", "pages", 100_000)
    max_settled_audio_seconds: int = _bound(
        "--max-settled-audio-seconds", "seconds of audio", 1_000_000
    )
    max_settled_characters: int = _bound("--max-settled-characters", "characters", 100_000_000)
    max_settled_tool_calls: int = _bound("--max-settled-tool-calls", "calls of one tool", 100_000)
    overrun_alert_factor: int = setting(
        "--overrun-alert-factor",
        "A Settle of this many times what was held raises an alert of its own, and so does each"
        " ten times more.",
        "FACTOR",
        default=10,
        min=2,
        max=MAX_COUNT,
    )

    def check(self, report: UsageReport) -> None:
        """Raise UsageTooLargeError for the first count that is above its bound."""
        for name, count, bound in self._counts(report):
            most = getattr(self, bound)
            if count is not None and count > most:
                raise UsageTooLargeError(name, f"--{bound.replace('_', '-')}", most)

    @staticmethod
    def _counts(report: UsageReport) -> Iterator[tuple[str, int | None, str]]:
        """Yield the name of each count, its value, and the name of its bound."""
        for name in ("input_tokens", "output_tokens", "cached_input_tokens", "total_tokens"):
            yield name, getattr(report, name), "max_settled_tokens"
        for name in ("pages", "annotated_pages"):
            yield name, getattr(report, name), "max_settled_pages"
        yield "audio_seconds", report.audio_seconds, "max_settled_audio_seconds"
        yield "characters", report.characters, "max_settled_characters"
        for _, count in report.tool_calls or ():
            yield "tool_calls", count, "max_settled_tool_calls"
