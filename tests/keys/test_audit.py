"""The findings of an audit, and from which day on they appear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.authorizer_harness import NOON

from sidecar.domain.clock import SECOND_US, to_datetime
from sidecar.domain.keys import KeyName, KeyUse
from sidecar.domain.rotation import Version, VersionState
from sidecar.keys.api_variants import RemoteKey
from sidecar.keys.audit import AuditFinding, Auditor
from sidecar.keys.registry import KeyRecord, records
from sidecar.policy.catalogue import Catalogue
from sidecar.policy.files import data, entries

DAY = 86_400 * SECOND_US
LONG_AGO = NOON - 60 * DAY

MODELS = {
    name: entries.ModelEntry.model_validate({"family": name, "aliases": [f"{name}-latest"]})
    for name in ("small", "large", "code")
}
WORKSPACE = entries.WorkspaceEntry.model_validate(
    {
        "allowed_models": ["small", "large"],
        "requests_per_minute": "unlimited",
        "monthly_budget_usd": 5,
    }
)


def as_written(at_us: int) -> str:
    """Write a time as a data file has it."""
    return to_datetime(at_us).isoformat()


def catalogue(**entry: object) -> Catalogue:
    """Return a registry of one key, in which nothing is to be found, with changes."""
    fields = {"workspace": "lab", "owner": "ada", "created": as_written(LONG_AGO), **entry}
    names = {alias: name for name in MODELS for alias in (name, f"{name}-latest")}
    keys = {"KEY": entries.KeyEntry.model_validate(fields)}
    return Catalogue(
        data.Data(models=MODELS, workspaces={"lab": WORKSPACE}, keys=keys, names=names)
    )


def use(
    model: str = "small", last_us: int = NOON, *, allowed: bool = True, version: int = 0
) -> KeyUse:
    """Return a use of the key."""
    return KeyUse(KeyName("KEY", version), model, allowed, LONG_AGO, last_us, 1)


def version(number: int, state: VersionState, created_us: int | None = None) -> Version:
    """Return a version of the key, which Mistral has as id-NUMBER."""
    name = f"KEY-v{number}"
    times = (created_us, None, None, None, None)
    return Version("KEY", number, name, f"id-{number}", "", state, *times)


def audit(
    *uses: KeyUse,
    since_us: int | None = LONG_AGO,
    versions: tuple[Version, ...] = (),
    at_us: int = NOON,
    **entry: object,
) -> list[tuple[str, str]]:
    """Return the kinds of findings, with their texts."""
    registry = catalogue(**{"allowed_models": ["small"], **entry})
    since = {} if since_us is None else {"KEY": since_us}
    found = Auditor(registry, at_us).audit(records(registry, since, uses, versions))
    return [(one.kind.value, one.text) for one in found]


def kinds(*args: object, **kwargs: object) -> list[str]:
    """Return the kinds of findings alone."""
    return [kind for kind, _ in audit(*args, **kwargs)]  # type: ignore[arg-type]


def test_a_key_in_order_is_not_mentioned() -> None:
    """Owned, young, used, and no wider than used."""
    assert audit(use()) == []


@pytest.mark.parametrize(("last_us", "expected"), [(30, ["unused"]), (29, [])])
def test_a_key_is_unused_after_thirty_days(last_us: int, expected: list[str]) -> None:
    """To the microsecond; what was denied is no use."""
    denied = use(last_us=NOON, allowed=False)
    assert kinds(use(last_us=NOON - last_us * DAY), denied) == expected
    assert kinds(use(last_us=NOON - 30 * DAY + 1), denied) == []


@pytest.mark.parametrize(
    ("since_us", "expected"),
    [
        (NOON - 30 * DAY, ["never used since 2026-10-11, when counting began: revoke it?"]),
        (NOON - 30 * DAY + 1, []),
        (NOON + DAY, []),
        (None, []),
    ],
)
def test_never_used_is_reported_only_after_counting_long_enough(
    since_us: int | None, expected: list[str]
) -> None:
    """A key whose use is counted since yesterday may have been used the day before."""
    assert [text for kind, text in audit(since_us=since_us) if kind == "never-used"] == expected
    assert "unused" not in kinds(since_us=since_us)


@pytest.mark.parametrize(
    ("created_us", "versions", "expected"),
    [
        (NOON - 90 * DAY, (), ["old"]),
        (NOON - 90 * DAY + 1, (), []),
        (None, (), ["old"]),
        (NOON - 900 * DAY, (version(2, VersionState.ACTIVE, NOON - DAY),), []),
        (NOON, (version(1, VersionState.ACTIVE, NOON - 91 * DAY),), ["old"]),
        (NOON - DAY, (version(1, VersionState.REVOKED, NOON - 91 * DAY),), []),
        (NOON - DAY, (version(1, VersionState.ACTIVE, None),), []),
    ],
)
def test_a_key_is_as_old_as_the_secret_in_use(
    created_us: int | None, versions: tuple[Version, ...], expected: list[str]
) -> None:
    """A rotation resets its age; a key of unknown age is reported, too."""
    created = None if created_us is None else as_written(created_us)
    assert kinds(use(), versions=versions, created=created) == expected


def test_an_expired_key_is_reported_as_expired_only() -> None:
    """From that very moment on, it is not reported as unused or old."""
    for end_us, expected in ((NOON, ["expired"]), (NOON + 1, [])):
        assert kinds(use(), expires=as_written(end_us)) == expected
    assert kinds(created=None, expires=as_written(NOON - DAY), owner="") == ["no-owner", "expired"]


def test_a_revoked_key_is_not_audited() -> None:
    """Revoking it is what the audit would advise."""
    assert audit(state="revoked", owner="", created=None) == []


@pytest.mark.parametrize(
    ("allowed", "called", "never"),
    [
        (["small", "code-latest"], ["small"], "code-latest"),
        (["small-latest", "small"], ["small"], None),
        (["*"], ["small"], "large"),  # code is not its workspace's
        (["*"], ["small", "large"], None),
        (["*"], ["gone"], "large, small"),
        (["gone"], ["small"], "gone"),
    ],
)
def test_allowed_models_are_compared_with_the_models_called(
    allowed: list[str], called: list[str], never: str | None
) -> None:
    """By any of a model's names, within what the workspace may call."""
    uses = [use(model) for model in called] + [use("large", allowed=False), use("", allowed=False)]
    text = f"never called {never} since 2026-09-11: narrow allowed_models?"
    assert audit(*uses, allowed_models=allowed) == ([("wide-scope", text)] if never else [])
    assert kinds(*uses, allowed_models=allowed, since_us=NOON - 29 * DAY) == []


REVOKED = {"state": "revoked"}
ROTATED = "KEY-v3-0123456789ab"


@pytest.mark.parametrize(
    ("remote", "entry", "expected"),
    [
        ([("x", "KEY")], {}, []),
        ([("KEY", "whatever")], {}, []),
        ([("id-2", "renamed")], {}, []),
        ([("x", "KEY-v2")], {}, []),
        ([("x", ROTATED)], {}, []),
        ([], {}, ["not-at-mistral"]),
        ([], REVOKED, []),
        ([("x", "KEY")], REVOKED, ["alive-at-mistral"]),
        ([("x", ROTATED)], REVOKED, ["alive-at-mistral"]),
        ([("id-1", "KEY-v1"), ("id-2", "KEY-v2")], {}, ["alive-at-mistral"]),
        ([("x", "KEY"), ("y", "STRANGER")], {}, ["not-registered"]),
        ([("y", "key")], {}, ["not-registered", "not-at-mistral"]),
        ([("y", "KEY-v3-0123456789aB")], {}, ["not-registered", "not-at-mistral"]),
    ],
)
def test_the_registry_and_mistral_are_compared_both_ways(
    remote: list[tuple[str, str]], entry: dict[str, str], expected: list[str]
) -> None:
    """A key is known there by its id or its name, or as one of its versions."""
    registry = catalogue(**entry)
    versions = (version(1, VersionState.REVOKED), version(2, VersionState.ACTIVE))
    listed = [RemoteKey(remote_id, name) for remote_id, name in remote]
    found = Auditor(registry, NOON).compare(records(registry, {}, (), versions), listed)
    assert [one.kind.value for one in found] == expected


NAMES = st.sampled_from(["a", "b", "c", "d"])


@given(st.sets(NAMES), st.sets(NAMES))
def test_without_versions_the_comparison_is_that_of_two_sets(
    here: set[str], there: set[str]
) -> None:
    """Keys that only one side has are found, and nothing else."""
    registry = Catalogue(data.Data(keys={key: entries.KeyEntry(workspace="lab") for key in here}))
    remote = [RemoteKey(f"id of {name}", name) for name in sorted(there)]
    found = list(Auditor(registry, NOON).compare(records(registry, {}, (), ()), remote))
    assert _named(found, "not-registered") == there - here
    assert _named(found, "not-at-mistral") == here - there
    assert len(found) == len(here ^ there)


def _named(found: list[AuditFinding], kind: str) -> set[str]:
    return {one.key for one in found if one.kind == kind}


def test_ten_thousand_keys_are_audited_one_by_one() -> None:
    """Each with its own uses, and each compared with ten thousand at Mistral."""
    keys = {f"k{n}": entries.KeyEntry(workspace="lab", owner="ada") for n in range(10_000)}
    registry = Catalogue(data.Data(keys=keys))
    uses = [KeyUse(KeyName(key, 0), "small", True, NOON, NOON, 1) for key in keys]
    listed: list[KeyRecord] = records(registry, dict.fromkeys(keys, LONG_AGO), uses, ())
    auditor = Auditor(registry, NOON)
    assert {one.kind.value for one in auditor.audit(listed)} == {"old"}
    assert list(auditor.compare(listed, [RemoteKey(key, key) for key in keys])) == []
