"""`sidecar status` and `sidecar reload`: the policies of a running sidecar."""

import typer
from google.protobuf.json_format import MessageToDict

from sidecar.cli.admin_options import AdminAddress
from sidecar.cli.options import Format, FormatOption, fail
from sidecar.cli.terminal import say, say_all, say_json
from sidecar.domain.clock import SECOND_US, format_length
from sidecar.domain.counted import counted
from sidecar.server.client import AdminCallError, admin
from sidecar.v1 import admin_pb2 as pb


def status(address: AdminAddress, output: FormatOption = Format.TEXT) -> None:
    """Show the policies of a running sidecar, and the open holds of its ledger.

    Exit 1 if the policies are stale (those in the directory have errors), or if calls cannot be
    decided.

    Example: sidecar status --admin unix:/run/sidecar-admin/admin.sock
    """
    try:
        found: pb.GetStatusResponse = admin(address, "GetStatus", pb.GetStatusRequest())
    except AdminCallError as error:
        raise fail(error) from None
    if output is Format.JSON:
        shown = MessageToDict(
            found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        say_json(shown)
    else:
        _show(found.policies)
        holds, denials = found.ledger.open_holds, found.ledger.denials
        say(
            f"ledger: {counted(holds, 'open hold')}, {counted(denials, 'denial')}"
            f" ({found.ledger.dropped_denials:,} older dropped){_ahead(found.ledger)}"
        )
        say(_disk(found.ledger))
        if found.not_ready:
            say(f"not ready: {found.not_ready}")
    if found.policies.problems or found.not_ready:
        raise typer.Exit(1)


def _disk(ledger: pb.LedgerStatus) -> str:
    read_by = f"; read by {', '.join(ledger.readers)}" if ledger.readers else ""
    return (
        f"disk: the ledger has {ledger.file_bytes:,} bytes, its WAL {ledger.wal_bytes:,};"
        f" {ledger.disk_free_bytes:,} are free{read_by}"
    )


def reload(address: AdminAddress) -> None:
    """Make a running sidecar load its policies now. Exit 1 if they cannot be used.

    It also looks for changes by itself (`serve --reload-seconds`).

    Example: sidecar reload --admin unix:/run/sidecar-admin/admin.sock
    """
    try:
        found: pb.ReloadResponse = admin(address, "Reload", pb.ReloadRequest())
    except AdminCallError as error:
        raise fail(error) from None
    _show(found.policies)
    if found.policies.problems:
        raise typer.Exit(1)


def _show(policies: pb.PolicyStatus) -> None:
    loaded = policies.loaded_at.ToDatetime()
    say(
        f"policies: {policies.summary}; {counted(policies.rules, 'rule')}, {policies.engine},"
        f" in effect since {loaded:%Y-%m-%d %H:%M:%S} UTC"
    )
    for problem in policies.problems:
        say_all(problem, err=True)


def _ahead(ledger: pb.LedgerStatus) -> str:
    """Say how far the ledger's time and the clock differ, if that is a second or more."""
    length_us = abs(ledger.ahead_of_clock_us)
    if length_us < SECOND_US:
        return ""
    difference = format_length(length_us)
    if ledger.ahead_of_clock_us < 0:
        return f"; its time is {difference} behind the system's clock"
    return (
        f"; its time is {difference} ahead of the system's clock: if that is right, `sidecar ledger"
        " set-time` sets it back"
    )
