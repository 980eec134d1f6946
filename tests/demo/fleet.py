"""The fleet in a minute: five sidecars, one budget on PostgreSQL, kills and an outage."""

import asyncio
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from fleet.postgres_server import POD, PostgresServer
from mistral_spend.v1 import authorization_pb2 as pb
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, stub, tester
from support.tools import MissingError

from sidecar.cli.tables import Table, cell, print_table
from sidecar.cli.terminal import say
from sidecar.domain.money import format_usd
from sidecar.fleet import schema

CEILING_USD = 8
CALLS_PER_SECOND = (4, 8, 12, 20, 30)
HELD = {"input_tokens": 4000, "max_output_tokens": 6000}
"""The worst case of each call: $0.01 with the model's price."""
PATIENCE_SECONDS = 60


@dataclass
class Pod:
    """A sidecar with its sample app, which settles what each call has really used."""

    name: str
    sidecar: RunningSidecar
    calls_per_second: int
    fate: str = "kept running"
    allowed: int = 0
    denied: int = 0
    unavailable: int = 0
    charged_nano_usd: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Call until the end; a call that the sidecar does not answer is not made."""
        used = random.Random(self.name)  # noqa: S311 - a sample app
        client = stub(self.sidecar.addresses[0])
        while not self.ended.wait(1 / self.calls_per_second):
            try:
                answer = client.Authorize(
                    chat(tester(id=self.name), model="small-1", estimate=HELD), timeout=5
                )
            except grpc.RpcError:
                self.unavailable += 1
                client = stub(self.sidecar.addresses[0])
                continue
            if answer.effect == pb.EFFECT_DENY:
                self.denied += 1
                continue
            self.allowed += 1
            usage = pb.Usage(input_tokens=4000, output_tokens=used.randrange(1000, 6000))
            # What was held is charged if the sidecar ends before it hears of the real usage.
            charged = answer.held_cost_nano_usd
            try:
                settled = client.Settle(pb.SettleRequest(hold_id=answer.hold_id, usage=usage))
                charged = settled.charged_cost_nano_usd
            except grpc.RpcError:
                pass
            self.charged_nano_usd += charged


class Story:
    """What happens, with its time."""

    def __init__(self) -> None:
        """Begin now."""
        self._began = time.monotonic()

    def tell(self, text: str) -> None:
        """Write a line."""
        say(f"{time.monotonic() - self._began:5.1f} s  {text}")


def main() -> int:
    """Run the demo; return 1 if more than the ceiling was charged."""
    try:
        server = PostgresServer()
    except MissingError as error:
        say(f"missing: {error}. On Debian: apt-get install postgresql")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        try:
            return run(server, Path(folder))
        finally:
            server.remove()


def run(server: PostgresServer, folder: Path) -> int:
    """Start everything, let it happen, and show what came of it."""
    story = Story()
    server.execute("CREATE DATABASE books")
    asyncio.run(make_books(server))
    url_file = folder / "books.url"
    url_file.write_text(server.url("books"))
    budget = limit(str(float(CEILING_USD)), meter="cost", window="month")
    policies = minimal(folder / "policies", monthly_budget=budget)
    pods = []
    for number, calls in enumerate(CALLS_PER_SECOND, 1):
        ledger = folder / f"app-{number}.sqlite"
        arguments = ("--fleet-url-file", str(url_file))
        pods.append(
            Pod(f"app-{number}", RunningSidecar(policies, ledger, arguments).start(), calls)
        )
    story.tell(f"PostgreSQL, and {len(pods)} sidecars with one budget of ${CEILING_USD} a month")
    threads = [threading.Thread(target=pod.run) for pod in pods]
    for thread in threads:
        thread.start()
    try:
        happen(story, server, pods)
    finally:
        for pod in pods:
            pod.ended.set()
        for thread in threads:
            thread.join()
    for pod in pods:
        if pod.sidecar.process is not None and pod.sidecar.process.poll() is None:
            pod.sidecar.stop()
    return show(pods, granted_nano_usd(server))


async def make_books(server: PostgresServer) -> None:
    """Do what `sidecar fleet init` does."""
    connection = await server.connect("books")
    await schema.init(connection, "UTC")
    for right in schema.grants(POD):
        await connection.execute(right)
    await connection.close()


def happen(story: Story, server: PostgresServer, pods: list[Pod]) -> None:
    """Kill two sidecars, stop PostgreSQL for a while, and wait until the budget is used up."""
    kept, lost = pods[1], pods[2]
    time.sleep(4)
    kept.sidecar.stop(signal.SIGKILL)
    kept.fate = "killed, and started again"
    story.tell(f"kill -9 {kept.name}; its ledger is on a disk that stays")
    lost.sidecar.stop(signal.SIGKILL)
    lost.fate = "killed, its ledger lost"
    lost.ended.set()
    story.tell(f"kill -9 {lost.name}; its ledger is lost, and what was left of its share with it")
    time.sleep(2)
    kept.sidecar.restart()
    story.tell(f"{kept.name} is back, and goes on with its share")
    time.sleep(1)
    before = sum(pod.allowed for pod in pods)
    server.stop()
    story.tell("PostgreSQL stops; sidecars decide by their shares")
    time.sleep(5)
    meanwhile = sum(pod.allowed for pod in pods) - before
    server.start()
    story.tell(f"PostgreSQL is back; {meanwhile} calls were allowed meanwhile")
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and not all(pod.denied for pod in pods if pod is not lost):
        time.sleep(0.2)
    story.tell("the budget is used up: every sidecar denies")


def granted_nano_usd(server: PostgresServer) -> int:
    """Return what is in shares, once all sidecars that run have given back what they do not use."""
    [row] = server.execute(
        "SELECT sum(granted)::bigint AS granted FROM fleet_share", database="books"
    )
    return int(row["granted"])


def show(pods: list[Pod], granted: int) -> int:
    """Print the table; return 1 if the ceiling does not hold."""
    table = Table(
        "sidecar", "calls/s", "what happened", "allowed", "denied", "unavailable", "charged",
        title="What each sidecar had",
    )  # fmt: skip
    for pod in pods:
        table.add_row(
            pod.name,
            str(pod.calls_per_second),
            pod.fate,
            str(pod.allowed),
            str(pod.denied),
            str(pod.unavailable),
            f"${format_usd(pod.charged_nano_usd)}",
        )
    charged = sum(pod.charged_nano_usd for pod in pods)
    ceiling = CEILING_USD * 10**9
    say("")
    print_table(table)
    say(f"ceiling   ${format_usd(ceiling)}")
    say(f"charged   ${format_usd(charged)} in all")
    say(
        f"stranded  ${format_usd(granted - charged)}: in the share of the lost ledger, and not used"
    )
    if charged > ceiling:
        say(cell("more than the ceiling was charged", style="red").plain)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
