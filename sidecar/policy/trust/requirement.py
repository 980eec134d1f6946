"""What a policy set has to be before it may take effect."""

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
    """Digests, and files of public keys. Without either every set is good enough."""

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
    """A list of digests, a list of keys, both or neither."""

    def __init__(
        self, digests: Sequence[str] = (), keys: "Sequence[Ed25519PublicKey]" = ()
    ) -> None:
        """Ask for one of the digests, and for a signature with one of the keys."""
        self._digests = digests
        self._keys = keys

    def check(self, path: Path, files: PolicyFiles, not_before_us: int = 0) -> int:
        """Return when a set was signed, 0 where that is not asked for.

        It may not be signed earlier than `not_before_us`: whoever can write files, but not
        sign, would else put an old set with more room in the place of a newer one.
        Raises PolicyError.
        """
        if self._digests and files.digest not in self._digests:
            wrong = f"has the digest {files.digest}, which is none of those required"
            raise PolicyError([Problem(str(path), 0, 0, wrong)])
        if not self._keys:
            return 0
        from sidecar.policy.trust import signatures  # noqa: PLC0415 - takes a while; few need it

        try:
            signed_at_us = signatures.verify(files.signature, files.digest, self._keys).signed_at_us
        except signatures.NotSignedError as error:
            problem = Problem(SIGNATURE, 0, 0, str(error), hint="sidecar sign DIR --key FILE")
            raise PolicyError([problem]) from None
        if signed_at_us < not_before_us:
            wrong = "was signed before the set that is served"
            hint = "to go back to an older set, sign it again"
            raise PolicyError([Problem(SIGNATURE, 0, 0, wrong, hint=hint)])
        return signed_at_us


def open_requirement(settings: TrustSettings) -> Requirement:
    """Read the keys. Raises ValueError, which names the flag."""
    for digest in settings.digests:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(
                f"--require-digest {digest}: is not the 64 hexadecimal digits that"
                " `sidecar check` prints"
            )
    if not settings.keys:
        return Requirement(settings.digests)
    from sidecar.policy.trust import signatures  # noqa: PLC0415 - takes a while, and few need it

    try:
        keys = [signatures.read_public_key(path) for path in settings.keys]
    except ValueError as error:
        raise ValueError(f"--require-signature {error}") from None
    return Requirement(settings.digests, keys)
