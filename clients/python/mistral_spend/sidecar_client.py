"""A client of one sidecar: authorizes each call, with retries until a deadline."""

import asyncio
import logging
import time
import uuid
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import grpc
from google.protobuf.duration_pb2 import Duration

from mistral_spend.balances import Balances, balances
from mistral_spend.bounds import estimate as bounds_of
from mistral_spend.calls import Call
from mistral_spend.circuit import Circuit
from mistral_spend.connection import Answer, SidecarConnection
from mistral_spend.errors import CircuitOpen, Denied, NoAnswer, Replayed, Unavailable
from mistral_spend.retry import Retry
from mistral_spend.settlement_queue import RELEASE_UNKNOWN_SECONDS, PendingReport, SettlementQueue
from mistral_spend.v1 import authorization_pb2 as pb

log = logging.getLogger("mistral_spend")

_NAME_OF_INPUT: dict[int, str] = {
    pb.ENDPOINT_FIM: "prompt",
    pb.ENDPOINT_EMBEDDINGS: "input",
    pb.ENDPOINT_MODERATION: "input",
    pb.ENDPOINT_SPEECH: "input",
    pb.ENDPOINT_OCR: "document",
}
"""What Mistral's API calls the `messages` of other endpoints than chat."""


class SidecarClient:
    """A client of one sidecar. An app needs one; any thread and event loop may use it."""

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        when_unavailable: Literal["deny", "allow"],
        deadline_seconds: float = 5.0,
        hold_ttl_seconds: int | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        token_file: str | Path | None = None,
    ) -> None:
        """Use the sidecar at this address: `host:port`, or `unix:/path`.

        Without a response within the deadline, "deny" raises Unavailable, and "allow" lets the
        call out uncounted, which is logged. After three such calls a circuit breaker opens: one
        call a second is sent, and the others fail at once, until there is a response. A hold
        lives for `hold_ttl_seconds`, or the sidecar's default. With `ca_file` the connection
        uses TLS; the token file is read for each request.
        """
        if when_unavailable not in ("deny", "allow"):
            raise ValueError('when_unavailable is "deny" or "allow"')
        self._opens = when_unavailable == "allow"
        self._deadline_seconds = deadline_seconds
        self._hold_ttl = hold_ttl_seconds and Duration(seconds=hold_ttl_seconds)
        self._connection = SidecarConnection(address, ca_file, cert_file, key_file, token_file)
        # One circuit for each RPC: a ledger that cannot write may still answer GetBudgets.
        self._circuits = {"Authorize": Circuit(), "GetBudgets": Circuit()}
        self._settlements = SettlementQueue(self._connection, self._circuits["Authorize"])
        # An app that ends or drops its client without close still settles its last calls.
        self._finish = weakref.finalize(self, self._settlements.close)

    def authorize(
        self,
        principal: pb.Principal,
        model: str,
        messages: object,
        max_tokens: int | None = None,
        *,
        endpoint: int = pb.ENDPOINT_CHAT,
        estimate: pb.Estimate | None = None,
        tokens_per_attachment: int | None = None,
        **rest: Any,
    ) -> "Authorization":
        """Authorize one call, in a `with` or an `async with` block that gets a Call.

        `messages` are what the model reads: for other endpoints than chat the text, the texts or
        the document. `rest` are the other arguments of the request: tools, response_format, n,
        service_tier. Raises Unbounded if neither its bytes nor `estimate`
        bound it.
        """
        name = _NAME_OF_INPUT.get(endpoint, "messages")
        request = {"model": model, name: messages, "max_tokens": max_tokens, **rest}
        return self.authorize_request(
            principal,
            request,
            endpoint=endpoint,
            estimate=estimate,
            tokens_per_attachment=tokens_per_attachment,
        )

    def authorize_request(
        self,
        principal: pb.Principal,
        request: Mapping[str, Any],
        *,
        endpoint: int = pb.ENDPOINT_CHAT,
        estimate: pb.Estimate | None = None,
        tokens_per_attachment: int | None = None,
    ) -> "Authorization":
        """Authorize one call by the body that Mistral gets, of any endpoint."""
        bounds = bounds_of(endpoint, request, estimate, tokens_per_attachment)
        authorize = pb.AuthorizeRequest(
            principal=principal,
            model=request["model"],
            endpoint=pb.Endpoint.Name(endpoint),
            estimate=bounds,
            hold_ttl=self._hold_ttl or None,
        )
        return Authorization(self, authorize)

    def get_budgets(self, principal: pb.Principal, model: str = "") -> Balances:
        """Return the balances of a principal; nothing is held. Raises Unavailable and Refused."""
        request = pb.GetBudgetsRequest(principal=principal, model=model)
        try:
            answer: pb.GetBudgetsResponse = self._send("GetBudgets", request)
        except NoAnswer as error:
            raise Unavailable(error.code, error.details) from None
        return Balances(balances(answer.budgets), answer)

    async def get_budgets_async(self, principal: pb.Principal, model: str = "") -> Balances:
        """Return the balances of a principal; nothing is held. Raises Unavailable and Refused."""
        request = pb.GetBudgetsRequest(principal=principal, model=model)
        try:
            answer: pb.GetBudgetsResponse = await self._send_async("GetBudgets", request)
        except NoAnswer as error:
            raise Unavailable(error.code, error.details) from None
        return Balances(balances(answer.budgets), answer)

    def begin(self, request: pb.AuthorizeRequest) -> Call:
        """Authorize, and return the call that may go out. Raises BudgetError."""
        try:
            return self._decided(request, self._send("Authorize", request))
        except NoAnswer as error:
            return self._undecided(request, error)
        except BaseException as error:
            self._never_sent(request, error)
            raise

    async def begin_async(self, request: pb.AuthorizeRequest) -> Call:
        """Authorize, and return the call that may go out. Raises BudgetError."""
        try:
            return self._decided(request, await self._send_async("Authorize", request))
        except NoAnswer as error:
            return self._undecided(request, error)
        except BaseException as error:
            self._never_sent(request, error)
            raise

    def close(self) -> None:
        """Wait for the last settlements, a few seconds at most, and close the connection."""
        self._finish()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client in a thread, without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def _send(self, method: str, request: object) -> Answer:
        """Send a request, with retries. Raises Refused and NoAnswer."""
        retry = Retry(self._deadline_seconds, self._circuits[method])
        while True:
            try:
                answer = self._connection.call(method, request, retry.attempt_seconds)
            except grpc.RpcError as error:
                time.sleep(retry.pause_seconds(error))
            else:
                return _accepted(answer, retry)

    async def _send_async(self, method: str, request: object) -> Answer:
        """Send a request, with retries. Raises Refused and NoAnswer."""
        retry = Retry(self._deadline_seconds, self._circuits[method])
        while True:
            try:
                seconds = retry.attempt_seconds
                answer = await self._connection.call_async(method, request, seconds)
            except grpc.RpcError as error:
                await asyncio.sleep(retry.pause_seconds(error))
            else:
                return _accepted(answer, retry)

    def _decided(self, request: pb.AuthorizeRequest, decision: pb.AuthorizeResponse) -> Call:
        if decision.effect != pb.EFFECT_ALLOW:
            raise Denied(decision)
        return Call(decision, request, self._settlements)

    def _undecided(self, request: pb.AuthorizeRequest, error: NoAnswer) -> Call:
        if not self._opens:
            self._never_sent(request, error)
            raise Unavailable(error.code, error.details) from None
        log.warning(
            "the sidecar does not answer (%s): call %s of %s goes out uncounted",
            error.code, request.request_id, request.model,
        )  # fmt: skip
        return Call(None, request, self._settlements, is_sent=not isinstance(error, CircuitOpen))

    def _never_sent(self, request: pb.AuthorizeRequest, error: BaseException) -> None:
        """Release the hold that may exist, although no response came."""
        if isinstance(error, CircuitOpen):
            return
        if isinstance(error, NoAnswer) or not isinstance(error, Exception):
            unsent = pb.ReleaseRequest(reason="not sent: no decision was seen")
            self._settlements.add(PendingReport(request, "", unsent, RELEASE_UNKNOWN_SECONDS))


class Authorization:
    """A request that is sent when its block begins; each block is a call of its own."""

    def __init__(self, client: SidecarClient, request: pb.AuthorizeRequest) -> None:
        """Send nothing yet."""
        self._client = client
        self._request = request
        self._call: Call | None = None

    def begin(self) -> Call:
        """Authorize outside of a block; the app has to end the call. Raises BudgetError."""
        return self._client.begin(self._new())

    async def begin_async(self) -> Call:
        """Authorize outside of a block; the app has to end the call. Raises BudgetError."""
        return await self._client.begin_async(self._new())

    def with_output(self, max_output_tokens: int) -> "Authorization":
        """Return the authorization of the same call with another size of output."""
        request = self._new()
        request.estimate.max_output_tokens = max_output_tokens
        return Authorization(self._client, request)

    def with_model(self, model: str) -> "Authorization":
        """Return the authorization of the same call to another model."""
        request = self._new()
        request.model = model
        return Authorization(self._client, request)

    def __enter__(self) -> Call:
        """Authorize. Raises BudgetError."""
        self._call = self.begin()
        return self._call

    async def __aenter__(self) -> Call:
        """Authorize. Raises BudgetError."""
        self._call = await self.begin_async()
        return self._call

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        """End the call, unless the block has ended it."""
        assert self._call is not None
        self._call.end(error)

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        """End the call, unless the block has ended it; without waiting."""
        self.__exit__(_, error, __)

    def _new(self) -> pb.AuthorizeRequest:
        request = pb.AuthorizeRequest()
        request.CopyFrom(self._request)
        # Never the app's own id: a second call with it would get the first's decision, and no hold.
        request.request_id = str(uuid.uuid4())
        return request


def _accepted(answer: Answer, retry: Retry) -> Answer:
    """Return the response if it is a decision on this request. Raises Replayed."""
    retry.answered()
    if not isinstance(answer, pb.AuthorizeResponse) or not answer.replayed:
        return answer
    if not retry.is_retry:
        raise Replayed(f"{answer.request_id} was decided before this call was sent")
    if answer.effect == pb.EFFECT_ALLOW and answer.hold_state != pb.HOLD_STATE_OPEN:
        state = pb.HoldState.Name(answer.hold_state)
        raise Replayed(f"hold {answer.hold_id} is no longer open: {state}")
    return answer
