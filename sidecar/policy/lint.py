"""What loads and is probably not meant: warnings, each explained in docs/lints.md."""

from sidecar.policy import data, lints_of_data, lints_of_rules
from sidecar.policy.directory import PolicyFiles
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.problems import Problem
from sidecar.policy.yaml_file import YamlFile


def lint(files: PolicyFiles, policy: PolicySet, entries: data.Data) -> list[Problem]:
    """Return all warnings for a directory that loads."""
    documents = [YamlFile(file, text) for file, text in sorted(files.data.items())]
    return sorted(
        [
            *lints_of_data.lint(documents, policy, entries),
            *lints_of_rules.lint(files.rules, policy),
        ]
    )
