"""The order of a rotation's stages, and the survey of keys at Mistral."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.rotation import (
    NEXT,
    UNSTORED,
    Grace,
    GraceVerdict,
    Listed,
    Stage,
    Version,
    VersionState,
    due_at_us,
    name_at_mistral,
    survey,
    version_in,
)

KEY = "dev-team-key"
MARK = "0123456789ab"


def version(number: int, state: VersionState, name: str = "", remote_id: str = "") -> Version:
    """Return a version that a ledger knows."""
    name = name or name_at_mistral(KEY, number, MARK)
    return Version(KEY, number, name, remote_id, "", state, 1, 1, None, None, None)


def listed(number: int, name: str) -> Listed:
    """Return a key that Mistral lists."""
    return Listed(f"key_{number}", name, number)


def reachable(stage: Stage, without: frozenset[Stage] = frozenset()) -> set[Stage]:
    """Return all stages that may come after one, without passing through some."""
    found: set[Stage] = set()
    ahead = [stage]
    while ahead:
        for following in NEXT[ahead.pop()] - without - found:
            found.add(following)
            ahead.append(following)
    return found


def test_the_old_key_is_revoked_after_the_switch_alone() -> None:
    """And the switch comes after the new secret was stored, which comes after it worked."""
    for needed in (Stage.CREATED, Stage.VERIFIED, Stage.STORING, Stage.STORED, Stage.SWITCHED):
        assert not {Stage.REVOKING, Stage.DONE} & reachable(Stage.CREATING, frozenset({needed}))


def test_a_rotation_cannot_be_rolled_back_after_the_revocation() -> None:
    """The new key is the only one."""
    assert reachable(Stage.REVOKING) == {Stage.DONE}


def test_the_old_secret_is_restored_before_the_new_key_is_revoked() -> None:
    """From where the secret is stored, the new key is discarded after a restore alone."""
    for stage in (Stage.STORED, Stage.SWITCHED):
        assert Stage.DISCARDING not in reachable(stage, frozenset({Stage.RESTORING}))
        assert stage not in UNSTORED


def test_every_stage_leads_to_an_end() -> None:
    """None is a trap, and the ends are ends."""
    for stage in Stage:
        if stage.ended:
            assert NEXT[stage] == frozenset()
        else:
            assert {Stage.DONE, Stage.ROLLED_BACK} & reachable(stage)


@given(st.text(min_size=1, max_size=40), st.integers(1, 10**9 - 1))
def test_a_name_at_mistral_says_which_version_of_which_key(key_id: str, number: int) -> None:
    """For any key id, on this and on other sidecars."""
    name = name_at_mistral(key_id, number, MARK)
    assert version_in(name, key_id) == number
    assert version_in(name, key_id + "x") is None
    assert version_in(name + "0", key_id) is None


def test_a_key_that_was_never_rotated_is_found_by_its_id() -> None:
    """And is adopted."""
    found = survey(KEY, [], [listed(1, KEY), listed(2, "other"), listed(3, f"{KEY}-v2-old")])
    assert (found.active, found.adopt, found.doubt) == (listed(1, KEY), True, "")


def test_a_known_key_is_found_by_its_id_at_mistral() -> None:
    """Under any current name; not by the name of another key."""
    active = version(1, VersionState.ACTIVE, KEY, "key_1")
    found = survey(KEY, [active], [listed(1, "renamed")])
    assert (found.active, found.adopt, found.doubt) == (listed(1, "renamed"), False, "")
    other = survey(KEY, [active], [listed(1, KEY), listed(2, KEY)])
    assert (other.active, other.doubt) == (listed(1, KEY), "")


def test_a_live_key_that_was_given_up_is_an_orphan() -> None:
    """It is found by its id, or by its name if no response gave the id."""
    known = [
        version(1, VersionState.REVOKED, KEY, "key_1"),
        version(2, VersionState.REVOKED),
        version(3, VersionState.ACTIVE, remote_id="key_3"),
    ]
    keys = [listed(1, KEY), listed(2, known[1].name), listed(3, known[2].name)]
    assert survey(KEY, known, keys).orphans == tuple(keys[:2])


def test_a_rotation_by_another_sidecar_is_waited_for_and_then_adopted() -> None:
    """While both keys live it is theirs; when one is left, it is the active one."""
    mine = version(1, VersionState.ACTIVE, KEY, "key_1")
    theirs = listed(2, name_at_mistral(KEY, 2, "fedcba987654"))
    assert "another rotation" in survey(KEY, [mine], [listed(1, KEY), theirs]).doubt
    found = survey(KEY, [mine], [theirs])
    assert (found.active, found.adopt, found.doubt) == (theirs, True, "")
    both = survey(KEY, [mine], [theirs, listed(3, name_at_mistral(KEY, 3, MARK))])
    assert (both.active, "it is unknown" in both.doubt) == (None, True)


TIMES = st.none() | st.integers(0, 400)


@given(st.integers(0, 400), TIMES, TIMES)
def test_the_old_key_outlives_every_known_use(
    now_us: int, new_first_us: int | None, old_last_us: int | None
) -> None:
    """Switched at 100, 10 after the first use, 200 at most: not revoked before, and not while in use."""
    verdict, until_us = Grace(10, 200).verdict(now_us, 100, new_first_us, old_last_us)
    ends_us = 300 if new_first_us is None else min(300, max(new_first_us, 100) + 10)
    if now_us < ends_us:
        assert (verdict, until_us) == (GraceVerdict.WAIT, ends_us)
    elif old_last_us is not None and old_last_us > 100 and now_us < old_last_us + 10:
        assert (verdict, until_us) == (GraceVerdict.IN_USE, old_last_us + 10)
    else:
        assert verdict is GraceVerdict.REVOKE


@given(st.integers(0, 999), st.integers(1, 3650))
def test_no_key_gets_older_than_its_period(share: int, days: int) -> None:
    """It is rotated within the last twentieth of it."""
    period_us = days * 86_400_000_000
    assert period_us * 19 // 20 <= due_at_us(0, period_us, share) <= period_us
