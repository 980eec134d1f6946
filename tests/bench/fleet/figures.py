"""What a run has measured: each figure beside another one of the same run."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, and what it is compared with. The aim is for the ratio, where there is one."""

    name: str
    value: float
    unit: str
    beside: str = ""
    """What it is compared with, and how much that was."""
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is reached; None if there is none."""
        measured = self.value if self.ratio is None else self.ratio
        if self.at_least is not None:
            return measured >= self.at_least
        return None if self.at_most is None else measured <= self.at_most

    def aim(self) -> str:
        """Return the aim in words."""
        if self.is_met is None:
            return ""
        bound = f"≤ {self.at_most:g}" if self.at_least is None else f"≥ {self.at_least:g}"
        unit = f" {self.unit}" if self.ratio is None else " x"
        return f"{bound}{unit}: {'met' if self.is_met else '**missed**'}"


@dataclass(frozen=True, slots=True)
class Section:
    """Figures that one load has given."""

    title: str
    figures: Sequence[Figure]


def compared(
    name: str, value: float, unit: str, base_name: str, base: float, **aim: float
) -> Figure:
    """Return a figure with its ratio to another one of the same unit, unless that is 0."""
    ratio = value / base if base else None
    return Figure(name, value, unit, f"{base_name}: {number(base)} {unit}", ratio, **aim)


def markdown(sections: Iterable[Section]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield "| measured | | beside | ratio | aim |"
    yield "|---|---|---|---|---|"
    for section in sections:
        yield f"| **{section.title}** | | | | |"
        for one in section.figures:
            ratio = "" if one.ratio is None else f"{number(one.ratio)} x"
            figure = f"{number(one.value)} {one.unit}".strip()
            yield f"| {one.name} | {figure} | {one.beside} | {ratio} | {one.aim()} |"


def number(value: float) -> str:
    """Return a number with three digits that count, and all of those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
