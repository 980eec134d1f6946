"""sidecar.v1.AdminService: status, reload, adjustments and holds, for operators."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from google.protobuf.message import Message

from sidecar.authorization.adjustment import adjustment_units
from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.policy_reload import PolicyStatus, Reloader
from sidecar.contract import responses, validation
from sidecar.contract.validation import InvalidFieldError, Request
from sidecar.domain.clock import GuardedClock
from sidecar.domain.decisions import OpenHold
from sidecar.identity.pins import PinnedAuthenticator
from sidecar.ledger.protocol import OperatorLedger
from sidecar.server.health import Health
from sidecar.server.listener import ListenerSettings
from sidecar.server.method_server import Handler, Methods
from sidecar.server.unary_rpc import unary_rpc
from sidecar.server.unfinished import UnfinishedRequests
from sidecar.v1 import admin_pb2 as pb

log = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["AdminService"].full_name

LISTENER = ListenerSettings(socket_mode=0o600, max_connections=64)
MAX_CALLS = 16
"""At a time; more are refused."""

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_SIGNED_BYTES = 128
"""Of who released a hold and why: both are kept where Release keeps a reason."""


class AdminService:
    """The RPCs over a ledger, its authorizer and its policies."""

    name = SERVICE

    def __init__(
        self,
        books: OperatorLedger,
        authorizer: Authorizer,
        reloader: Reloader,
        clock: GuardedClock,
        health: Health,
    ) -> None:
        """Serve this authorizer, with its ledger and policies, and the health of the sidecar."""
        self._books = books
        self._authorizer = authorizer
        self._reloader = reloader
        self._clock = clock
        self._health = health
        self._stopping = asyncio.Event()

    async def get_status(self, _request: pb.GetStatusRequest) -> pb.GetStatusResponse:
        """See GetStatus in the contract."""
        time_us = self._books.time_us(self._clock())
        use, denials = self._books.disk_use(), self._books.denial_counts()
        return pb.GetStatusResponse(
            policies=_policy_status(self._reloader.status),
            ledger=pb.LedgerStatus(
                open_holds=self._books.count_open_holds(),
                time=responses.timestamp(time_us),
                ahead_of_clock_us=self._clock.behind_us(),
                file_bytes=use.file_bytes,
                wal_bytes=use.wal_bytes,
                disk_free_bytes=use.free_bytes,
                readers=self._books.readers(),
                denials=denials.kept,
                dropped_denials=denials.dropped,
            ),
            not_ready=self._health.problem,
        )

    async def reload(self, _request: pb.ReloadRequest) -> pb.ReloadResponse:
        """See Reload in the contract."""
        return pb.ReloadResponse(policies=_policy_status(await self._reloader.reload()))

    async def adjust(self, request: pb.AdjustRequest) -> pb.AdjustResponse:
        """See Adjust in the contract."""
        validation.check_signed(
            (field, getattr(request, field))
            for field in ("rule", "scope", "amount", "signed_by", "reason")
        )
        self._authorizer.guard.check()
        try:
            units = adjustment_units(self._books, request, self._authorizer.policy)
        except ValueError as error:
            raise InvalidFieldError("amount", str(error)) from None
        budget = await self._books.adjust(
            request.rule, request.scope, units, request.signed_by, request.reason, self._clock()
        )
        log.warning("adjusted %s by %s, signed by %s", request.rule, units, request.signed_by)
        return pb.AdjustResponse(budget=responses.budget_message(budget))

    async def list_holds(self, request: pb.ListHoldsRequest) -> pb.ListHoldsResponse:
        """See ListHolds in the contract."""
        after = validation.check_page(request.page_size, request.page_token, MAX_PAGE_SIZE)
        size = request.page_size or PAGE_SIZE
        holds = self._books.open_holds(after, size + 1)
        more = len(holds) > size
        return pb.ListHoldsResponse(
            holds=[_open_hold(hold) for hold in holds[:size]],
            next_page_token="{}.{}".format(*holds[size - 1].place) if more else "",
        )

    async def release_hold(self, request: pb.ReleaseHoldRequest) -> pb.ReleaseHoldResponse:
        """See ReleaseHold in the contract."""
        validation.check_signed([("hold_id", request.hold_id)])
        signed = [("signed_by", request.signed_by), ("reason", request.reason)]
        validation.check_signed(signed, MAX_SIGNED_BYTES)
        why = f"{request.reason} (signed by {request.signed_by})"
        charge = await self._authorizer.release(request.hold_id, why)
        log.warning("released %s, signed by %s", request.hold_id, request.signed_by)
        return pb.ReleaseHoldResponse(
            charged_cost_nano_usd=charge.cost_nano_usd, charged_tokens=charge.tokens
        )

    def stop(self) -> None:
        """Refuse new calls."""
        self._stopping.set()

    def methods(self, unfinished: UnfinishedRequests) -> Methods:
        """Return the RPCs for a server, whose requests are read by `unfinished`."""

        def unary(
            request_type: type[Request], answer: Callable[[Request], Awaitable[Message]]
        ) -> Handler:
            return unary_rpc(
                request_type.DESCRIPTOR.name,
                request_type,
                lambda request, _: answer(request),
                authenticator=PinnedAuthenticator({}),
                is_stopping=self._stopping.is_set,
                unfinished=unfinished,
            )

        return {
            "GetStatus": unary(pb.GetStatusRequest, self.get_status),
            "Reload": unary(pb.ReloadRequest, self.reload),
            "Adjust": unary(pb.AdjustRequest, self.adjust),
            "ListHolds": unary(pb.ListHoldsRequest, self.list_holds),
            "ReleaseHold": unary(pb.ReleaseHoldRequest, self.release_hold),
        }


def _policy_status(status: PolicyStatus) -> pb.PolicyStatus:
    stale = status.stale_since_us
    return pb.PolicyStatus(
        digest=status.digest,
        generation=status.generation,
        rules=status.rules,
        engine=status.engine,
        loaded_at=responses.timestamp(status.loaded_at_us),
        stale_since=responses.timestamp(stale) if stale else None,
        problems=status.problems,
        summary=str(status),
    )


def _open_hold(hold: OpenHold) -> pb.OpenHold:
    return pb.OpenHold(
        hold_id=hold.hold_id,
        expires_at=responses.timestamp(hold.expires_at_us),
        principal=hold.principal_id,
        workspace=hold.workspace,
        model=hold.model_id,
        held_tokens=hold.tokens,
        held_cost_nano_usd=hold.cost_nano_usd,
    )
