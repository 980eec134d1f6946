"""Diff cases: every combination of inputs that two policy sets can distinguish.

The roles, workspaces, models and keys of data files are finite, and so are the labels
and spent amounts that rules compare with.
"""

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sidecar.domain.amounts import format_amount
from sidecar.domain.decisions import Budget, Limit, Meter
from sidecar.domain.prices import Price
from sidecar.domain.usage import Endpoint
from sidecar.policy.cel.variables import SPEND
from sidecar.policy.policy_set import PolicySet
from sidecar.policy_tools.diff.dependencies import (
    CALL,
    KEY,
    LABEL,
    NO_KEY,
    ROLE,
    UNKNOWN,
    WORKSPACE,
    Dependencies,
    Input,
)
from sidecar.v1 import policy_input_pb2 as policy_pb

_OF_TOKENS = (Endpoint.CHAT, Endpoint.EMBEDDINGS)
"""With and without a price for output."""

_MIN_SHARE = 10**12
"""The step beside a share of a ceiling is one of so many: floats tell such steps apart."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """How much of a limit is spent: a share of its ceiling, or an amount that it counts.

    `beside` is -1 for just under that, 1 for just over it.
    """

    rule: str
    meter: Meter
    mark: Fraction | int
    beside: int

    def of(self, limit: Limit) -> int:
        """Return the amount that is spent of this limit; a share of no ceiling is 0."""
        if isinstance(self.mark, int):
            return max(0, self.mark + self.beside)
        ceiling = limit.ceiling or 0
        exact, step = self.mark * ceiling, max(1, ceiling // _MIN_SHARE)
        amount = math.floor(exact) if self.beside > 0 else math.ceil(exact)
        return max(0, amount + self.beside * step)

    def __str__(self) -> str:
        """Write it for people, as in `month: just over 80 %`."""
        side = {-1: "just under ", 0: "", 1: "just over "}[self.beside]
        if isinstance(self.mark, int):
            mark = format_amount(self.meter, self.mark)
        else:
            mark = f"{float(self.mark * 100):g} %" if self.mark else "nothing"
        return f"{self.rule}: {side}{mark}"


def budgets_of_case(
    spent: Iterable[Spent], limits: Sequence[Limit], _at_us: int
) -> tuple[Budget, ...]:
    """Return the limits' budgets in a case; those that no rule reads are unspent."""
    by_rule = {each.rule: each for each in spent}
    return tuple(
        Budget(
            rule=limit.rule,
            meter=limit.meter,
            scope=limit.scope,
            window_start_us=None,
            window_end_us=None,
            ceiling=limit.ceiling,
            spent=by_rule[limit.rule].of(limit) if limit.rule in by_rule else 0,
            held=0,
        )
        for limit in limits
    )


Call = tuple[str, Endpoint]
"""A model, by one of its names, at an endpoint."""

Case = Mapping[Input, Any]
"""One combination of inputs, or a part of one. A role, workspace or key is its name, and a label
its text, None if it is missing; a call is a Call, and what is spent of a limit a Spent."""

Level = Sequence[Case]
"""The values that inputs are tried with: parts of cases, all with the same inputs."""


class CaseSpace:
    """The space of cases of two policy sets: the values of each input.

    `levels` has a level for each input: those of ROLE and WORKSPACE first, then the labels,
    then what is spent, and those of KEY and CALL last.
    """

    def __init__(self, old: PolicySet, new: PolicySet, reading: Dependencies, now_us: int) -> None:
        """Find each role, workspace, key and name of a model of either set."""
        catalogues = (old.catalogue, new.catalogue)
        self.keys = _keys(old, new, reading, now_us)
        calls = [
            (name, endpoint)
            for name in _model_names(old, new, reading)
            for endpoint in _endpoints(name, old, new, reading)
        ]
        values: dict[Input, Sequence[Any]] = {
            ROLE: sorted({name for each in catalogues for name in each.roles}) or [UNKNOWN],
            WORKSPACE: (
                sorted({name for each in catalogues for name in each.workspaces}) or [UNKNOWN]
            ),
            **{
                (LABEL, name): [None, *sorted({*texts, "(any other)"})]
                for name, texts in sorted(reading.labels.items())
            },
            **_levels(old, new, reading),
            KEY: self.keys,
            CALL: calls or [(UNKNOWN, Endpoint.CHAT)],
        }
        self.levels: list[Level] = [
            [{input_: value} for value in tried] for input_, tried in values.items()
        ]

    @property
    def count(self) -> int:
        """The number of cases, without creating them: there may be too many for memory."""
        return math.prod(map(len, self.levels))

    def spent(self) -> list[str]:
        """Return every combination of what may be spent of the limits that rules look at."""
        choices = [level for level in self.levels if any(kind == SPEND for kind, _ in level[0])]
        return [
            spent_of({k: v for part in parts for k, v in part.items()})
            for parts in itertools.product(*choices)
        ]

    def sample(self, seed: int, count: int) -> Level:
        """Draw cases at random, the same for the same seed.

        Cases have few labels or many: with half of all labels each, hardly one would be without
        a label that some rule denies.
        """
        draw = random.Random(seed)  # noqa: S311 - a sample, no secret
        cases = []
        for _ in range(count):
            case: dict[Input, Any] = {}
            share_of_labels = draw.random() ** 3
            for level in self.levels:
                is_missing = is_of_label(level) and draw.random() >= share_of_labels
                case |= level[0] if is_missing else draw.choice(level)
            cases.append(case)
        return cases


def is_of_label(level: Level) -> bool:
    """Whether a level has the values of a label; its first value stands for no such label."""
    return any(kind == LABEL for kind, _ in level[0])


def labels_of(case: Case) -> Labels:
    """Return the labels that a case has, by name."""
    return tuple(
        (name, text) for (kind, name), text in case.items() if kind == LABEL and text is not None
    )


def spent_of(case: Case) -> str:
    """Write what is spent in a case."""
    return ", ".join(str(spent) for (kind, _), spent in case.items() if kind == SPEND)


def model_id(policy: PolicySet, name: str) -> str:
    """Return the id of the model with this name or alias, "" without one."""
    found = policy.catalogue.models.get(name)
    return found.message.id if found else ""


def _model_names(old: PolicySet, new: PolicySet, reading: Dependencies) -> list[str]:
    """Return the ids, and each alias whose calls may be decided differently from its model's."""
    names = {*old.catalogue.models, *new.catalogue.models}
    return sorted(
        name
        for name in names
        for ids in [{model_id(old, name), model_id(new, name)}]
        if reading.model_name or name in ids or len(ids) > 1
    )


def _endpoints(model: str, old: PolicySet, new: PolicySet, reading: Dependencies) -> list[Endpoint]:
    """Return the endpoints that a model is for, or all if a rule reads the endpoint.

    Where its entry does not say, they are those that it has prices for.
    """
    if reading.endpoint:
        return list(Endpoint)
    listed = _listed(model, old) or _priced(model, old)
    return sorted({*listed, *(_listed(model, new) or _priced(model, new))}) or [Endpoint.CHAT]


def _listed(model: str, policy: PolicySet) -> list[Endpoint]:
    found = policy.catalogue.models.get(model)
    return [Endpoint(name) for name in found.message.endpoints] if found else []


def _priced(model: str, policy: PolicySet) -> list[Endpoint]:
    return [
        endpoint
        for price in _prices(model, policy)
        for endpoint, amounts in (
            (
                _OF_TOKENS[price.output_nano_usd_per_million is None],
                price.input_nano_usd_per_million,
            ),
            (Endpoint.OCR, price.page_nano_usd_per_thousand),
            (Endpoint.TRANSCRIPTION, price.audio_nano_usd_per_minute),
            (Endpoint.SPEECH, price.character_nano_usd_per_million),
        )
        if amounts is not None
    ]


def _prices(model: str, policy: PolicySet) -> list[Price]:
    found = policy.catalogue.models.get(model)
    return [tariff.price for tariff in found.tariffs] if found else []


def _keys(old: PolicySet, new: PolicySet, reading: Dependencies, now_us: int) -> list[str]:
    """Return the keys to try: none, an unknown one, and one of each kind that rules tell apart."""
    if not reading.key_kinds and not reading.each_key:
        return [NO_KEY]
    every = {key_id for each in (old, new) for key_id in each.catalogue.keys}
    alike: dict[object, str] = {}
    for key_id in sorted((every | reading.keys) - {NO_KEY, UNKNOWN}):
        kinds = tuple(_kind(each.catalogue.key(key_id), now_us) for each in (old, new))
        alike.setdefault(key_id if reading.each_key else kinds, key_id)
    return [NO_KEY, UNKNOWN, *alike.values()]


def _kind(key: policy_pb.Key, now_us: int) -> tuple[object, ...]:
    """Return what keys of one kind have in common, for rules that read no more of them."""
    expired = key.expires.ToMicroseconds() <= now_us
    return key.workspace, key.state, (*key.allowed_models,), key.requests_per_minute, expired


def _levels(old: PolicySet, new: PolicySet, reading: Dependencies) -> dict[Input, Sequence[Spent]]:
    """Return what is tried as spent of each limit: nothing, all, and what rules compare it with."""
    meters = {rule.id: rule.terms.meter for each in (old, new) for rule in each.limits}
    return {
        (SPEND, rule): [
            Spent(rule, meter, mark, beside)
            for mark, beside in _marks(reading.shares[rule], reading.amounts[rule])
        ]
        for rule, meter in sorted(meters.items())
        if rule in reading.shares
    }


def _marks(shares: set[Fraction], amounts: set[int]) -> Iterator[tuple[Fraction | int, int]]:
    """Yield nothing, all, and each compared mark with what is just under and just over it."""
    marks: list[Fraction | int] = [*sorted({*shares, Fraction(0), Fraction(1)}), *sorted(amounts)]
    for mark in marks:
        compared = mark in (amounts if isinstance(mark, int) else shares)
        if compared and mark > 0:
            yield mark, -1
        yield mark, 0
        if compared:
            yield mark, 1
