"""Apps that authorize over both RPCs and settle each call, as fast as the sidecar answers.

Writes a line each second: the totals of decisions and settlements.
"""

import argparse
import asyncio
import sys
import time
import uuid
from collections import Counter

import grpc
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub

IN_FLIGHT = 8
"""Of each RPC: enough to keep the sidecar busy, few enough that a wait is not a queue."""

USAGE = pb.Usage(input_tokens=90, output_tokens=60)


class Apps:
    """Clients on one channel."""

    def __init__(self, channel: grpc.aio.Channel, request: pb.AuthorizeRequest) -> None:
        """Repeat this call, each time with a new request_id."""
        self._stub = AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]
        self._request = request
        self._stopped = False
        self.done = Counter[str]()

    async def run(self, seconds: float) -> None:
        """Make calls for this time, then finish those in flight."""
        working = [asyncio.create_task(self._call()) for _ in range(IN_FLIGHT)]
        working.append(asyncio.create_task(self._stream()))
        end = time.monotonic() + seconds
        while time.monotonic() < end and not any(task.done() for task in working):
            await asyncio.sleep(1)
            self.report()
        self._stopped = True
        await asyncio.gather(*working)
        self.report()

    def report(self) -> None:
        """Write the totals."""
        sys.stdout.write(f"{self.done['decisions']} {self.done['settlements']}\n")
        sys.stdout.flush()

    async def _call(self) -> None:
        while not self._stopped:
            await self._settle(await self._stub.Authorize(self._new()))

    async def _stream(self) -> None:
        places = asyncio.Semaphore(IN_FLIGHT)
        settling: set[asyncio.Task[None]] = set()
        stream = self._stub.AuthorizeStream()

        async def send() -> None:
            while not self._stopped:
                await places.acquire()
                await stream.write(self._new())
            await stream.done_writing()

        async def settle(answer: pb.AuthorizeResponse) -> None:
            await self._settle(answer)
            places.release()

        sending = asyncio.create_task(send())
        async for answer in stream:
            task = asyncio.create_task(settle(answer))
            settling.add(task)
            task.add_done_callback(settling.discard)
        await asyncio.gather(sending, *settling)

    async def _settle(self, answer: pb.AuthorizeResponse) -> None:
        assert answer.hold_id, answer
        self.done["decisions"] += 1
        await self._stub.Settle(pb.SettleRequest(hold_id=answer.hold_id, usage=USAGE))
        self.done["settlements"] += 1

    def _new(self) -> pb.AuthorizeRequest:
        request = pb.AuthorizeRequest(request_id=str(uuid.uuid4()))
        request.MergeFrom(self._request)
        return request


async def main(address: str, message: bytes, seconds: float) -> None:
    """Keep the sidecar under load for this many seconds."""
    async with grpc.aio.insecure_channel(address) as channel:
        await Apps(channel, pb.AuthorizeRequest.FromString(message)).run(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("message", type=bytes.fromhex, help="an AuthorizeRequest, in hex")
    parser.add_argument("seconds", type=float)
    asyncio.run(main(**vars(parser.parse_args())))
