"""A client of AuthorizeStream, in a process of its own, with a number of calls in flight.

Writes JSON: the total seconds, and the latency of each call in microseconds.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid

import grpc
from mistral_spend.v1 import authorization_pb2 as pb

PATH = "/sidecar.v1.AuthorizationService/AuthorizeStream"


async def main(address: str, message: bytes, calls: int, in_flight: int) -> None:
    """Send calls, and keep this many in flight until all have a response."""
    sent: dict[str, float] = {}
    latencies_us: list[int] = []
    places = asyncio.Semaphore(in_flight)
    async with grpc.aio.insecure_channel(address) as channel:
        stream: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(PATH)()

        async def send() -> None:
            for _ in range(calls):
                await places.acquire()
                request_id = str(uuid.uuid4())
                # Fields of a message may follow each other in any order.
                encoded = message + pb.AuthorizeRequest(request_id=request_id).SerializeToString()
                sent[request_id] = time.perf_counter()
                await stream.write(encoded)
            await stream.done_writing()

        started = time.perf_counter()
        sending = asyncio.create_task(send())
        async for encoded in stream:
            answer = pb.AuthorizeResponse.FromString(encoded)
            assert answer.effect != pb.EFFECT_DENY, answer
            # The empty handler sends no request_id; it answers in order.
            at = sent.pop(answer.request_id or next(iter(sent)))
            latencies_us.append(round((time.perf_counter() - at) * 1e6))
            places.release()
        seconds = time.perf_counter() - started
        await sending
    json.dump({"seconds": seconds, "latencies_us": latencies_us}, sys.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("message", type=bytes.fromhex, help="an AuthorizeRequest, in hex")
    parser.add_argument("calls", type=int)
    parser.add_argument("in_flight", type=int)
    asyncio.run(main(**vars(parser.parse_args())))
