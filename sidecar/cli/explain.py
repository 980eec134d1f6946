"""`sidecar explain`."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format

from sidecar.authorizer import Authorizer
from sidecar.cli.options import (
    EngineName,
    EngineOption,
    Format,
    FormatOption,
    fail,
    load_policies,
)
from sidecar.domain.clock import SECOND_US
from sidecar.explanation import Explainer
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.policy.policy_set import PolicySet
from sidecar.server import answers, validation
from sidecar.v1 import authorization_pb2 as pb


def explain(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of policies.")],
    request: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="An AuthorizeRequest as JSON, named as in the contract; - reads it.",
        ),
    ],
    engine: EngineOption = EngineName.CEL_CPP,
    output: FormatOption = Format.TEXT,
) -> None:
    """Explain a call: each rule part by part, each limit, and what would let it through.

    Nothing has been spent. Exit 1 if the call is denied. Example: echo
    '{"principal": {"id": "ada", "role": "analyst", "workspace": "dev-workspace"}, "model":
    "mistral-large-latest", "estimate": {"inputTokens": 100}}' |
    sidecar explain policies --request -
    """
    policy = load_policies(directory, engine.value)
    answer = asyncio.run(_explain(policy, _read(request)))
    if output is Format.JSON:
        typer.echo(json_format.MessageToJson(answer))
    else:
        _print(answer)
    if answer.decision.effect != pb.EFFECT_ALLOW:
        raise typer.Exit(1)


def _read(path: Path) -> pb.AuthorizeRequest:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        request = json_format.Parse(text, pb.AuthorizeRequest())
        validation.check_authorize(request)
    except OSError as error:
        raise fail(f"--request {path}: {error.strerror}", 2) from None
    except (json_format.ParseError, UnicodeDecodeError, validation.InvalidFieldError) as error:
        raise fail(f"--request {path}: {error}", 2) from None
    return request


async def _explain(policy: PolicySet, request: pb.AuthorizeRequest) -> pb.ExplainResponse:
    """Explain on a fresh ledger, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sidecar-explain-") as folder:
        ledger = SqliteLedger(Path(folder) / "ledger.sqlite")
        now_us = time.time_ns() // 1000
        authorizer = Authorizer(policy, ledger, lambda: now_us, 600 * SECOND_US)
        explanation = await Explainer(authorizer).explain(request)
        await ledger.close()
    return answers.explain_response(explanation)


def _print(answer: pb.ExplainResponse) -> None:
    decision = answer.decision
    typer.echo("allow" if decision.effect == pb.EFFECT_ALLOW else "deny")
    for reason in decision.reasons:
        about = f" ({reason.rule})" if reason.rule else ""
        typer.echo(f"  {reason.http_status} {reason.code}{about}: {reason.message}")
    for rule in answer.rules:
        mode = ", shadow" if rule.shadow else ""
        typer.echo(f"\n{rule.rule} ({rule.effect}{mode}): {rule.value}")
        for part in rule.parts:
            if part.text != part.value:  # `10.0 = 10.0` says nothing
                typer.echo(f"  {'  ' * part.depth}{part.text} = {part.value}")
    if answer.worst_case:
        typer.echo(f"\nworst case: {answer.worst_case}")
    for limit in answer.limits:
        typer.echo(f"  {limit.rule} of {limit.scope}: {limit.arithmetic}")
    if answer.suggestions:
        typer.echo("\nTo be allowed, one of:")
        for suggestion in answer.suggestions:
            typer.echo(f"  - {suggestion}")
