"""Books on PostgreSQL: what goes wrong with a server, and what a pod may do there."""

import asyncio
import logging
import re
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
import trustme
from fleet.places import CONCURRENT, MINUTE, TOTAL, FleetHolder, PostgresPlace
from fleet.postgres_server import OWNER, PASSWORD, POD, WRITTEN_PASSWORD, PostgresServer

from sidecar.fleet import schema, statements
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.postgres import PostgresBooks
from sidecar.fleet.protocol import FleetRefusedError, FleetUnreachableError
from sidecar.fleet.session import Session, connect
from sidecar.fleet.url import connection_settings

SECRETS = (PASSWORD, WRITTEN_PASSWORD, *re.findall(r"\w{3,}", PASSWORD), "wr0ng-one")
HANGING_SECONDS = 0.3


@contextmanager
def hanging_server() -> Iterator[int]:
    """Listen and never answer; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def failure(place: PostgresPlace, caplog: pytest.LogCaptureFixture) -> str:
    """Exchange in vain; return the error's text. No secret is in it, nor in any log."""
    books = place.open_within(5)
    holder = FleetHolder(place)
    holder.books = books
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises((FleetUnreachableError, FleetRefusedError)) as caught,
    ):
        holder.ask(10)
    everything = (
        "".join(traceback.format_exception(caught.value, chain=True)),
        repr(caught.value), repr(books), repr(vars(books)), caplog.text,
    )  # fmt: skip
    for secret in SECRETS:
        assert not any(secret in text for text in everything), everything
    return f"{type(caught.value).__name__}: {caught.value}"


UNREACHABLE = {
    "tables missing": ("DROP TABLE fleet_share", "tables are missing.*sidecar fleet init"),
    "tables empty": ("DELETE FROM fleet", "tables are empty.*sidecar fleet init"),
    "tables older": ("ALTER TABLE fleet DROP COLUMN timeline", "or older: run .*fleet init"),
    "no rights": (f"REVOKE SELECT ON fleet FROM {POD}", "lacks rights: .*--grant-to ROLE"),
}


@pytest.mark.parametrize(("statement", "text"), UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_tables_that_are_not_as_they_should_be(
    postgres: PostgresPlace, caplog: pytest.LogCaptureFixture, statement: str, text: str
) -> None:
    """The error names the command that mends them."""
    postgres.sql(statement)
    assert re.match(f"FleetUnreachableError: .*{text}", failure(postgres, caplog))


def test_tables_of_a_newer_version_are_refused(
    postgres: PostgresPlace, caplog: pytest.LogCaptureFixture
) -> None:
    """A sidecar that does not know a column must not write beside it."""
    postgres.sql("UPDATE fleet SET least_version = 2")
    assert re.match("FleetRefusedError: .*use a newer sidecar", failure(postgres, caplog))


def test_tables_that_have_only_grown_are_used(postgres: PostgresPlace) -> None:
    """So that the tables are upgraded first, and then the sidecars, one after the other."""
    postgres.sql("UPDATE fleet SET schema_version = 2")
    assert FleetHolder(postgres).ask(10).share.granted == 10


SETTINGS = {
    "read-only": (f"ALTER ROLE {POD} SET default_transaction_read_only = on", "server is read-only",
                  f"ALTER ROLE {POD} RESET default_transaction_read_only"),
    "too many connections": (f"ALTER ROLE {POD} CONNECTION LIMIT 0", "too many connections",
                             f"ALTER ROLE {POD} CONNECTION LIMIT -1"),
    "wrong password": (f"ALTER ROLE {POD} PASSWORD 'another'", "the user or the password is wrong",
                       f"ALTER ROLE {POD} PASSWORD '{PASSWORD}'"),
    "no login": (f"ALTER ROLE {POD} NOLOGIN", "the user or the password is wrong",
                 f"ALTER ROLE {POD} LOGIN"),
}  # fmt: skip


@pytest.mark.parametrize(("set_up", "text", "reset"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_server_that_does_not_let_it_in(
    postgres: PostgresPlace, caplog: pytest.LogCaptureFixture, set_up: str, text: str, reset: str
) -> None:
    """The error says what is wrong, and no more."""
    postgres.sql(set_up)
    try:
        assert re.match(f"FleetUnreachableError: .*{text}", failure(postgres, caplog))
    finally:
        postgres.sql(reset)


URLS: dict[str, tuple[str, str]] = {
    "no such database": ("{login}127.0.0.1:{port}/nowhere", "Unreachable.*no such database"),
    "wrong password": (f"postgresql://{POD}:wr0ng-one@127.0.0.1:{{port}}/books",
                       "Unreachable.*user or the password"),
    "nobody listens": ("{login}127.0.0.1:{free}/books", "Unreachable.*: connection refused"),
    "no socket": ("{login}/books?host=/nowhere", "Unreachable.*no such socket"),
    "unknown name": ("{login}nowhere.invalid/books?sslmode=verify-full",
                     "Unreachable.*name cannot be resolved"),
    "without TLS": ("{login}db.example.com/books", "Refused.*needs .sslmode=verify-full"),
    "unverified TLS": ("{login}db.example.com/books?sslmode=require", "Refused.*trust any server"),
    "preferred TLS": ("{login}10.0.0.1/books?sslmode=prefer", "Refused.*needs .sslmode=verify"),
    "two hosts": ("{login}127.0.0.1,db.example.com/books", "Refused.*must name one host"),
    "another host hides": ("{login}127.0.0.1/books?host=db.example.com", "Refused.*verify-full"),
    "options": ("{login}127.0.0.1/books?options=-csearch_path=x", "Refused.*no parameters but"),
    "no CA file": ("{login}127.0.0.1/books?sslmode=verify-full&sslrootcert=/nowhere",
                   "Refused.*certificates cannot be used: No such file"),
    "a raw password": (f"postgresql://{POD}:{PASSWORD}@127.0.0.1/books", "Refused.*write @"),
    "a raw password with ?": (f"postgresql://{POD}:s3cret?tr1cky@127.0.0.1/b", "Refused.*write @"),
    "a raw password with #": (f"postgresql://{POD}:s3cret#tr1cky@127.0.0.1/b", "Refused.*write @"),
    "another scheme": (f"mysql://{POD}:s3cret@127.0.0.1/books", "Refused.*is not a URL such as"),
    "a bare word": ("s3cret", "Refused.*is not a URL such as"),
    "nothing": ("", "Refused.*is not a URL such as"),
    "a bad port": (f"postgresql://{POD}:s3cret@127.0.0.1:tr1cky/books", "Refused.*is not a URL"),
}  # fmt: skip


@pytest.mark.parametrize(("url", "text"), URLS.values(), ids=URLS.keys())
def test_a_url_that_leads_nowhere(
    postgres: PostgresPlace, caplog: pytest.LogCaptureFixture, url: str, text: str
) -> None:
    """The error says what is wrong, and quotes no part of the URL."""
    login = f"postgresql://{POD}:{WRITTEN_PASSWORD}@"
    port, free = postgres.server.port, free_port()
    postgres.say_url(url.replace("{login}", login).format(port=port, free=free))
    assert re.match(f"Fleet{text}", failure(postgres, caplog))


def test_a_file_that_cannot_be_read(
    postgres: PostgresPlace, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be put in its place in a moment, so the fleet is unreachable until then."""
    postgres.url_file.unlink()
    assert re.match(
        r"FleetUnreachable.*books\.url cannot be read: No such", failure(postgres, caplog)
    )
    postgres.url_file.write_bytes(b"\xff\xfe")
    assert re.match(r"FleetRefused.*books\.url: is not text", failure(postgres, caplog))


def test_what_a_url_leaves_out_is_not_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGHOST would lead past the check of the host."""
    for name in ("PGHOST", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE"):
        monkeypatch.setenv(name, "elsewhere")
    url = tmp_path / "url"
    url.write_text("postgres://a%40b:p%3F@localhost\n")
    assert connection_settings(url) == {
        "host": "localhost", "port": 5432, "user": "a@b", "password": "p?", "database": "a@b",
        "ssl": False,
    }  # fmt: skip


def test_a_server_that_hangs_is_given_up_at_the_deadline(postgres: PostgresPlace) -> None:
    """A call waits no longer; the next exchange connects anew."""
    holder = FleetHolder(postgres)
    holder.books = postgres.open_within(HANGING_SECONDS)
    with hanging_server() as port:
        postgres.say_url(f"postgresql://{POD}@127.0.0.1:{port}/books")
        with pytest.raises(FleetUnreachableError, match=r"no answer within 0\.3 s"):
            holder.ask(10)
    postgres.say_url(postgres.server.url("books"))
    holder.books = postgres.open()
    assert holder.ask(10).share.granted == 10


def locked_by_another(place: PostgresPlace, statement: str) -> Callable[[], None]:
    """Lock rows in a session that stands still; return what ends it."""

    async def lock() -> asyncpg.Connection:
        connection = await place.server.connect("books")
        await connection.execute(f"{statement}; SELECT * FROM fleet_budget FOR UPDATE")
        return connection

    connection = place.run(lock())
    return lambda: place.run(connection.close())


def test_a_budget_that_is_locked_for_too_long_ends_at_the_deadline(
    postgres: PostgresPlace,
) -> None:
    """Plain reports go on: they lock no budget."""
    holder = FleetHolder(postgres)
    holder.ask(10)
    end = locked_by_another(postgres, "BEGIN")
    patient, holder.books = holder.books, postgres.open_within(0.5)
    with pytest.raises(FleetUnreachableError, match=r"0\.5 s|same budgets for too long"):
        holder.ask(10)
    assert holder.ask(spent=5).share.granted == 10
    end()
    holder.books = patient
    assert holder.ask(10).share.granted == 20


def test_a_pod_that_stands_still_keeps_no_locks(postgres: PostgresPlace) -> None:
    """G1: a process was stopped in the middle of an exchange; the fleet goes on without it."""
    holder = FleetHolder(postgres)
    holder.ask(10)
    end = locked_by_another(postgres, statements.begin(400, None, has_jit=True))
    holder.books = postgres.open_within(5)
    assert holder.ask(10).share.granted == 20
    end()


def test_a_connection_that_is_lost_is_opened_anew(postgres: PostgresPlace) -> None:
    """With the password that the file has then."""
    holder = FleetHolder(postgres)
    holder.ask(10)
    postgres.sql(
        f"ALTER ROLE {POD} PASSWORD 'another'",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{POD}'",
    )
    postgres.say_url(postgres.server.url("books").replace(WRITTEN_PASSWORD, "another"))
    try:
        try:
            holder.ask(10)
        except FleetUnreachableError:
            holder.ask(10)
    finally:
        postgres.sql(f"ALTER ROLE {POD} PASSWORD '{PASSWORD}'")
    assert holder.have[TOTAL] == 20


def test_a_crash_of_the_server_loses_no_answer(server: PostgresServer, tmp_path: Path) -> None:
    """L4: what was answered before a kill is there after it."""
    place = PostgresPlace(server, tmp_path / "books.url")
    holder = FleetHolder(place)
    holder.ask(10)
    server.stop("immediate")
    with pytest.raises(FleetUnreachableError):
        holder.ask(10)
    server.start()
    assert place.granted(TOTAL) == {holder.uid: 10}
    assert holder.ask(10).share.granted == 20
    place.close()


def test_tls_is_verified(postgres: PostgresPlace, tmp_path: Path) -> None:
    """Against the host that the URL names, and the CA that it names, or the system's."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    data = postgres.server.data
    certificate.cert_chain_pems[0].write_to_path(data / "server.crt")
    key = data / "server.key"
    key.write_bytes(certificate.private_key_pem.bytes())
    key.chmod(0o600)
    postgres.server.own(key)
    postgres.sql("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
    url = postgres.server.url("books", tcp=True) + "?sslmode=verify-full"
    holder = FleetHolder(postgres)
    try:
        postgres.say_url(f"{url}&sslrootcert={tmp_path}/ca.pem")
        assert holder.ask(10).share.granted == 10
        [row] = postgres.sql(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            f" WHERE ssl AND usename = '{POD}'"
        )
        assert row["count"] == 1
        other = FleetHolder(postgres)
        postgres.say_url(url)
        with pytest.raises(FleetUnreachableError, match="certificate is not valid for its host"):
            other.ask(10)
        postgres.say_url(f"{url}&sslrootcert={tmp_path}/ca.pem".replace("127.0.0.1", "localhost"))
        with pytest.raises(FleetUnreachableError, match="certificate is not valid for its host"):
            other.ask(10)
    finally:
        postgres.sql("ALTER SYSTEM RESET ssl", "SELECT pg_reload_conf()")


class CountingRelay:
    """A relay to the server's socket, which counts how often the client waits for the server."""

    def __init__(self, server: Path) -> None:
        """Relay to this socket."""
        self._server = server
        self.round_trips = 0
        self.is_over = asyncio.Event()
        self._is_waiting = False

    async def listen(self, path: Path) -> asyncio.Server:
        """Listen on a socket."""
        return await asyncio.start_unix_server(self._serve, path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._server)
        await asyncio.gather(
            self._pass(reader, inner_writer, asks=True),
            self._pass(inner_reader, writer, asks=False),
            return_exceptions=True,
        )
        for end in (writer, inner_writer):
            with suppress(ConnectionError):
                await end.wait_closed()
        self.is_over.set()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asks: bool
    ) -> None:
        while chunk := await reader.read(65536):
            self.round_trips += asks and not self._is_waiting
            self._is_waiting = asks
            writer.write(chunk)
        writer.close()


def test_an_exchange_is_five_round_trips(postgres: PostgresPlace, tmp_path: Path) -> None:
    """BEGIN, lock, read, write, COMMIT, however many items: locks are held for three of them."""
    server = postgres.server.folder / f".s.PGSQL.{postgres.server.port}"
    relay = CountingRelay(server)
    postgres.say_url(f"postgresql://{OWNER}@:5432/books?host={tmp_path}")

    async def count() -> list[int]:
        listening = await relay.listen(tmp_path / ".s.PGSQL.5432")
        holder, counts = FleetHolder(postgres), []
        for need in (10, 10, 10, 0):
            before = relay.round_trips
            keys = (TOTAL, MINUTE, CONCURRENT)
            await holder.send(holder.says(*(holder.item(need, key=key) for key in keys)))
            counts.append(relay.round_trips - before)
        await holder.books.close()
        await relay.is_over.wait()
        listening.close()
        return counts

    *_, asked, reported = postgres.run(count())
    assert (asked, reported) == (5, 5)


def test_nothing_of_an_exchange_stays_in_the_session(postgres: PostgresPlace) -> None:
    """Poolers give it to another; within it the just-in-time compiler, which is slow, is off."""
    names = ("jit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

    async def settings() -> tuple[list[str], list[str]]:
        session = await connect(postgres.url_file, 5)
        show = "SELECT current_setting(name) AS value FROM unnest($1::text[]) AS name"
        async with session.transaction(1234, None):
            during = [row["value"] for row in await session.fetch(show, names)]
        after = [row["value"] for row in await session.fetch(show, names)]
        session.close()
        return during, after

    during, after = postgres.run(settings())
    assert during == ["off", "1234ms", "1234ms", "1234ms"]
    assert after == ["on", "0", "0", "0"]


def test_the_tables_may_be_made_again(postgres: PostgresPlace) -> None:
    """`sidecar fleet init` may be repeated, and names the same fleet; not another zone's."""

    async def init(time_zone: str) -> str:
        connection = await postgres.server.connect("books")
        try:
            return await schema.init(connection, time_zone)
        finally:
            await connection.close()

    holder = FleetHolder(postgres)
    holder.ask(10)
    assert postgres.run(init("UTC")) == holder.fleet_id
    with pytest.raises(FleetRefusedError, match="time zone UTC, and cannot move to Europe/Paris"):
        postgres.run(init("Europe/Paris"))
    postgres.sql("UPDATE fleet SET schema_version = 99, least_version = 99")
    with pytest.raises(FleetRefusedError, match="use a newer sidecar"):
        postgres.run(init("UTC"))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM fleet_share",
        "UPDATE fleet_adjustment SET amount = 0",
        "INSERT INTO fleet_adjustment SELECT '', '', 0, '', '', 0",
        "INSERT INTO fleet SELECT 2, '', 1, 1, '', 0, 0",
        "DROP TABLE fleet_share",
        "CREATE TABLE other (id BIGINT)",
    ],
)
def test_a_pod_may_do_no_more_than_it_has_to(postgres: PostgresPlace, statement: str) -> None:
    """Its role makes no tables, deletes no rows, and adjusts nothing."""

    async def run() -> None:
        connection = await asyncpg.connect(
            host=str(postgres.server.folder), port=postgres.server.port, user=POD,
            password=PASSWORD, database="books",
        )  # fmt: skip
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        postgres.run(run())


def test_the_name_of_a_role_is_quoted() -> None:
    """A role may have any name."""
    assert schema.grants('a"; DROP TABLE fleet')[0].endswith(' TO "a""; DROP TABLE fleet"')


def test_the_tables_have_what_any_engine_has(postgres: PostgresPlace) -> None:
    """Poolers and distributed engines take them."""
    [row] = postgres.sql(
        "SELECT (SELECT count(*) FROM pg_sequences) + (SELECT count(*) FROM pg_trigger)"
        " + (SELECT count(*) FROM pg_constraint WHERE contype = 'f') AS others"
    )
    assert row["others"] == 0


def test_books_connect_to_no_server_before_the_first_exchange(tmp_path: Path) -> None:
    """A sidecar starts while its books are away."""
    asyncio.run(PostgresBooks(BooksConnection(tmp_path / "nowhere")).close())


def test_a_fault_of_our_own_says_where_it_is(postgres: PostgresPlace, tmp_path: Path) -> None:
    """And not what its text says, which may quote anything."""
    url_file = tmp_path / "url"
    url_file.write_text(postgres.server.url(postgres.database))

    async def faulty(_: Session) -> None:
        raise AttributeError(PASSWORD)

    async def run() -> None:
        connection = BooksConnection(url_file)
        try:
            await connection.run(faulty, 5.0)
        finally:
            connection.close()

    with pytest.raises(FleetUnreachableError) as caught:
        postgres.run(run())
    assert re.fullmatch(r"an unexpected AttributeError at test_postgres\.py:\d+", str(caught.value))
