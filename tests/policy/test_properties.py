"""What holds for every policy set: order, more denials, errors."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_spend.v1 import authorization_pb2 as pb
from support.authorizer_harness import authorizer_harness
from support.policies import deny, minimal
from support.sidecar_process import chat, tester

from sidecar.domain.decisions import Decision, Effect

ALLOW = "// METADATA\n// effect: allow\n// owner: a@b\n{}\n"
CONDITIONS = [
    "true",
    "false",
    "request.tokens > 150",
    'principal.id == "ada"',
    '"team" in principal.labels',
    'principal.labels["team"] == "ml"',  # fails without the label
    "9223372036854775807 + request.choices > 0",  # always fails
    'model.family == "small"',
]
FAILS = CONDITIONS[6]

rules = st.lists(st.sampled_from(CONDITIONS), max_size=3)
calls = st.builds(
    lambda who, labels, tokens: chat(
        tester(id=who, labels=labels), model="small-1", estimate={"max_output_tokens": tokens}
    ),
    st.sampled_from(["ada", "bob"]),
    st.sampled_from([{}, {"team": "ml"}, {"team": "web"}]),
    st.sampled_from([10, 100]),
)


def decide(files: dict[str, str], request: pb.AuthorizeRequest) -> Decision:
    """Decide one call on policies with these files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        directory = minimal(path / "p", allow_all=ALLOW.format("false"), **files)
        with authorizer_harness(directory, path / "ledger.sqlite") as opened:
            return opened.authorize(request)


def named(prefix: str, conditions: list[str], template: str) -> dict[str, str]:
    """Write a rule for each condition."""
    return {f"{prefix}{n}": template.format(c) for n, c in enumerate(conditions)}


DENY = deny("{}")


@pytest.mark.property
@given(rules, rules, calls)
def test_the_order_of_files_never_changes_a_decision(
    allow: list[str], denials: list[str], request: pb.AuthorizeRequest
) -> None:
    """Names decide in which order rules are read, and nothing else."""
    first = decide(named("a", allow, ALLOW) | named("d", denials, DENY), request)
    turned = named("z", allow[::-1], ALLOW) | named("b", denials[::-1], DENY)
    second = decide(turned, request)
    assert first.effect is second.effect
    assert sorted(r.code for r in first.reasons) == sorted(r.code for r in second.reasons)


@pytest.mark.property
@given(rules, rules, st.sampled_from(CONDITIONS), calls)
def test_one_more_deny_rule_never_turns_deny_into_allow(
    allow: list[str], denials: list[str], more: str, request: pb.AuthorizeRequest
) -> None:
    """Denials only ever take away."""
    files = named("a", allow, ALLOW) | named("d", denials, DENY)
    before = decide(files, request).effect
    after = decide(files | named("more", [more], DENY), request).effect
    assert not (before is Effect.DENY and after is Effect.ALLOW)


@pytest.mark.property
@given(rules.filter(len), rules, st.data(), calls)
def test_a_rule_that_fails_never_widens_access(
    allow: list[str], denials: list[str], data: st.DataObject, request: pb.AuthorizeRequest
) -> None:
    """Put an error in the place of any rule: what was denied stays denied."""
    before = decide(named("a", allow, ALLOW) | named("d", denials, DENY), request).effect
    broken = [list(allow), list(denials)]
    side = data.draw(st.sampled_from([0, 1] if denials else [0]))
    broken[side][data.draw(st.integers(0, len(broken[side]) - 1))] = FAILS
    after = decide(named("a", broken[0], ALLOW) | named("d", broken[1], DENY), request).effect
    assert not (before is Effect.DENY and after is Effect.ALLOW)
