"""`sidecar ledger adjust`: corrections and one-off grants."""

from typing import Annotated

import typer
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.adjustment import adjustment_units
from sidecar.cli.admin_options import AdminAddress, LedgerInstead, required_ledger
from sidecar.cli.budget_table import format_budget
from sidecar.cli.ledger_files import now_us, on_ledger
from sidecar.cli.options import TimeZoneOption, fail, zone_info
from sidecar.cli.terminal import say
from sidecar.contract.responses import budget_message
from sidecar.ledger.place_in_fleet import is_in_fleet
from sidecar.ledger.shares import IN_FLEET
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.server.client import AdminCallError, admin
from sidecar.v1 import admin_pb2


def adjust(
    rule: Annotated[str, typer.Option(help="The limit's id.")],
    scope: Annotated[str, typer.Option(help="The scope of the budget, as in `sidecar budgets`.")],
    amount: Annotated[
        str,
        typer.Option(
            help="Tokens, requests or USD to add to what is spent in the current window; a"
            " negative amount gives more room, as in --amount=-5.50."
        ),
    ],
    signed_by: Annotated[str, typer.Option("--signed-by", help="Who is responsible.")],
    reason: Annotated[str, typer.Option(help="Why; the ledger keeps it.")],
    new_budget: Annotated[
        bool,
        typer.Option(
            "--new-budget",
            help="The scope is meant, although nothing has counted for it yet; without this, such"
            " a scope is refused as mistyped.",
        ),
    ] = False,
    ledger: LedgerInstead = None,
    address: AdminAddress = "",
    time_zone: TimeZoneOption = "UTC",
) -> None:
    """Correct what a budget has spent, or grant more once. The ledger gets a row for it.

    Works on a ledger that no sidecar uses, or with --admin on a running sidecar, in the
    time zone of that sidecar.

    Example: sidecar ledger adjust
    --ledger ledger.sqlite --rule workspace-monthly-budget --scope ml-workspace
    --amount=-25 --signed-by ada@example.com --reason "the demo on Friday"
    """
    request = admin_pb2.AdjustRequest(
        rule=rule,
        scope=scope,
        amount=amount,
        signed_by=signed_by,
        reason=reason,
        new_budget=new_budget,
    )
    if address:
        try:
            budget: pb.Budget = admin(address, "Adjust", request).budget
        except AdminCallError as error:
            raise fail(error, 2 if error.message == IN_FLEET else 1) from None
    else:
        path = required_ledger(ledger)

        async def work(opened: SqliteLedger) -> pb.Budget:
            if is_in_fleet(path):
                raise fail(IN_FLEET, 2)
            try:
                units = adjustment_units(opened, request)
            except ValueError as error:
                raise fail(f"--amount {amount}: {error}", 2) from None
            return budget_message(
                await opened.adjust(rule, scope, units, signed_by, reason, now_us())
            )

        budget = on_ledger(path, zone_info(time_zone), work)
    spent, left = format_budget(budget)
    ceiling = "no ceiling yet" if budget.unlimited else f"{left} left"
    say(f"{rule} of {scope}: {spent} spent, {ceiling}")
