"""The tables of the original requirements, as they stand in the shipped policies, on both evaluators.

Each row is one call to a fresh sidecar: who, where, what, and what comes back.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.authorizer_harness import AuthorizerHarness, authorizer_harness, codes
from support.policies import SHIPPED
from support.sidecar_process import chat, principal

from sidecar.domain.money import format_usd

ALLOWED: list[str] = []
MODEL, SIZE, NULL_RECORDERS = "MODEL_NOT_ALLOWED", "REQUEST_TOO_LARGE", "NO_RULE_ALLOWS"

SMALL, LARGE, CODE = "mistral-small-latest", "mistral-large-latest", "codestral-latest"
EMBED, MEDIUM = "mistral-embed", "mistral-medium-latest"

# Who calls, by role and labels.
PEOPLE = {
    "analyst": ("analyst", {}),
    "developer": ("developer", {}),
    "senior": ("senior", {}),
    "admin": ("admin", {}),
    "ml analyst": ("analyst", {"team": "ml"}),
    "ml developer": ("developer", {"team": "ml"}),
    "ml senior": ("senior", {"team": "ml"}),
    "ci": ("developer", {"service": "ci"}),
    "search": ("developer", {"service": "search"}),
    "support-chat": ("developer", {"service": "support-chat"}),
    "unlisted service": ("admin", {"service": "shadow-it"}),
    "web team": ("senior", {"team": "web"}),
}

CALLS = [
    # who                workspace          model   answer
    # -- roles: allowedModels (in ml-workspace, which allows all models)
    ("ml analyst",       "ml-workspace",    SMALL,  ALLOWED),
    ("ml analyst",       "ml-workspace",    EMBED,  ALLOWED),
    ("ml analyst",       "ml-workspace",    CODE,   [MODEL]),
    ("ml analyst",       "ml-workspace",    LARGE,  [MODEL]),
    ("ml developer",     "ml-workspace",    SMALL,  ALLOWED),
    ("ml developer",     "ml-workspace",    CODE,   ALLOWED),
    ("ml developer",     "ml-workspace",    EMBED,  ALLOWED),
    ("ml developer",     "ml-workspace",    LARGE,  [MODEL]),
    ("ml senior",        "ml-workspace",    SMALL,  ALLOWED),
    ("ml senior",        "ml-workspace",    LARGE,  ALLOWED),
    ("ml senior",        "ml-workspace",    CODE,   ALLOWED),
    ("ml senior",        "ml-workspace",    EMBED,  ALLOWED),
    ("ml senior",        "ml-workspace",    MEDIUM, [MODEL]),
    ("admin",            "ml-workspace",    MEDIUM, ALLOWED),
    ("admin",            "ml-workspace",    "ministral-3b-latest", ALLOWED),
    # -- an alias, the id behind it: the same model
    ("ml analyst",       "ml-workspace",    "mistral-small-2603", ALLOWED),
    ("ml analyst",       "ml-workspace",    "mistral-embed-2312", ALLOWED),
    # -- workspaces: Models Allowed
    ("developer",        "dev-workspace",   SMALL,  ALLOWED),
    ("developer",        "dev-workspace",   "mistral-small-2603", ALLOWED),
    ("developer",        "dev-workspace",   CODE,   ALLOWED),
    ("developer",        "dev-workspace",   EMBED,  [MODEL]),
    ("senior",           "dev-workspace",   LARGE,  [MODEL]),
    ("admin",            "dev-workspace",   LARGE,  [MODEL]),
    ("analyst",          "dev-workspace",   LARGE,  [MODEL, MODEL]),
    # -- workspaces: Team
    ("analyst",          "dev-workspace",   SMALL,  ALLOWED),
    ("senior",           "dev-workspace",   SMALL,  ALLOWED),
    ("admin",            "dev-workspace",   SMALL,  ALLOWED),
    ("developer",        "ml-workspace",    SMALL,  [NULL_RECORDERS]),
    ("web team",         "ml-workspace",    SMALL,  [NULL_RECORDERS]),
    ("developer",        "prod-workspace",  SMALL,  [NULL_RECORDERS]),
    ("admin",            "prod-workspace",  SMALL,  [NULL_RECORDERS]),
    ("unlisted service", "prod-workspace",  SMALL,  [NULL_RECORDERS]),
    # -- prod-workspace: per-service scoped
    ("ci",               "prod-workspace",  CODE,   ALLOWED),
    ("ci",               "prod-workspace",  SMALL,  ALLOWED),
    ("ci",               "prod-workspace",  EMBED,  [MODEL]),
    ("search",           "prod-workspace",  EMBED,  ALLOWED),
    ("search",           "prod-workspace",  SMALL,  [MODEL]),
    ("support-chat",     "prod-workspace",  SMALL,  ALLOWED),
    ("support-chat",     "prod-workspace",  CODE,   [MODEL]),
]  # fmt: skip

SIZES = [
    # role         maxTokensPerRequest
    ("analyst",    500),
    ("developer",  2000),
    ("senior",     4000),
    ("admin",      8000),
]  # fmt: skip

DAILY_TOKENS = [
    # role         dailyTokenBudget
    ("analyst",    100_000),
    ("developer",  500_000),
    ("senior",     1_000_000),
    ("admin",      None),
]  # fmt: skip

WORKSPACES = [
    # workspace          RPM  Monthly Budget
    ("dev-workspace",    60,  "50.00"),
    ("ml-workspace",     200, "500.00"),
    ("prod-workspace",   500, "2,000.00"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["cel-cpp", "cel-python"])
def shipped_desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AuthorizerHarness]:
    """The shipped policies on each evaluator."""
    ledger = tmp_path_factory.mktemp("seed") / "ledger.sqlite"
    with authorizer_harness(SHIPPED, ledger, request.param) as opened:
        yield opened


def person(name: str, workspace: str) -> pb.Principal:
    """Return one of PEOPLE in a workspace."""
    role, labels = PEOPLE[name]
    return principal(id=name, role=role, workspace=workspace, labels=labels)


@pytest.mark.parametrize(("who", "workspace", "model", "expected"), CALLS)
def test_models_are_allowed_by_role_and_workspace(
    shipped_desk: AuthorizerHarness, who: str, workspace: str, model: str, expected: list[str]
) -> None:
    """Roles' models, workspaces' models and workspaces' teams decide, and give every reason."""
    endpoint = pb.ENDPOINT_EMBEDDINGS if model.startswith(EMBED) else pb.ENDPOINT_CHAT
    estimate = {"max_output_tokens": 0 if model.startswith(EMBED) else 100}
    decision = shipped_desk.authorize(
        chat(person(who, workspace), model=model, endpoint=endpoint, estimate=estimate)
    )
    assert expected == codes(decision)
    assert all(reason.http_status == 403 for reason in decision.reasons)


@pytest.mark.parametrize(("role", "most"), SIZES)
def test_a_request_may_be_as_large_as_its_role_says_and_no_larger(
    shipped_desk: AuthorizerHarness, role: str, most: int
) -> None:
    """Input and output together fit up to the role's maximum, to the token."""
    who = principal(role=role)
    fits = shipped_desk.authorize(
        chat(who, dry_run=True, estimate={"max_output_tokens": most - 100})
    )
    above = shipped_desk.authorize(
        chat(who, dry_run=True, estimate={"max_output_tokens": most - 99})
    )
    assert (codes(fits), codes(above)) == ([], [SIZE])
    assert above.reasons[0].http_status == 403


@pytest.mark.parametrize(("role", "most"), SIZES)
def test_what_the_app_leaves_out_is_filled_in_from_the_role(
    shipped_desk: AuthorizerHarness, role: str, most: int
) -> None:
    """max_output_tokens left out becomes what the role's maximum leaves after the input."""
    left_out = chat(principal(role=role), dry_run=True, estimate={"max_output_tokens": 0})
    assert most - 100 == shipped_desk.authorize(left_out).max_output_tokens


@pytest.mark.parametrize(("role", "ceiling"), DAILY_TOKENS)
def test_each_principal_has_the_daily_tokens_of_its_role(
    shipped_desk: AuthorizerHarness, role: str, ceiling: int | None
) -> None:
    """The daily budget is the role's, counted for each principal; admin has no ceiling."""
    budgets, _ = shipped_desk.authorizer.budgets(principal(id=f"fresh {role}", role=role), SMALL)
    (daily,) = (budget for budget in budgets if budget.rule == "role-daily-tokens")
    assert (ceiling, f"fresh {role}") == (daily.ceiling, daily.scope)


@pytest.mark.parametrize(("workspace", "per_minute", "monthly_usd"), WORKSPACES)
def test_each_workspace_has_its_rate_and_its_monthly_budget(
    shipped_desk: AuthorizerHarness, workspace: str, per_minute: int, monthly_usd: str
) -> None:
    """Rate and budget are the workspace's; the hourly guard is the organization's."""
    budgets, _ = shipped_desk.authorizer.budgets(principal(workspace=workspace), SMALL)
    found = {budget.rule: budget for budget in budgets}
    assert per_minute == found["workspace-requests-per-minute"].ceiling
    assert monthly_usd == format_usd(found["workspace-monthly-budget"].ceiling or 0)
    guard = found["hourly-spending-guard"]
    assert (guard.scope, format_usd(guard.ceiling or 0)) == ("organization", "10.00")


ERRORS = [
    # the error table of the original requirements: what happened, code, HTTP status, whether to retry
    ("key revoked",          "KEY_REVOKED",             401, False),
    ("key invalid",          "KEY_UNKNOWN",             401, False),
    ("key of another team",  "KEY_OF_OTHER_WORKSPACE",  401, False),
    ("model not allowed",    "MODEL_NOT_ALLOWED",       403, False),
    ("rate limit",           "RATE_LIMITED",            429, True),
    ("monthly budget",       "MONTHLY_BUDGET_EXHAUSTED", 429, True),
    ("daily tokens",         "DAILY_TOKENS_EXHAUSTED",  429, True),
    ("hourly guard",         "HOURLY_SPEND_EXHAUSTED",  429, True),
]  # fmt: skip

# Limits have room for one call, not for two.
TIGHTER = {
    "rate limit": ("workspaces.yaml", "requests_per_minute: 60", "requests_per_minute: 1"),
    "monthly budget": ("workspaces.yaml", "monthly_budget_usd: 50", "monthly_budget_usd: 0.001"),
    "daily tokens": ("roles.yaml", "daily_token_budget: 500000", "daily_token_budget: 1500"),
    "hourly guard": ("hourly-spending-guard.cel", "\n10.0", "\n0.001"),
    "key revoked": (
        "keys.yaml",
        "    workspace: dev-workspace",
        "    workspace: dev-workspace\n    state: revoked",
    ),
}


@pytest.mark.parametrize(("what", "code", "http_status", "retry"), ERRORS)
def test_every_row_of_the_error_table_is_answered(
    what: str,
    code: str,
    http_status: int,
    retry: bool,
    engine: str,
    tmp_path: Path,
    open_harness: Callable[..., AuthorizerHarness],
) -> None:
    """401, 403 and 429 stand in the reasons, and every 429 says when to retry."""
    directory = tmp_path / "policies"
    directory.mkdir()
    for file in SHIPPED.iterdir():
        text = file.read_text()
        name, old, new = TIGHTER.get(what, ("", "", ""))
        if file.name == name:
            assert old in text
            text = text.replace(old, new, 1)
        (directory / file.name).write_text(text)
    key = {
        "key revoked": "dev-team-key",
        "key invalid": "made-up",
        "key of another team": "ml-team-key",
    }.get(what, "")
    model = LARGE if what == "model not allowed" else SMALL
    harness = open_harness(directory, engine=engine)
    request = chat(principal(key_id=key), model=model, estimate={"max_output_tokens": 1000})
    if retry:
        assert codes(harness.authorize(request)) == []
    decision = harness.authorize(request)
    assert code in codes(decision)
    assert {http_status} == {r.http_status for r in decision.reasons if r.code == code}
    assert retry == (decision.retry_after_us > 0)


def test_alert_thresholds_are_data_of_the_limits() -> None:
    """The monthly budget has alerts before it is used up, as the original requirements ask."""
    text = (SHIPPED / "workspace-monthly-budget.cel").read_text()
    assert "// alert_at: 50%, 80%, 100%" in text
