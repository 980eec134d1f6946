"""Keys: restrictions by models, rate and expiry, and hostile names."""

from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_spend.v1 import authorization_pb2 as pb
from support.authorizer_harness import NOON, AuthorizerHarness, codes
from support.policies import SHIPPED, minimal, shipped
from support.sidecar_process import chat, principal

from sidecar.authorization.request_evaluation import evaluate_request
from sidecar.domain.clock import SECOND_US, to_datetime
from sidecar.domain.keys import KeyName
from sidecar.policy import policy_set
from sidecar.policy.catalogue import Catalogue
from sidecar.policy.cel.variables import NEVER, UNLIMITED_INT
from sidecar.policy.files import data, entries
from sidecar.policy.files import directory as policy_files
from sidecar.policy.files.problems import PolicyError
from sidecar.policy.policy_set import PolicySet

RULES = {file.stem.replace("-", "_"): file.read_text() for file in SHIPPED.glob("key-*.cel")}

ODD = [
    "KEY#", "KEY##1", "KEY#1#", "KEY#1#2", "KEY#0", "KEY#01", "KEY#-1", "KEY#+1", "KEY# 1",
    "KEY#1 ", "KEY#1\n", "KEY#x", "KEY#1.0", "KEY#1e3", "KEY#1_0", "KEY#٣", "KEY#²",
    "KEY#999999999999", "KEY#18446744073709551617", "#", "##", "#1", "key", "KEY ", " KEY",
    "KEY\x00", "../KEY", "KEY' OR '1'='1", "KEY%", "=KEY", "\u202eYEK", "K" * 256,
]  # fmt: skip


def keyed(directory: Path, keys: str, **files: str) -> Path:
    """Write a small directory with keys and the shipped rules about them."""
    return minimal(directory, keys_yaml=f"keys:\n{keys}", **RULES, **files)


def call(key_id: str, model: str = "small-1") -> pb.AuthorizeRequest:
    """Return a call in the minimal policies."""
    return chat(principal(role="tester", workspace="lab", key_id=key_id), model=model)


@pytest.mark.parametrize("key_id", ODD)
def test_a_key_with_another_spelling_is_unknown(
    key_id: str, tmp_path: Path, open_harness: Callable[..., AuthorizerHarness], engine: str
) -> None:
    """The id of a key or version has one spelling; any other is denied with 401."""
    harness = open_harness(keyed(tmp_path / "p", "  KEY: {workspace: lab}\n"), engine=engine)
    decision = harness.authorize(call(key_id))
    assert codes(decision) == ["KEY_UNKNOWN"]
    assert decision.reasons[0].http_status == 401


@pytest.mark.parametrize("number", ["1", "10", "999999999"])
def test_rules_see_a_version_as_its_key(
    number: str, tmp_path: Path, open_harness: Callable[..., AuthorizerHarness]
) -> None:
    """The version of a key does not change a decision."""
    keys = "  KEY: {workspace: lab, allowed_models: [small], requests_per_minute: 1}\n"
    harness = open_harness(keyed(tmp_path / "p", keys))
    assert codes(harness.authorize(call(f"KEY#{number}", "free-1")))[0] == "KEY_MODEL_NOT_ALLOWED"
    assert codes(harness.authorize(call(f"KEY#{number}"))) == []
    assert codes(harness.authorize(call("KEY"))) == ["KEY_RATE_LIMITED"]


@given(st.text(max_size=12), st.integers(1, 10**9 - 1))
def test_a_key_name_is_formatted_as_it_is_parsed(key: str, version: int) -> None:
    """Every key without a # has one name for each of its versions, and one for itself."""
    key = key.replace("#", "")
    for name in (KeyName(key, version), KeyName(key, 0)):
        assert KeyName.parse(str(name)) == name


def test_a_key_expires_at_the_very_moment_and_not_before(
    tmp_path: Path, open_harness: Callable[..., AuthorizerHarness], engine: str
) -> None:
    """To the microsecond; and a clock that is set back opens nothing that a later one did not."""
    keys = "  KEY: {workspace: lab, expires: 2026-11-10T13:00:00Z}\n"
    harness = open_harness(keyed(tmp_path / "p", keys), engine=engine)
    end = NOON + 3600 * SECOND_US
    for now_us, expected in (
        (end - 1, []),
        (end, ["KEY_EXPIRED"]),
        (end + 10**15, ["KEY_EXPIRED"]),
        (end - 1, []),  # the authorizer's own clock never goes back: see monotonic
        (0, []),
    ):
        harness.now_us = now_us
        assert expected == codes(harness.authorize(call("KEY"))), now_us


def test_an_entry_may_omit_every_restriction(tmp_path: Path) -> None:
    """Then it restricts nothing: all models, no rate, no expiry."""
    catalogue = policy_set.load(keyed(tmp_path / "p", "  KEY: {workspace: lab}\n")).catalogue
    for key in (catalogue.key("KEY"), catalogue.key(""), catalogue.key("made-up")):
        assert (list(key.allowed_models), key.requests_per_minute) == (["*"], UNLIMITED_INT)
        assert key.expires.ToDatetime(UTC) == NEVER
        assert not key.HasField("created")
    assert [catalogue.key(name).state for name in ("KEY", "", "made-up")] == [
        "active",
        "",
        "unknown",
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{workspace: lab, requests_per_minute: }", "has to be a number, or unlimited"),
        ("{workspace: lab, requests_per_minute: -1}", "greater than or equal to 0"),
        ("{workspace: lab, allowed_models: small}", "has to be a list"),
        ("{workspace: lab, expires: tomorrow}", "has to be a day"),
        ("{workspace: lab, expires: 2026-11-10T12:00:00}", "has to have its zone"),
        ("{workspace: lab, expires: 9999-12-31}", "between the years 2000 and 2200"),
        ("{workspace: lab, created: 2026-02-02, expires: 2026-02-02}", "is not after `created`"),
        ("{workspace: lab, state: expired}", "'expired' is not a valid state"),
        ('{workspace: lab, owner: "a\\e[31mb"}', "'owner'"),
        ('{workspace: lab, name: "a\\x85b"}', "'name'"),
        ("{workspace: lab, secret: abc}", "unknown key 'secret'"),
        ("{name: x}", "'workspace' is missing"),
    ],
)
def test_an_invalid_entry_is_reported_at_its_place(
    entry: str, expected: str, tmp_path: Path
) -> None:
    """No set loads with an incomplete key."""
    with pytest.raises(PolicyError) as caught:
        policy_set.load(keyed(tmp_path / "p", f"  KEY: {entry}\n"))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("keys.yaml", 2)
    assert expected in str(problem)


@pytest.mark.parametrize("key_id", ['"K#1"', '"#"', '"a\\nb"', '""'])
def test_a_key_id_is_one_that_a_principal_can_send(key_id: str, tmp_path: Path) -> None:
    """A # separates the version from the key."""
    with pytest.raises(PolicyError, match=r"keys.yaml:2"):
        policy_set.load(keyed(tmp_path / "p", f"  {key_id}: {{workspace: lab}}\n"))


LISTS = st.lists(
    st.sampled_from(["*", "mistral-small", "codestral-latest", "mistral-embed", "mistral-large"]),
    max_size=3,
)
ENTRIES = st.builds(
    entries.KeyEntry,
    workspace=st.sampled_from(["dev-workspace", "ml-workspace"]),
    allowed_models=LISTS,
    requests_per_minute=st.just("unlimited") | st.integers(0, 10**6),
    expires=st.none()
    | st.sampled_from([NOON - 1, NOON, NOON + 1]).map(lambda at_us: to_datetime(at_us).isoformat()),
    state=st.sampled_from(["active", "revoked"]),
)


@pytest.fixture(scope="module")
def policy() -> PolicySet:
    """The shipped policies; a test puts keys of its own into them."""
    return policy_set.load(SHIPPED)


@pytest.mark.property
@settings(max_examples=300)
@given(
    entry=ENTRIES,
    who=st.builds(
        principal,
        role=st.sampled_from(["analyst", "developer", "senior", "admin"]),
        workspace=st.sampled_from(["dev-workspace", "ml-workspace"]),
        labels=st.sampled_from([{}, {"team": "ml"}]),
    ),
    model=st.sampled_from(["mistral-small-latest", "codestral-latest", "mistral-large-latest"]),
    tokens=st.sampled_from([10, 3000]),
)
def test_a_key_never_widens_what_its_caller_may_do(
    entry: entries.KeyEntry, who: pb.Principal, model: str, tokens: int, policy: PolicySet
) -> None:
    """An entry can only add reasons to deny, and remove none."""
    policy.catalogue.keys = Catalogue(data.Data(keys={"KEY": entry})).keys
    policy.residuals.clear()
    request = chat(who, model=model, estimate={"max_output_tokens": tokens})
    without = evaluate_request(policy, request, NOON, lambda *_: ())
    request.principal.key_id = "KEY"
    with_key = evaluate_request(policy, request, NOON, lambda *_: ())
    assert set(without.reasons) <= set(with_key.reasons)
    own = {line.limit for line in with_key.lines if line.limit.scope == "KEY"}
    of_all = {line.limit for line in without.lines if line.limit.scope}
    assert of_all <= {line.limit for line in with_key.lines}
    assert {limit.rule for limit in own} == {"key-requests-per-minute"}


def test_unknown_keys_are_not_cached(
    open_harness: Callable[..., AuthorizerHarness], engine: str
) -> None:
    """Neither residuals nor converted values are kept for them."""
    harness = open_harness(engine=engine)

    def kept() -> tuple[int, ...]:
        evaluator = harness.authorizer.policy.engine
        return (
            len(harness.authorizer.policy.residuals),
            len(getattr(evaluator, "_converted", ())),
            len(harness.authorizer.policy.catalogue.keys),
        )

    harness.authorize(chat(principal(key_id="made-up")))
    before = kept()
    for number in range(50):
        for name in (f"made-up-{number}", f"dev-team-key#{number}x"):
            assert codes(harness.authorize(chat(principal(key_id=name)))) == ["KEY_UNKNOWN"]
    assert before == kept()


def test_a_registry_may_have_ten_thousand_keys(tmp_path: Path) -> None:
    """In several files, since one has a bound; each key is found by its name."""
    directory = shipped(tmp_path / "p")
    for part in range(4):
        numbers = range(part * 2500, part * 2500 + 2500)
        lines = [f"  team-{n}: {{workspace: dev-workspace, owner: o{n}@x.org}}\n" for n in numbers]
        (directory / f"keys-{part}.yaml").write_text("keys:\n" + "".join(lines))
    # Without the time limit of `load`: how long it takes depends on the machine.
    files = policy_files.read(directory)
    catalogue = policy_set.compile_files(files, "cel-cpp", generation=1).catalogue
    assert len(catalogue.keys) == 10_005
    assert catalogue.key("team-9999#12").owner == "o9999@x.org"
