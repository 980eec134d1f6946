"""The shortest calls that docs/languages.md quotes are built and run as they stand."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support import policies, tools
from support.holds import ended
from support.mistral_standin import API_KEY, mistral_standin
from support.sidecar_process import RunningSidecar, chat, eventually

from clients import quotes
from clients.languages import (
    BUILD,
    LANGUAGES,
    RUN_SECONDS,
    SOURCES,
    Command,
    build,
    build_beside,
)
from sidecar.domain.usage_json import MAX_USAGE_JSON_BYTES

INPUT_NANO_USD, OUTPUT_NANO_USD = 150, 600
"""What a token of mistral-small-latest costs."""


@dataclass(frozen=True)
class ShortestCall:
    """Where a shortest call is put, beside the sample program, and how it is built and run."""

    language: str
    source: str
    compile: Command
    run: Command

    def build(self, address: str) -> None:
        """Build it, with the address of a sidecar."""
        text = quotes.shortest(self.language)
        assert text.count("127.0.0.1:50051") == 1
        (language,) = (it for it in LANGUAGES if it.name == self.language)
        with tools.needed():
            build(language)
        build_beside(language, self.source, text.replace("127.0.0.1:50051", address), self.compile)

    def start(self, mistral: str, key: str = API_KEY) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(  # noqa: S603 - our own program
            self.run,
            cwd=BUILD / self.language,
            env={**os.environ, "MISTRAL_API_KEY": key, "MISTRAL_URL": mistral},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )


SHORTEST_CALLS = (
    ShortestCall(
        language="go",
        source="shortest/main.go",
        compile=("go", "build", "-o", "bin/shortest", "./shortest"),
        run=("bin/shortest",),
    ),
    ShortestCall(
        language="java",
        source="shortest/Main.java",
        compile=(
            *("javac", "-d", "target/shortest", "-cp", "target/classes:target/dependency/*"),
            "shortest/Main.java",
        ),
        run=(
            *("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
            *("-cp", "target/shortest:target/classes:target/dependency/*", "Main"),
        ),
    ),
    ShortestCall(
        language="rust",
        # Not in src/bin: what is wrong with it is no fault of the sample program.
        source="examples/shortest.rs",
        compile=(
            *("env", f"PYTHON={sys.executable}", f"PROTOC={SOURCES / 'protoc'}"),
            *("cargo", "build", "--quiet", "--frozen", "--target-dir=target", "--example=shortest"),
        ),
        run=("target/debug/examples/shortest",),
    ),
    ShortestCall(
        language="cpp",
        source="shortest.cc",
        compile=("make", "--silent", "shortest"),
        run=("./shortest",),
    ),
)


def test_the_page_quotes_the_programs() -> None:
    """docs/languages.md has each as it is built here; `make quotes` updates them."""
    page = quotes.PAGE.read_text()
    assert quotes.with_quotes(page) == page
    assert set(re.findall(r"(?m)^```(\w+)$", page)) == set(quotes.FILES)


@pytest.mark.parametrize("program", SHORTEST_CALLS, ids=lambda program: program.language)
def test_the_shortest_call_works(
    program: ShortestCall, start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """Allowed, it calls and settles; denied, it prints why; without a response, it does not call."""
    directory = policies.shipped(tmp_path / "p")
    sidecar = start_sidecar(directory)
    program.build(sidecar.addresses[0])
    is_allowed(program, sidecar)
    is_answered_at_length(program, sidecar)
    is_refused_by_mistral(program, sidecar)
    roles = directory / "roles.yaml"
    roles.write_text(roles.read_text().replace("[mistral-small-latest, codestral", "[codestral"))
    assert sidecar.process is not None
    sidecar.process.send_signal(signal.SIGHUP)
    question = chat(dry_run=True)
    eventually(lambda: sidecar.stub.Authorize(question).effect == pb.EFFECT_DENY)
    is_denied(program)
    sidecar.stop()
    is_not_answered(program)


def is_allowed(program: ShortestCall, sidecar: RunningSidecar) -> None:
    """Mistral is called once, with the max_tokens of the answer, and its usage is settled."""
    with mistral_standin() as mistral:
        done = program.start(mistral)
        assert (done.returncode, done.stderr) == (0, "")
        (body,) = received(mistral)
        again = httpx2.post(
            f"{mistral}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {API_KEY}"},
        ).json()
    assert again["choices"][0]["message"]["content"] in done.stdout
    assert [body["max_tokens"]] == max_tokens_held(sidecar.ledger)
    (hold,) = ended(sidecar.ledger)
    assert (hold.state, hold.outcome, hold.response_model) == ("settled", "ok", again["model"])
    usage = again["usage"]
    assert 0 < hold.charged_tokens == usage["total_tokens"] < hold.held_tokens
    assert hold.cost_nano_usd == (
        usage["prompt_tokens"] * INPUT_NANO_USD + usage["completion_tokens"] * OUTPUT_NANO_USD
    )


def is_answered_at_length(program: ShortestCall, sidecar: RunningSidecar) -> None:
    """A second call, whose whole answer is more than Settle takes, is settled with its usage."""
    with mistral_standin(padding_bytes=MAX_USAGE_JSON_BYTES) as mistral:
        done = program.start(mistral)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) > MAX_USAGE_JSON_BYTES
    before, hold = ended(sidecar.ledger, 2)
    assert (hold.state, hold.outcome) == ("settled", "ok")
    assert hold.charged_tokens == before.charged_tokens < hold.held_tokens


def is_refused_by_mistral(program: ShortestCall, sidecar: RunningSidecar) -> None:
    """A third call, with a wrong API key, has failed, and is charged no tokens."""
    with mistral_standin() as mistral:
        program.start(mistral, key="wrong")
        assert len(received(mistral)) == 1
    hold = ended(sidecar.ledger, 3)[-1]
    assert (hold.state, hold.outcome) == ("settled", "failed")
    assert (hold.charged_tokens, hold.cost_nano_usd) == (0, 0)


def is_denied(program: ShortestCall) -> None:
    """The reason's status and message are all that is printed."""
    with mistral_standin() as mistral:
        done = program.start(mistral)
        assert received(mistral) == []
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "403 role developer may not call mistral-small-latest\n"


def is_not_answered(program: ShortestCall) -> None:
    """Without a sidecar it fails closed, and says so."""
    with mistral_standin() as mistral:
        done = program.start(mistral)
        assert received(mistral) == []
    assert done.returncode != 0
    assert not done.stdout
    assert done.stderr


def received(mistral: str) -> list[dict[str, Any]]:
    """Return the bodies that the stand-in was sent."""
    found: list[dict[str, Any]] = httpx2.get(f"{mistral}/received").json()["received"]
    return found


def max_tokens_held(ledger: Path) -> list[int]:
    """Return the output tokens of each hold: what the answers said."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT held_output_tokens FROM holds ORDER BY id")
        return [tokens for (tokens,) in rows]
