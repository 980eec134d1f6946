"""A gRPC server of the same kind with empty handlers: the cost of the transport alone."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from sidecar.server.service import SERVICE


async def main() -> None:
    """Serve until killed; log the address to standard error, as the sidecar does."""

    async def nothing(_request: bytes, _context: object) -> bytes:
        return b""

    async def nothings(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield b""

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handlers: dict[str, Any] = {
        "Authorize": grpc.unary_unary_rpc_method_handler(nothing),
        "Settle": grpc.unary_unary_rpc_method_handler(nothing),
        "AuthorizeStream": grpc.stream_stream_rpc_method_handler(nothings),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stderr.write(f"SERVING on 127.0.0.1:{port}; policies none\n")
    sys.stderr.flush()
    await server.wait_for_termination()


asyncio.run(main())
