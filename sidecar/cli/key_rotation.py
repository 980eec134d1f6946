"""`sidecar keys create`, `rotate`, `rollback` and `abort`."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.cli.fleet_books import check_url_file
from sidecar.cli.mistral_options import AdminKeyFile, open_mistral
from sidecar.cli.options import Format, FormatOption, LedgerFile, fail
from sidecar.cli.rotation_options import PepperFile, RotationOptions, SinkOption
from sidecar.cli.rotation_progress import Progress
from sidecar.cli.rotation_status import now_us, open_key_store, print_report, report_of
from sidecar.cli.settings import takes_settings
from sidecar.cli.terminal import say, say_json
from sidecar.domain.rotation import KeyRotation, Survey, Version
from sidecar.keys.api_variants import ApiVariantName
from sidecar.keys.pepper import read_pepper
from sidecar.keys.settings import NewKeySpec, RotationError
from sidecar.ledger.key_store import KeyStore, LeaseHeldError, RotationRefusedError
from sidecar.ledger.place_in_fleet import is_in_fleet
from sidecar.ledger.protocol import LedgerRefusedError, LedgerUnavailableError
from sidecar.runtime.shared_flags import FLEET_URL_FILE

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
    pepper_file: Path
    output: Format
    others: RotationOptions


@takes_settings
def create(
    connection: RotationOptions,
    key: KeyId,
    ledger: LedgerFile,
    admin_key_file: AdminKeyFile,
    sink: SinkOption,
    pepper_file: PepperFile,
    workspace_id: Annotated[str, typer.Option(help="The workspace's id at Mistral.")],
    user_id: Annotated[
        str, typer.Option(help="The user's id at Mistral; --mistral-shape admin needs it.")
    ] = "",
    description: Annotated[str, typer.Option(help="What the key is for.")] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Create a key at Mistral, verify it, and store its secret for apps.

    Example: sidecar keys create dev-team-key --ledger ledger.sqlite --workspace-id ws_dev
    --key-sink file:/run/keys/{key}.json --mistral-admin-key-file admin.key
    --key-pepper-file pepper.key
    """
    place = Place(key, ledger, admin_key_file, sink, pepper_file, output, connection)
    if connection.mistral.shape is ApiVariantName.ADMIN and not user_id:
        raise fail("--user-id is missing: with --mistral-shape admin, a key belongs to a user", 2)
    wanted = NewKeySpec(workspace_id, user_id, description)
    _run(place, lambda rotator: rotator.create(place.key_id), wanted)


@takes_settings
def rotate(
    connection: RotationOptions,
    key: KeyId,
    ledger: LedgerFile,
    admin_key_file: AdminKeyFile,
    sink: SinkOption,
    pepper_file: PepperFile,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and change nothing.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            help="Wait until apps have the new secret and the old key is revoked; with"
            " --no-wait, run it again later."
        ),
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Revoke the old key at once, in use or not.")
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Replace a key with a new one like it, or continue an interrupted rotation.

    Works while a sidecar serves, too. If it is killed, a key still works: run it again. Exit 1
    if the new key had to be given up, or if the old one is still in use after its grace
    period.

    Example: sidecar keys rotate dev-team-key --ledger ledger.sqlite
    --key-sink file:/run/keys/{key}.json --mistral-admin-key-file admin.key
    --key-pepper-file pepper.key
    """
    place = Place(key, ledger, admin_key_file, sink, pepper_file, output, connection)
    if dry_run:
        _plan(place)
        return
    _run(place, lambda rotator: rotator.rotate(place.key_id, waits=wait, force=force))


@takes_settings
def rollback(
    connection: RotationOptions,
    key: KeyId,
    ledger: LedgerFile,
    admin_key_file: AdminKeyFile,
    sink: SinkOption,
    pepper_file: PepperFile,
    output: FormatOption = Format.TEXT,
) -> None:
    """Go back to the old key: apps get its secret again, and the new key is revoked.

    Possible until the old key is being revoked.

    Example: sidecar keys rollback dev-team-key
    --ledger ledger.sqlite --key-sink file:/run/keys/{key}.json --mistral-admin-key-file admin.key
    --key-pepper-file pepper.key
    """
    place = Place(key, ledger, admin_key_file, sink, pepper_file, output, connection)
    _run(place, lambda rotator: rotator.roll_back(place.key_id, stored_too=True))


@takes_settings
def abort(
    connection: RotationOptions,
    key: KeyId,
    ledger: LedgerFile,
    admin_key_file: AdminKeyFile,
    sink: SinkOption,
    pepper_file: PepperFile,
    output: FormatOption = Format.TEXT,
) -> None:
    """Give up an interrupted rotation before apps can have the new secret.

    Once apps may have it, use `sidecar keys rollback`.

    Example: sidecar keys abort dev-team-key
    --ledger ledger.sqlite --key-sink file:/run/keys/{key}.json --mistral-admin-key-file admin.key
    --key-pepper-file pepper.key
    """
    place = Place(key, ledger, admin_key_file, sink, pepper_file, output, connection)
    _run(place, lambda rotator: rotator.roll_back(place.key_id, stored_too=False))


def _run(place: Place, work: Work, wanted: NewKeySpec | None = None) -> None:
    """Do the work with its progress on standard error, and print the result."""
    _check_fleet(place)
    key_store, failure = open_key_store(place.ledger, place.others.timings), ""
    try:
        _on_place(place, key_store, work, wanted or NewKeySpec())
    except (RotationError, RotationRefusedError, LeaseHeldError, LedgerUnavailableError) as error:
        failure = str(error)
    except KeyboardInterrupt:
        failure = "stopped: run it again to continue"
    rotations = key_store.rotations(place.key_id)
    report = report_of(key_store, rotations[-1]) if rotations else None
    key_store.close()
    if place.output is Format.JSON:
        say_json({"rotation": report, "error": failure})
    elif report is not None:
        print_report(report)
    if failure:
        raise fail(failure)


def _check_fleet(place: Place) -> None:
    """Exit if the ledger is in a fleet whose use of keys is left out, or that cannot be asked."""
    if place.others.fleet_url_file is not None:
        check_url_file(place.others.fleet_url_file)
        return
    try:
        is_other = place.ledger.exists() and is_in_fleet(place.ledger)
    except LedgerRefusedError as error:
        raise fail(error) from None
    if is_other:
        raise fail(
            f"{place.ledger} is in a fleet, whose other sidecars use the key, too: give"
            f" {FLEET_URL_FILE.name}, so that no key is revoked which one of them uses",
            2,
        )


def _plan(place: Place) -> None:
    """Print what a rotation would do."""
    _check_fleet(place)
    key_store = open_key_store(place.ledger, place.others.timings)
    try:
        found = _on_place(
            place, key_store, lambda rotator: rotator.survey(place.key_id), NewKeySpec()
        )
    except RotationError as error:
        raise fail(error) from None
    unfinished, versions = key_store.unfinished(place.key_id), key_store.versions(place.key_id)
    key_store.close()
    lines, refused = _steps_ahead(place, found, unfinished, versions)
    if place.output is Format.JSON:
        say_json({"plan": lines, "error": refused})
    else:
        for number, line in enumerate(lines, 1):
            say(f"{number}. {line}")
    if refused:
        raise fail(refused)
    if place.output is Format.TEXT:
        say("Nothing was changed: run it without --dry-run.")


def _steps_ahead(
    place: Place,
    found: Survey,
    unfinished: KeyRotation | None,
    versions: list[Version],
) -> tuple[list[str], str]:
    """Return the plan, a line a step, and why it cannot begin."""
    key = place.key_id
    if unfinished is not None:
        went = f"go on with the rotation to {key}#{unfinished.to_version}"
        return [f"{went}, which is {unfinished.stage}"], ""
    if found.doubt or found.active is None:
        return [], found.doubt
    after = max((version.version for version in versions), default=int(found.adopt)) + 1
    timings, grace = place.others.timings, place.others.timings.grace
    hours, days = grace.after_first_use_us / 3.6e9, grace.at_most_us / 86.4e9
    return [
        f"create {key}#{after} at Mistral, like {found.active.name} ({found.active.id})",
        f"list models with it, for {timings.verify_seconds:g} s at most",
        f"store its secret in {place.sink.replace('{key}', key)}",
        f"wait {timings.propagation_seconds:g} s for apps to find it, then make it active",
        f"wait until it has been in use for {hours:g} h, or {days:g} days if no use is seen",
        f"revoke {found.active.name} ({found.active.id}), unless it is still in use",
    ], ""


def _on_place(place: Place, key_store: KeyStore, work: Work, wanted: NewKeySpec) -> Any:
    """Do the work with Mistral and the sink, and show the progress."""
    from sidecar.keys.rotator import Rotator, other_sidecars  # noqa: PLC0415 - slow to import
    from sidecar.keys.sinks.factory import open_sink  # noqa: PLC0415

    async def run(progress: Progress) -> Any:
        client = open_mistral(place.others.mistral, place.admin_key_file)
        try:
            sink = open_sink(place.sink, place.key_id, place.others.kubernetes)
        except ValueError as error:
            raise fail(f"--key-sink: {error}", 2) from None
        try:
            pepper = read_pepper(place.pepper_file)
        except ValueError as error:
            raise fail(f"--key-pepper-file: {error}", 2) from None
        try:
            rotator = Rotator(
                key_store,
                client,
                sink,
                pepper,
                now_us,
                progress,
                place.others.timings,
                wanted,
                other_sidecars(place.others.fleet_url_file),
            )
            return await work(rotator)
        finally:
            await client.close()
            await sink.close()

    with Progress() as progress:
        return asyncio.run(run(progress))
