"""Cerbos with the rules of `policies/` that it can express, for comparison."""

import json
import platform
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import yaml
from google.protobuf import json_format
from support.npm import fetch
from support.policies import SHIPPED
from support.tools import OtherMachineError

from bench.servers import Call, Server, free_address

VERSION = "0.55.0"
PACKAGE = f"@cerbos/cerbos-linux-x64@{VERSION}"
SHA512 = "eLZUycJfaQWK0XTRgH/Oz2E3XiNCUavDd1LhzFxhUpZ3s5CuQqmqG327ta0On8YOTxuZO/19cG4kvfC22r03/Q=="

_FOLDER = Path(__file__).with_name("cerbos_policies")
_PROGRAM = Path(__file__).parents[2] / "build" / f"cerbos-{VERSION}" / "cerbos"
_PATH = "/cerbos.svc.v1.CerbosService/CheckResources"


def program() -> Path:
    """Return the program cerbos. Raises MissingError or OtherMachineError."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise OtherMachineError(f"{PACKAGE} is not for this machine")
    return fetch(PACKAGE, SHA512, "package/cerbos-linux-x64", _PROGRAM)


def start(folder: Path) -> Server:
    """Start Cerbos with its files in this folder. Raises MissingError or OtherMachineError."""
    command = [str(program()), "server", "--log-level=error"]
    folder.mkdir()
    (folder / "policies").mkdir()
    (folder / "policies" / "calls.yaml").write_text((_FOLDER / "calls.yaml").read_text())
    (folder / "policies" / "shipped.json").write_text(json.dumps(_constants(), default=str))
    address = free_address()
    configuration = {
        "server": {"grpcListenAddr": address, "httpListenAddr": free_address()},
        "storage": {"driver": "disk", "disk": {"directory": str(folder / "policies")}},
        "telemetry": {"disabled": True},
    }
    (folder / "cerbos.yaml").write_text(json.dumps(configuration))
    return Server(
        "Cerbos",
        [*command, f"--config={folder / 'cerbos.yaml'}"],
        Call(_PATH, request()),
        address,
    )


def request(
    role: str = "developer",
    workspace: str = "dev-workspace",
    model: str = "mistral-small-latest",
    tokens: int = 200,
    key_id: str = "",
    **labels: str,
) -> bytes:
    """Return the call of `support.sidecar_process.chat`, with changes, as a request to Cerbos."""
    attributes = {"workspace": workspace, "key_id": key_id, "labels": labels}
    resource = {"kind": "model", "id": model, "attr": {"tokens": tokens}}
    message = {
        "principal": {"id": "ada", "roles": [role], "attr": attributes},
        "resources": [{"actions": ["call"], "resource": resource}],
    }
    encoded = json_format.ParseDict(message, _contract().CheckResourcesRequest())
    return bytes(encoded.SerializeToString())


def effect(address: str, message: bytes) -> str:
    """Check one call with Cerbos; return the name of the effect."""
    with grpc.insecure_channel(address) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_PATH)
        answer = ask(message, timeout=10, wait_for_ready=True)
    contract = _contract()
    (result,) = contract.CheckResourcesResponse.FromString(answer).results
    return str(contract.Effect.Name(result.actions["call"]))


def _contract() -> ModuleType:
    return grpc.protos("bench/cerbos_policies/check_resources.proto")


def _constants() -> dict[str, Any]:
    """Return the data of the shipped policies as constants that Cerbos' policies import."""
    data: dict[str, Any] = {}
    for kind in ("roles", "workspaces", "models", "keys"):
        data |= yaml.safe_load((SHIPPED / f"{kind}.yaml").read_text())
    names: dict[str, list[str]] = {}
    for id_, model in data["models"].items():
        every = [id_, model["family"], *model.get("aliases", ())]
        names |= dict.fromkeys([id_, *model.get("aliases", ())], every)
    definitions = {
        "roles": data["roles"],
        "workspaces": {name: {"services": {}, **it} for name, it in data["workspaces"].items()},
        "keys": {id_: {"state": "active", **key} for id_, key in data["keys"].items()},
        "names": names,
    }
    return {
        "apiVersion": "api.cerbos.dev/v1",
        "exportConstants": {"name": "shipped", "definitions": definitions},
    }
