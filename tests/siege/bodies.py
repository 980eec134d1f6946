"""Bodies of Mistral's requests behind Envoy, with something in them that bytes do not bound."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from support.envoys import ask, check_request
from support.sidecar_process import RunningSidecar

from siege.attack import Fuzzer

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mistral_requests.json").read_text())
PATHS = {"CHAT": "/v1/chat/completions", "FIM": "/v1/fim/completions"}

BOUNDED = [
    vector
    for vector in VECTORS
    if vector["endpoint"] in PATHS
    and "estimate" in vector
    and not vector.get("tokens_per_attachment")
    and not vector["name"].startswith("tool of Mistral")
]
"""Requests whose bytes bound them."""

KINDS_OF_TOOL = ("web_search", "image_generation", "code_interpreter", "document_library",
                 "connector", "Function", "new_tool", "", None, 1)  # fmt: skip
KINDS_OF_PART = ("image_url", "document_url", "input_audio", "file", "Text", "video", "", None, 1)

IN_A_BODY: list[tuple[str, Any]] = [
    *(("tools", [{"type": kind}]) for kind in KINDS_OF_TOOL if kind is not None),
    ("agent_id", "ag"), ("guardrails", [{"x": 1}]), ("prompt_mode", "research"), ("prompt_mode", {"a": 1}),
    ("Tools", [{"type": "web_search"}]), ("MESSAGES", []), ("image", "x"), ("connectors", ["x"]),
    ("max_tokens", -1), ("max_tokens", 1e18), ("n", 0), ("n", "3"), ("safe_prompt", "yes"),
]  # fmt: skip
IN_A_MESSAGE: list[tuple[str, Any]] = [
    *(("content", [{"type": kind, "image_url": "x"}]) for kind in KINDS_OF_PART),
    *(("content", [[{"type": kind, "image_url": "x"}]]) for kind in KINDS_OF_PART),
    ("content", {"type": "image_url", "image_url": "x"}),
    ("Content", [{"type": "image_url", "image_url": "x"}]),
    ("images", ["x"]), ("attachments", [{"file_id": "x"}]), ("Role", "user"),
]  # fmt: skip
IN_A_TEXT: tuple[Callable[[str], str], ...] = (
    lambda text: text[:-1] + ', "model": "small-1"}',
    lambda text: text.replace('"model"', '"mod\\u0065l": "x", "model"', 1),
    lambda text: text[:-1] + ', "temperature": NaN}',
    lambda text: text[:-1] + ', "random_seed": ' + "9" * 400 + "}",
    lambda text: "\ufeff" + text,
    lambda text: text + "{}",
    lambda text: text[:-1],
    lambda text: text[:-1] + ', "metadata": ' + "[" * 5000 + "]" * 5000 + "}",
)


class Bodies(Fuzzer):
    """Requests that bytes bound are allowed, and each that something unbounded is added to is not."""

    name = "bodies behind Envoy"
    parameters = (
        f"{len(BOUNDED)} bounded requests; tools, parts, options and JSON that hide something"
    )

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Serve Envoy."""
        super().__init__(folder, policies, random)
        self.arguments = ("--ext-authz", "--ext-authz-from", "id=header:x-user",
                          "--ext-authz-from", "role=extension:role",
                          "--ext-authz-from", "workspace=extension:workspace")  # fmt: skip

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Ask for one request as it is, then for the same with something hidden in it."""
        while True:
            vector = self.random.choice(BOUNDED)
            body = json.loads(json.dumps(vector["request"])) | {"model": "small-1", "max_tokens": 9}
            body.pop("service_tier", None)  # the model has no price for tiers
            good = json.dumps(body, ensure_ascii=False)
            assert self._is_allowed(sidecar, vector, good), vector
            yield
            hidden = self._with_hidden(body)
            assert not self._is_allowed(sidecar, vector, hidden), hidden
            yield

    def _with_hidden(self, body: dict[str, Any]) -> str:
        """Return a body's JSON with one thing that a reader may overlook."""
        messages = [one for one in body.get("messages") or [] if isinstance(one, dict)]
        places = [IN_A_BODY, IN_A_MESSAGE] if messages else [IN_A_BODY]
        if self.random.random() < 0.3:
            return self.random.choice(IN_A_TEXT)(json.dumps(body, ensure_ascii=False))
        kind = self.random.choice(places)
        name, value = self.random.choice(kind)
        (body if kind is IN_A_BODY else self.random.choice(messages))[name] = value
        return json.dumps(body, ensure_ascii=False)

    def _is_allowed(self, sidecar: RunningSidecar, vector: dict[str, Any], body: str) -> bool:
        request = check_request(
            body.encode(), {"x-user": "eve"}, path=PATHS[vector["endpoint"]], role="tester",
            workspace="lab",
        )  # fmt: skip
        answer = ask(sidecar.addresses[0], request)
        assert answer.status.code in (0, 7), (body, answer)
        return answer.status.code == 0
