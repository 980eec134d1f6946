"""`sidecar budgets`: asks a running sidecar what is left."""

import json
from typing import Annotated

import typer

from sidecar.cli.options import Format, FormatOption, fail
from sidecar.cli.tables import budget_dict, budget_table, console
from sidecar.server.client import AskError, Caller, get_budgets


def budgets(
    role: Annotated[str, typer.Option(help="The principal's role.")],
    workspace: Annotated[str, typer.Option(help="The principal's workspace.")],
    principal: Annotated[str, typer.Option(help="The principal's id.")],
    label: Annotated[
        list[str] | None, typer.Option(help="A label of the principal, as NAME=VALUE. Repeatable.")
    ] = None,
    key: Annotated[str, typer.Option(help="The id of the principal's API key.")] = "",
    model: Annotated[str, typer.Option(help="A model; limits may depend on it.")] = "",
    address: Annotated[
        str, typer.Option(envvar="SIDECAR_ADDRESS", help="Where the sidecar listens.")
    ] = "127.0.0.1:50051",
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what is left for a principal.

    Example: sidecar budgets --principal ada --role developer --workspace dev-workspace
    """
    try:
        who = Caller(principal, role, workspace, key, _labels(label or []))
        answer = get_budgets(address, who, model)
    except AskError as error:
        raise fail(error) from None
    if output is Format.JSON:
        report = {
            "budgets": [budget_dict(budget) for budget in answer.budgets],
            "reasons": [{"code": r.code, "message": r.message} for r in answer.reasons],
        }
        typer.echo(json.dumps(report, indent=2))
    else:
        console().print(budget_table(answer.budgets))
        for reason in answer.reasons:
            typer.echo(f"{reason.code}: {reason.message}", err=True)
    if answer.reasons:
        raise typer.Exit(1)


def _labels(pairs: list[str]) -> dict[str, str]:
    if not all("=" in pair for pair in pairs):
        raise typer.BadParameter("has to be NAME=VALUE", param_hint="--label")
    return dict(pair.split("=", 1) for pair in pairs)
