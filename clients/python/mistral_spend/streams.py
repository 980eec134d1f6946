"""Streams of the SDK that settle their call: at their end, or when the app has enough."""

from typing import Any

from mistralai.client.utils.eventstreaming import EventStream, EventStreamAsync

from mistral_spend.calls import Call


class GuardedStream(EventStream[Any]):
    """A stream that takes the usage from the chunk that has it, which is the last.

    Ended before that, by the app or by an error, it is charged as it was held.
    """

    def __init__(self, stream: EventStream[Any], call: Call) -> None:
        """Go on with a stream that has begun."""
        self._stream, self._call = stream, call
        self.response, self.client_ref = stream.response, stream.client_ref

    def __next__(self) -> Any:
        """Return the next event."""
        try:
            event = next(self._stream)
        except StopIteration:
            self._call.end()
            raise
        except BaseException as error:
            self._call.end(error)
            raise
        self._call.observe(event)
        return event

    def close(self) -> None:
        """Stop, and settle."""
        self._stream.close()  # type: ignore[no-untyped-call]
        self._call.end(GeneratorExit())

    def __del__(self) -> None:
        """Settle what the app has dropped."""
        self._call.end(GeneratorExit())


class GuardedStreamAsync(EventStreamAsync[Any]):
    """The same, for asyncio."""

    def __init__(self, stream: EventStreamAsync[Any], call: Call) -> None:
        """Go on with a stream that has begun."""
        self._stream, self._call = stream, call
        self.response, self.client_ref = stream.response, stream.client_ref

    async def __anext__(self) -> Any:
        """Return the next event."""
        try:
            event = await anext(self._stream)
        except StopAsyncIteration:
            self._call.end()
            raise
        except BaseException as error:
            self._call.end(error)
            raise
        self._call.observe(event)
        return event

    async def close(self) -> None:
        """Stop, and settle."""
        try:
            await self._stream.close()  # type: ignore[no-untyped-call]
        finally:
            self._call.end(GeneratorExit())

    def __del__(self) -> None:
        """Settle what the app has dropped."""
        self._call.end(GeneratorExit())
