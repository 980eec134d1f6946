"""The demo: starts everything, makes allowed and denied calls, shows what is left."""

import tempfile
from pathlib import Path

from mistral_spend.v1 import authorization_pb2 as pb
from mistralai.client import Mistral
from rich.console import Console
from rich.table import Table
from support.mistral_standin import API_KEY, mistral_standin
from support.policies import shipped
from support.sidecar_process import RunningSidecar, principal

from demo.app import App, Chat
from sidecar.cli.budget_table import budget_table
from sidecar.cli.tables import cell, console
from sidecar.domain.money import format_usd

SMALL, LARGE, CODE = "mistral-small-latest", "mistral-large-latest", "codestral-latest"

DEVELOPER = principal(id="dana", role="developer")
SENIOR = principal(id="sam", role="senior", workspace="ml-workspace", labels={"team": "ml"})
ANALYST = principal(id="ana", role="analyst")
CI = principal(
    id="ci-runner", role="developer", workspace="prod-workspace", labels={"service": "ci"}
)
INTRUDER = principal(id="dana", role="developer", workspace="prod-workspace")
TRAINEE = principal(id="ina", role="analyst")

CALLS = [
    (DEVELOPER, SMALL, "What does this stack trace mean?", 0),
    (SENIOR, LARGE, "Review the design of our training pipeline.", 1000),
    (ANALYST, SMALL, "Sum up yesterday's sales.", 200),
    (CI, CODE, "Write a test for parse_usage.", 800),
    # denied: the model, the size, the workspace
    (DEVELOPER, LARGE, "May I use the large model?", 100),
    (DEVELOPER, SMALL, "A very long answer, please.", 6000),
    (INTRUDER, SMALL, "May I work in production?", 100),
    # a budget that is used up by the fourth call
    *([(TRAINEE, SMALL, "One more question.", 300)] * 4),
]

TRAINEE_BUDGET = """\
// METADATA
// effect: limit
// reason: TRAINEE_TOKENS_EXHAUSTED
// http_status: 429
// message: {principal.id} is new here, and has used the tokens of this hour
// description: only in this demo: small enough to be used up while you watch
// owner: demo@example.com
// meter: tokens
// window: hour
// per: principal.id
principal.id == "ina" ? 470 : unlimited
"""


def main() -> None:
    """Run the demo."""
    screen = console()
    with tempfile.TemporaryDirectory() as folder, mistral_standin() as mistral_url:
        policies = shipped(Path(folder) / "policies")
        (policies / "trainee-hourly-tokens.cel").write_text(TRAINEE_BUDGET)
        sidecar = RunningSidecar(policies, Path(folder) / "ledger.sqlite").start()
        try:
            app = App(sidecar.stub, Mistral(api_key=API_KEY, server_url=mistral_url))
            screen.print(f"sidecar on {sidecar.addresses[0]}, stand-in Mistral on {mistral_url}")
            make_calls(screen, app)
            show_budgets(screen, app)
        finally:
            sidecar.stop()


def make_calls(screen: Console, app: App) -> None:
    """Make the calls, and show each with its answer."""
    table = Table(title="\nCalls", title_justify="left")
    for heading in ("who", "model", "answer", "why"):
        table.add_column(heading, overflow="fold")
    for who, model, prompt, max_tokens in CALLS:
        add(table, who, model, app.chat(who, model, prompt, max_tokens))
    sent = 1
    while (chat := app.chat(DEVELOPER, SMALL, "ping", 10)).text is not None:
        sent += 1
    add(table, DEVELOPER, SMALL, chat, f", call {sent} of a loop")
    screen.print(table)


def add(table: Table, who: pb.Principal, model: str, chat: Chat, note: str = "") -> None:
    """Add one call to the table."""
    decision = chat.decision
    if chat.settled is None:
        answer = cell("deny", style="red").append(note, style="default")
        why = "\n".join(f"{r.http_status} {r.code}: {r.message}" for r in decision.reasons)
        if decision.HasField("retry_after"):
            why += f" (retry in {decision.retry_after.ToSeconds() + 1} s)"
    else:
        answer = cell("allow", style="green")
        held = format_usd(decision.held_cost_nano_usd)
        charged = format_usd(chat.settled.charged_cost_nano_usd)
        why = f"held ${held}, charged ${charged} for {chat.settled.charged_tokens} tokens"
    labels = "".join(f", {name}: {value}" for name, value in who.labels.items())
    table.add_row(f"{who.id}, {who.role} in {who.workspace}{labels}", model, answer, why)


def show_budgets(screen: Console, app: App) -> None:
    """Print the remaining amount of each budget."""
    left: dict[tuple[str, str], pb.Budget] = {}
    for who in (DEVELOPER, SENIOR, ANALYST, CI, TRAINEE):
        answer = app.sidecar.GetBudgets(pb.GetBudgetsRequest(principal=who, model=SMALL))
        left |= {(b.rule, b.scope): b for b in answer.budgets if not b.unlimited}
    screen.print()
    screen.print(budget_table([left[key] for key in sorted(left)], "What is left"))


main()
