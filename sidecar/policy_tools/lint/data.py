"""Lints of data files: unknown names, missing prices, fields and entries without effect."""

import itertools
from collections.abc import Iterable, Iterator

from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.operators import field_of
from sidecar.policy.files import data
from sidecar.policy.files.problems import Problem, did_you_mean
from sidecar.policy.files.yaml_file import Loc, YamlFile
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule
from sidecar.policy_tools.lint.conditions import Conditions

UNRESTRICTED = (None, (), ("*",), "active")
"""Values of a field that restrict nothing."""

UNRESTRICTED_HINTS = {
    "allowed_models": 'set it to ["*"]',
    "services": "set it to {}",
    "state": "set it to active",
    "expires": "leave it out",
}
"""How to write a field so that it restricts nothing; `unlimited` for all others."""

MAX_PAIRS = 2_000
"""The most pairs of role and workspace that are checked; with more, none is."""

READ_BY_RULES = {
    "roles": ("allowed_models", "daily_token_budget"),
    "workspaces": ("allowed_models", "requests_per_minute", "monthly_budget_usd", "services"),
    "keys": ("allowed_models", "requests_per_minute", "expires", "state"),
}
"""Fields that have an effect only if a rule reads them; the sidecar itself reads the others."""


def lint(
    documents: list[YamlFile], policy: PolicySet, entries: data.Data
) -> Iterator[Iterator[Problem]]:
    """Yield one iterator of warnings for each kind of warning."""
    yield _names_that_match_no_model(documents, entries)
    yield _keys_of_no_workspace(documents, entries)
    yield _models_without_price(documents, policy)
    yield _fields_that_no_rule_reads(documents, policy, entries)
    yield _entries_that_no_rule_allows(documents, policy)


def allow_lists(entries: data.Data) -> Iterator[tuple[Loc, str]]:
    """Yield each name in an allow-list, with its place."""
    lists: list[tuple[Loc, tuple[str, ...]]] = [
        ((kind, name, "allowed_models"), entry.allowed_models)
        for kind in ("roles", "keys", "workspaces")
        for name, entry in getattr(entries, kind).items()
    ]
    lists += [
        (("workspaces", name, "services", service, "allowed_models"), one.allowed_models)
        for name, workspace in entries.workspaces.items()
        for service, one in workspace.services.items()
    ]
    for loc, names in lists:
        for index, name in enumerate(names):
            yield (*loc, index), name


def _names_that_match_no_model(documents: list[YamlFile], entries: data.Data) -> Iterator[Problem]:
    families = {model.family for model in entries.models.values()}
    known = families | entries.names.keys() | {"*"}
    for loc, name in allow_lists(entries):
        if name not in known:
            message = f"no model, alias or family is named '{name}'"
            hint = did_you_mean(name, known)
            yield from _in_data(documents, loc, "no-such-model", message, hint)


def _keys_of_no_workspace(documents: list[YamlFile], entries: data.Data) -> Iterator[Problem]:
    for key_id, key in entries.keys.items():
        if key.workspace not in entries.workspaces:
            message = f"no workspace is named '{key.workspace}', so no workspace can use the key"
            hint = did_you_mean(key.workspace, entries.workspaces)
            loc: Loc = ("keys", key_id, "workspace")
            yield from _in_data(documents, loc, "no-such-workspace", message, hint)


def _models_without_price(documents: list[YamlFile], policy: PolicySet) -> Iterator[Problem]:
    if policy.counts_cost:
        models = policy.catalogue.models.values()
        for model_id in sorted({model.message.id for model in models if not model.tariffs}):
            message = f"{model_id} has no price, so every call of it is denied"
            hint = "a limit counts cost; a free model has the price 0"
            yield from _in_data(documents, ("models", model_id), "no-price", message, hint)


def _in_data(
    documents: list[YamlFile], loc: Loc, warning: str, message: str, hint: str
) -> Iterator[Problem]:
    for document in documents:
        if document.has(loc):
            yield document.problem(loc, message, hint).as_warning(warning)


def _fields_that_no_rule_reads(
    documents: list[YamlFile], policy: PolicySet, entries: data.Data
) -> Iterator[Problem]:
    """Warn of fields that no rule reads: they look like limits, and have no effect."""
    enforced = _fields_read(rule for rule in policy.rules if not rule.shadow)
    in_shadow = _fields_read(rule for rule in policy.rules if rule.shadow)
    for kind, fields in READ_BY_RULES.items():
        variable = kind.removesuffix("s")
        for field in fields:
            if (variable, field) in enforced:
                continue
            readers = (
                "only shadow rules read" if (variable, field) in in_shadow else "no rule reads"
            )
            for name, entry in getattr(entries, kind).items():
                if getattr(entry, field) not in (*UNRESTRICTED, {}):
                    message = f"{readers} {variable}.{field}, so this has no effect"
                    other = UNRESTRICTED_HINTS.get(field, "set it to unlimited")
                    hint = f"write a rule that reads it, or {other}"
                    loc: Loc = (kind, name, field)
                    yield from _in_data(documents, loc, "no-rule-reads", message, hint)
                    break


def _fields_read(rules: Iterable[Rule]) -> set[tuple[str, str] | None]:
    """Return the fields that bodies and scopes read; a message has no effect."""
    parse = CelPythonEngine().parse
    return {
        field_of(tree)
        for rule in rules
        for expression in (rule.body, *([rule.terms.per] if rule.limit else []))
        for tree in parse(expression.source).iter_subtrees()
    }


def _entries_that_no_rule_allows(documents: list[YamlFile], policy: PolicySet) -> Iterator[Problem]:
    """Warn of roles and workspaces for which no allow rule can be true."""
    allow_rules = [Conditions(rule, policy.catalogue.lists) for rule in policy.allowances]
    catalogue = policy.catalogue
    if len(catalogue.roles) * len(catalogue.workspaces) > MAX_PAIRS:
        return  # it would take too long to try them all
    allowed_pairs = [
        (role, workspace)
        for role, workspace in itertools.product(catalogue.roles, catalogue.workspaces)
        if any(
            conditions.may_be_true(catalogue.roles[role].message, catalogue.workspaces[workspace])
            for conditions in allow_rules
        )
    ]
    for kind, names, allowed in (
        ("roles", catalogue.roles, {role for role, _ in allowed_pairs}),
        ("workspaces", catalogue.workspaces, {workspace for _, workspace in allowed_pairs}),
    ):
        for name in names if policy.allowances else ():
            if name not in allowed:
                message = f"no allow rule can be true for '{name}', so every such call is denied"
                hint = "write an allow rule for it, or remove it"
                yield from _in_data(documents, (kind, name), "no-rule-allows", message, hint)
