"""`sidecar budgets`: asks a running sidecar what is left."""

from pathlib import Path
from typing import Annotated, Any

import typer
from mistral_spend import BudgetError, Principal, SidecarClient

from sidecar.cli.budget_table import budget_dict, budget_table
from sidecar.cli.options import Format, FormatOption, fail
from sidecar.cli.tables import print_table
from sidecar.cli.terminal import say, say_json

TIMEOUT_SECONDS = 2.0


def _file(name: str, text: str) -> Any:
    return typer.Option(f"--{name}-file", metavar="FILE", help=text, show_default=False)


def budgets(
    role: Annotated[str, typer.Option(help="The principal's role.")] = "",
    workspace: Annotated[str, typer.Option(help="The principal's workspace.")] = "",
    principal: Annotated[str, typer.Option(help="The principal's id.")] = "",
    label: Annotated[
        list[str] | None, typer.Option(help="A label of the principal, as NAME=VALUE. Repeatable.")
    ] = None,
    key: Annotated[str, typer.Option(help="The id of the principal's API key.")] = "",
    model: Annotated[str, typer.Option(help="The model to call; limits may depend on it.")] = "",
    address: Annotated[
        str, typer.Option(envvar="SIDECAR_ADDRESS", help="The sidecar's address.")
    ] = "127.0.0.1:50051",
    ca: Annotated[Path | None, _file("ca", "Use TLS, and trust these CAs.")] = None,
    token: Annotated[Path | None, _file("token", "A bearer token to authenticate with.")] = None,
    cert: Annotated[Path | None, _file("cert", "A client certificate to use.")] = None,
    cert_key: Annotated[Path | None, _file("key", "The private key of --cert-file.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show the budgets of a principal, and what is left of each.

    Leave out what the sidecar knows already, by --pin or by authentication.

    Example: sidecar budgets --principal ada --role developer --workspace dev-workspace
    """
    who = Principal(
        id=principal, role=role, workspace=workspace, key_id=key, labels=_labels(label or [])
    )
    try:
        with SidecarClient(
            address, when_unavailable="deny", deadline_seconds=TIMEOUT_SECONDS,
            ca_file=ca, token_file=token, cert_file=cert, key_file=cert_key,
        ) as budget:  # fmt: skip
            answer = budget.get_budgets(who, model).answer
    except BudgetError as error:
        hint = " (if it speaks TLS, give --ca-file)" if ca is None else ""
        raise fail(f"{address}: {error}{hint}") from None
    except ValueError as error:
        raise fail(f"--address: {error}", 2) from None
    if output is Format.JSON:
        report = {
            "budgets": [budget_dict(budget) for budget in answer.budgets],
            "reasons": [{"code": r.code, "message": r.message} for r in answer.reasons],
        }
        say_json(report)
    else:
        print_table(budget_table(answer.budgets))
        for reason in answer.reasons:
            say(f"{reason.code}: {reason.message}", err=True)
    if answer.reasons:
        raise typer.Exit(1)


def _labels(pairs: list[str]) -> dict[str, str]:
    if not all("=" in pair for pair in pairs):
        raise typer.BadParameter("has to be NAME=VALUE", param_hint="--label")
    return dict(pair.split("=", 1) for pair in pairs)
