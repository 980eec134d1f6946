"""Claims of alerts in the books: of several sidecars one delivers, and none is lost."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path

import pytest
from fleet.places import PostgresPlace
from fleet.postgres_server import PostgresServer
from support.alerts import alert
from support.operator_ledger import NOON
from support.reservations import limit, reservation

from sidecar.alerts import dispatcher, summaries
from sidecar.alerts.channel import NotDeliveredError
from sidecar.alerts.counts import AlertCounts
from sidecar.alerts.dispatcher import Dispatcher
from sidecar.domain.alerts import Alert, AlertKind, Claim
from sidecar.domain.clock import SECOND_US
from sidecar.fleet.alerts import CLAIM_US, OF_FLEET, PATIENCE_US, FleetClaims
from sidecar.fleet.connection import BooksConnection
from sidecar.ledger.outbox import ELSEWHERE
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.runtime.serve import wall_clock_us

OWN, TAKEN, DELIVERED = Claim.OWN, Claim.TAKEN, Claim.DELIVERED
FLOOD = 150
HOSTILE = "[b]x[/]\0\x1b[2J'; DROP TABLE fleet_alert; --\nFORGED\ud800"


class Clock:
    """A clock that a test moves."""

    now_us = 0

    def __call__(self) -> int:
        """Return its time."""
        return self.now_us


class Pods:
    """Holders that claim alerts in one place."""

    def __init__(self, place: PostgresPlace) -> None:
        """Begin without any."""
        self.place = place
        self.clock = Clock()
        self._connections: list[BooksConnection] = []

    def claims(self, uid: str) -> FleetClaims:
        """Return the claims of one more sidecar."""
        connection = BooksConnection(self.place.url_file)
        self._connections.append(connection)
        return FleetClaims(connection, uid, self.clock)

    def claim(self, claims: FleetClaims, *alerts: Alert, channel: str = "webhook") -> list[Claim]:
        """Claim alerts."""
        return list(self.place.run(claims.claim(channel, alerts)))

    def settle(
        self, claims: FleetClaims, delivered: Sequence[Alert] = (), others: Sequence[Alert] = ()
    ) -> None:
        """Settle claims."""
        self.place.run(claims.settle("webhook", delivered, others))

    def close(self) -> None:
        """Close the connections."""

        async def close() -> None:
            for connection in self._connections:
                connection.close()

        self.place.run(close())


@pytest.fixture
def pods(postgres: PostgresPlace) -> Iterator[Pods]:
    """See Pods."""
    made = Pods(postgres)
    yield made
    made.close()


def test_one_sidecar_has_the_claim_until_it_has_delivered(pods: Pods) -> None:
    """Another asks again; in the end it hears that the alert was delivered."""
    first, second = pods.claims("first"), pods.claims("second")
    assert pods.claim(first, alert()) == pods.claim(first, alert()) == [OWN]
    assert pods.claim(second, alert()) == [TAKEN]
    pods.settle(first, [alert()])
    assert pods.claim(second, alert()) == pods.claim(first, alert()) == [DELIVERED]
    assert pods.claim(second, alert(percent=100), alert()) == [OWN, DELIVERED]


def test_another_sidecar_delivers_what_one_could_not(pods: Pods) -> None:
    """At once where an attempt failed; where a sidecar is gone, once its claim has lapsed."""
    first, second = pods.claims("first"), pods.claims("second")
    assert pods.claim(first, alert(), alert(percent=100)) == [OWN, OWN]
    pods.settle(first, [], [alert()])
    assert pods.claim(second, alert(), alert(percent=100)) == [OWN, TAKEN]
    pods.place.pass_us(CLAIM_US)
    assert pods.claim(second, alert(percent=100)) == [OWN]
    assert pods.claim(first, alert(percent=100)) == [TAKEN]


def test_a_sidecar_leaves_a_channel_that_it_does_not_have_to_others(pods: Pods) -> None:
    """Its log is not the webhook of another."""
    first, second = pods.claims("first"), pods.claims("second")
    assert pods.claim(first, alert(), channel="log") == [OWN]
    assert pods.claim(second, alert(), channel="webhook") == [OWN]
    assert pods.claim(second, alert(), channel="log") == [TAKEN]


@pytest.mark.parametrize("kind", sorted(set(AlertKind) - OF_FLEET))
def test_what_is_about_calls_of_one_sidecar_is_its_own(pods: Pods, kind: AlertKind) -> None:
    """Each sidecar delivers it, and asks nobody."""
    for uid in ("first", "second"):
        assert pods.claim(pods.claims(uid), alert(kind=kind)) == [OWN]
    assert pods.place.sql("SELECT * FROM fleet_alert") == []


def test_hostile_names_are_claimed_as_others_are(pods: Pods) -> None:
    """NULs, half pairs of surrogates and quotes; two names are never one."""
    first, second = pods.claims("first"), pods.claims("second")
    alerts = [alert(rule=HOSTILE, scope=HOSTILE), alert(rule=HOSTILE + HOSTILE, scope="")]
    assert pods.claim(first, *alerts) == [OWN, OWN]
    assert pods.claim(second, *alerts) == [TAKEN, TAKEN]
    pods.settle(first, alerts)
    assert pods.claim(second, *alerts) == [DELIVERED, DELIVERED]
    rows = pods.place.sql("SELECT rule FROM fleet_alert ORDER BY rule")
    assert rows[0]["rule"] == HOSTILE.replace("\0", "\ufffd").replace("\ud800", "?")


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_of_many_claims_at_once_one_is_granted(pods: Pods, isolation: str) -> None:
    """Of each alert, whatever the server's default isolation."""
    pods.place.sql(f"ALTER DATABASE books SET default_transaction_isolation = '{isolation}'")
    alerts = [alert(scope=str(number)) for number in range(20)]
    claims = [pods.claims(str(number)) for number in range(8)]

    async def all_at_once() -> list[Sequence[Claim]]:
        turned = [alerts[:: 1 - 2 * (number % 2)] for number in range(len(claims))]
        asked = (one.claim("log", some) for one, some in zip(claims, turned, strict=True))
        got = await asyncio.gather(*asked)
        return [some[:: 1 - 2 * (number % 2)] for number, some in enumerate(got)]

    try:
        results = pods.place.run(all_at_once())
    finally:
        pods.place.sql("ALTER DATABASE books RESET default_transaction_isolation")
    assert [sorted(of_one) for of_one in zip(*results, strict=True)] == [[OWN] + [TAKEN] * 7] * 20


class Receiver:
    """A channel that keeps what it gets, and may not answer."""

    name = "receiver"

    def __init__(self) -> None:
        """Take everything."""
        self.alerts: list[Alert] = []
        self.got: Counter[str] = Counter()
        self.summarized = 0
        self.is_away = False

    async def deliver(self, one: Alert, others: int = 0) -> None:
        """Take it."""
        if self.is_away:
            raise NotDeliveredError("not now")
        if others:
            self.summarized += 1 + others
        else:
            self.alerts.append(one)
            self.got[one.scope] += 1

    async def close(self) -> None:
        """Nothing is open."""


class Sidecar:
    """A ledger in which a limit of some scopes has reached a threshold, and its receiver."""

    def __init__(self, folder: Path, uid: str) -> None:
        """Open the ledger."""
        self.uid = uid
        self.file = folder / f"{uid}.sqlite"
        self.ledger = SqliteLedger(self.file, UTC, [Receiver.name])
        self.receiver = Receiver()
        self.counts = AlertCounts()

    async def raise_alerts(self, scopes: int) -> None:
        """Raise an alert for each scope."""
        for number in range(scopes):
            one = limit(100, scope=f"caller-{number}", rule="tokens-each")
            await self.ledger.decide(reservation(NOON, one, tokens=60, alert_at=(50,)))

    def deliveries(self) -> list[tuple[bool, str, int]]:
        """Return of each alert whether it is delivered, the note, and the attempts."""
        connection = sqlite3.connect(self.file)
        rows = connection.execute(
            "SELECT delivered_at_us IS NOT NULL, last_error, attempts FROM alert_deliveries"
            " WHERE next_at_us > 0"
        ).fetchall()
        connection.close()
        return [(bool(is_delivered), note, attempts) for is_delivered, note, attempts in rows]

    def is_settled(self, alerts: int) -> bool:
        """Whether so many alerts are delivered, here or elsewhere."""
        return sum(is_delivered for is_delivered, _, _ in self.deliveries()) == alerts


async def until(check: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110 - many things are waited for
            await asyncio.sleep(0.02)


@asynccontextmanager
async def delivering(pods: Pods, *sidecars: Sidecar) -> AsyncIterator[None]:
    """Run the dispatchers of sidecars beside a block; then close the ledgers."""
    tasks = [
        asyncio.create_task(
            Dispatcher(
                one.ledger, [one.receiver], wall_clock_us, one.counts, pods.claims(one.uid)
            ).run()
        )
        for one in sidecars
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in sidecars:
            await one.ledger.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dispatchers wait for less time."""
    monkeypatch.setattr(summaries, "SUMMARY_SECONDS", 0.5)
    monkeypatch.setattr(dispatcher, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(dispatcher, "TAKEN_US", SECOND_US // 10)


@pytest.mark.usefixtures("hurried")
def test_sidecars_deliver_each_alert_once(pods: Pods, tmp_path: Path) -> None:
    """A1: of a flood, too; the others note that it was delivered, without an attempt of theirs."""

    async def play() -> None:
        two = [Sidecar(tmp_path, "first"), Sidecar(tmp_path, "second")]
        for one in two:
            await one.raise_alerts(FLOOD)
        async with delivering(pods, *two):
            await until(lambda: all(one.is_settled(FLOOD) for one in two))
        received = sum((one.receiver.got for one in two), Counter[str]())
        summarized = sum(one.receiver.summarized for one in two)
        assert received.total() + summarized == FLOOD
        assert set(received.values()) == {1}
        assert sum(one.counts.delivered.total() for one in two) == FLOOD
        notes = {note for one in two for note in one.deliveries()}
        assert notes == {(True, "", 1), (True, ELSEWHERE, 0)}

    pods.place.run(play())


@pytest.mark.usefixtures("hurried")
def test_a_sidecar_whose_receiver_is_away_leaves_its_alerts_to_another(
    pods: Pods, tmp_path: Path
) -> None:
    """A2: as soon as its attempts have failed."""

    async def play() -> None:
        first, second = Sidecar(tmp_path, "first"), Sidecar(tmp_path, "second")
        first.receiver.is_away = True
        await first.raise_alerts(3)
        async with delivering(pods, first, second):
            await until(lambda: first.counts.failed.total() == 3)
            await second.raise_alerts(3)
            await until(lambda: first.is_settled(3) and second.is_settled(3))
        assert (first.receiver.got.total(), second.receiver.got.total()) == (0, 3)

    pods.place.run(play())


def test_books_that_were_away_long_ago_are_waited_for_anew(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """Nobody asked them in between."""
    pods = Pods(PostgresPlace(own_server, tmp_path / "url"))
    claims = pods.claims("first")
    assert pods.claim(claims, alert()) == [OWN]
    own_server.stop()
    pods.settle(claims, [], [alert()])
    pods.clock.now_us += 10 * PATIENCE_US
    assert pods.claim(claims, alert()) == [TAKEN]
    pods.clock.now_us += PATIENCE_US
    assert pods.claim(claims, alert()) == [OWN]
    pods.close()
    pods.place.close()


@pytest.mark.usefixtures("hurried")
def test_without_the_books_alerts_wait_and_are_then_delivered_by_all(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """A2: one too many is better than none. Later the books hear of it."""
    pods = Pods(PostgresPlace(own_server, tmp_path / "url"))

    async def play() -> None:
        first, second = Sidecar(tmp_path, "first"), Sidecar(tmp_path, "second")
        await asyncio.to_thread(own_server.stop)
        await first.raise_alerts(1)
        await second.raise_alerts(1)
        async with delivering(pods, first, second):
            await until(lambda: [(False, "", 0)] == first.deliveries() == second.deliveries())
            assert first.receiver.got.total() == 0
            pods.clock.now_us = PATIENCE_US
            await until(lambda: first.is_settled(1) and second.is_settled(1))
            assert (first.receiver.got.total(), second.receiver.got.total()) == (1, 1)
            await asyncio.to_thread(own_server.start)
            third = pods.claims("third")
            [raised] = first.receiver.alerts
            async with asyncio.timeout(60):
                while await third.claim(Receiver.name, [raised]) != [DELIVERED]:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    pods.place.run(play())
    pods.close()
    pods.place.close()
