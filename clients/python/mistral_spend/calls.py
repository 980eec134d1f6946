"""A call that may go out, and how it ends."""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from mistral_spend.balances import Balance, balances
from mistral_spend.bounds import as_json
from mistral_spend.connection import Answer
from mistral_spend.settlement_queue import PendingReport, SettlementQueue
from mistral_spend.v1 import authorization_pb2 as pb

MAX_USAGE_BYTES = 65_536

_NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
"""httpx's errors of a request that was not sent."""

_REFUSED = range(400, 500)
"""HTTP statuses of requests that Mistral did not serve, and so does not bill."""

_WRAPPERS = ("data", "response", "body")
"""Fields that may contain a response: in the event of a stream, or a line of a batch's output."""


class Call:
    """A call that may go out now, with the `max_tokens` given here.

    It ends once: settled, released or failed. Later methods change nothing.
    """

    def __init__(
        self,
        decision: pb.AuthorizeResponse | None,
        request: pb.AuthorizeRequest,
        settlements: SettlementQueue,
        *,
        is_sent: bool = True,
    ) -> None:
        """Use the decision; None if there is none, and the call goes out uncounted.

        Then `is_sent` is whether the sidecar got the request, and may have a hold for it.
        """
        self.decision = decision
        """The sidecar's whole response."""
        self.response_model = ""
        """The model that served the call, from Mistral's response."""
        self._request = request
        self._settlements = settlements
        self._is_sent = is_sent
        self._usage_json: str | None = None
        self._report: Future[Answer] | None = None

    @property
    def counted(self) -> bool:
        """False if the sidecar did not answer, and `when_unavailable` is "allow"."""
        return self.decision is not None

    @property
    def model(self) -> str:
        """The model that the app has to name to Mistral."""
        return self._request.model

    @property
    def max_tokens(self) -> int | None:
        """The max_tokens that the app has to send, None if it need not send any."""
        if self.decision is None:
            return self._request.estimate.max_output_tokens or None
        return self.decision.max_output_tokens or None

    @property
    def budgets(self) -> Sequence[Balance]:
        """The balance of each limit that the call counts on, with its own hold."""
        return () if self.decision is None else balances(self.decision.budgets)

    @property
    def usage(self) -> str | None:
        """Mistral's usage object as JSON, once it is known."""
        return self._usage_json

    @usage.setter
    def usage(self, usage: object) -> None:
        """Set the usage of the response; the call is settled with it, at the latest at its end."""
        # Without the SDK's defaults: a count that Mistral left out is charged as held, not as 0.
        text = None if usage is None else json.dumps(usage, default=_as_it_came)
        self._usage_json = None if text is None or len(text) > MAX_USAGE_BYTES else text

    def observe(self, part: Any) -> None:
        """Read usage and model from a response, or from a chunk of a stream if it has them."""
        part = _response(part)
        usage = _usage(part)
        if usage is not None:
            self.usage = usage
        model = _field(part, "model")
        self.response_model = model if isinstance(model, str) else self.response_model

    def settle(self, response: Any = None) -> Future[Answer]:
        """Charge the usage in the response; without one, what is held.

        It is sent in the background. The future has the SettleResponse.
        """
        if response is not None:
            self.observe(response)
        return self._end(pb.OUTCOME_OK)

    def release(self, reason: str = "not sent") -> Future[Answer]:
        """Release the hold: the call was not sent, and never will be."""
        if self._report is None:
            self._report = self._send_report(pb.ReleaseRequest(reason=reason))
        return self._report

    def failed(self, error: BaseException) -> Future[Answer]:
        """End the call with the error that sending it raised; not for errors of the app.

        A call that was not sent is released, one that Mistral refused (4xx) costs nothing, and
        any other is charged as held, since it is unknown whether it was served.
        """
        if type(error).__name__ in _NEVER_SENT:
            return self.release(type(error).__name__)
        if _status(error) in _REFUSED and self._usage_json is None:
            return self._end(pb.OUTCOME_FAILED, self._nothing())
        self.end(error)
        assert self._report is not None
        return self._report

    def end(self, error: BaseException | None = None) -> None:
        """End the call if it has not ended: with the usage if it is known, else as held.

        After an error it is unknown whether the call was sent, so it is charged, too.
        """
        if error is None or self._usage_json is not None:
            self._end(pb.OUTCOME_OK)
        else:
            self._end(pb.OUTCOME_FAILED if isinstance(error, Exception) else pb.OUTCOME_CANCELLED)

    def _nothing(self) -> pb.Usage:
        """Return a usage with an explicit 0 for each unit, since an omitted one counts as held."""
        tools = self._request.estimate.tool_calls
        return pb.Usage(
            input_tokens=0,
            output_tokens=0,
            pages=0,
            annotated_pages=0,
            audio_seconds=0,
            characters=0,
            tool_calls=dict.fromkeys(tools, 0),
        )

    def _end(self, outcome: int, usage: pb.Usage | None = None) -> Future[Answer]:
        if self._report is None:
            settle = pb.SettleRequest(
                usage=usage,
                response_model=self.response_model,
                outcome=pb.Outcome.Name(outcome),
            )
            if self._usage_json is not None:
                settle.usage_json = self._usage_json
            self._report = self._send_report(settle)
        return self._report

    def _send_report(self, message: pb.SettleRequest | pb.ReleaseRequest) -> Future[Answer]:
        hold_id = "" if self.decision is None else self.decision.hold_id
        return self._settlements.add(
            PendingReport(self._request, hold_id, message, is_sent=self._is_sent)
        )


_as_it_came = partial(as_json, exclude_unset=True)


def _field(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _usage(response: Any) -> Any:
    usage = _field(response, "usage")
    return _field(response, "usage_info") if usage is None else usage


def _response(part: Any) -> Any:
    """Return the response in a part: the part itself, or one of its fields."""
    for _ in _WRAPPERS:
        if _usage(part) is not None or _field(part, "model") is not None:
            break
        inside = (_field(part, name) for name in _WRAPPERS)
        part = next((it for it in inside if it is not None), part)
    return part


def _status(error: BaseException) -> object:
    """Return the HTTP status in an error of an SDK or of an HTTP client."""
    return getattr(getattr(error, "response", error), "status_code", None)
