"""The trust requirement that a policy set has to meet before it takes effect."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sidecar.domain.flags import setting
from sidecar.policy.files.directory import SIGNATURE, PolicyFiles
from sidecar.policy.files.problems import PolicyError, Problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """Digests, and files of public keys. Without either, every set is trusted."""

    PANEL: ClassVar = "Changing policies"
    digests: Sequence[str] = setting(
        "--require-digest",
        "Refuse policies with another digest, at start and later. Repeatable; separated by spaces"
        " in the variable.",
        "SHA256",
        default=(),
    )
    keys: Sequence[Path] = setting(
        "--require-signature",
        "Refuse policies that this key did not sign, at start and later. Repeatable; separated"
        " by colons in the variable.",
        "PUBLIC_KEY",
        default=(),
    )


class Requirement:
    """Required digests, required signing keys, both or neither."""

    def __init__(
        self, digests: Sequence[str] = (), keys: "Sequence[Ed25519PublicKey]" = ()
    ) -> None:
        """Require one of the digests, and a signature by one of the keys; empty is no check."""
        self._digests = digests
        self._keys = keys

    def check(self, path: Path, files: PolicyFiles, not_before_us: int = 0) -> int:
        """Return when a set was signed, in microseconds; 0 if no signature is required.

        A signature earlier than `not_before_us` is refused: otherwise an attacker who can
        write files, but not sign, could bring back an older set. Raises PolicyError.
        """
        if self._digests and files.digest not in self._digests:
            wrong = f"has the digest {files.digest}, which is not one of those required"
            raise PolicyError([Problem(str(path), 0, 0, wrong)])
        if not self._keys:
            return 0
        from sidecar.policy.trust import signatures  # noqa: PLC0415 - slow to import, rarely used

        try:
            signed_at_us = signatures.verify(files.signature, files.digest, self._keys).signed_at_us
        except signatures.NotSignedError as error:
            problem = Problem(SIGNATURE, 0, 0, str(error), hint="sidecar sign DIR --key FILE")
            raise PolicyError([problem]) from None
        if signed_at_us < not_before_us:
            wrong = "was signed before the set in use"
            hint = "to go back to an older set, sign it again"
            raise PolicyError([Problem(SIGNATURE, 0, 0, wrong, hint=hint)])
        return signed_at_us


def open_requirement(settings: TrustSettings) -> Requirement:
    """Read the keys. Raises ValueError, which names the flag."""
    for digest in settings.digests:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(
                f"--require-digest {digest}: is not a digest of 64 hexadecimal digits, as"
                " `sidecar check` prints it"
            )
    if not settings.keys:
        return Requirement(settings.digests)
    from sidecar.policy.trust import signatures  # noqa: PLC0415 - slow, rarely used

    try:
        keys = [signatures.read_public_key(path) for path in settings.keys]
    except ValueError as error:
        raise ValueError(f"--require-signature {error}") from None
    return Requirement(settings.digests, keys)
