"""Envoy itself, with the configuration that docs/adapters.md shows."""

import http.client
import json
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from mistral_spend.v1 import authorization_pb2 as pb
from support import tools
from support.envoys import BODY, CHAT
from support.mistral_standin import API_KEY, mistral_standin
from support.policies import SHIPPED
from support.sidecar_process import RunningSidecar, eventually

from sidecar.server.envoy.mistral_request import MAX_BODY_BYTES

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "adapters.md").read_text()

(YAML,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)


def documented_args() -> list[str]:
    """Return the flags about principals in the documented command."""
    (command,) = re.findall(
        r"^ {4}(sidecar serve (?:.*\\\n)*.*--ext-authz(?:.*\\\n)*.*)$", DOCUMENT, re.MULTILINE
    )
    words = shlex.split(command.replace("\\\n", " "))
    return words[words.index("--ext-authz") :]


def test_the_documented_configuration_has_what_the_sidecar_needs() -> None:
    """It is YAML, fails closed, and sends whole bodies of a size that is read."""
    config = yaml.safe_load(YAML)
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    ext_authz = manager["typed_config"]["http_filters"][0]["typed_config"]
    assert ext_authz["failure_mode_allow"] is False
    body = ext_authz["with_request_body"]
    assert body == {
        "max_request_bytes": MAX_BODY_BYTES, "allow_partial_message": False, "pack_as_bytes": True,
    }  # fmt: skip


@dataclass
class Site:
    """An Envoy between an app and the stand-in for Mistral."""

    port: int
    sidecar: RunningSidecar

    def call(
        self,
        body: Any = BODY,
        headers: dict[str, str] | None = None,
        path: str = CHAT,
        method: str = "POST",
    ) -> tuple[int, dict[str, str], Any]:
        """Call Mistral through Envoy; return status, headers and the JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {
            "Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json", "x-user": "ada",
            **(headers or {}),
        }  # fmt: skip
        connection.request(method, path, content, sent)
        response = connection.getresponse()
        read, found = response.read(), {k.lower(): v for k, v in response.getheaders()}
        connection.close()
        try:
            return response.status, found, json.loads(read)
        except ValueError:
            return response.status, found, read


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Envoy, started as documented but for ports and the upstream."""
    program = tools.program("envoy")
    folder = tmp_path_factory.mktemp("envoy")
    sidecar = RunningSidecar(SHIPPED, folder / "ledger.sqlite", tuple(documented_args())).start()
    with mistral_standin() as url:
        upstream = int(url.rpartition(":")[2])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = yaml.safe_load(YAML)
        resources = config["static_resources"]
        resources["listeners"][0]["address"]["socket_address"]["port_value"] = port
        ports = (int(sidecar.addresses[0].rpartition(":")[2]), upstream)
        for cluster, number in zip(resources["clusters"], ports, strict=True):
            address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            address["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": number}
        del resources["clusters"][1]["transport_socket"]
        file = folder / "envoy.yaml"
        file.write_text(yaml.safe_dump(config))
        with (folder / "envoy.log").open("w") as log:
            command = [
                program,
                "-c",
                str(file),
                "--concurrency",
                "1",
                "--use-dynamic-base-id",
                "-l",
                "warn",
            ]
            envoy = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own
        try:
            eventually(lambda: answers(port) or envoy.poll() is not None, 30)
            assert envoy.poll() is None, (folder / "envoy.log").read_text()
            yield Site(port, sidecar)
        finally:
            envoy.terminate()
            envoy.wait(30)
    assert sidecar.stop() == 0


def answers(port: int) -> bool:
    """Whether a process listens."""
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def test_envoy_accepts_the_documented_configuration(tmp_path: Path) -> None:
    """Its own validation passes, TLS included."""
    program = tools.program("envoy")
    ca = Path("/etc/ssl/certs/ca-certificates.crt")
    text = YAML
    if not ca.exists():
        (tmp_path / "ca.crt").write_text("")
        text = text.replace(str(ca), str(tmp_path / "ca.crt"))
    (tmp_path / "envoy.yaml").write_text(text)
    command = [program, "--mode", "validate", "-c", str(tmp_path / "envoy.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert done.returncode == 0, done.stderr


def test_a_call_goes_through_envoy_and_is_settled_by_its_header(site: Site) -> None:
    """The app gets Mistral's answer and the hold; its own spelling of the header is no help."""
    status, headers, answer = site.call(headers={"x-sidecar-hold-id": "mine"})
    assert (status, answer["object"]) == (200, "chat.completion")
    request = pb.SettleRequest(
        hold_id=headers["x-sidecar-hold-id"], usage_json=json.dumps(answer["usage"])
    )
    assert site.sidecar.stub.Settle(request).charged_tokens == answer["usage"]["total_tokens"]
    assert "workspace-monthly-budget;meter=cost;remaining=" in headers["x-sidecar-budgets"]


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        ({"body": {**BODY, "max_tokens": None}}, 400, "MAX_TOKENS_MISSING"),
        ({"body": {**BODY, "max_tokens": 10**6}}, 403, "REQUEST_TOO_LARGE"),
        ({"body": {**BODY, "model": "mistral-large-latest"}}, 403, None),
        ({"body": b'{"model":"a","model":"b"}'}, 400, "BODY_MALFORMED"),
        ({"body": b""}, 400, "BODY_MISSING"),
        ({"headers": {"Content-Encoding": "gzip"}}, 415, "BODY_ENCODED"),
        ({"headers": {"x-envoy-auth-partial-body": "true"}}, 200, None),
        ({"headers": {"x-user": "eve,ada"}}, 400, "PRINCIPAL_AMBIGUOUS"),
        ({"headers": {"role": "admin", "x-role": "admin"}, "body": {**BODY, "max_tokens": 10**6}},
         403, "REQUEST_TOO_LARGE"),
        ({"path": CHAT + "?a=b"}, 403, "ENDPOINT_UNKNOWN"),
        ({"path": "/v1/agents/completions"}, 403, "ENDPOINT_UNKNOWN"),
        ({"path": "/v1/chat%2fcompletions"}, 400, None),
        ({"path": "//v1/chat/completions"}, 200, None),
        ({"path": "/v1/models", "method": "GET", "body": None}, 200, None),
        ({"body": {**BODY, "messages": [{"role": "user", "content": "x" * 2_000_000}]}}, 413, None),
    ],
    ids=str,
)  # fmt: skip
def test_envoy_returns_the_sidecars_denial(
    call: dict[str, Any], status: int, code: str | None, site: Site
) -> None:
    """In Mistral's shape, with its status; paths as Envoy makes them plain before."""
    found, headers, answer = site.call(**call)
    assert found == status, answer
    if code is not None:
        assert (answer["object"], answer["code"]) == ("error", code)
        assert headers["content-type"] == "application/json"


def test_without_the_sidecar_nothing_goes_through(site: Site) -> None:
    """Envoy fails closed, and calls the sidecar again when it is back."""
    site.sidecar.stop()
    try:
        assert site.call()[0] == 503
    finally:
        args = site.sidecar.args
        site.sidecar.args = (*args, "--listen", site.sidecar.addresses[0])
        site.sidecar.restart()
    assert eventually(lambda: site.call()[0] == 200)


def test_a_status_without_a_name_in_envoy_is_returned(
    site: Site, tmp_path: Path, start_sidecar: Callable[..., RunningSidecar]
) -> None:
    """A rule's http_status may be any from 400 to 599."""
    site.sidecar.stop()
    policies = tmp_path / "p"
    policies.mkdir()
    for file in SHIPPED.iterdir():
        (policies / file.name).write_text(file.read_text())
    (policies / "teapot.cel").write_text(
        "// METADATA\n// effect: deny\n// owner: a@b.c\n// reason: TEAPOT\n// http_status: 418\n"
        "// message: no\ntrue\n"
    )
    args = site.sidecar.args
    other = start_sidecar(policies, *args)
    assert eventually(lambda: site.call()[0] != 503)
    assert site.call()[0] == 418
    other.stop()
    site.sidecar.restart()
