"""Streams of the SDK that settle their call: at their end, or when the app has enough."""

from typing import Any

from mistralai.client.utils.eventstreaming import EventStream, EventStreamAsync

from mistral_spend.calls import Call


class GuardedStream(EventStream[Any]):
    """A stream that settles its call with the usage in the last chunk.

    If it ends before that, by the app or by an error, the call is charged as held.
    """

    def __init__(self, stream: EventStream[Any], call: Call) -> None:
        """Wrap a stream that has begun."""
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
        """Close the stream, and end its call."""
        self._stream.close()  # type: ignore[no-untyped-call]
        self._call.end(GeneratorExit())

    def __del__(self) -> None:
        """End the call of a stream that the app has dropped."""
        self._call.end(GeneratorExit())


class GuardedStreamAsync(EventStreamAsync[Any]):
    """GuardedStream for asyncio."""

    def __init__(self, stream: EventStreamAsync[Any], call: Call) -> None:
        """Wrap a stream that has begun."""
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
        """Close the stream, and end its call."""
        try:
            await self._stream.close()  # type: ignore[no-untyped-call]
        finally:
            self._call.end(GeneratorExit())

    def __del__(self) -> None:
        """End the call of a stream that the app has dropped."""
        self._call.end(GeneratorExit())
