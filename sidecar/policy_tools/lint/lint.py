"""Runs all lints of a policy directory; docs/lints.md explains each warning."""

from collections import Counter
from collections.abc import Iterable, Iterator

from sidecar.policy.files import data
from sidecar.policy.files.directory import PolicyFiles
from sidecar.policy.files.problems import Problem
from sidecar.policy.files.yaml_file import YamlFile
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.lint import data as lints_of_data
from sidecar.policy_tools.lint import fixtures as lints_of_fixtures
from sidecar.policy_tools.lint import rules
from sidecar.policy_tools.testing.fixtures import Fixture

MAX_WARNINGS = 50
"""Of one kind; more of them usually have the same cause."""

HELP = {
    "no-such-model": "Mend the name in the allow-list, or add the model to the data.",
    "no-such-workspace": "Mend the name of the key's workspace.",
    "no-such-name": "Mend the name: the comparison never holds, so the rule does not speak.",
    "no-such-entry": "Mend the name in the fixture, or expect the reason that it is unknown.",
    "no-such-scope": "Mend the balance's scope: no call of the fixture can meet it.",
    "no-reasons": "Name the reasons of the denial that the fixture expects.",
    "no-such-time": "Compare with a number that this part of a time can be.",
    "no-price": "Add a price with its effective_from; a free model costs 0.",
    "no-rule-reads": "Write a rule that reads the field, or take the field away.",
    "no-rule-allows": "Write an allow rule for the entry, or remove it.",
    "unguarded-label": 'Guard the label: "team" in principal.labels && …',
    "unguarded-key": "Guard the key: key in map && …",
    "constant-rule": "Say what the rule is about, or remove it.",
    "limit-never-bites": "Add a ceiling that can be reached, or remove the limit.",
    "limit-always-bites": "Use a deny rule instead, or add a ceiling above 0.",
    "same-as-another": "Remove one of the two rules.",
    "shadowed-rule": "Remove the narrower rule, or the broader.",
    "unit-mismatch": "Name the meter, window or field that is meant.",
}
"""How to fix each warning, in a line."""


def lint(
    files: PolicyFiles, policy: PolicySet, entries: data.Data, tests: Iterable[Fixture] = ()
) -> list[Problem]:
    """Return the warnings of a valid directory, up to MAX_WARNINGS of each kind."""
    documents = [YamlFile(file, text) for file, text in sorted(files.data.items())]
    found: list[Problem] = []
    for of_one_kind in (
        *lints_of_data.lint(documents, policy, entries),
        *rules.lint(files.rules, policy, entries),
        lints_of_fixtures.lint(tests, policy),
    ):
        found += _first(of_one_kind)
    return sorted(found)


def _first(problems: Iterator[Problem]) -> Iterator[Problem]:
    """Yield the warnings up to the maximum of a kind, then one that there are more."""
    kinds: Counter[str] = Counter()
    for problem in problems:
        kinds[problem.lint] += 1
        if kinds[problem.lint] > MAX_WARNINGS:
            message = f"there are more of these: {MAX_WARNINGS} are shown"
            yield Problem(problem.file, 0, 0, message).as_warning(problem.lint)
            return
        yield problem
