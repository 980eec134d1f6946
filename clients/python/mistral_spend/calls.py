"""One call that may go out, and the ways in which it ends."""

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
"""What httpx calls the failures of a request that did not leave."""

_REFUSED = range(400, 500)
"""HTTP statuses of requests that were not served, and so are not billed."""

_AROUND = ("data", "response", "body")
"""What a response may stand in: the event of a stream, or a line of a batch's output."""


class Call:
    """A call that may go out now, with `max_tokens` as it stands here.

    It ends once: settled, released or failed. Whatever comes after that changes nothing.
    """

    def __init__(
        self,
        decision: pb.AuthorizeResponse | None,
        request: pb.AuthorizeRequest,
        settlements: SettlementQueue,
        *,
        is_asked: bool = True,
    ) -> None:
        """Take what was decided; None when nothing was, and the call goes out uncounted.

        Then `is_asked` says whether the sidecar may have a hold for it.
        """
        self.decision = decision
        """The sidecar's whole answer."""
        self.response_model = ""
        """The model that served it, as the response says."""
        self._request = request
        self._settlements = settlements
        self._is_asked = is_asked
        self._usage_json: str | None = None
        self._told: Future[Answer] | None = None

    @property
    def counted(self) -> bool:
        """False when the sidecar did not answer and `when_unavailable` let the call out."""
        return self.decision is not None

    @property
    def max_tokens(self) -> int | None:
        """What has to be sent as max_tokens; None when nothing has to."""
        if self.decision is None:
            return self._request.estimate.max_output_tokens or None
        return self.decision.max_output_tokens or None

    @property
    def budgets(self) -> Sequence[Balance]:
        """What is left on each limit that the call counts on, itself included."""
        return () if self.decision is None else balances(self.decision.budgets)

    @property
    def usage(self) -> str | None:
        """Mistral's usage object as JSON, once it is known."""
        return self._usage_json

    @usage.setter
    def usage(self, usage: object) -> None:
        """Take the response's usage: the call is settled with it, at the latest at the end."""
        # Without what the SDK fills in: a count that Mistral left out is no 0, but as held.
        text = None if usage is None else json.dumps(usage, default=_as_it_came)
        self._usage_json = None if text is None or len(text) > MAX_USAGE_BYTES else text

    def observe(self, part: Any) -> None:
        """Take usage and model from a response, or from a chunk of a stream if it has them."""
        part = _response(part)
        usage = _usage(part)
        if usage is not None:
            self.usage = usage
        model = _field(part, "model")
        self.response_model = model if isinstance(model, str) else self.response_model

    def settle(self, response: Any = None) -> Future[Answer]:
        """Charge what the response says was used; without a usage, what is held.

        It is sent in the background. The future has the SettleResponse.
        """
        if response is not None:
            self.observe(response)
        return self._end(pb.OUTCOME_OK)

    def release(self, reason: str = "not sent") -> Future[Answer]:
        """Give the hold back: the call was not sent, and never will be."""
        if self._told is None:
            self._told = self._tell(pb.ReleaseRequest(reason=reason))
        return self._told

    def failed(self, error: BaseException) -> Future[Answer]:
        """End it by an error that was raised by sending it, and by nothing else.

        One that did not leave is released, one that Mistral refused (4xx) costs nothing, and
        any other is charged as held: whether it was served is not known.
        """
        if type(error).__name__ in _NEVER_SENT:
            return self.release(type(error).__name__)
        if _status(error) in _REFUSED and self._usage_json is None:
            return self._end(pb.OUTCOME_FAILED, self._nothing())
        self.end(error)
        assert self._told is not None
        return self._told

    def end(self, error: BaseException | None = None) -> None:
        """End it, if nothing has: with the usage if it is known, else as held.

        An error says nothing of whether the call was sent, so it counts as spent.
        """
        if error is None or self._usage_json is not None:
            self._end(pb.OUTCOME_OK)
        else:
            self._end(pb.OUTCOME_FAILED if isinstance(error, Exception) else pb.OUTCOME_CANCELLED)

    def _nothing(self) -> pb.Usage:
        """Return a usage of none of all that is held: what is left out counts as held."""
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
        if self._told is None:
            settle = pb.SettleRequest(
                usage=usage,
                response_model=self.response_model,
                outcome=pb.Outcome.Name(outcome),
            )
            if self._usage_json is not None:
                settle.usage_json = self._usage_json
            self._told = self._tell(settle)
        return self._told

    def _tell(self, message: pb.SettleRequest | pb.ReleaseRequest) -> Future[Answer]:
        hold_id = "" if self.decision is None else self.decision.hold_id
        return self._settlements.add(
            PendingReport(self._request, hold_id, message, is_asked=self._is_asked)
        )


_as_it_came = partial(as_json, exclude_unset=True)


def _field(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _usage(response: Any) -> Any:
    usage = _field(response, "usage")
    return _field(response, "usage_info") if usage is None else usage


def _response(part: Any) -> Any:
    """Return what has a model or a usage: the part itself, or what stands in it."""
    for _ in _AROUND:
        if _usage(part) is not None or _field(part, "model") is not None:
            break
        inside = (_field(part, name) for name in _AROUND)
        part = next((it for it in inside if it is not None), part)
    return part


def _status(error: BaseException) -> object:
    """Return the HTTP status in an error of an SDK or of an HTTP client."""
    return getattr(getattr(error, "response", error), "status_code", None)
