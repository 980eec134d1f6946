"""Generate the Python code of proto/: `python proto/generate.py [FOLDER]`, by default in place.

The messages of authorization.proto belong to the client package, which the server depends
on; all other generated code belongs to the server. So that no two packages own one file,
`sidecar.v1.authorization_pb2` is an alias of the client's module.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
PROTO = ROOT / "proto"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
CLIENT = "clients/python/mistral_spend/v1"
OF_CLIENT = "authorization_pb2"
SERVICES = ("authorization", "admin")

ALIAS = '"""{module} of the client package, under its earlier name."""\n\n{line}\n'


def main(target: Path) -> int:
    """Write the generated code below the target; return protoc's exit code if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        messages = sorted(str(path) for path in PROTO.glob("sidecar/**/*.proto"))
        contract = [path for path in messages if "/v1/" in path]
        services = [str(PROTO / f"sidecar/v1/{name}.proto") for name in SERVICES]
        for arguments in (
            [f"--python_out={out}", f"--pyi_out={out}", *messages],
            [f"--grpc_python_out={out}", *services],
            [
                "--include_source_info",
                f"--descriptor_set_out={out}/sidecar/v1/descriptors.binpb",
                *contract,
            ],
        ):
            code: int = protoc.main(["protoc", f"-I{PROTO}", f"-I{WELL_KNOWN}", *arguments])
            if code:
                return code
        give_to_client(out, target)
        shutil.copytree(out / "sidecar", target / "sidecar", dirs_exist_ok=True)
    return 0


def give_to_client(out: Path, target: Path) -> None:
    """Move what the client package owns, and leave aliases in its place."""
    client = target / CLIENT
    client.mkdir(parents=True, exist_ok=True)
    for path in (out / "sidecar/v1").glob(f"{OF_CLIENT}*"):
        text = path.read_text(encoding="utf-8")
        text = text.replace("from sidecar.v1 import", "from mistral_spend.v1 import")
        (client / path.name).write_text(text, encoding="utf-8")
        module = f"mistral_spend.v1.{path.name.partition('.')[0]}"
        names = "*" if path.suffix == ".py" else "*  # noqa: F403"
        alias = ALIAS.format(module=f"`{module}`", line=f"from {module} import {names}")
        path.write_text(alias, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
