"""AuthZEN's evaluations with one odd thing in their JSON, at any depth."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from support.http_calls import request, send
from support.odd_texts import SURROGATES
from support.outside import address
from support.sidecar_process import RunningSidecar

from siege.attack import Fuzzer
from siege.messages import EVE, INTEGERS, TEXTS

PATHS = ("/access/v1/evaluation", "/access/v1/evaluations")
QUESTION: dict[str, Any] = {
    "subject": {
        "type": "user",
        "id": EVE,
        "properties": {"role": "tester", "workspace": "lab", "team": "siege"},
    },
    "resource": {"type": "model", "id": "small-1"},
    "action": {"name": "chat"},
    "context": {
        "estimate": {"input_tokens": 100, "max_output_tokens": 100},
        "hold": False,
        "request_id": "eve",
        "hold_ttl_seconds": 60,
    },
}
NAMES = ["hold", "id", "type", "properties", "estimate", "evaluations", "options", "context", "Subject", "",
         "input_tokens", "tool_calls", "\ud800", "a\x00b", "x" * 5000]  # fmt: skip
VALUES: list[Any] = [*TEXTS, *SURROGATES.values(), *INTEGERS, 10**400, 1.5, 1e308, float("nan"), float("inf"), True,
          False, None, [], {}, [[]], {"a": {}}, ["x"] * 200, {"evaluations_semantic": "x"}]  # fmt: skip
ANSWERED = {200, 400, 409, 413}
"""What an evaluation may get; any other status would say that the sidecar failed."""


class Evaluations(Fuzzer):
    """Evaluations, single and in batches, in which something is changed, added or left out."""

    name = "evaluations"
    parameters = "AuthZEN's two endpoints; odd values and names at any depth of the JSON"

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Serve AuthZEN."""
        super().__init__(folder, policies, random)
        self.arguments = ("--authzen-listen", "127.0.0.1:0")

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Send an evaluation, or several; each gets a response."""
        where = address(sidecar, "AUTHZEN")
        while True:
            path, body = self.random.choice(PATHS), json.loads(json.dumps(QUESTION))
            if path.endswith("s"):
                count = self.random.choice((0, 1, 2, 30, 300))
                body["evaluations"] = [json.loads(json.dumps(QUESTION)) for _ in range(count)]
                body["options"] = {"evaluations_semantic": "execute_all"}
            for _ in range(self.random.choice((0, 1, 1, 2, 5))):
                make_odd(body, self.random)
            sent = json.dumps(body).encode()
            (answer,) = send(where, request(path, sent))
            assert answer.status in ANSWERED, (sent, answer)
            assert answer.status != 200 or isinstance(answer.json, dict), (sent, answer)
            yield


def make_odd(value: Any, random: Random) -> None:
    """Change, add or remove one member or item of an object or a list, at any depth."""
    places = [*value] if isinstance(value, dict) else [*range(len(value))]
    place = random.choice(places) if places else ""
    inside = value[place] if places else None
    if isinstance(inside, dict | list) and random.random() < 0.7:
        make_odd(inside, random)
    elif isinstance(value, list):
        value.insert(random.randint(0, len(value)), _odd_value(random))
    elif places and random.random() < 0.2:
        del value[place]
    elif random.random() < 0.3:
        value[random.choice(NAMES)] = _odd_value(random)
    else:
        value[place] = _odd_value(random)


def _odd_value(random: Random) -> Any:
    """Return a value of its own, as later changes may go on in it."""
    return copy.deepcopy(random.choice(VALUES))
