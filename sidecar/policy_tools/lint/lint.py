"""All lints of a policy directory; docs/lints.md explains each warning."""

from collections import Counter
from collections.abc import Iterable, Iterator

from sidecar.policy.files import data
from sidecar.policy.files.directory import PolicyFiles
from sidecar.policy.files.problems import Problem
from sidecar.policy.files.yaml_file import YamlFile
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.lint import data as lints_of_data
from sidecar.policy_tools.lint import fixtures as lints_of_fixtures
from sidecar.policy_tools.lint import lookalikes, rules
from sidecar.policy_tools.testing.fixtures import Fixture

MAX_WARNINGS = 50
"""The most warnings of one kind that are shown; more of them usually have the same cause."""

HELP = {
    "no-such-model": "Fix the name in the allow-list, or add the model to the data.",
    "no-such-workspace": "Fix the name of the key's workspace.",
    "no-such-name": "Fix the name: the comparison is never true, so it has no effect.",
    "no-such-entry": "Fix the name in the fixture, or expect the reason for an unknown name.",
    "no-such-scope": "Fix the principal of the balance: no call of the fixture is from it.",
    "no-expectations": "Add `expect` to a step; without it, the test passes always.",
    "same-test-name": "Rename one of the tests, or put a column of `each` into the name.",
    "no-reasons": "List the reasons of the denial that the fixture expects.",
    "no-such-time": "Compare with a number that this part of a time can have.",
    "no-price": "Add a price with its effective_from; a free model costs 0.",
    "no-rule-reads": "Write a rule that reads the field, or remove the field.",
    "no-rule-allows": "Write an allow rule for the entry, or remove it.",
    "unguarded-label": 'Guard the label: "team" in principal.labels && …',
    "unguarded-key": "Guard the key: key in map && …",
    "no-value": "Add a branch for the entries for which the calculation fails.",
    "constant-rule": "Add a condition that depends on the call, or remove the rule.",
    "limit-never-bites": "Add a ceiling that can be reached, or remove the limit.",
    "limit-always-bites": "Use a deny rule instead, or add a ceiling above 0.",
    "same-looking-name": "Rename one of the two, with letters of one script and in one case.",
    "same-as-family": "Rename the model or alias, or give the model this family.",
    "no-anchors": 'Say both ends of the pattern: "^(a|b)$"; or .* for an end that is open.',
    "same-as-another": "Remove one of the two rules.",
    "shadowed-rule": "Remove the narrower rule, or the broader.",
    "unit-mismatch": "Use the meter, window or field that is meant.",
}
"""How to fix each warning, in one line."""


def lint(
    files: PolicyFiles, policy: PolicySet, entries: data.Data, tests: Iterable[Fixture] = ()
) -> list[Problem]:
    """Return the warnings of a valid directory, up to MAX_WARNINGS of each kind."""
    documents = [YamlFile(file, text) for file, text in sorted(files.data.items())]
    found: list[Problem] = []
    for warnings in (
        *lints_of_data.lint(documents, policy, entries),
        *lookalikes.lint(documents, entries),
        *rules.lint(files.rules, policy, entries),
        lints_of_fixtures.lint(tests, policy),
    ):
        found += _at_most(warnings)
    return sorted(found)


def _at_most(problems: Iterator[Problem]) -> Iterator[Problem]:
    """Yield MAX_WARNINGS of each kind, and after those a note that there are more."""
    kinds: Counter[str] = Counter()
    for problem in problems:
        kinds[problem.lint] += 1
        if kinds[problem.lint] > MAX_WARNINGS:
            message = f"there are more warnings of this kind; {MAX_WARNINGS} are shown"
            yield Problem(problem.file, 0, 0, message).as_warning(problem.lint)
            return
        yield problem
