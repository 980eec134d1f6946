"""What comes through a door and is no question that could be decided."""

from math import ceil


class RefusedError(Exception):
    """The question is refused before anybody decides. The text has no value of it."""

    def __init__(self, code: str, message: str, http_status: int = 400) -> None:
        """Keep the code for programs, as in BODY_TRUNCATED, and what to do for people."""
        super().__init__(message)
        self.code = code
        self.http_status = http_status


def malformed(field: str, problem: str) -> RefusedError:
    """Return the refusal of a field, by its path as in `subject.id`."""
    return RefusedError("INVALID_FIELD", f"{field} {problem}")


def retry_after(seconds: float) -> str:
    """Return a time as the header Retry-After has it, in whole seconds: never too early."""
    return str(max(1, ceil(seconds)))
