"""Errors: why a call does not go out."""

from collections.abc import Sequence

from mistral_spend.balances import Balance, balances
from mistral_spend.v1 import authorization_pb2 as pb


class BudgetError(Exception):
    """The call must not go out, and did not. Asking again at once does not help."""


class Denied(BudgetError):
    """The sidecar said no, for all of `reasons`."""

    reasons: Sequence[pb.Reason]
    budgets: Sequence[Balance]
    http_status: int
    """What a gateway would answer, by the first reason."""
    retry_after_seconds: float | None
    """When a new call may be allowed; None where waiting does not help."""

    def __init__(self, decision: pb.AuthorizeResponse) -> None:
        """Say why, in the words of the rules."""
        super().__init__("; ".join(f"{r.code}: {r.message}" for r in decision.reasons))
        self.decision_id = decision.decision_id
        self.reasons = decision.reasons
        self.budgets = balances(decision.budgets)
        self.http_status = decision.reasons[0].http_status if decision.reasons else 403
        self.retry_after_seconds = None
        if decision.HasField("retry_after"):
            self.retry_after_seconds = decision.retry_after.ToNanoseconds() / 10**9


class Unavailable(Denied):
    """The sidecar gave no answer in time, and `when_unavailable` is "deny".

    Or it was not asked, because it gave none to the calls before: the message then says
    CIRCUIT_OPEN.
    """

    def __init__(self, code: str, details: str) -> None:
        """Take gRPC's code and what it says about it."""
        message = f"the sidecar does not answer: {code}: {details}"
        reason = pb.Reason(code="SIDECAR_UNAVAILABLE", message=message, http_status=503)
        super().__init__(pb.AuthorizeResponse(effect=pb.EFFECT_DENY, reasons=[reason]))


class Refused(BudgetError):
    """The sidecar cannot take such a request: the app, or its configuration, has to be mended.

    It is raised whatever `when_unavailable` says.
    """

    def __init__(self, code: str, details: str) -> None:
        """Take gRPC's code, such as INVALID_ARGUMENT, and what it says about it."""
        super().__init__(f"{code}: {details}")
        self.code = code


class Replayed(Refused):
    """The sidecar repeats a decision that was another call's, or whose hold has ended.

    Either its id is not this call's alone, or something on the way repeats requests.
    """

    def __init__(self, details: str) -> None:
        """Say what was repeated."""
        super().__init__("REPLAYED", details)


class Unbounded(BudgetError, ValueError):
    """The request does not bound how large the call may become."""


class Unguarded(BudgetError, AttributeError):
    """A guarded client cannot say what this part of the SDK would spend."""


class NoAnswer(Exception):
    """There was no answer within the deadline. Never leaves this package."""

    def __init__(self, code: str, details: str) -> None:
        """Take gRPC's code and what it says about the last attempt."""
        super().__init__(f"{code}: {details}")
        self.code, self.details = code, details


class CircuitOpen(NoAnswer):
    """The sidecar was not asked, since it gave no answer to the calls before."""

    def __init__(self, failures: int, last: str) -> None:
        """Say how many, and what the last of them met."""
        super().__init__(
            "CIRCUIT_OPEN",
            f"the circuit is open: {failures} calls in a row had no answer; the last: {last}",
        )
