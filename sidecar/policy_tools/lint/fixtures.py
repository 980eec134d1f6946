"""Lints of fixtures that pass by accident: for another reason than intended, or for none."""

from collections.abc import Iterable, Iterator

from sidecar.policy.catalogue import UNKNOWN_KEY
from sidecar.policy.files.problems import Problem, did_you_mean
from sidecar.policy.files.yaml_file import Loc
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.rules import Rule
from sidecar.policy_tools.testing.fixture_file import AuthorizeStep, FixtureStep
from sidecar.policy_tools.testing.fixtures import Fixture


def lint(tests: Iterable[Fixture], policy: PolicySet) -> Iterator[Problem]:
    """Yield a warning for each place where a fixture says less than it seems to; no duplicates."""
    linter = _FixtureLinter(policy)
    seen: set[Problem] = set()
    named: dict[str, Fixture] = {}
    for test in tests:
        other = named.setdefault(test.name, test)
        for problem in (*linter.problems(test), *_same_name(test, other)):
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

    def problems(self, test: Fixture) -> Iterator[Problem]:
        """Yield the warnings of one fixture."""
        yield from _without_expectations(test)
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
        """Warn of the balance of a principal that no step calls as."""
        if rule.terms.per.field == ("principal", "id"):
            known = {step.authorize.principal.id for _, step in test.steps if step.authorize}
            if scope not in known:
                message = f"{rule.id} counts by principal.id, and no step calls as '{scope}'"
                hint = did_you_mean(scope, known)
                yield test.problem(loc, message, hint).as_warning("no-such-scope")


def _same_name(test: Fixture, other: Fixture) -> Iterator[Problem]:
    """Warn of the name of another test, or of another row of the same one."""
    if test is not other:
        in_rows = (test.file, test.loc) == (other.file, other.loc)
        which = "each row of `each`" if in_rows else f"the test at {other.file}:{other.line}"
        message = f"{which} has this name, so a failure does not say which test it is"
        hint = "put a column into it, as in ${role}" if in_rows else "rename one of them"
        yield test.problem(("name",), message, hint).as_warning("same-test-name")


def _without_expectations(test: Fixture) -> Iterator[Problem]:
    """Warn of a test that compares nothing, and of each `expect` that does."""
    if all(step.expect.is_empty for _, step in test.steps):
        message, hint = "nothing is expected, so this passes always", "add `expect` to a step"
        yield test.problem(("name",), message, hint).as_warning("no-expectations")
        return
    for number, (_, step) in enumerate(test.steps):
        if "expect" in step.model_fields_set and step.expect.is_empty:
            loc: Loc = ("steps", number, "expect")
            message, hint = "this is empty, so nothing is compared", "fill it in, or leave it out"
            yield test.problem(loc, message, hint, at_key=True).as_warning("no-expectations")
