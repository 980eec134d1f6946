"""The contact with the fleet's books: when they were heard, and so which shares may be used.

Shares of a window that ends stay, however long the books are silent. Timeless ones, of a sliding
minute and of concurrent calls, may go to others with the silence of their holder. So it stops using
them before: SILENT_US after its last exchange, by a clock without steps. For a concurrent limit the
books also have to know how long its open holds may last.
"""

import logging
import math
import re

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.errors import SidecarError
from sidecar.domain.sharing import SILENT_US, TIMELESS, FleetState
from sidecar.domain.windows import Window
from sidecar.fleet.protocol import Answer, FleetRefusedError

NUMBERS = re.compile(r"\d+")
"""A problem with other numbers is the same: of a ledger that is behind, they change each time."""

log = logging.getLogger(__name__)

MAX_CLOCK_US = 5 * SECOND_US
"""How far the clock may be from that of the books without a warning."""
DRIFT = 500
"""A hold lasts longer by this part at most, if its clock is slow and the books' clock is fast."""


class Contact:
    """What a holder knows of its books."""

    def __init__(self, steady_clock: Clock) -> None:
        """Begin before the first exchange; the steady clock has no steps."""
        self._steady = steady_clock
        self._heard_us: int | None = None
        """When the last exchange began that was answered."""
        self._busy_until_us = 0
        """Until when the books know that holds may be open here."""
        self._longest_ttl_us = self._ttl_before_us = 0
        """The longest holds of concurrent limits that calls asked for since the last exchange, and
        before it."""
        self._prepared_us = 0
        self._text = "the fleet's books have not answered yet"
        self._clock_ahead_us = self._answered = self._failed = 0
        self.refused: FleetRefusedError | None = None
        """Why the books refuse this holder."""
        self.busy_us = 0
        """How long holds may be open here, as the exchange says that was prepared last."""
        self.holders = 1
        self.is_learning = False
        """Whether the books gather what all holders have (G8)."""

    def is_trusted(self, window: Window, ttl_us: int) -> bool:
        """See Asker.is_trusted."""
        if self.refused is not None:
            return False
        if window not in TIMELESS:
            return True
        now_us, needs_until_us = self._steady(), 0
        if window is Window.CONCURRENT:
            self._longest_ttl_us = max(self._longest_ttl_us, ttl_us)
            needs_until_us = now_us + ttl_us
        is_heard = self._heard_us is not None and now_us - self._heard_us < SILENT_US
        return is_heard and needs_until_us <= self._busy_until_us

    def prepare(self, busy_us: int) -> None:
        """Begin an exchange, while open holds last so long: those to come may last longer."""
        ttl_us = max(self._longest_ttl_us, self._ttl_before_us)
        self._longest_ttl_us, self._ttl_before_us = 0, self._longest_ttl_us
        busy_us = max(busy_us, SILENT_US + ttl_us)
        self.busy_us = busy_us + busy_us // DRIFT
        self._prepared_us = self._steady()

    def heard(self, answer: Answer, began_us: int, clock_us: int) -> None:
        """Note an answer to the exchange that was prepared last, which was sent at `began_us`."""
        if self._text:
            log.info("the fleet's books answer: %d holders", answer.holders)
        self._busy_until_us = self._prepared_us + self.busy_us - self.busy_us // DRIFT
        self._heard_us, self._text, self.refused = began_us, "", None
        self.holders, self.is_learning = answer.holders, answer.is_learning
        self._answered += 1
        self._note_clock(clock_us - answer.now_us)

    def lost(self, error: SidecarError) -> None:
        """Note that an exchange failed, and log an error that is not the one before."""
        text = f"the fleet's books cannot be asked: {error}"
        if NUMBERS.sub("", text) != NUMBERS.sub("", self._text):
            log.warning("%s", text)
        self._text = text
        self._failed += 1

    def problem(self, *, has_shares: bool) -> str:
        """Return why no call is admitted by shares; empty where some are."""
        if self.refused is None and (self._heard_us is not None or has_shares):
            return ""
        return self._text

    def state(self) -> FleetState:
        """Return what is known of the fleet."""
        age_seconds = math.inf
        if self._heard_us is not None:
            age_seconds = (self._steady() - self._heard_us) / SECOND_US
        return FleetState(
            age_seconds, self.holders, self._clock_ahead_us, self._answered, self._failed
        )

    def _note_clock(self, ahead_us: int) -> None:
        """Keep how far the clock is ahead of the books', and warn if it begins to be another."""
        before, self._clock_ahead_us = self._clock_ahead_us, ahead_us
        if abs(ahead_us) > MAX_CLOCK_US >= abs(before):
            log.warning(
                "the clock is %+.0f s from that of the fleet's books: windows begin and end at"
                " other times than on other sidecars",
                ahead_us / SECOND_US,
            )
