"""What an attack of the siege is: hostile inputs without end, tests that attack, or both."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import ClassVar

from support.sidecar_process import RunningSidecar

Metadata = tuple[tuple[str, str], ...]
"""The headers of a gRPC call."""


class Fuzzer(ABC):
    """Hostile inputs, drawn from one random generator, for one sidecar that is started for them."""

    name: ClassVar[str]
    parameters: ClassVar[str]
    """How it attacks, in a line for people."""

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Prepare what the sidecar reads at its start: files in a folder of its own.

        `policies` are those that the honest caller knows; an attack may serve a copy.
        """
        self.folder = folder
        self.policies = policies
        self.random = random
        self.arguments: tuple[str, ...] = ()
        """The sidecar's, beside its policies, its ledger and its address."""
        self.credentials: Metadata = ()
        """What proves the honest caller."""

    @abstractmethod
    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Send one input for each item, without end.

        Raises AssertionError, with what was sent, for an answer that is wrong.
        """


@dataclass(frozen=True, slots=True)
class Attack:
    """One of the siege's attacks, with what carries it out."""

    number: int
    name: str
    parameters: str
    """How its tests attack, and how strongly, in a line for people."""
    tests: tuple[str, ...]
    """The node ids of tests that are this attack, relative to the repository."""
    fuzzers: tuple[type[Fuzzer], ...] = ()

    def is_meant_by(self, text: str) -> bool:
        """Whether a number or a part of its name selects this attack."""
        if text.isdecimal():
            return int(text) == self.number
        return text.casefold() in self.name.casefold()

    def fuzzers_meant_by(self, text: str) -> tuple[type[Fuzzer], ...]:
        """Return the fuzzers that a text selects: all of a selected attack, or by their own name."""
        if self.is_meant_by(text):
            return self.fuzzers
        return tuple(each for each in self.fuzzers if text.casefold() in each.name.casefold())
