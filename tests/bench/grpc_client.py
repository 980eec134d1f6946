"""A client of AuthorizeStream, of Settle, or of Authorize and then Settle, in its own process.

It connects, makes the holds that Settle ends, writes `ready`, and waits for a line on standard
input. Then it makes the calls, with a number of them in flight, and writes JSON: the total
seconds, and the latency of each call in microseconds.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import grpc
from mistral_spend.v1 import authorization_pb2 as pb

Unary = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
Stream = grpc.aio.StreamStreamMultiCallable[bytes, bytes]

SERVICE = "/sidecar.v1.AuthorizationService"
USAGE = pb.Usage(input_tokens=90, output_tokens=60)
NO_HOLD = f"hold_{0:032x}"
"""What is settled with the empty handler, which makes no holds."""


class Client:
    """Calls on one channel, which repeat one AuthorizeRequest."""

    def __init__(self, channel: grpc.aio.Channel, message: bytes, in_flight: int) -> None:
        """Keep so many calls in flight."""
        self._message, self._in_flight = message, in_flight
        self._authorize: Unary = channel.unary_unary(f"{SERVICE}/Authorize")
        self._settle: Unary = channel.unary_unary(f"{SERVICE}/Settle")
        self._stream: Stream = channel.stream_stream(f"{SERVICE}/AuthorizeStream")
        self.latencies_us: list[int] = []

    async def hold(self) -> str:
        """Authorize a call; return its hold."""
        answer = pb.AuthorizeResponse.FromString(await self._authorize(self._message))
        assert answer.effect != pb.EFFECT_DENY, answer
        return answer.hold_id or NO_HOLD

    async def settle(self, hold_id: str) -> None:
        """Settle a hold."""
        await self._settle(pb.SettleRequest(hold_id=hold_id, usage=USAGE).SerializeToString())

    async def pair(self) -> None:
        """Authorize a call and settle it, as an app does."""
        await self.settle(await self.hold())

    async def repeat(self, calls: Iterator[Callable[[], Awaitable[object]]]) -> None:
        """Make these calls, and keep the latency of each."""

        async def work() -> None:
            for call in calls:
                started = time.perf_counter()
                await call()
                self.latencies_us.append(round((time.perf_counter() - started) * 1e6))

        await asyncio.gather(*(work() for _ in range(self._in_flight)))

    async def stream(self, calls: int) -> None:
        """Authorize so many calls on one stream, and keep the latency of each."""
        sent: dict[str, float] = {}
        places = asyncio.Semaphore(self._in_flight)
        stream = self._stream()

        async def send() -> None:
            for _ in range(calls):
                await places.acquire()
                request_id = str(uuid.uuid4())
                # Fields of a message may follow each other in any order.
                request = pb.AuthorizeRequest(request_id=request_id).SerializeToString()
                sent[request_id] = time.perf_counter()
                await stream.write(self._message + request)
            await stream.done_writing()

        sending = asyncio.create_task(send())
        async for encoded in stream:
            answer = pb.AuthorizeResponse.FromString(encoded)
            assert answer.effect != pb.EFFECT_DENY, answer
            # The empty handler sends no request_id; it answers in order.
            at = sent.pop(answer.request_id or next(iter(sent)))
            self.latencies_us.append(round((time.perf_counter() - at) * 1e6))
            places.release()
        await sending


async def main(address: str, message: bytes, rpc: str, calls: int, in_flight: int) -> None:
    """Make the calls when a line comes in."""
    async with grpc.aio.insecure_channel(address) as channel:
        client = Client(channel, message, in_flight)
        await channel.channel_ready()
        holds: list[str] = []
        if rpc == "settle":

            async def add() -> None:
                holds.append(await client.hold())

            await client.repeat(add for _ in range(calls))
            client.latencies_us.clear()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        started = time.perf_counter()
        if rpc == "stream":
            await client.stream(calls)
        elif rpc == "settle":
            await client.repeat(partial(client.settle, hold_id) for hold_id in holds)
        else:
            await client.repeat(client.pair for _ in range(calls))
        seconds = time.perf_counter() - started
    json.dump({"seconds": seconds, "latencies_us": client.latencies_us}, sys.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("message", type=bytes.fromhex, help="an AuthorizeRequest, in hex")
    parser.add_argument("rpc", choices=("stream", "settle", "pair"))
    parser.add_argument("calls", type=int)
    parser.add_argument("in_flight", type=int)
    asyncio.run(main(**vars(parser.parse_args())))
