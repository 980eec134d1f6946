"""The manifests in deploy/ are valid, match the sidecar, and are secure."""

import os
import re
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mistral_spend.v1 import authorization_pb2 as pb
from support import tools
from support.commands import sidecar
from support.configmap import ConfigMap
from support.image import instructions
from support.policies import SHIPPED
from support.sidecar_process import RunningSidecar, chat

from sidecar.policy import policy_set
from sidecar.policy_tools.editor_schemas import FILES

ROOT = Path(__file__).parents[2]
BASE, EXAMPLE = ROOT / "deploy/base", ROOT / "deploy/example"
DEPLOY, REPLICAS, FAILURES = (
    (ROOT / "docs" / page).read_text() for page in ("deploy.md", "replicas.md", "failures.md")
)
KUBERNETES = "1.33"  # the first in which native sidecars are stable
CONFIG_MAP_BYTES = 2**20

Manifest = dict[str, Any]


def base(kind: str) -> Manifest:
    """Return the one manifest of a kind in the base."""
    found = [yaml.safe_load(file.read_text()) for file in BASE.glob("*.yaml")]
    (one,) = [manifest for manifest in found if manifest["kind"] == kind]
    return dict(one)


POD: Manifest = base("StatefulSet")["spec"]["template"]["spec"]
(SIDECAR,) = POD["initContainers"]
(APP,) = POD["containers"]
PROBES = {name: SIDECAR[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}


def flags(container: Manifest) -> dict[str, str]:
    """Return the flags of a container with their values."""
    return dict(arg.split("=", 1) for arg in container["args"][1:])


@pytest.fixture(scope="module")
def rendered() -> list[Manifest]:
    """The example, as Kustomize makes it."""
    return kustomized(EXAMPLE)


def kustomized(folder: Path) -> list[Manifest]:
    """Return what Kustomize makes of a folder."""
    program = tools.program("kustomize", "kubectl")
    command = "build" if Path(program).name == "kustomize" else "kustomize"
    words = [program, command, "--load-restrictor", "LoadRestrictionsNone", str(folder)]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return list(yaml.safe_load_all(text))


def test_kubernetes_understands_every_manifest(rendered: list[Manifest]) -> None:
    """Every field is one that its kind has, in the base and in the example."""
    validator = tools.package("kubernetes_validate")
    files = [file for file in BASE.glob("*.yaml") if file.name != "kustomization.yaml"]
    for manifest in (*rendered, *(yaml.safe_load(file.read_text()) for file in files)):
        validator.validate(manifest, KUBERNETES, strict=True)
    broken = base("StatefulSet")
    broken["spec"]["template"]["spec"]["initContainers"][0]["restartpolicy"] = "Always"
    with pytest.raises(validator.ValidationError):
        validator.validate(broken, KUBERNETES, strict=True)


def test_the_kustomization_lists_every_file() -> None:
    """A manifest that the kustomization forgets is not applied."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml"} == {file.name for file in BASE.iterdir()}


def test_the_config_map_has_every_rule_and_no_fixture(
    rendered: list[Manifest], tmp_path: Path
) -> None:
    """It is the shipped set with the same digest, laid out as the kubelet does, and fits."""
    (config_map,) = [one for one in rendered if one["kind"] == "ConfigMap"]
    assert config_map["metadata"]["name"] == "spend-policies"  # without a hash
    assert sum(map(len, config_map["data"].values())) < CONFIG_MAP_BYTES
    laid_out = as_the_kubelet_does(tmp_path / "p", config_map["data"])
    assert policy_set.load(SHIPPED).digest == policy_set.load(laid_out).digest
    assert sidecar("check", laid_out, "--strict")[0] == 0


def test_the_example_lists_every_rule() -> None:
    """Without Kustomize, too: a deny rule that is not listed would not deny."""
    (generator,) = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())[
        "configMapGenerator"
    ]
    listed = [(EXAMPLE / file).resolve() for file in generator["files"]]
    assert listed == sorted(f for f in SHIPPED.glob("[!.]*") if not f.name.endswith("_test.yaml"))


def test_a_configmap_of_the_whole_folder_is_the_same_set(tmp_path: Path) -> None:
    """The command of docs/deploy.md includes schemas and fixtures, which decide nothing."""
    command = "create configmap spend-policies --from-file=policies --dry-run=client -o yaml"
    assert f"kubectl {command} |" in DEPLOY
    words = [tools.program("kubectl"), *command.split()]
    made = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    keys = yaml.safe_load(made.stdout)["data"]
    assert set(FILES.values()) < keys.keys()
    mounted = ConfigMap(tmp_path / "volume", keys)
    assert policy_set.load(mounted.volume).digest == policy_set.load(SHIPPED).digest


def test_the_share_is_one_of_as_many_as_there_are_replicas(rendered: list[Manifest]) -> None:
    """L1: the budgets of all replicas together are the budgets in the policies."""
    (example,) = [one for one in rendered if one["kind"] == "StatefulSet"]
    for manifest in (base("StatefulSet"), example):
        spec = manifest["spec"]
        (container,) = spec["template"]["spec"]["initContainers"]
        share = {entry["name"]: entry["value"] for entry in container["env"]}["SIDECAR_SHARE"]
        assert share == f"1/{spec['replicas']}"


def test_every_referenced_object_exists() -> None:
    """Every flag, variable and command of deploy/, the Dockerfile and the pages about pods."""
    known = "".join(sidecar(*words, "--help", COLUMNS="1000")[1]
                    for words in ((), ("serve",), ("budgets",), ("check",), ("explain",)))  # fmt: skip
    document = DEPLOY + REPLICAS + FAILURES
    texts = [
        document,
        *(file.read_text() for file in BASE.iterdir()),
        (EXAMPLE / "kustomization.yaml").read_text(),
    ]
    steps = " ".join(
        rest for word, rest in instructions(ROOT / "Dockerfile") if word in {"ENV", "HEALTHCHECK"}
    )
    named = set(flags(SIDECAR)) | set(re.findall(r"SIDECAR_[A-Z_]+[A-Z]", steps + "".join(texts)))
    named |= set(re.findall(r"`(?:sidecar \w+ )?(--[a-z-]+)", document)) | {"healthz"}
    missing = {name for name in named if not re.search(rf"(?<![\w-]){name}(?![\w-])", known)}
    assert missing == set()


def test_the_sidecar_is_a_native_one() -> None:
    """It starts before the app and outlives it; every other init container would come first."""
    assert SIDECAR["restartPolicy"] == "Always"
    assert POD["terminationGracePeriodSeconds"] >= 2 * int(flags(SIDECAR)["--grace-seconds"])


def test_probes_ask_the_health_port_by_its_two_services() -> None:
    """A kubelet reaches neither loopback nor a socket; liveness never depends on policies."""
    host, _, port = flags(SIDECAR)["--health-listen"].rpartition(":")
    assert host == "0.0.0.0"  # noqa: S104 - the kubelet comes from outside the pod
    assert {int(port)} == {probe["grpc"]["port"] for probe in PROBES.values()}
    services = {name: probe["grpc"]["service"] for name, probe in PROBES.items()}
    assert services == {
        "startupProbe": "readiness", "livenessProbe": "liveness", "readinessProbe": "readiness",
    }  # fmt: skip
    ports = {one["name"]: one["containerPort"] for one in SIDECAR["ports"]}
    assert ports["health"] == int(port)
    assert flags(SIDECAR)["--metrics-listen"].endswith(f":{ports['metrics']}")


def test_an_app_that_fails_open_stays_in_its_service(tmp_path: Path) -> None:
    """The patch of docs/failures.md takes the readiness probe from the base, and nothing else."""
    (patch,) = re.findall(r"(?m)^( {4}patches:\n(?: {4}.*\n)+)", FAILURES)
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    resources = f"resources: [{os.path.relpath(BASE, overlay.resolve())}]\n"
    (overlay / "kustomization.yaml").write_text(resources + textwrap.dedent(patch))
    (made,) = [one for one in kustomized(overlay) if one["kind"] == "StatefulSet"]
    expected = base("StatefulSet")
    del expected["spec"]["template"]["spec"]["initContainers"][0]["readinessProbe"]
    assert made == expected


def test_pods_start_in_parallel_and_the_upgrade_to_that_is_documented() -> None:
    """A pod that is not ready keeps no other from starting; an older StatefulSet has to be recreated."""
    stateful_set = base("StatefulSet")
    assert stateful_set["spec"]["podManagementPolicy"] == "Parallel"
    name = stateful_set["metadata"]["name"]
    assert f"    kubectl -n spend delete statefulset {name} --cascade=orphan\n" in DEPLOY


def test_only_prometheus_can_connect() -> None:
    """Authorization is on the socket alone; of the ports, the policy opens the metrics."""
    assert all(
        value.startswith("unix:") for value in re.findall(r"--listen=(\S+)", str(SIDECAR["args"]))
    )
    policy = base("NetworkPolicy")["spec"]
    assert policy["podSelector"] == base("StatefulSet")["spec"]["selector"]
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    assert [port["port"] for port in rule["ports"]] == [9090]
    assert [{"namespaceSelector", "podSelector"}] == [set(peer) for peer in rule["from"]]


@pytest.mark.parametrize("container", [SIDECAR, APP], ids=lambda container: container["name"])
def test_every_container_has_minimal_privileges(container: Manifest) -> None:
    """No root, no capability, no write outside of volumes, and a limit on memory."""
    context = container["securityContext"]
    assert context["runAsUser"] > 0 < context["runAsGroup"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} == set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


def test_the_pod_has_minimal_privileges() -> None:
    """The restricted Pod Security Standard, and no token of the cluster."""
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (POD["automountServiceAccountToken"], POD["enableServiceLinks"]) == (False, False)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & POD.keys()
    kinds = {kind for volume in POD["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir"}


def test_volumes_match_the_flags_and_the_image() -> None:
    """Written folders are volumes of the right group; the policies are mounted as a whole folder."""
    claims = [
        claim["metadata"]["name"] for claim in base("StatefulSet")["spec"]["volumeClaimTemplates"]
    ]
    volumes = {*claims, *(volume["name"] for volume in POD["volumes"])}
    mounts = {mount["mountPath"]: mount for mount in SIDECAR["volumeMounts"]}
    assert {mount["name"] for mount in (*mounts.values(), *APP["volumeMounts"])} <= volumes
    assert not any("subPath" in mount for mount in (*mounts.values(), *APP["volumeMounts"]))
    given = flags(SIDECAR)
    assert mounts[given["--policies"]]["readOnly"]
    assert mounts[str(Path(given["--ledger"]).parent)]["name"] in claims
    socket = Path(given["--listen"].removeprefix("unix:"))
    assert APP["env"] == [{"name": "SIDECAR_ADDRESS", "value": f"unix:{socket}"}]
    (shared,) = APP["volumeMounts"]
    assert shared == {**mounts[str(socket.parent)], "readOnly": True}
    written = {path for path, mount in mounts.items() if not mount.get("readOnly")}
    (image_volumes,) = [
        rest for word, rest in instructions(ROOT / "Dockerfile") if word == "VOLUME"
    ]
    assert written == {*yaml.safe_load(image_volumes), "/tmp"}  # noqa: S108
    (user,) = [rest for word, rest in instructions(ROOT / "Dockerfile") if word == "USER"]
    context = SIDECAR["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert POD["securityContext"]["fsGroup"] == context["runAsGroup"]


def test_the_sidecar_of_the_manifest_starts(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """Its own flags and variables, with the folders of a pod, on loopback: one call is answered."""
    policies = {f.name: f.read_text() for f in SHIPPED.iterdir() if "_test." not in f.name}
    given = flags(SIDECAR)
    given["--listen"] = (
        f"unix:{os.path.relpath(tmp_path)}/s"  # the path of a socket has to be short
    )
    for name, value in given.items():
        given[name] = re.sub(r"0\.0\.0\.0:\d+", "127.0.0.1:0", value)
    marker = Path(given["--ledger-marker"]).relative_to("/var/lib/sidecar")
    given["--ledger-marker"] = str(tmp_path / marker)
    del given["--policies"], given["--ledger"]
    running = start_sidecar(
        as_the_kubelet_does(tmp_path / "p", policies),
        *(word for item in given.items() for word in item),
        env={entry["name"]: entry["value"] for entry in SIDECAR["env"]},
    )
    assert running.stub.Authorize(chat()).effect == pb.EFFECT_ALLOW


def as_the_kubelet_does(volume: Path, data: dict[str, str]) -> Path:
    """Lay a ConfigMap out as a volume: every key is a link through `..data`."""
    version = volume / "..2026_11_24_12_00_00.123456789"
    version.mkdir(parents=True)
    (volume / "..data").symlink_to(version.name)
    for name, text in data.items():
        (version / name).write_text(text)
        (volume / name).symlink_to(f"..data/{name}")
    return volume
