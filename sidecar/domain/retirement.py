"""The retirement of a model: its day, its replacement, and when to alert of it.

R1 retired is denied: from its first moment of retirement on. Before it, answers warn, and reports
name the model where it was spent on.
"""

from typing import NamedTuple

from sidecar.domain.clock import to_datetime
from sidecar.domain.windows import DAY_US, FOREVER_US, Span, Window

MODEL_RETIRED = "MODEL_RETIRED"
"""The code of the reason for a call of a model that is retired."""

NOTICE_DAYS = {Window.DAY: 1, Window.WEEK: 7, Window.MONTH: 30}
"""So many days before its retirement, a model that is still called raises an alert; the shortest
period first, by the name that its alert has as the window."""


class Notice(NamedTuple):
    """What an alert of a retirement is about: one of the periods before it, or all since."""

    window: Window
    span: Span


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

    def notice(self, at_us: int) -> Notice | None:
        """Return what an alert of a call at this time is about; None if it is too early for one.

        That is the shortest period before the retirement that has begun.
        """
        if at_us >= self.retires_us:
            return Notice(Window.TOTAL, Span(self.retires_us, FOREVER_US))
        for window, days in NOTICE_DAYS.items():
            start_us = self.retires_us - days * DAY_US
            if at_us >= start_us:
                return Notice(window, Span(start_us, self.retires_us))
        return None
