"""`sidecar keys create`, `rotate`, `rollback`, `abort` and `status`."""

import asyncio
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from sidecar.cli.mistral_options import AdminKeyFile, open_mistral
from sidecar.cli.options import Format, FormatOption, LedgerFile, fail
from sidecar.cli.rotation_options import Connection, SinkOption, connected
from sidecar.cli.rotation_progress import Progress
from sidecar.cli.tables import console
from sidecar.domain.clock import SECOND_US, to_datetime
from sidecar.domain.rotation import KeyRotation, Survey, Version, VersionState
from sidecar.keys.settings import Pace, RotationError, Wanted
from sidecar.ledger.key_book import KeyBook, LeaseHeldError, RotationRefusedError
from sidecar.ledger.protocol import LedgerRefusedError, LedgerUnavailableError

if TYPE_CHECKING:
    from sidecar.keys.rotator import Rotator

Work = Callable[["Rotator"], Coroutine[Any, Any, Any]]

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as in the data files.")]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command works: the key, the ledger, Mistral and the sink."""

    key_id: str
    ledger: Path
    admin_key_file: Path
    sink: str
    output: Format
    others: Connection


@connected
def create(
    connection: Connection,
    key: KeyId,
    ledger: LedgerFile,
    admin_key_file: AdminKeyFile,
    sink: SinkOption,
    workspace_id: Annotated[str, typer.Option(help="The workspace's id at Mistral.")],
    user_id: Annotated[str, typer.Option(help="The user's id; the shape admin needs it.")] = "",
    description: Annotated[str, typer.Option(help="What the key is for.")] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Create a key at Mistral, see that it works, and store its secret for apps.

    Example: sidecar keys create dev-team-key --ledger ledger.sqlite --workspace-id ws_dev
    --key-sink file:/run/keys/{key}.json --mistral-admin-key-file admin.key
    """
    place = Place(key, ledger, admin_key_file, sink, output, connection)
    wanted = Wanted(workspace_id, user_id, description)
    _run(place, lambda rotator: rotator.create(place.key_id), wanted)


@connected
def rotate(
    connection: Connection,
    key: KeyId,
    ledger: LedgerFile,
    admin_key_file: AdminKeyFile,
    sink: SinkOption,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    wait: Annotated[
        bool, typer.Option(help="Wait for the end of the grace; if not, run it again later.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Revoke the old key at once, in use or not.")
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Replace a key by a new one like it, or go on with what was interrupted.

    Beside a sidecar that serves, too. Killed at any moment, it leaves a key that works: run it
    again. Exit 1 if it had to give the new key up, or if the old one is still in use after its
    grace. Example: sidecar keys rotate dev-team-key --ledger ledger.sqlite
    --key-sink file:/run/keys/{key}.json --mistral-admin-key-file admin.key
    """
    place = Place(key, ledger, admin_key_file, sink, output, connection)
    if dry_run:
        _plan(place)
        return
    _run(place, lambda rotator: rotator.rotate(place.key_id, waits=wait, force=force))


@connected
def rollback(
    connection: Connection,
    key: KeyId,
    ledger: LedgerFile,
    admin_key_file: AdminKeyFile,
    sink: SinkOption,
    output: FormatOption = Format.TEXT,
) -> None:
    """Go back to the old key: apps find it again, and the new one is revoked.

    Until the old key is being revoked. Example: sidecar keys rollback dev-team-key
    --ledger ledger.sqlite --key-sink file:/run/keys/{key}.json --mistral-admin-key-file admin.key
    """
    place = Place(key, ledger, admin_key_file, sink, output, connection)
    _run(place, lambda rotator: rotator.turn_back(place.key_id, stored_too=True))


@connected
def abort(
    connection: Connection,
    key: KeyId,
    ledger: LedgerFile,
    admin_key_file: AdminKeyFile,
    sink: SinkOption,
    output: FormatOption = Format.TEXT,
) -> None:
    """Give an interrupted rotation up while no app can have the new secret.

    Afterwards it is `sidecar keys rollback`. Example: sidecar keys abort dev-team-key
    --ledger ledger.sqlite --key-sink file:/run/keys/{key}.json --mistral-admin-key-file admin.key
    """
    place = Place(key, ledger, admin_key_file, sink, output, connection)
    _run(place, lambda rotator: rotator.turn_back(place.key_id, stored_too=False))


def status(
    ledger: LedgerFile,
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="This key alone.")] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Show how each rotation went. Exit 1 if one was interrupted and nobody goes on with it.

    Works on a ledger in use, too. Example: sidecar keys status --ledger ledger.sqlite
    """
    if not ledger.exists():
        raise fail(f"{ledger}: there is no such ledger")
    book = _open_book(ledger, Pace())
    try:
        listed = [_report(book, rotation) for rotation in book.rotations(key)]
    except LedgerUnavailableError as error:
        raise fail(error) from None
    finally:
        book.close()
    if output is Format.JSON:
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
    else:
        for report in listed:
            _print(report)
        typer.echo(f"{len(listed)} rotations")
    if any(report["interrupted"] for report in listed):
        raise typer.Exit(1)


def _run(place: Place, work: Work, wanted: Wanted | None = None) -> None:
    """Do the work, show how it goes, and print where it has come to."""
    book, failure = _open_book(place.ledger, place.others.pace), ""
    try:
        _on_place(place, book, work, wanted or Wanted())
    except (RotationError, RotationRefusedError, LeaseHeldError, LedgerUnavailableError) as error:
        failure = str(error)
    except KeyboardInterrupt:
        failure = "stopped: run it again to go on"
    rotations = book.rotations(place.key_id)
    report = _report(book, rotations[-1]) if rotations else None
    book.close()
    if place.output is Format.JSON:
        typer.echo(json.dumps({"rotation": report, "error": failure}, indent=2))
    elif report is not None:
        _print(report)
    if failure:
        raise fail(failure)


def _plan(place: Place) -> None:
    """Print what a rotation would do."""
    book = _open_book(place.ledger, place.others.pace)
    try:
        found = _on_place(place, book, lambda rotator: rotator.survey(place.key_id), Wanted())
    except RotationError as error:
        raise fail(error) from None
    unfinished, versions = book.unfinished(place.key_id), book.versions(place.key_id)
    book.close()
    lines, refused = _steps_ahead(place, found, unfinished, versions)
    if place.output is Format.JSON:
        typer.echo(json.dumps({"plan": lines, "error": refused}, indent=2, ensure_ascii=False))
    else:
        for number, line in enumerate(lines, 1):
            typer.echo(f"{number}. {line}")
    if refused:
        raise fail(refused)


def _steps_ahead(
    place: Place,
    found: Survey,
    unfinished: KeyRotation | None,
    versions: list[Version],
) -> tuple[list[str], str]:
    """Return the plan, a line a step, and why there is none."""
    key = place.key_id
    if unfinished is not None:
        went = f"go on with the rotation to {key}#{unfinished.to_version}"
        return [f"{went}, which is {unfinished.stage}"], ""
    if found.doubt or found.active is None:
        return [], found.doubt
    after = max((version.version for version in versions), default=int(found.adopt)) + 1
    pace, grace = place.others.pace, place.others.pace.grace
    hours, days = grace.after_first_use_us / 3.6e9, grace.at_most_us / 86.4e9
    return [
        f"create {key}#{after} at Mistral, like {found.active.name} ({found.active.id})",
        f"list models with it, for {pace.verify_seconds:g} s at most",
        f"store its secret in {place.sink}",
        f"wait {pace.propagation_seconds:g} s for apps to find it; then it is the active version",
        f"wait until it has been in use for {hours:g} h, or {days:g} days if no use is seen",
        f"revoke {found.active.name} ({found.active.id}), unless it is still in use",
    ], ""


def _on_place(place: Place, book: KeyBook, work: Work, wanted: Wanted) -> Any:
    """Do the work with Mistral and the sink at hand, and show how it goes."""
    from sidecar.keys.rotator import Rotator  # noqa: PLC0415 - takes a while, and not all need it
    from sidecar.keys.sinks.opening import open_sink  # noqa: PLC0415

    async def run(progress: Progress) -> Any:
        client = open_mistral(place.others.mistral, place.admin_key_file)
        try:
            sink = open_sink(place.sink, place.key_id, place.others.kubernetes)
        except ValueError as error:
            raise fail(f"--key-sink: {error}", 2) from None
        try:
            return await work(
                Rotator(book, client, sink, _now_us, progress, place.others.pace, wanted)
            )
        finally:
            await client.close()
            await sink.close()

    with Progress() as progress:
        return asyncio.run(run(progress))


def _open_book(ledger: Path, pace: Pace) -> KeyBook:
    owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
    try:
        return KeyBook(ledger, _now_us, owner, round(pace.lease_seconds * SECOND_US))
    except LedgerRefusedError as error:
        raise fail(error) from None


def _report(book: KeyBook, rotation: KeyRotation) -> dict[str, Any]:
    """Return a rotation for JSON: times in ISO 8601."""
    versions = {version.version: version for version in book.versions(rotation.key_id)}
    new, old = versions[rotation.to_version], versions.get(rotation.from_version)
    working = _now_us() < rotation.lease_until_us
    waiting = new.state is VersionState.ACTIVE  # for the end of the grace
    return {
        "key": rotation.key_id,
        "from": None if old is None else _version(old),
        "to": _version(new),
        "stage": rotation.stage,
        "worked_at_by": rotation.owner if working else None,
        "interrupted": not (rotation.ended_at_us or working or waiting),
        "started_at": _iso(rotation.started_at_us),
        "ended_at": _iso(rotation.ended_at_us),
        "steps": [
            {"at": _iso(step.at_us), "version": step.version, "stage": step.stage,
             "by": step.owner, "note": step.note}
            for step in book.steps(rotation.id)
        ],
    }  # fmt: skip


def _version(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "state": version.state,
        "name": version.name,
        "id": version.remote_id,
        "fingerprint": version.fingerprint,
    }


def _print(report: dict[str, Any]) -> None:
    before = f"#{report['from']['version']}" if report["from"] else "nothing"
    heading = f"{report['key']}, from {before} to #{report['to']['version']}: {report['stage']}"
    if report["interrupted"]:
        heading += ", interrupted: run `sidecar keys rotate` again, or `abort` or `rollback`"
    table = Table(title=Text(heading), title_justify="left")
    for column in ("at (UTC)", "version", "stage", "note"):
        table.add_column(column, overflow="fold")
    for step in report["steps"]:
        at = step["at"].replace("T", " ").partition("+")[0].partition(".")[0]
        table.add_row(at, f"#{step['version']}", step["stage"], Text(step["note"]))
    console().print(table)


def _iso(at_us: int | None) -> str | None:
    return None if at_us is None else to_datetime(at_us).astimezone(UTC).isoformat()


def _now_us() -> int:
    return time.time_ns() // 1000
