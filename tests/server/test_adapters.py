"""The examples of docs/adapters.md work."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from support.commands import sidecar as run
from support.http_calls import request, send
from support.sidecar_process import RunningSidecar

from sidecar.server.authzen import messages
from sidecar.server.envoy import mistral_request, responses

from .authzen.test_authzen import address_of

DOCUMENT = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text()


def test_the_documented_evaluation_is_answered_as_documented(
    start_sidecar: Callable[..., RunningSidecar],
) -> None:
    """The request unchanged, and every member of its response."""
    body, answered = (
        json.loads(block.replace("…", ""))
        for block in re.findall(r"^ {4}(\{.*(?:\n {4} .*)*)$", DOCUMENT, re.MULTILINE)
    )
    sidecar = start_sidecar(None, "--authzen-listen", "127.0.0.1:0")
    (answer,) = send(address_of(sidecar), request(messages.EVALUATION, body))
    found = answer.json
    assert found["decision"] is answered["decision"] is True
    context = found["context"]
    for name, value in answered["context"].items():
        if isinstance(value, str):
            assert context[name].startswith(value)
        elif name == "budgets":
            assert (
                value[0].items()
                <= next(b for b in context[name] if b["rule"] == value[0]["rule"]).items()
            )
        else:
            assert context[name] == value


def test_every_name_in_the_document_exists() -> None:
    """Flags, paths, headers and actions; and all of them are documented."""
    _, shown, _ = run("serve", "--help", COLUMNS="300")
    for flag in re.findall(r"--[a-z][a-z-]+", DOCUMENT):
        assert flag in shown, flag
    headers = {v for k, v in vars(responses).items() if k.isupper() and str(v).startswith("x-")}
    assert headers == set(re.findall(r"x-sidecar-[a-z-]+", DOCUMENT))
    for name in (*messages.ACTIONS, messages.EVALUATION, messages.EVALUATIONS, messages.METADATA):
        assert f"`{name}`" in DOCUMENT or name in DOCUMENT
    for path, endpoint in mistral_request.ENDPOINTS.items():
        assert path in DOCUMENT or "TRANSCRIPTION" in str(endpoint) or "transcription" in path
    assert f"{messages.MAX_EVALUATIONS} evaluations at most" in DOCUMENT
