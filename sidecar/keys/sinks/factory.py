"""The factory of sinks, by the value of --key-sink."""

import re
from pathlib import Path

from sidecar.keys.settings import KubernetesSettings
from sidecar.keys.sinks.command import CommandSink
from sidecar.keys.sinks.file import FileSink
from sidecar.keys.sinks.kubernetes import KubernetesSink
from sidecar.keys.sinks.sink import Sink


def open_sink(text: str, key_id: str, kubernetes: KubernetesSettings) -> Sink:
    """Open the sink `KIND:PLACE`, in which `{key}` stands for the key's id.

    Belongs to the running event loop. Raises ValueError.
    """
    if "{key}" in text and not re.fullmatch(r"[\w-][\w.-]*", key_id, re.ASCII):
        raise ValueError(
            f"{key_id} begins with a dot, or has characters that cannot replace {{key}}"
        )
    kind, _, place = text.replace("{key}", key_id).partition(":")
    match kind:
        case "file" | "bare-file" if place:
            return FileSink(Path(place), bare=kind == "bare-file")
        case "kubernetes" if place.count("/") == 1 and all(place.split("/")):
            namespace, name = place.split("/")
            return KubernetesSink(namespace, name, kubernetes)
        case "command" if place:
            return CommandSink(place)
    raise ValueError(
        "must be file:PATH, bare-file:PATH, kubernetes:NAMESPACE/NAME or command:COMMAND"
    )
