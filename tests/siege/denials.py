"""Calls of one caller that are all denied, as fast as they are answered."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

from mistral_spend.v1 import authorization_pb2 as pb
from support.sidecar_process import RunningSidecar, chat, stub, tester

from sidecar.domain.bounds import MAX_ID_BYTES
from siege.attack import Fuzzer
from siege.messages import EVE

MAX_DENIALS = 500
IN_FLIGHT = 50
TIMEOUT_SECONDS = 30.0


class Denials(Fuzzer):
    """Denials without end: the ledger keeps the latest, and honest calls are all there."""

    name = "denials"
    parameters = f"{IN_FLIGHT} calls at once, with names of up to {MAX_ID_BYTES} bytes; --max-denials {MAX_DENIALS}"

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Keep few denials."""
        super().__init__(folder, policies, random)
        self.arguments = ("--max-denials", str(MAX_DENIALS))
        self._number = 0

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Send a stream of requests, each of which is denied; some are repeated."""
        calls = stub(sidecar.addresses[0])
        while True:
            requests = [self._denied() for _ in range(IN_FLIGHT)]
            requests += self.random.sample(requests, self.random.randint(0, 5))
            for answer in calls.AuthorizeStream(iter(requests), timeout=TIMEOUT_SECONDS):
                assert answer.effect == pb.EFFECT_DENY, answer
            assert _kept(sidecar.ledger) <= MAX_DENIALS
            yield

    def _denied(self) -> pb.AuthorizeRequest:
        """Return a request with a name that the policies do not have."""
        self._number += 1
        unknown = f"{self._number}".ljust(self.random.choice((1, 20, MAX_ID_BYTES)), "x")
        request = chat(tester(id=EVE), model="small-1", request_id=f"denied-{self._number}")
        match self.random.choice(("role", "workspace", "model")):
            case "role":
                request.principal.role = unknown
            case "workspace":
                request.principal.workspace = unknown
            case _:
                request.model = unknown
        return request


def _kept(ledger: Path) -> int:
    """Return how many denials a ledger has."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as reader:
        (count,) = reader.execute("SELECT count(*) FROM denials").fetchone()
    return int(count)
