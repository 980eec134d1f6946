"""Fixtures of the fleet's books. A new kind of books is tested once it is in PLACES."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet.apps import CEILING
from fleet.places import Place, PostgresPlace, SimulatedPlace
from fleet.postgres_server import Pooler, PostgresServer
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar
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


@pytest.fixture
def own_place(own_server: PostgresServer, tmp_path: Path) -> Iterator[PostgresPlace]:
    """Books on a server that a test may stop."""
    place = PostgresPlace(own_server, tmp_path / "own.url")
    yield place
    place.close()


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """One budget of requests a day, for the workspace."""
    return minimal(tmp_path / "policies", daily=limit(str(CEILING)))


@pytest.fixture
def pods(
    tmp_path: Path, policies: Path, start_sidecar: Callable[..., RunningSidecar]
) -> Callable[..., RunningSidecar]:
    """Start sidecars of the fleet, each with a ledger of its own."""

    def start(
        number: int, place: PostgresPlace, *args: str, url: str = "", rules: Path = policies
    ) -> RunningSidecar:
        """Start one, which may have a URL and policies of its own."""
        url_file = tmp_path / f"{number}.url" if url else place.url_file
        if url:
            url_file.write_text(url)
        fleet = ("--fleet-url-file", str(url_file))
        return start_sidecar(rules, *fleet, *args, ledger=tmp_path / f"{number}.sqlite")

    return start


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
