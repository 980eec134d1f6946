"""The retirement of a model: its day, its replacement, and when to alert of it."""

from typing import NamedTuple

from sidecar.domain.clock import to_datetime
from sidecar.domain.windows import DAY_US, FOREVER_US, Span

MODEL_RETIRED = "MODEL_RETIRED"
"""The code of the reason for a call of a model that is retired."""

NOTICE_DAYS = (30, 7, 1)
"""So many days before its retirement, a model that is still called raises an alert."""


class Retirement(NamedTuple):
    """From when on a model is denied, and the model to use instead."""

    model_id: str
    retires_us: int
    """The first moment at which it is denied, in microseconds."""
    replaced_by: str = ""
    """A model or an alias; "" if the data files name none."""

    def text(self, at_us: int) -> str:
        """Return a sentence for people, as of a time: that it retires, or was retired."""
        verb = "retires" if at_us < self.retires_us else "was retired"
        use = f": use {self.replaced_by}" if self.replaced_by else ""
        return f"model {self.model_id} {verb} on {to_datetime(self.retires_us):%Y-%m-%d}{use}"

    def notice(self, at_us: int) -> Span | None:
        """Return the time that an alert of a call now is about; None if it is too early for one.

        It is the last 30 days, 7 days or day before the retirement, the shortest that has begun.
        From the retirement on it is all the time after it.
        """
        if at_us >= self.retires_us:
            return Span(self.retires_us, FOREVER_US)
        begun = [days for days in NOTICE_DAYS if at_us >= self.retires_us - days * DAY_US]
        return Span(self.retires_us - min(begun) * DAY_US, self.retires_us) if begun else None
