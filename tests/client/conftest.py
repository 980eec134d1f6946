"""A sidecar at an address that outlives its restarts, and a stand-in for Mistral."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.mistral_standin import mistral_standin
from support.policies import MODELS, limit, minimal
from support.relay import Relay, relay
from support.sidecar_process import RunningSidecar

DEAR = """\
  dear-1:
    family: dear
    prices:
      - effective_from: 2020-01-01
        input_usd_per_million_tokens: 10
        output_usd_per_million_tokens: 10
"""


@pytest.fixture(autouse=True, scope="module")
def _no_client_of_mistral_outlives_its_tests() -> Iterator[None]:
    """The SDK closes a client when it is collected, in the event loop that runs at that time."""
    yield
    gc.collect()


@pytest.fixture
def sidecar(start_sidecar: Callable[..., RunningSidecar], tmp_path: Path) -> RunningSidecar:
    """Start a sidecar that allows a million tokens a day, on a Unix socket."""
    policies = minimal(
        tmp_path / "p",
        daily=limit("1000000", meter="tokens"),
        models_yaml=MODELS + DEAR,
    )
    return start_sidecar(policies, "--listen", f"unix:{tmp_path}/s.sock")


@pytest.fixture
def address(sidecar: RunningSidecar) -> str:
    """Return where it is, also after a restart."""
    return sidecar.addresses[0]


@pytest.fixture
def between(address: str) -> Iterator[Relay]:
    """Put a relay between the app and the sidecar."""
    with relay(address) as made:
        yield made


@pytest.fixture
def mistral_url() -> Iterator[str]:
    """Start a stand-in for Mistral."""
    with mistral_standin() as url:
        yield url
