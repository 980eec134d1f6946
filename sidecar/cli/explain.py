"""`sidecar explain`: why a call is allowed or denied, and what would allow it."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.explain import Explainer
from sidecar.cli.options import (
    EngineOption,
    Format,
    FormatOption,
    MomentOption,
    ShareOption,
    TimeZoneOption,
    zone_info,
)
from sidecar.cli.policies import load_policies
from sidecar.cli.requests import read_request
from sidecar.cli.terminal import say, say_json
from sidecar.contract import responses
from sidecar.domain.clock import SECOND_US
from sidecar.domain.counted import counted
from sidecar.domain.share import WHOLE
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import RuleEffect
from sidecar.runtime.shared_flags import EngineName


def explain(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of policies.")],
    request: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="An AuthorizeRequest as JSON, as in the contract; - is standard input.",
        ),
    ],
    every_rule: Annotated[
        bool, typer.Option("--all", help="Show the rules without effect on the decision, too.")
    ] = False,
    at: MomentOption = None,
    engine: EngineOption = EngineName.CEL_CPP,
    share: ShareOption = WHOLE,
    time_zone: TimeZoneOption = "UTC",
    output: FormatOption = Format.TEXT,
) -> None:
    """Explain the decision on a call: what would allow it, each limit, each rule part by part.

    The ledger is empty: nothing has been spent. Exit 1 if the call is denied.

    Example: echo
    '{"principal": {"id": "ada", "role": "analyst", "workspace": "dev-workspace"}, "model":
    "mistral-large-latest", "estimate": {"inputTokens": 100}}' |
    sidecar explain policies --request -
    """
    policy = load_policies(directory, engine.value, share, zone_info(time_zone))
    now_us = time.time_ns() // 1000 if at is None else at
    answer = asyncio.run(_explain(policy, read_request(request, policy), now_us))
    if output is Format.JSON:
        say_json(json_format.MessageToDict(answer))
    else:
        _print(answer, every_rule=every_rule)
    if answer.decision.effect != pb.EFFECT_ALLOW:
        raise typer.Exit(1)


async def _explain(
    policy: PolicySet, request: pb.AuthorizeRequest, now_us: int
) -> pb.ExplainResponse:
    """Explain on a fresh ledger, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sidecar-explain-") as folder:
        ledger = SqliteLedger(Path(folder) / "ledger.sqlite", policy.zone)
        authorizer = Authorizer(policy, ledger, lambda: now_us, 600 * SECOND_US)
        explanation = await Explainer(authorizer).explain(request)
        await ledger.close()
    return responses.explain_response(explanation)


def _print(answer: pb.ExplainResponse, *, every_rule: bool) -> None:
    """Print the decision, suggestions, limits, and the rules that had an effect."""
    _print_decision(answer.decision)
    if answer.suggestions:
        say("", "To be allowed, one of:")
        for suggestion in answer.suggestions:
            say(f"  - {suggestion}")
    if answer.worst_case:
        say("", f"worst case: {answer.worst_case}")
    for limit in answer.limits:
        say(f"  {limit.rule} of {limit.scope}: {limit.arithmetic}")
    shown = [rule for rule in answer.rules if every_rule or _had_effect(rule, answer.decision)]
    for rule in shown:
        mode = ", shadow" if rule.shadow else ""
        say("", f"{rule.rule} ({rule.effect}{mode}): {rule.value}")
        for part in rule.parts:
            if part.text != part.value:  # `10.0 = 10.0` says nothing
                say(f"  {'  ' * part.depth}{part.text} = {part.value}")
    if silent := len(answer.rules) - len(shown):
        say("", f"{counted(silent, 'rule')} without effect: --all shows them")


def _print_decision(decision: pb.AuthorizeResponse) -> None:
    say("allow" if decision.effect == pb.EFFECT_ALLOW else "deny")
    for reason in decision.reasons:
        about = f" ({reason.rule})" if reason.rule else ""
        say(f"  {reason.http_status} {reason.code}{about}: {reason.message}")
    for warning in decision.warnings:
        say(f"  warning {warning.code}: {warning.message}")


def _had_effect(rule: pb.ExplainedRule, decision: pb.AuthorizeResponse) -> bool:
    """Whether a rule gave a reason, or allows, or would have an effect if it were enforced."""
    if rule.value == "true" and (rule.effect == RuleEffect.ALLOW or rule.shadow):
        return True
    return any(reason.rule == rule.rule for reason in decision.reasons)
