"""Binding a request's principal to proven and pinned values."""

from typing import Any

import pytest
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.identity.caller import Caller, PrincipalMismatchError
from sidecar.identity.pins import pinned, read_pins
from sidecar.identity.rate import Rate, RateLimitedError

ALL = {"id": "ada", "role": "tester", "workspace": "lab", "key_id": "k1"}


def test_proven_values_fill_in_omitted_fields() -> None:
    """An app whose principal is proven sends none of it."""
    who = pb.Principal(labels={"team": "ml"})
    contradicted, asserted = Caller(ALL).bind(who)
    assert (contradicted, asserted) == ((), ["labels"])
    assert pb.Principal(**ALL, labels={"team": "ml"}) == who


def test_unproven_fields_are_reported_as_asserted() -> None:
    """Each field with a value, and no other."""
    who = pb.Principal(id="ada", role="tester", workspace="lab")
    assert Caller({"workspace": "lab"}).bind(who) == ((), ["id", "role"])
    assert Caller({}).bind(pb.Principal()) == ((), [])


@pytest.mark.parametrize("name", ALL)
def test_each_field_can_be_contradicted(name: str) -> None:
    """The proven value replaces the app's, so that the record is true."""
    claimed: Any = {name: "mallory"}
    who = pb.Principal(**{**ALL, **claimed})
    assert Caller(ALL).bind(who).contradicted == (name,)
    assert getattr(who, name) == ALL[name]
    with pytest.raises(PrincipalMismatchError, match=f"principal.{name}") as caught:
        Caller(ALL).check_bound(pb.Principal(**claimed))
    assert "mallory" not in str(caught.value)


def test_a_proof_that_contradicts_a_pin_contradicts_every_request() -> None:
    """A token of another namespace is contradicted even if the request has no principal."""
    caller = pinned(Caller({"id": "ada", "workspace": "other"}), {"workspace": "lab"})
    assert caller.bind(pb.Principal()).contradicted == ("workspace",)
    with pytest.raises(PrincipalMismatchError):
        caller.check_consistent()


@pytest.mark.parametrize(
    ("pin", "expected"),
    [
        ("workspace", "FIELD=…"), ("labels=x", "FIELD=…"), ("=x", "FIELD=…"), ("id=", "1 to 256"),
        ("id= ", "1 to 256"), ("id=a\nb", "1 to 256"), ("id=" + "é" * 129, "1 to 256"),
    ],
)  # fmt: skip
def test_an_invalid_pin_is_refused(pin: str, expected: str) -> None:
    """Nothing is pinned by mistake."""
    with pytest.raises(ValueError, match=expected):
        read_pins([pin])
    with pytest.raises(ValueError, match="twice"):
        read_pins(["id=a", "id=a"])


def test_a_burst_is_bounded_by_one_seconds_worth() -> None:
    """Other callers are not affected, and the error says when to retry."""
    now = 0.0
    rate = Rate(10, lambda: now)
    for _ in range(10):
        rate.take("ada")
    with pytest.raises(RateLimitedError) as caught:
        rate.take("ada")
    assert caught.value.retry_after_seconds == pytest.approx(0.1)
    rate.take("bob")
    now = 0.1
    rate.take("ada")
    with pytest.raises(RateLimitedError):
        rate.take("ada")
    now = 100.0
    for _ in range(10):
        rate.take("ada")
    with pytest.raises(RateLimitedError):
        rate.take("ada")


def test_what_is_given_back_can_be_taken_again_and_no_more() -> None:
    """A burst larger than one second's worth is its bound, too."""
    rate = Rate(1, lambda: 0.0, burst=3)
    for _ in range(3):
        rate.take("ada")
    rate.give_back("ada")
    rate.take("ada")
    with pytest.raises(RateLimitedError):
        rate.take("ada")
    for _ in range(9):
        rate.give_back("ada")
    for _ in range(3):
        rate.take("ada")
    with pytest.raises(RateLimitedError):
        rate.take("ada")


def test_the_number_of_counted_callers_is_bounded() -> None:
    """The least recent caller is dropped."""
    rate = Rate(1, lambda: 0.0, max_callers=2)
    for caller in ("ada", "bob"):
        rate.take(caller)
    rate.take("eve")
    with pytest.raises(RateLimitedError):
        rate.take("bob")
    rate.take("ada")


def test_an_app_may_add_the_version_of_its_proven_key() -> None:
    """No proof has the version; another key, or an invalid version, is contradicted."""
    for claimed, contradicted in (
        ("k1#2", ()),
        ("k1", ()),
        ("k1#", ("key_id",)),
        ("k2#2", ("key_id",)),
    ):
        who = pb.Principal(key_id=claimed)
        assert Caller(ALL).bind(who).contradicted == contradicted
        assert who.key_id == ("k1" if contradicted else claimed)
