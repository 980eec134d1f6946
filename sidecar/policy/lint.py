"""What loads and is probably not meant: warnings, each explained in docs/lints.md."""

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from sidecar.policy import data
from sidecar.policy.directory import PolicyFiles
from sidecar.policy.engine import EvaluationError
from sidecar.policy.evaluation import ceiling_of
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.problems import Problem, at, did_you_mean
from sidecar.policy.rules import Rule, RuleEffect
from sidecar.policy.variables import FROM_DATA, Values
from sidecar.policy.yaml_file import Loc, YamlFile
from sidecar.v1 import authorization_pb2 as pb
from sidecar.v1 import policy_input_pb2 as policy_pb

COMBINATIONS_AT_MOST = 2_000
"""How many roles with workspaces and models a rule is tried on."""

FINITE = FROM_DATA - {"key"}
"""Variables of which every value can be tried."""

_LABEL = re.compile(r"principal\.labels(?:\[\s*[\"']([^\"']+)[\"']\s*\]|\.(\w+))")
_GUARD = re.compile(
    r"[\"']([^\"']+)[\"']\s+in\s+principal\.labels\b|has\(\s*principal\.labels\.(\w+)\s*\)"
)
_COMMENT = re.compile(r"(?m)^\s*//.*$")
_COMMENT_BUT_SCOPE = re.compile(r"(?m)^\s*//(?! per:).*$")


def lint(files: PolicyFiles, policy: PolicySet, entries: data.Data) -> list[Problem]:
    """Return all warnings for a directory that loads."""
    documents = [YamlFile(file, text) for file, text in sorted(files.data.items())]
    found = [
        *_names_that_match_no_model(documents, entries),
        *_keys_of_no_workspace(documents, entries),
        *_models_without_price(documents, policy),
    ]
    for rule in policy.rules:
        text = files.rules[f"{rule.id}.cel"]
        found += _unguarded_labels(rule, text)
        found += _constant(rule, text, policy)
        found += _shadowed(rule, text, policy)
    return sorted(found)


def _in_rule(
    rule: Rule, text: str, offset: int, lint: str, message: str, hint: str = ""
) -> Problem:
    """Warn at an offset of a rule's file."""
    before = text[:offset]
    line, column = before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
    return at(f"{rule.id}.cel", text, line, column, message, hint).as_warning(lint)


def _names_that_match_no_model(documents: list[YamlFile], entries: data.Data) -> Iterator[Problem]:
    families = {model.family for model in entries.models.values()}
    known = families | entries.names.keys() | {"*"}
    lists: list[tuple[Loc, tuple[str, ...]]] = [
        (("roles", name, "allowed_models"), role.allowed_models)
        for name, role in entries.roles.items()
    ]
    for name, workspace in entries.workspaces.items():
        lists.append((("workspaces", name, "allowed_models"), workspace.allowed_models))
        lists += [
            (("workspaces", name, "services", service, "allowed_models"), one.allowed_models)
            for service, one in workspace.services.items()
        ]
    for loc, names in lists:
        for index, name in enumerate(names):
            if name not in known:
                message = f"no model, alias or family is named '{name}'"
                yield from _in_data(
                    documents, (*loc, index), "no-such-model", message, did_you_mean(name, known)
                )


def _keys_of_no_workspace(documents: list[YamlFile], entries: data.Data) -> Iterator[Problem]:
    for key_id, key in entries.keys.items():
        if key.workspace not in entries.workspaces:
            message = f"no workspace is named '{key.workspace}', so the key opens nothing"
            hint = did_you_mean(key.workspace, entries.workspaces)
            loc: Loc = ("keys", key_id, "workspace")
            yield from _in_data(documents, loc, "no-such-workspace", message, hint)


def _models_without_price(documents: list[YamlFile], policy: PolicySet) -> Iterator[Problem]:
    if policy.counts_cost:
        for model_id in {m.message.id for m in policy.catalogue.models.values() if not m.tariffs}:
            message = f"{model_id} has no price, so every call of it is denied"
            hint = "a limit counts cost; a free model has the price 0"
            yield from _in_data(documents, ("models", model_id), "no-price", message, hint)


def _in_data(
    documents: list[YamlFile], loc: Loc, lint: str, message: str, hint: str
) -> Iterator[Problem]:
    for document in documents:
        if document.has(loc):
            yield document.problem(loc, message, hint).as_warning(lint)


def _unguarded_labels(rule: Rule, text: str) -> Iterator[Problem]:
    """A label that is missing makes a deny rule or a limit fail, and so deny everybody."""
    if rule.effect is RuleEffect.ALLOW:
        return
    code = _COMMENT_BUT_SCOPE.sub(lambda comment: " " * len(comment[0]), text)
    guarded = {found[1] or found[2] for found in _GUARD.finditer(code)}
    for found in _LABEL.finditer(code):
        label = found[1] or found[2]
        if label not in guarded:
            message = f"without the label '{label}' this fails, and so denies"
            hint = f'guard it: "{label}" in principal.labels && …'
            yield _in_rule(rule, text, found.start(), "unguarded-label", message, hint)


def _constant(rule: Rule, text: str, policy: PolicySet) -> Iterator[Problem]:
    """Try a rule that reads the data files alone on all that they hold."""
    if not rule.body.reads <= FINITE or rule.effect is RuleEffect.ALLOW:
        return
    values = set(itertools.islice(_values_from_data(rule, policy), COMBINATIONS_AT_MOST))
    start = _start(text)
    if rule.effect is RuleEffect.DENY and len(values) == 1:
        verdict = "always denies" if values == {True} else "never denies"
        message = f"with these data files the rule {verdict}"
        yield _in_rule(rule, text, start, "constant-rule", message)
    elif rule.effect is RuleEffect.LIMIT and values == {None}:
        message = "with these data files the limit is always unlimited"
        yield _in_rule(rule, text, start, "limit-never-bites", message)
    elif rule.effect is RuleEffect.LIMIT and values == {0}:
        message = "with these data files the limit is always 0"
        yield _in_rule(rule, text, start, "limit-always-bites", message)


def _values_from_data(rule: Rule, policy: PolicySet) -> Iterator[object]:
    catalogue = policy.catalogue
    models = {model.message.id: model.message for model in catalogue.models.values()}
    for role, workspace, model in itertools.product(
        catalogue.roles.values(), catalogue.workspaces.values(), models.values()
    ):
        values = Values(
            request=policy_pb.Request(),
            principal=pb.Principal(),
            role=role.message,
            workspace=workspace,
            model=model,
            key=policy_pb.Key(),
            now=datetime.now(UTC),
            spend={},
        )
        try:
            value = rule.body.program.evaluate(policy.engine.bind(values))
        except EvaluationError:
            yield "error"
            continue
        yield value if rule.limit is None else ceiling_of(value, rule.limit.meter)


def _shadowed(rule: Rule, text: str, policy: PolicySet) -> Iterator[Problem]:
    """Find an earlier rule of the same effect that says the same."""
    for other in policy.rules:
        if other.id < rule.id and _meaning(other) == _meaning(rule):
            message = f"says the same as {other.id}"
            hint = "one of them is enough"
            yield _in_rule(rule, text, _start(text), "same-as-another", message, hint)
            return


def _meaning(rule: Rule) -> tuple[object, ...]:
    code = _COMMENT.sub("", rule.body.source)
    limit = rule.limit
    scope = None if limit is None else (limit.meter, limit.window, limit.per.source.strip())
    return (rule.effect, " ".join(code.split()), scope)


def _start(text: str) -> int:
    """Return the offset at which the expression begins."""
    code = _COMMENT.sub(lambda comment: " " * len(comment[0]), text)
    return len(code) - len(code.lstrip())
