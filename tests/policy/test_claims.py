"""Expressions over claims, on both engines."""

from typing import Any

import pytest

from sidecar.policy.cel.claims import compile_claims
from sidecar.policy.cel.engine import CelError, EvaluationError

CLAIMS: dict[str, Any] = {
    "sub": "system:serviceaccount:prod:app",
    "kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "app", "uid": "u-1"}},
    "groups": ["ml", "ops"],
    "scope": "openid Spend:Read",
    "n": 7,
    "f": 1.5,
    "yes": True,
    "nothing": None,
    "big": 2**70,
    "torn": "\ud800",
}


@pytest.mark.parametrize("cpp", [True, False], ids=["cel-cpp", "cel-python"])
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("claims.sub", "system:serviceaccount:prod:app"),
        ('claims["kubernetes.io"].namespace', "prod"),
        ('claims["kubernetes.io"]["serviceaccount"]["name"]', "app"),
        ('"team-" + claims.groups[0]', "team-ml"),
        ('"ops" in claims.groups ? "admin" : "developer"', "admin"),
        ('"email" in claims ? claims.email : claims.sub', "system:serviceaccount:prod:app"),
        ('claims.sub.startsWith("system:serviceaccount:prod:") ? "prod-workspace" : ""',
         "prod-workspace"),
        ('""', ""),
        ('claims.scope.split(" ")[1].trim().lowerAscii()', "spend:read"),
        ('"openid" in claims.scope.split(" ") ? "user" : "app"', "user"),
        ('claims.scope.split(" ")[2]', None),
        ("claims.n.trim()", None),
        ('claims.groups.split(",")[0]', None),
        ('claims.nothing.lowerAscii() == "" || true ? "a" : "b"', "a"),
        ("claims.missing", None),
        ("claims.sub.namespace", None),
        ("claims.groups[9]", None),
        ("claims.n", None),
        ("claims.f", None),
        ("claims.yes", None),
        ("claims.nothing", None),
        ("claims.groups", None),
    ],
)  # fmt: skip
def test_claims_yield_a_text_or_nothing(source: str, expected: str | None, cpp: bool) -> None:
    """Any other value yields nothing; both engines agree."""
    claims = {name: value for name, value in CLAIMS.items() if name not in ("big", "torn")}
    expression = compile_claims(source, cpp=cpp)
    if expected is None:
        with pytest.raises(EvaluationError):
            expression.text(claims)
    else:
        assert expected == expression.text(claims)


@pytest.mark.parametrize("cpp", [True, False], ids=["cel-cpp", "cel-python"])
@pytest.mark.parametrize(
    ("source", "claims"),
    [
        ("claims.role", {"role": "admin\0x"}),
        ('"admin" in claims.groups ? "admin" : "tester"', {"groups": ["ml", "admin\0x"]}),
        ('"admin" in claims ? "admin" : "tester"', {"admin\0x": True}),
        ("claims.of.role", {"of": {"role": "admin\0x"}}),
    ],
)
def test_a_claim_with_a_nul_proves_nothing(source: str, claims: dict[str, Any], cpp: bool) -> None:
    """cel-cpp would read the text before it, which names another principal."""
    with pytest.raises(EvaluationError):
        compile_claims(source, cpp=cpp).text(claims)


@pytest.mark.parametrize("cpp", [True, False], ids=["cel-cpp", "cel-python"])
@pytest.mark.parametrize("name", ["big", "torn"])
def test_claims_that_no_engine_can_represent_yield_nothing(name: str, cpp: bool) -> None:
    """A number beyond int64, or invalid text, ends only its own evaluation."""
    with pytest.raises(EvaluationError):
        compile_claims(f"claims.{name}", cpp=cpp).text({name: CLAIMS[name]})


@pytest.mark.parametrize(
    ("source", "expected", "column"),
    [
        ("claims.sub(", "never closed", 11),
        ("claims.sub x", "syntax error at 'x'", 12),
        ("claim.sub", "no variable 'claim'", 1),
        ("principal.id", "no variable 'principal'", 1),
        ("1", "is of type int", 0),
        ('claims.sub == "a"', "is of type bool", 0),
        ("claims", "is of type map", 0),
        ('claims.groups.exists(g, g == "a") ? "a" : "b"', "exists() is not available for claims", 1),
        ('has(claims.sub) ? "a" : "b"', "has() is not available for claims", 1),
        ('claims.sub.matches(claims.sub) ? "a" : "b"', "is not portable", 1),
        ("string(claims.n)", "is not portable", 1),
        ("claims." + "x" * 1024, "longer than 1024 bytes", 0),
        ("(" * 400 + "claims.sub" + ")" * 400, "", 0),
        ("", "ends too early", 1),
    ],
)  # fmt: skip
def test_an_invalid_claims_expression_is_refused_at_its_place(
    source: str, expected: str, column: int
) -> None:
    """It has to parse, to yield a string as far as types are known, and to have no loop."""
    with pytest.raises(CelError) as caught:
        compile_claims(source)
    assert expected in caught.value.message
    assert column == caught.value.column
