"""Every case that two policy sets can tell from another.

The roles, workspaces, models and keys of data files are finite, and so are the labels
that rules compare with.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.domain.prices import Price
from sidecar.domain.usage import Endpoint
from sidecar.policy.policy_set import PolicySet

_LABEL = re.compile(r"principal\.labels(?:\[\s*[\"']([^\"']+)[\"']\s*\]|\.(\w+))")
_IN_LABELS = re.compile(r"[\"']([^\"']+)[\"']\s+in\s+principal\.labels\b")
_TEXT = re.compile(r"\"([^\"\\]*)\"|'([^'\\]*)'")

_OF_TOKENS = (Endpoint.CHAT, Endpoint.EMBEDDINGS)
"""With and without a price for output."""

Labels = tuple[tuple[str, str], ...]
NO_KEY, UNKNOWN_KEY = "", "(unknown)"


@dataclass(frozen=True, slots=True)
class Case:
    """One caller with one key and one model, at one endpoint of it."""

    role: str
    workspace: str
    labels: Labels
    key: str
    model: str
    endpoint: Endpoint


def cases(old: PolicySet, new: PolicySet) -> Iterator[Case]:
    """Yield each role with each workspace, label, key and model of either set."""
    catalogues = (old.catalogue, new.catalogue)
    roles = sorted({name for each in catalogues for name in each.roles})
    workspaces = sorted({name for each in catalogues for name in each.workspaces})
    models = sorted({m.message.id for each in catalogues for m in each.models.values()})
    calls = [(model, endpoint) for model in models for endpoint in _endpoints(model, old, new)]
    for role, workspace, labels, key, call in itertools.product(
        roles, workspaces, label_sets(old, new), keys(old, new), calls
    ):
        yield Case(role, workspace, labels, key, *call)


def _endpoints(model: str, old: PolicySet, new: PolicySet) -> list[Endpoint]:
    """Return those that a model has prices for, or all if a rule tells them apart."""
    if _any_rule_says("request.endpoint", old, new):
        return list(Endpoint)
    found = [
        endpoint
        for price in _prices(model, old) + _prices(model, new)
        for endpoint, amounts in (
            (
                _OF_TOKENS[price.output_nano_usd_per_million is None],
                price.input_nano_usd_per_million,
            ),
            (Endpoint.OCR, price.page_nano_usd_per_thousand),
            (Endpoint.TRANSCRIPTION, price.audio_nano_usd_per_minute),
        )
        if amounts is not None
    ]
    return sorted(set(found)) or [Endpoint.CHAT]


def keys(old: PolicySet, new: PolicySet) -> list[str]:
    """Return no key, one that is unknown, and one of each kind that rules tell apart."""
    if not _any_rule_says("key.", old, new):
        return [NO_KEY]
    every = sorted({key.id for each in (old, new) for key in each.catalogue.registered_keys()})
    each_by_itself = _any_rule_says("key.id", old, new) or _any_rule_says("key.labels", old, new)
    alike: dict[object, str] = {}
    for key_id in every:
        kinds = [(k.workspace, k.state) for k in (p.catalogue.key(key_id) for p in (old, new))]
        alike.setdefault(key_id if each_by_itself else tuple(kinds), key_id)
    return [NO_KEY, UNKNOWN_KEY, *alike.values()]


def _any_rule_says(text: str, *policies: PolicySet) -> bool:
    """Whether an expression that decides has this text; messages do not decide."""
    return any(
        text in "".join(source.split())
        for policy in policies
        for rule in policy.rules
        for source in (rule.body.source, rule.limit.per.source if rule.limit else "")
    )


def _prices(model: str, policy: PolicySet) -> list[Price]:
    found = policy.catalogue.models.get(model)
    return [tariff.price for tariff in found.tariffs] if found else []


def label_sets(old: PolicySet, new: PolicySet) -> list[Labels]:
    """Return every combination of labels that a rule can tell from another.

    A label may be missing, have any text that stands in a rule that reads it,
    name a service, or be something else.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for policy in (old, new):
        services = {s for w in policy.catalogue.workspaces.values() for s in w.services}
        for source in (e.source for rule in policy.rules for e in rule.expressions):
            names = {a or b for a, b in _LABEL.findall(source)} | set(_IN_LABELS.findall(source))
            texts = {a or b for a, b in _TEXT.findall(source)} - names
            for name in names:
                values[name] |= texts
                if "services" in source:
                    values[name] |= services
    choices = [
        [None, *((name, value) for value in sorted({*found, "(any other)"}))]
        for name, found in sorted(values.items())
    ]
    return [tuple(filter(None, chosen)) for chosen in itertools.product(*choices)]
