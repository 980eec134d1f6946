"""Fixtures of the fleet's books. A new kind of books is tested once it is in PLACES."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet.places import Place, PostgresPlace, SimulatedPlace
from fleet.postgres_server import Pooler, PostgresServer
from support.tools import needed

PLACES = ("simulated", "postgres", "repeatable read", "serializable", "pooler")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """One server for all tests of a process; each has a database of its own."""
    with needed():
        server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with needed():
        server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def pooler(server: PostgresServer) -> Iterator[Pooler]:
    """A pooler before the server."""
    with needed():
        pooler = Pooler(server)
    yield pooler
    pooler.remove()


@pytest.fixture
def postgres(server: PostgresServer, tmp_path: Path) -> Iterator[PostgresPlace]:
    """Books on PostgreSQL."""
    place = PostgresPlace(server, tmp_path / "books.url")
    yield place
    place.close()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each kind of books in turn."""
    if request.param == "simulated":
        place: Place = SimulatedPlace()
    else:
        isolation = None if request.param in {"postgres", "pooler"} else request.param.upper()
        server = request.getfixturevalue("server")
        # Before the place: where there is no pooler, the test is skipped, and leaves nothing open.
        pooler = request.getfixturevalue("pooler") if request.param == "pooler" else None
        place = PostgresPlace(server, tmp_path / "books.url", isolation)
        if pooler is not None:
            place.say_url(pooler.url(place.database))
    yield place
    place.close()
