"""A client that calls every ten milliseconds, to measure the longest wait.

Writes JSON: how many calls it made, the longest that one took, and its own longest
delay, which is due to the machine and not to the server; both in milliseconds.
"""

import argparse
import asyncio
import json
import sys
import time

import grpc
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub

EVERY_SECONDS = 0.01


async def main(address: str, message: bytes, seconds: float) -> None:
    """Call for this many seconds."""
    request = pb.AuthorizeRequest.FromString(message)
    took: list[float] = []
    late: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]
        await stub.Authorize(request, wait_for_ready=True)

        async def ask() -> None:
            started = time.perf_counter()
            await stub.Authorize(request)
            took.append(time.perf_counter() - started)

        asking = []
        due = time.perf_counter()
        end = due + seconds
        while due < end:
            asking.append(asyncio.create_task(ask()))
            due += EVERY_SECONDS
            await asyncio.sleep(due - time.perf_counter())
            late.append(time.perf_counter() - due)
        await asyncio.gather(*asking)
    json.dump(
        {"calls": len(took), "longest_ms": max(took) * 1000, "late_ms": max(late) * 1000},
        sys.stdout,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("message", type=bytes.fromhex, help="an AuthorizeRequest, in hex")
    parser.add_argument("seconds", type=float)
    asyncio.run(main(**vars(parser.parse_args())))
