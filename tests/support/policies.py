"""Policy directories for tests: the shipped set, and small ones of a test's own."""

import shutil
from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "policies"

ROLES = """
roles:
  tester:
    allowed_models: ["*"]
    max_tokens_per_request: 10_000
    daily_token_budget: unlimited
"""
WORKSPACES = """
workspaces:
  lab:
    allowed_models: ["*"]
    requests_per_minute: unlimited
    monthly_budget_usd: unlimited
"""
MODELS = """
models:
  small-1:
    family: small
    aliases: [small-latest]
    prices:
      - effective_from: 2020-01-01
        input_usd_per_million_tokens: 1
        output_usd_per_million_tokens: 1
  free-1:
    family: free
"""
THREE_PRICES = """
models:
  dear-1:
    family: dear
    aliases: [dear-latest]
    prices:
      - effective_from: 2020-01-01
        input_usd_per_million_tokens: 1
        output_usd_per_million_tokens: 10
  cheap-1:
    family: cheap
    retires_on: 2199-01-01
    prices:
      - effective_from: 2020-01-01
        input_usd_per_million_tokens: 0.1
        output_usd_per_million_tokens: 1
  cheaper-1:
    family: cheaper
    prices:
      - effective_from: 2020-01-01
        input_usd_per_million_tokens: 0.01
        output_usd_per_million_tokens: 0.1
"""
"""Models whose output takes 10, 1 and 0.1 USD a million tokens; cheap-1 will retire."""
ALLOW_ALL = """\
// METADATA
// effect: allow
// owner: test@example.com
true
"""


def shipped(directory: Path) -> Path:
    """Copy the shipped policies, for a test to change."""
    shutil.copytree(SHIPPED, directory)
    return directory


def minimal(directory: Path, **files: str) -> Path:
    """Write a policy directory that allows everything, and the files of the test.

    A file is named by its keyword, with `_` for `-`: `no_gpt` is no-gpt.cel; one
    that ends in `_yaml` is a data file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = {"roles.yaml": ROLES, "workspaces.yaml": WORKSPACES, "models.yaml": MODELS}
    content["allow-all.cel"] = ALLOW_ALL
    for name, text in files.items():
        is_data = name.endswith("_yaml")
        file = f"{name[:-5]}.yaml" if is_data else f"{name.replace('_', '-')}.cel"
        content[file] = text
    for file, text in content.items():
        (directory / file).write_text(text)
    return directory


def deny(body: str, *, message: str = "no", mode: str = "enforce") -> str:
    """Write a deny rule."""
    return (
        "// METADATA\n// effect: deny\n// owner: test@example.com\n// reason: NO\n"
        f"// http_status: 403\n// message: {message}\n// mode: {mode}\n{body}\n"
    )


def limit(
    body: str,
    *,
    meter: str = "requests",
    window: str = "day",
    per: str = "workspace.name",
    extra: str = "",
    reason: str = "TOO_MUCH",
) -> str:
    """Write a limit."""
    return (
        f"// METADATA\n// effect: limit\n// owner: test@example.com\n// reason: {reason}\n"
        f"// http_status: 429\n// message: too much for {{workspace.name}}\n// meter: {meter}\n"
        f"// window: {window}\n// per: {per}\n{extra}{body}\n"
    )
