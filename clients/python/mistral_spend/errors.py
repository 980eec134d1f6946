"""Errors of a call that must not go out."""

from collections.abc import Sequence

from mistral_spend.balances import Balance, balances
from mistral_spend.v1 import authorization_pb2 as pb


class BudgetError(Exception):
    """The base of all errors by which a call is not sent. Retrying at once does not help."""


class Denied(BudgetError):
    """The sidecar denies the call, for all of `reasons`."""

    reasons: Sequence[pb.Reason]
    budgets: Sequence[Balance]
    http_status: int
    """The status that a gateway should return, by the first reason."""
    retry_after_seconds: float | None
    """When a new call may be allowed; None where waiting does not help."""
    fitting_max_output_tokens: int
    """The most output tokens with which the call would be allowed now; 0 if none are known."""
    fitting_models: Sequence[str]
    """Other models with which it would be allowed now, by id, the lowest cost first."""

    def __init__(self, decision: pb.AuthorizeResponse) -> None:
        """Use the reasons' codes and messages as the text."""
        super().__init__("; ".join(f"{r.code}: {r.message}" for r in decision.reasons))
        self.decision_id = decision.decision_id
        self.reasons = decision.reasons
        self.budgets = balances(decision.budgets)
        self.http_status = decision.reasons[0].http_status if decision.reasons else 403
        self.retry_after_seconds = None
        if decision.HasField("retry_after"):
            self.retry_after_seconds = decision.retry_after.ToNanoseconds() / 10**9
        self.fitting_max_output_tokens = decision.fitting_max_output_tokens
        self.fitting_models = tuple(decision.fitting_models)


class Unavailable(Denied):
    """The sidecar gave no response in time, and `when_unavailable` is "deny".

    With CIRCUIT_OPEN in the message, the call was not sent to it, since earlier calls had no
    response.
    """

    def __init__(self, code: str, details: str) -> None:
        """Use gRPC's code and details."""
        message = f"the sidecar does not answer: {code}: {details}"
        reason = pb.Reason(code="SIDECAR_UNAVAILABLE", message=message, http_status=503)
        super().__init__(pb.AuthorizeResponse(effect=pb.EFFECT_DENY, reasons=[reason]))


class Refused(BudgetError):
    """The request is invalid for the sidecar: the app or its configuration has to be fixed.

    It is raised with either value of `when_unavailable`.
    """

    def __init__(self, code: str, details: str) -> None:
        """Use gRPC's code, such as INVALID_ARGUMENT, and its details."""
        super().__init__(f"{code}: {details}")
        self.code = code


class Replayed(Refused):
    """The response is a replay of another call's decision, or its hold has ended.

    Another call uses the same request_id, or a proxy repeats requests.
    """

    def __init__(self, details: str) -> None:
        """Use a text about the replay."""
        super().__init__("REPLAYED", details)


class Unbounded(BudgetError, ValueError):
    """The request does not bound the size of the call."""


class Malformed(Unbounded):
    """A member of the request is not as Mistral's API has it, so its meaning is unknown."""

    def __init__(self, field: str, problem: str) -> None:
        """Keep the member's path and the problem, which has no value of the request."""
        super().__init__(f"{field} {problem}")
        self.field, self.problem = field, problem


class Unguarded(BudgetError, AttributeError):
    """The cost of this part of the SDK is unknown, so a guarded client does not have it."""


class NoAnswer(Exception):
    """There was no response within the deadline. Internal: apps get Unavailable."""

    def __init__(self, code: str, details: str) -> None:
        """Use gRPC's code and details of the last attempt."""
        super().__init__(f"{code}: {details}")
        self.code, self.details = code, details


class CircuitOpen(NoAnswer):
    """The call was not sent, since earlier calls had no response."""

    def __init__(self, failures: int, last: str) -> None:
        """Use the number of failures in a row, and the text of the last one."""
        super().__init__(
            "CIRCUIT_OPEN",
            f"the circuit is open: {failures} calls in a row had no answer; the last: {last}",
        )
