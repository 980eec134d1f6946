"""`sidecar ledger holds` and `sidecar ledger release`: calls that are not settled."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from sidecar.cli.admin_options import AdminAddress, LedgerInstead, required_ledger
from sidecar.cli.export import rows_of
from sidecar.cli.options import Format, FormatOption, fail
from sidecar.cli.tables import Table, print_table
from sidecar.cli.terminal import say, say_json
from sidecar.domain.amounts import format_amount
from sidecar.domain.counted import counted
from sidecar.domain.decisions import Meter
from sidecar.server.client import AdminCallError, admin
from sidecar.v1 import admin_pb2

PAGE = 1000


def holds(
    ledger: LedgerInstead = None,
    address: AdminAddress = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """List the open holds: calls that were allowed and are not settled yet.

    Reads a ledger file, also while a sidecar uses it, or with --admin asks a running sidecar.

    Example: sidecar ledger holds --ledger ledger.sqlite
    """
    if address:
        listed = list(_open_holds(address))
    else:
        columns, rows = rows_of(required_ledger(ledger), "open_holds")
        listed = [dict(zip(columns, row, strict=True)) for row in rows]
    if output is Format.JSON:
        say_json(listed)
        return
    print_table(_table(listed))
    say(counted(len(listed), "open hold"))


def release(
    hold_id: Annotated[str, typer.Argument(metavar="HOLD", help="The hold's id.")],
    signed_by: Annotated[str, typer.Option("--signed-by", help="Who is responsible.")],
    reason: Annotated[str, typer.Option(help="How you know that the call was never sent.")],
    address: AdminAddress,
) -> None:
    """Release a hold whose call was never sent, as after a crash of the app.

    Nothing is charged, so make sure of it. A hold that is closed stays as it is.

    Example: sidecar ledger release hold_01… --admin unix:/run/sidecar-admin/admin.sock
    --signed-by ada@example.com --reason "the job was killed before it called"
    """
    request = admin_pb2.ReleaseHoldRequest(hold_id=hold_id, signed_by=signed_by, reason=reason)
    try:
        answer = admin(address, "ReleaseHold", request)
    except AdminCallError as error:
        raise fail(error) from None
    charged = format_amount(Meter.COST, answer.charged_cost_nano_usd)
    say(f"{hold_id}: charged {charged}, {counted(answer.charged_tokens, 'token')}")


def _open_holds(address: str) -> Iterator[dict[str, Any]]:
    """Yield the open holds of a running sidecar, with the columns of the view `open_holds`."""
    token = ""
    while True:
        request = admin_pb2.ListHoldsRequest(page_size=PAGE, page_token=token)
        try:
            page = admin(address, "ListHolds", request)
        except AdminCallError as error:
            raise fail(error) from None
        for hold in page.holds:
            yield {
                "hold_id": hold.hold_id,
                "expires_at_utc": f"{hold.expires_at.ToDatetime():%Y-%m-%d %H:%M:%S}",
                "principal": hold.principal,
                "workspace": hold.workspace,
                "model": hold.model,
                "held_tokens": hold.held_tokens,
                "held_cost_usd": format_amount(Meter.COST, hold.held_cost_nano_usd),
            }
        token = page.next_page_token
        if not token:
            return


def _table(listed: Iterable[dict[str, Any]]) -> Table:
    table = Table(
        "hold_id", "expires_at_utc", "principal", "workspace", "model", "held_tokens",
        "held_cost_usd",
    )  # fmt: skip
    for hold in listed:
        table.add_row(*map(str, hold.values()))
    return table
