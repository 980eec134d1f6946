"""Telling the sidecar how calls ended, in the background, until it knows or time is up.

No answer of Mistral's waits for this. What is never told is no loss of safety: a hold that
nobody settles is charged at its worst case.
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
"""How long it is tried: as long as a hold lives by default."""

RELEASE_UNKNOWN_SECONDS = 10.0
"""The same for a hold of which it is not known whether there is one."""

GRACE_SECONDS = 5.0
"""How long an app that ends waits for what is still to be told."""

GRACE_OPEN_SECONDS = 1.0
"""The same while the sidecar does not answer."""

MAX_ENDINGS = 10_000
THREADS = 8
"""So that the ledger can write several with one flush of the disk."""


@dataclass(eq=False)
class PendingReport:
    """How one call ended. Without a hold_id, the repeated request tells it."""

    request: pb.AuthorizeRequest
    hold_id: str
    message: pb.SettleRequest | pb.ReleaseRequest
    seconds: float = SETTLE_SECONDS
    is_asked: bool = True
    """Whether the request may have been decided before."""
    since: float = field(default_factory=time.monotonic)
    told: Future[Answer] = field(default_factory=Future)

    @property
    def method(self) -> str:
        """The RPC that takes it."""
        return "Settle" if self.is_settlement else "Release"

    @property
    def is_settlement(self) -> bool:
        """Whether the call was sent; a release is of one that was not."""
        return isinstance(self.message, pb.SettleRequest)


class SettlementQueue:
    """A queue of endings, and a few threads that work on it."""

    def __init__(self, connection: SidecarConnection, circuit: Circuit) -> None:
        """Start no thread yet. What is told does not wait for the circuit of calls to close."""
        self._connection = connection
        self._circuit = circuit
        self._queue: queue.Queue[PendingReport] = queue.Queue(MAX_ENDINGS)
        self._open: set[PendingReport] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def add(self, ending: PendingReport) -> Future[Answer]:
        """Tell it soon. The future has the sidecar's answer, and nobody has to look at it."""
        self._open.add(ending)
        ending.told.add_done_callback(lambda _: self._open.discard(ending))
        try:
            self._queue.put_nowait(ending)
        except queue.Full:
            self._fail(ending, NoAnswer("QUEUE_FULL", f"{MAX_ENDINGS} others wait"))
        if len(self._threads) < THREADS:
            # A daemon does not keep the app from ending; close() waits for what it has to do.
            thread = threading.Thread(target=self._work, name="sidecar-endings", daemon=True)
            self._threads.append(thread)
            thread.start()
        return ending.told

    def close(self) -> None:
        """Wait for what is still to be told, for a few seconds at most, then end."""
        seconds = GRACE_OPEN_SECONDS if self._circuit.is_open else GRACE_SECONDS
        wait([ending.told for ending in self._worth_waiting()], seconds)
        self._closed = True
        self._connection.close()
        untold = tuple(self._open)
        settlements = sum(ending.is_settlement for ending in untold)
        if settlements:
            log.warning("calls not settled: %d; their holds expire", settlements)
        if held := sum(not it.is_settlement and bool(it.hold_id) for it in untold):
            log.warning("calls not sent, whose holds are not released: %d; these expire", held)
        if maybe := len(untold) - settlements - held:
            log.info("calls not sent: %d; if any of them has a hold, that expires", maybe)

    def _worth_waiting(self) -> list[PendingReport]:
        """Return what is to be told, but no release of an unknown hold while nobody can take it."""
        waiting = list(self._open)
        if any(not it.hold_id for it in waiting) and self._connection.is_down():
            return [it for it in waiting if it.hold_id or it.is_settlement]
        return waiting

    def _work(self) -> None:
        while not self._closed:
            ending = self._queue.get()
            try:
                ending.told.set_result(self._tell(ending))
            except Exception as error:  # of any kind: the thread has others to tell
                self._fail(ending, error)

    def _tell(self, ending: PendingReport) -> Answer:
        """Tell one. Raises Refused or NoAnswer."""
        retry = Retry(ending.since + ending.seconds - time.monotonic())
        while True:
            try:
                hold_id = ending.hold_id or self._look_up(ending, retry)
                ending.message.hold_id = hold_id
                return self._connection.call(ending.method, ending.message, retry.attempt_seconds)
            except grpc.RpcError as error:
                time.sleep(retry.pause_seconds(error))

    def _look_up(self, ending: PendingReport, retry: Retry) -> str:
        """Return the hold of a request that got no answer: the repeat has the same one."""
        is_first, ending.is_asked = not ending.is_asked, True
        decision = self._connection.call("Authorize", ending.request, retry.attempt_seconds)
        if is_first and decision.replayed:
            raise Replayed(f"{decision.request_id} was decided before this call asked")
        if not decision.hold_id:
            raise Refused("DENIED", "there is no hold for it")
        return str(decision.hold_id)

    def _fail(self, ending: PendingReport, error: Exception) -> None:
        if not self._closed:
            log.warning(
                "%s of %s failed (%s); a hold that there is expires, at its worst case",
                ending.method, ending.hold_id or ending.request.request_id, error,
            )  # fmt: skip
        ending.told.set_exception(error)
