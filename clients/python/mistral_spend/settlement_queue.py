"""A queue of settlements and releases, sent to the sidecar in the background.

Mistral's response does not wait for it. A lost settlement is safe: a hold that is not settled
expires, and is charged at its worst case.
"""

import logging
import queue
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

import grpc

from mistral_spend.circuit import Circuit
from mistral_spend.connection import Answer, SidecarConnection
from mistral_spend.errors import NoAnswer, Refused, Replayed
from mistral_spend.retry import Retry
from mistral_spend.v1 import authorization_pb2 as pb

log = logging.getLogger("mistral_spend")

SETTLE_SECONDS = 600.0
"""How long a report is retried: a hold's default lifetime."""

RELEASE_UNKNOWN_SECONDS = 10.0
"""The same if it is unknown whether there is a hold."""

GRACE_SECONDS = 5.0
"""How long `close` waits for reports that are not sent yet."""

GRACE_OPEN_SECONDS = 1.0
"""The same while the circuit is open."""

MAX_PENDING = 10_000
THREADS = 8
"""Several, so that the ledger can commit several reports together."""


@dataclass(eq=False)
class PendingReport:
    """The end of one call, to be reported. Without a hold_id, the request is repeated to get it."""

    request: pb.AuthorizeRequest
    hold_id: str
    message: pb.SettleRequest | pb.ReleaseRequest
    seconds: float = SETTLE_SECONDS
    is_sent: bool = True
    """Whether the request was sent, and so may have been decided."""
    since: float = field(default_factory=time.monotonic)
    response: Future[Answer] = field(default_factory=Future)

    @property
    def method(self) -> str:
        """The RPC of the report."""
        return "Settle" if self.is_settlement else "Release"

    @property
    def is_settlement(self) -> bool:
        """Whether the call was sent to Mistral; a release is for a call that was not."""
        return isinstance(self.message, pb.SettleRequest)


class SettlementQueue:
    """A queue of reports, and a few threads that send them."""

    def __init__(self, connection: SidecarConnection, circuit: Circuit) -> None:
        """Start no thread yet. Reports are sent while the circuit of calls is open, too."""
        self._connection = connection
        self._circuit = circuit
        self._queue: queue.Queue[PendingReport] = queue.Queue(MAX_PENDING)
        self._open: set[PendingReport] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def add(self, report: PendingReport) -> Future[Answer]:
        """Queue a report. The future has the sidecar's response, and may be ignored."""
        self._open.add(report)
        report.response.add_done_callback(lambda _: self._open.discard(report))
        try:
            self._queue.put_nowait(report)
        except queue.Full:
            self._fail(report, NoAnswer("QUEUE_FULL", f"{MAX_PENDING} others wait"))
        if len(self._threads) < THREADS:
            # A daemon thread does not keep the app from ending; close() waits for its work.
            thread = threading.Thread(target=self._work, name="sidecar-settlements", daemon=True)
            self._threads.append(thread)
            thread.start()
        return report.response

    def close(self) -> None:
        """Wait a few seconds at most for the open reports, then close the connection."""
        seconds = GRACE_OPEN_SECONDS if self._circuit.is_open else GRACE_SECONDS
        wait([report.response for report in self._worth_waiting()], seconds)
        self._closed = True
        self._connection.close()
        unsent = tuple(self._open)
        settlements = sum(report.is_settlement for report in unsent)
        if settlements:
            log.warning("calls not settled: %d; their holds expire", settlements)
        if held := sum(not it.is_settlement and bool(it.hold_id) for it in unsent):
            log.warning("calls not sent, whose holds are not released: %d; these expire", held)
        if maybe := len(unsent) - settlements - held:
            log.info("calls not sent: %d; if any of them has a hold, that expires", maybe)

    def _worth_waiting(self) -> list[PendingReport]:
        """Return the open reports, without releases of unknown holds while the sidecar is down."""
        waiting = list(self._open)
        if any(not it.hold_id for it in waiting) and self._connection.is_down:
            return [it for it in waiting if it.hold_id or it.is_settlement]
        return waiting

    def _work(self) -> None:
        while not self._closed:
            report = self._queue.get()
            try:
                report.response.set_result(self._send(report))
            except Exception as error:  # after any error the thread continues with other reports
                self._fail(report, error)

    def _send(self, report: PendingReport) -> Answer:
        """Send a report, with retries. Raises Refused or NoAnswer."""
        retry = Retry(report.since + report.seconds - time.monotonic())
        while True:
            try:
                hold_id = report.hold_id or self._look_up(report, retry)
                report.message.hold_id = hold_id
                return self._connection.call(report.method, report.message, retry.attempt_seconds)
            except grpc.RpcError as error:
                time.sleep(retry.pause_seconds(error))

    def _look_up(self, report: PendingReport, retry: Retry) -> str:
        """Return the hold of a request without a response: a repeat returns the same hold."""
        is_first, report.is_sent = not report.is_sent, True
        decision = self._connection.call("Authorize", report.request, retry.attempt_seconds)
        if is_first and decision.replayed:
            raise Replayed(f"{decision.request_id} was decided before this call was sent")
        if not decision.hold_id:
            raise Refused("DENIED", "there is no hold for it")
        return str(decision.hold_id)

    def _fail(self, report: PendingReport, error: Exception) -> None:
        if not self._closed:
            log.warning(
                "%s of %s failed (%s); a hold that there is expires, at its worst case",
                report.method, report.hold_id or report.request.request_id, error,
            )  # fmt: skip
        report.response.set_exception(error)
