"""The base of errors that a client may see: a code, a reason for programs, and a text."""

from enum import Enum, auto
from typing import ClassVar


class ErrorCode(Enum):
    """The kind of an error, which decides its gRPC and its HTTP status."""

    INVALID = auto()
    UNAUTHENTICATED = auto()
    PERMISSION_DENIED = auto()
    NOT_FOUND = auto()
    EXISTS = auto()
    PRECONDITION = auto()
    EXHAUSTED = auto()
    UNAVAILABLE = auto()


class SidecarError(Exception):
    """An error that its client may see. No part of it contains a value of the request."""

    code: ClassVar[ErrorCode]
    reason: str
    """For programs, such as HOLD_UNKNOWN."""
    text: ClassVar[str] = ""
    """The default text."""
    field: str = ""
    """The path of the field that is wrong, such as `principal.id`."""
    retry_after_seconds: float | None = None

    def __init__(self, text: str = "") -> None:
        """Take a text for people."""
        super().__init__(text or self.text)

    @property
    def message(self) -> str:
        """The text that the client gets."""
        return str(self)
