"""Which front doors are open."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """What was asked for about front doors; none is open by default."""

    ext_authz: bool = False
    """Whether Envoy may ask, where apps do."""
    ext_authz_from: Sequence[str] = ()
    """Where Envoy's question says who calls, as FIELD=SOURCE."""
    authzen_listen: str = ""
    """Where AuthZEN is spoken; empty is nowhere."""
    authzen_url: str = ""
    """What its metadata says the address is; empty is the listener's own."""
