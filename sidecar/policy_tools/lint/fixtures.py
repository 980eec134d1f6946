"""Lints of fixtures that may pass for another reason than the intended one."""

from collections.abc import Iterable, Iterator

from sidecar.policy.catalogue import UNKNOWN_KEY
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.operators import literal_of
from sidecar.policy.cel.variables import text_field
from sidecar.policy.files.problems import Problem, did_you_mean
from sidecar.policy.files.yaml_file import Loc
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule
from sidecar.policy_tools.testing.fixtures import AuthorizeStep, Fixture, FixtureStep

_FIELDS = {
    ("principal", "role"): "role",
    ("role", "name"): "role",
    ("principal", "workspace"): "workspace",
    ("workspace", "name"): "workspace",
    ("request", "model"): "model",
    ("model", "id"): "model",
    ("principal", "key_id"): "key",
    ("key", "id"): "key",
}
"""Fields that a limit may count by, and the kind of entry that each one names."""


def lint(tests: Iterable[Fixture], policy: PolicySet) -> Iterator[Problem]:
    """Yield a warning for each unknown name, and for each denial without reasons; no duplicates."""
    linter = _FixtureLinter(policy)
    seen: set[Problem] = set()
    for test in tests:
        for problem in linter.problems(test):
            if problem not in seen:
                seen.add(problem)
                yield problem


class _FixtureLinter:
    """Checks fixtures against the names of one policy set."""

    def __init__(self, policy: PolicySet) -> None:
        catalogue = policy.catalogue
        self._catalogue = catalogue
        self._known = {
            "role": catalogue.roles.keys(),
            "workspace": catalogue.workspaces.keys(),
            "model": catalogue.models.keys(),
            "key": catalogue.keys.keys(),
        }
        about_keys = (rule.reason for rule in policy.rules if "key" in rule.body.reads)
        self._expected = {name: {f"{name.upper()}_UNKNOWN"} for name in self._known}
        self._expected["key"] |= set(about_keys)
        self._limits = {rule.id: rule for rule in policy.limits}
        self._parse = CelPythonEngine().parse

    def problems(self, test: Fixture) -> Iterator[Problem]:
        """Yield the warnings of one fixture."""
        for number, (_, step) in enumerate(test.steps):
            loc: Loc = ("steps", number)
            if step.authorize is not None:
                yield from self._names(test, (*loc, "authorize"), step, step.authorize)
            if step.expect.effect == "deny" and step.expect.reasons is None:
                yield test.problem(
                    (*loc, "expect"),
                    "this passes for any denial, also for an unintended reason",
                    "add the reasons, as in `reasons: [MODEL_NOT_ALLOWED]`",
                    at_key=True,
                ).as_warning("no-reasons")
        for index, balance in enumerate(test.balances):
            if balance.rule in self._limits:
                where: Loc = ("balances", index, "scope")
                yield from self._scope(test, where, balance.scope, self._limits[balance.rule])

    def _names(
        self, test: Fixture, loc: Loc, step: FixtureStep, call: AuthorizeStep
    ) -> Iterator[Problem]:
        """Find names that no data file has, unless the step expects that reason to deny."""
        principal = call.principal
        for what, name, place in (
            ("role", principal.role, (*loc, "principal", "role")),
            ("workspace", principal.workspace, (*loc, "principal", "workspace")),
            ("key", principal.key_id, (*loc, "principal", "key_id")),
            ("model", call.model, (*loc, "model")),
        ):
            expected = self._expected[what] & set(step.expect.reasons or ())
            if name and not self._has(what, name) and not expected:
                message = f"no {what} is named '{name}', and {what.upper()}_UNKNOWN is not expected"
                hint = did_you_mean(name, self._known[what])
                yield test.problem(place, message, hint).as_warning("no-such-entry")

    def _has(self, what: str, name: str) -> bool:
        if what == "key":
            return self._catalogue.key(name).state != UNKNOWN_KEY
        return name in self._known[what]

    def _scope(self, test: Fixture, loc: Loc, scope: str, rule: Rule) -> Iterator[Problem]:
        """Warn of balances of scopes that no call is counted in."""
        assert rule.limit is not None, "only a limit has a balance"
        field = text_field(rule.limit.per.source)
        literal = literal_of(self._parse(rule.limit.per.source))
        known: set[str] | None = None
        if isinstance(literal, str):
            known = {literal}
        elif field == ("principal", "id"):
            known = {step.authorize.principal.id for _, step in test.steps if step.authorize}
        elif field in _FIELDS and not self._has(_FIELDS[field], scope):
            known = set(self._known[_FIELDS[field]])
        if known is not None and scope not in known:
            message = (
                f"{rule.id} counts by {rule.limit.per.source.strip()}, which is never '{scope}'"
            )
            hint = did_you_mean(scope, known)
            yield test.problem(loc, message, hint).as_warning("no-such-scope")
