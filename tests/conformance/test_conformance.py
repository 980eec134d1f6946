"""Both engines, compared with the CEL specification."""

from collections import Counter
from dataclasses import replace

from conformance import cases, engines


def differences(failing: dict[str, str], listed: set[str]) -> str:
    """Say which cases fail and are not listed, and which are listed and do not fail."""
    unlisted = [failing[each] for each in sorted(failing.keys() - listed)]
    passing = [
        f"{each}\n  is listed, and does not fail" for each in sorted(listed - failing.keys())
    ]
    return "\n".join(unlisted + passing)


def test_the_cases_left_out_are_counted() -> None:
    """A case is run unless it is of a class that the package's docstring names."""
    assert Counter(case.left_out for case in cases.read()) == {
        "": 1202,
        "needs a message": 581,
        "binds a message": 18,
        "needs an extension": 529,
        "is about the type": 14,
    }


def test_an_engine_fails_exactly_the_expected_cases(engine: str) -> None:
    """A case that fails is on the engine's list, and every case on the list fails."""
    failing = engines.failing(engine, [case for case in cases.read() if not case.left_out])
    wrong = differences(failing, set(engines.list_of(engine).read_text().splitlines()))
    assert not wrong, f"\n{wrong}"


def test_a_rule_means_what_the_specification_says(engine: str) -> None:
    """Each engine reads every rule as the specification does."""
    run = [case for case in cases.read() if not case.left_out]
    accepted = [replace(case, is_checked=True) for case in run if engines.is_accepted(case)]
    assert len(accepted) > 350
    wrong = differences(engines.failing(engine, accepted), set())
    assert not wrong, f"\n{wrong}"
