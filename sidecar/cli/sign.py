"""`sidecar sign` and `sidecar verify`: the signature of a policy directory."""

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import EngineOption, fail, fail_all
from sidecar.cli.policies import load_policies
from sidecar.cli.terminal import say
from sidecar.domain.clock import to_datetime
from sidecar.domain.texts import printable
from sidecar.policy.files import directory as policy_directory
from sidecar.policy.files.directory import SIGNATURE
from sidecar.policy.files.problems import PolicyError
from sidecar.runtime.shared_flags import EngineName

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of policies.")]


def sign(
    directory: Directory,
    key: Annotated[
        Path,
        typer.Option(
            envvar="SIDECAR_SIGNING_KEY", metavar="FILE", help="A private Ed25519 key in PEM."
        ),
    ],
    engine: EngineOption = EngineName.CEL_CPP,
) -> None:
    """Sign a policy directory, which has to load: writes policies.sig into it.

    Test fixtures and notes are not signed: they decide nothing. `openssl genpkey -algorithm
    ed25519 -out key.pem` makes a key, and `openssl pkey -in key.pem -pubout` its public one.

    Example: sidecar sign policies --key key.pem
    """
    from sidecar.policy.trust import signatures  # noqa: PLC0415 - takes a while, and few need it

    try:
        private = signatures.read_private_key(key)
    except ValueError as error:
        raise fail(f"--key {error}", 2) from None
    digest = load_policies(directory, engine.value).digest
    _write(directory / SIGNATURE, signatures.sign(digest, private, time.time_ns() // 1000))
    say(f"{directory}: digest {digest}, signed with {signatures.key_id(private.public_key())}")


def verify(
    directory: Directory,
    key: Annotated[
        list[Path],
        typer.Option(
            envvar="SIDECAR_VERIFY_KEY",
            metavar="FILE",
            help="A public Ed25519 key in PEM. Repeatable: one of them must have signed.",
        ),
    ],
) -> None:
    """Check the signature of a policy directory, and print the key and the time.

    Exit 1 if it was signed with none of the keys, or changed since.

    Example: sidecar verify policies --key public.pem
    """
    from sidecar.policy.trust import signatures  # noqa: PLC0415 - takes a while, and few need it

    try:
        keys = [signatures.read_public_key(path) for path in key]
    except ValueError as error:
        raise fail(f"--key {error}", 2) from None
    try:
        files = policy_directory.read(directory)
        found = signatures.verify(files.signature, files.digest, keys)
    except (PolicyError, signatures.NotSignedError) as error:
        raise fail_all(f"{printable(str(directory))}: {error}") from None
    signed_at = to_datetime(found.signed_at_us)
    say(
        f"{directory}: digest {found.digest}, signed with {found.key_id}"
        f" at {signed_at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _write(path: Path, text: str) -> None:
    """Write a signature atomically."""
    try:
        handle, new = tempfile.mkstemp(prefix=".", dir=path.parent)
        with open(handle, "w", encoding="utf-8") as stream:  # noqa: PTH123 - it is open already
            stream.write(text)
        Path(new).chmod(0o644)
        os.replace(new, path)  # noqa: PTH105 - one name for both
    except OSError as error:
        raise fail(f"{path}: cannot be written: {error.strerror}") from None
