"""The place of a sidecar in a fleet: its ledger, and the exchanges with the fleet's books."""

import asyncio
import functools
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from sidecar.domain.alerts import Origin
from sidecar.domain.clock import Clock
from sidecar.domain.sharing import FleetState
from sidecar.fleet.alerts import FleetClaims
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.exchanger import Exchanger
from sidecar.fleet.key_usage import KeyReporter
from sidecar.fleet.ledger import FleetLedger
from sidecar.fleet.postgres import PostgresBooks
from sidecar.fleet.protocol import FleetRefusedError, FleetUnreachableError
from sidecar.fleet.spend import SpendReporter
from sidecar.fleet.url import connection_settings, warn_of_readers
from sidecar.ledger.key_reports import read_keys, read_version_uses
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.runtime.alone import Alone, ledger_options
from sidecar.runtime.settings import Settings
from sidecar.runtime.spend_reports import SpendReports

log = logging.getLogger(__name__)


class FleetMember(Alone):
    """A sidecar whose budgets are the fleet's."""

    def __init__(self, url_file: Path, settings: Settings, steady_clock: Clock) -> None:
        """Check the settings. Raises LedgerRefusedError, or ValueError, which names the flag."""
        if not settings.share.is_whole:
            raise ValueError(
                "--share: in a fleet, all sidecars share each budget: leave out --share or"
                " --fleet-url-file"
            )
        try:
            connection_settings(url_file)
        except (FleetRefusedError, FleetUnreachableError) as error:
            raise LedgerRefusedError(f"--fleet-url-file {error}") from None
        warn_of_readers(url_file)
        self._steady = steady_clock
        self._connection = BooksConnection(url_file)
        self._books = PostgresBooks(self._connection)
        self._exchanger = Exchanger(
            self._books, steady_clock, settings.time_zone, socket.gethostname()
        )
        self._ledger_file, self._zone = settings.ledger, ZoneInfo(settings.time_zone)
        self._ledger: FleetLedger | None = None
        self._uid = ""
        self._keys: KeyReporter | None = None
        self._spend: SpendReports | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def open_ledger(
        self, settings: Settings, zone: ZoneInfo, channels: Sequence[str], origin: Origin
    ) -> FleetLedger:
        """See Alone.open_ledger."""
        options = ledger_options(settings, channels, origin)
        self._ledger = FleetLedger(settings.ledger, self._exchanger, zone, **options)
        return self._ledger

    async def start(self, clock: Clock) -> None:
        """Take the place of the ledger in the fleet, and exchange from now on."""
        assert self._ledger is not None, "the ledger is open"
        await self._exchanger.start(self._ledger, clock)
        holder = self._ledger.holder()
        assert holder is not None, "the start has written it"
        self._uid = holder.uid
        log.info("%s: is holder %s in the fleet", self._ledger_file, holder.uid)
        self._keys = KeyReporter(
            self._connection,
            holder.uid,
            lambda: read_keys(self._ledger_file, 0),
            functools.partial(read_version_uses, self._ledger_file),
        )
        reporter = SpendReporter(self._connection, self._ledger_file, holder, self._zone, clock)
        self._spend = SpendReports(reporter, self._is_holder)
        work = (self._exchanger.run(), self._keys.run(), self._spend.run())
        self._tasks = [asyncio.create_task(one) for one in work]
        await self._exchanger.has_tried.wait()  # so that it is ready when it serves

    def _is_holder(self) -> bool:
        """Whether the books have answered this process, and did not refuse it since."""
        return self._exchanger.state().answered > 0 and not self._exchanger.problem()

    def problem(self) -> str:
        """See Alone.problem."""
        if self._tasks and self._tasks[0].done():
            return "the exchanges with the fleet's books ended by an error: restart this sidecar"
        return self._exchanger.problem()

    def fleet(self) -> FleetState:
        """See Alone.fleet."""
        return self._exchanger.state()

    def claims(self) -> FleetClaims:
        """See Alone.claims; once it has started."""
        return FleetClaims(self._connection, self._uid, self._steady)

    async def leave(self) -> None:
        """Give back what is not used, and close the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._keys is not None and self._spend is not None:
            await self._exchanger.leave()
            await self._keys.report(leaving=True)
            await self._spend.leave()
        await self._books.close()
