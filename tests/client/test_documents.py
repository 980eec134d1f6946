"""The code that documents show to apps is run as it stands."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import typescript
from support.holds import Hold, ended, holds
from support.mistral_standin import API_KEY, mistral_standin
from support.policies import SHIPPED
from support.sidecar_process import RunningSidecar

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CLIENTS = (ROOT / "docs" / "clients.md").read_text()

PRELUDE = """
const apiKey = process.env["API_KEY"]!;
const serverURL = process.env["MISTRAL_URL"]!;
async function post(request: { model: string; maxTokens: number | undefined }): Promise<unknown> {
  const { maxTokens: max_tokens, ...rest } = request;
  const response = await fetch(`${serverURL}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${apiKey}` },
    body: JSON.stringify({ ...rest, max_tokens }),
  });
  return response.json();
}
void post;
"""


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One sidecar on the shipped policies."""
    one = RunningSidecar(SHIPPED, tmp_path_factory.mktemp("docs") / "ledger.sqlite").start()
    yield one
    assert one.stop() == 0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One stand-in for Mistral."""
    with mistral_standin() as found:
        yield found


def snippet(document: str, language: str, sidecar: RunningSidecar, number: int = -1) -> str:
    """Return a snippet of the document in a language, with the address of a test."""
    found = re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)[number]
    return str(found).replace("127.0.0.1:50051", sidecar.addresses[0])


def with_fallback(language: str) -> str:
    """Return the README with the guard of docs/clients.md that shrinks a call."""
    snippets = re.findall(rf"```{language}\n(.*?)```", CLIENTS, re.DOTALL)
    (shrinks,) = (found for found in snippets if "shrink" in found)
    document, count = re.subn(
        r"(?m)^(const )?mistral = guard\(.*this line\n", lambda _: shrinks, README
    )
    assert count == 2
    return document


def run_python(
    document: str, sidecar: RunningSidecar, url: str, number: int = -1
) -> dict[str, Any]:
    """Run a snippet of Python; return its names."""

    def post(model: str, messages: Any, max_tokens: int) -> Any:
        body = {"model": model, "messages": messages, "max_tokens": max_tokens}
        request = urllib.request.Request(  # noqa: S310 - our own
            f"{url}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {API_KEY}"},
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310 - our own
            return json.load(response)

    names: dict[str, Any] = {
        "API_KEY": API_KEY,
        "SERVER_URL": url,
        "post": lambda *what, **more: asyncio.to_thread(post, *what, **more),
    }
    code = snippet(document, "python", sidecar, number)
    exec(compile(code, "document", "exec"), names)  # noqa: S102 - our own
    return names


def run_typescript(document: str, sidecar: RunningSidecar, url: str) -> None:
    """Compile the document's TypeScript as strictly as the package, and run it."""
    folder = typescript.built() / "dist" / "snippets"
    folder.mkdir(exist_ok=True)
    source = folder / f"{sidecar.addresses[0].rpartition(':')[2]}.mts"
    source.write_text(PRELUDE + snippet(document, "typescript", sidecar))
    compiled = typescript.run(
        "node_modules/typescript/bin/tsc", "--strict", "--target", "es2022", "--module", "nodenext",
        "--lib", "es2023,esnext.disposable", "--types", "node", "--skipLibCheck", str(source),
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stdout
    done = typescript.run(str(source.with_suffix(".mjs")), API_KEY=API_KEY, MISTRAL_URL=url)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def ends_well(sidecar: RunningSidecar, before: int) -> Hold:
    """Wait for one more call, which has to be settled with less than was held."""
    hold = ended(sidecar.ledger, before + 1)[-1]
    assert (hold.state, hold.outcome) == ("settled", "ok")
    assert 0 < hold.charged_tokens < hold.held_tokens
    return hold


@pytest.mark.parametrize("document", [README, with_fallback("python")], ids=["README", "fallback"])
def test_the_readmes_python_works(
    sidecar: RunningSidecar, url: str, document: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands: allowed, called, settled."""
    before = len(holds(sidecar.ledger))
    names = run_python(document, sidecar, url)
    hold = ends_well(sidecar, before)
    assert hold.charged_tokens == names["response"].usage.total_tokens
    assert capsys.readouterr().out == ""
    names["sidecar"].close()


def test_the_guarded_sdk_streams_and_awaits_as_documented(
    sidecar: RunningSidecar, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/clients.md: a stream to its end, and a call of asyncio, are settled as used."""
    before = len(holds(sidecar.ledger))
    names = run_python(CLIENTS, sidecar, url, 0)
    names["stream"]()
    ends_well(sidecar, before)
    assert capsys.readouterr().out != ""

    async def answer() -> Any:
        async with names["mistral"]:  # which closes the SDK's connections
            return await names["answer"]()

    response = asyncio.run(answer())
    assert ends_well(sidecar, before + 1).charged_tokens == response.usage.total_tokens
    names["sidecar"].close()


def test_the_clients_python_works(
    sidecar: RunningSidecar, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/clients.md: a block of asyncio, around an HTTP client of the app's own."""
    before = len(holds(sidecar.ledger))
    names = run_python(CLIENTS, sidecar, url)
    response = asyncio.run(names["answer"]())
    assert ends_well(sidecar, before).charged_tokens == response["usage"]["total_tokens"]
    assert int(capsys.readouterr().out) > 0
    names["sidecar"].close()


@pytest.mark.parametrize(
    "document",
    [README, CLIENTS, with_fallback("typescript")],
    ids=["README", "clients", "fallback"],
)
def test_the_typescript_of_documents_works(
    sidecar: RunningSidecar, url: str, document: str
) -> None:
    """It compiles and runs as it stands; a process that ends has settled, though it closes nothing."""
    before = len(holds(sidecar.ledger))
    run_typescript(document, sidecar, url)
    ends_well(sidecar, before)
