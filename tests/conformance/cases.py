"""The conformance cases, from an npm package that is fetched once for each checkout."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from support import tools
from support.npm import fetch

PACKAGE = "@bufbuild/cel-spec@0.6.1"
SHA512 = "m0Ac9qA669yxxC0Hy45qGsUZemjImVfxPl6r9jLbkJviEvv3R9hSYyH2ItGRbDguekX6eId0cb62ulNBK97ezg=="

_CACHE = Path(__file__).parents[2] / "build" / "cel-spec-0.6.1.json"
_OF_RULES = {"ascii_casing", "split", "trim"}
"""The sections of the extension for strings with the functions that rules may call."""

_MODULE = "package/dist/esm/testdata/conformance.js"


@dataclass(frozen=True, slots=True)
class Case:
    """One case. Types and values are as in the specification's JSON."""

    id: str
    expression: str
    is_checked: bool
    container: str
    types: Mapping[str, Any]
    bindings: Mapping[str, Any]
    value: Mapping[str, Any] | None
    """None is an error."""

    left_out: str
    """Why it is not run, "" if it is."""


@cache
def read() -> tuple[Case, ...]:
    """Return all cases. Skips the test where the package cannot be fetched."""
    if not _CACHE.exists():
        _fetch()
    return tuple(
        _case(file["name"], section["name"], case["original"])
        for file in json.loads(_CACHE.read_text())["suites"]
        for section in file.get("suites", ())
        for case in section["tests"]
    )


def _fetch() -> None:
    """Fetch the cases, and convert them: they are a literal that node reads."""
    with tools.needed():
        module = fetch(PACKAGE, SHA512, _MODULE, _CACHE.with_suffix(".mjs"))
    to_json = (
        f"import('./{module.name}').then(it => process.stdout.write(JSON.stringify(it.tests)))"
    )
    node = [tools.program("node"), "-e", to_json]
    done = subprocess.run(node, check=True, timeout=60, capture_output=True, cwd=module.parent)  # noqa: S603
    # Another worker may do the same at the same time: either file will do.
    with tempfile.NamedTemporaryFile(dir=_CACHE.parent, delete=False) as file:
        file.write(done.stdout)
    Path(file.name).replace(_CACHE)


def _case(file: str, section: str, it: dict[str, Any]) -> Case:
    value = it["typedResult"].get("result") if "typedResult" in it else it.get("value")
    if value is None and "evalError" not in it:
        value = {"boolValue": True}  # what the specification means when it gives none
    return Case(
        id=f"{file}/{section}/{it['name']}",
        expression=it["expr"],
        is_checked="disableCheck" not in it,
        container=it.get("container", ""),
        types={d["name"]: d["ident"]["type"] for d in it.get("typeEnv", ()) if "ident" in d},
        bindings={name: each["value"] for name, each in it.get("bindings", {}).items()},
        value=value,
        left_out=_left_out(file, section, it),
    )


def _left_out(file: str, section: str, it: dict[str, Any]) -> str:
    text = json.dumps(it)
    if "cel.expr.conformance" in text or "TestAllTypes" in text:
        return "needs a message"
    if "objectValue" in text:
        return "binds a message"
    in_rules = file == "string_ext" and section in _OF_RULES
    if (file.endswith("_ext") and not in_rules) or file in ("optionals", "macros2"):
        return "needs an extension"
    return "is about the type" if "checkOnly" in it else ""
