"""What holds for every pair of policy sets: a diff is what both decide, case by case."""

import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.authorizer_harness import NOON
from support.diff import agrees, decision
from support.policies import deny, limit, minimal

from sidecar.policy import policy_set
from sidecar.policy_tools.diff.cases import CaseSpace
from sidecar.policy_tools.diff.changes import changes_of
from sidecar.policy_tools.diff.comparison import Comparison, unreported
from sidecar.policy_tools.diff.diff import compare
from sidecar.policy_tools.diff.outcomes import parts_of
from sidecar.policy_tools.diff.rule_reader import read

KEYS = "keys:\n  a: {workspace: lab}\n  b: {workspace: lab, state: revoked}\n"
ALLOW = "// METADATA\n// effect: allow\n// owner: test@example.com\n{}\n"

conditions = st.recursive(
    st.sampled_from([
        "true",
        'role.name == "tester"',
        'principal.workspace != "lab"',
        'workspace.labels["tier"] == "gold"',  # fails without the label
        'model.family == "small"',
        'request.model == "small-latest"',
        'request.endpoint == "FIM"',
        "request.tokens > 500",
        "request.max_output_tokens >= role.max_tokens_per_request",
        '"team" in principal.labels',
        'principal.labels["team"] == "web"',  # fails without the label
        'principal.labels["app"] in ["x", "y"]',
        "[principal].exists(p, p.role == role.name)",
        'key.state == "revoked"',
        'principal.key_id == "a"',
        'spend["calls"].fraction > 0.5',
        'spend["calls"].used == 3',
    ]),
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    ),
    max_leaves=4,
)  # fmt: skip
ceilings = st.sampled_from(["10", "5 + 5", 'model.id == "free-1" ? 3 : 10', "request.tokens"])
sets = st.fixed_dictionaries({
    "allow": conditions,
    "no": conditions,
    "never": conditions,
    "ceiling": ceilings,
    "team": st.sampled_from(["gold", "silver"]),
})  # fmt: skip


def written(directory: Path, drawn: dict[str, Any]) -> Path:
    """Write the rules of a set."""
    path = minimal(
        directory,
        allow_some=ALLOW.format(drawn["allow"]),
        no=deny(drawn["no"]),
        never=deny(drawn["never"]),
        calls=limit(drawn["ceiling"]),
        keys_yaml=KEYS,
    )
    (path / "allow-all.cel").unlink()
    workspaces = path / "workspaces.yaml"
    workspaces.write_text(f"{workspaces.read_text()}    labels: {{tier: {drawn['team']}}}\n")
    return path


@pytest.mark.property
@settings(max_examples=settings().max_examples // 4)  # one takes a second
@given(
    sets, sets, st.sets(st.sampled_from(["allow", "no", "never", "ceiling", "team"]), min_size=1)
)
def test_each_case_is_decided_as_a_sidecar_decides_it(
    old: dict[str, Any], other: dict[str, Any], changed: set[str]
) -> None:
    """Of both sets, and a case is a change exactly if they differ."""
    new = old | {name: other[name] for name in changed}
    with tempfile.TemporaryDirectory() as folder:
        both = [
            policy_set.load(written(Path(folder) / name, each))
            for name, each in (("old", old), ("new", new))
        ]
    found = compare(both[0], both[1], NOON)
    reading = read(*both)
    space = CaseSpace(both[0], both[1], reading, NOON)
    parts = [parts_of(each, reading, NOON) for each in both]
    diagram = Comparison(parts[0], parts[1], set(), unreported).diagram(space.levels)
    assert found.changes == tuple(changes_of(diagram, space.levels))
    for places in itertools.islice(itertools.product(*map(enumerate, space.levels)), 0, None, 31):
        case = {input_: value for _, part in places for input_, value in part.items()}
        node = diagram
        for level, (index, _) in enumerate(places):
            node = node.child(level, index)
        result: Any = node.result
        if result is None:
            assert decision(both[0], case, 2) == decision(both[1], case, 2)
        else:
            assert all(agrees(*each) for each in zip(both, (case, case), result, strict=True))
