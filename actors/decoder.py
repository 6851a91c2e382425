"""Bytes to messages, without I/O: a `Decoder` offers the memory to receive into.

A small frame comes in one piece, a large array lands where it stays. What the bytes mean is
in `wire.py` and `fields.py`.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from actors.buffers import ArrayPool
from actors.errors import WireError
from actors.fields import Blank
from actors.messages import RemoteMessage, Vector
from actors.wire import HEADER_BYTES, LAYOUTS, TYPES, read_header

_BUFFER_BYTES: Final = 1 << 14


def decode(frame: bytes, array_bound_bytes: int) -> RemoteMessage:
    """One whole frame to its message.

    Raises:
        WireError: the bytes are not exactly one message within the bound.
    """
    decoder = Decoder(array_bound_bytes, ArrayPool())
    rest = memoryview(frame)
    received: list[RemoteMessage] = []
    while rest and not received:
        count = min(len(rest), len(decoder.view))
        decoder.view[:count] = rest[:count]
        rest = rest[count:]
        received += decoder.advance(count)
    if not received:
        raise WireError(f"wire: the frame stops after {len(frame)} bytes, more are due")
    if rest or len(received) > 1 or decoder.is_halfway:
        raise WireError(f"wire: more bytes follow the {type(received[0]).__name__}")
    return received[0]


def nothing_is_borrowed(slot: int, count: int, dtype: np.dtype[Any]) -> Vector:  # noqa: ARG001
    """No array lies in a slot of the peer's."""
    raise WireError(f"wire: an array lies in slot {slot}, but this link lends none")


class Decoder:
    """Receive into `view`, then `advance` by what came: the messages that are whole now."""

    def __init__(
        self,
        array_bound_bytes: int,
        pool: ArrayPool,
        borrow: Callable[[int, int, np.dtype[Any]], Vector] = nothing_is_borrowed,
    ) -> None:
        """`borrow` brings the array of so many elements that lies in a slot of the peer's."""
        self.array_bound_bytes = array_bound_bytes
        self._pool, self._borrow = pool, borrow
        # What came and is not taken yet: bytes start..stop of the buffer.
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._start = self._stop = 0
        # The message whose fields are here, and the memory of its arrays that is not filled.
        self._begun: tuple[type[RemoteMessage], list[Any]] | None = None
        self._due: deque[memoryview] = deque()

    @property
    def view(self) -> memoryview:
        """The memory to receive into: where a large array stays, else a buffer."""
        return self._due[0] if self._is_direct else self._buffer[self._stop :]

    @property
    def is_halfway(self) -> bool:
        """A frame has begun and is not whole."""
        return self._begun is not None or self._stop > self._start

    def advance(self, count: int) -> Iterator[RemoteMessage]:
        """`count` bytes of `view` are filled. Take all messages before it is used again.

        Raises:
            WireError: they are no message; the decoder is of no use after that.
        """
        if self._is_direct:
            self._due[0] = self._due[0][count:]
        else:
            self._stop += count
        while (message := self._take()) is not None:
            yield message
        rest = self._stop - self._start
        self._buffer[:rest] = self._buffer[self._start : self._stop]
        self._start, self._stop = 0, rest

    def close(self) -> None:
        """Let go of what is received in part."""
        self._begun = None
        self._due.clear()

    @property
    def _is_direct(self) -> bool:
        return bool(self._due) and len(self._due[0]) >= _BUFFER_BYTES

    def _take(self) -> RemoteMessage | None:
        """The next message that is whole."""
        if self._begun is None:
            self._begun = self._begin()
        if self._begun is None or not self._fill():
            return None
        (message_type, values), self._begun = self._begun, None
        return message_type(*values)

    def _begin(self) -> tuple[type[RemoteMessage], list[Any]] | None:
        """A frame's header and fields, once they are here: the message without its arrays."""
        came = self._stop - self._start
        if came < HEADER_BYTES:
            return None
        header = read_header(self._buffer, self._start, self.array_bound_bytes)
        size = HEADER_BYTES + header.fields_size
        if came < size:
            if size > len(self._buffer):
                self._grow(size)
            return None
        described = self._buffer[self._start + HEADER_BYTES : self._start + size]
        values = LAYOUTS[header.tag].read(described)
        self._start += size
        self._make_room(values, header.arrays_size)
        return TYPES[header.tag], values

    def _grow(self, size: int) -> None:
        """Fields that are larger than the buffer; their size is within its bound."""
        came = self._buffer[self._start : self._stop]
        self._buffer = memoryview(bytearray(size))
        self._buffer[: len(came)] = came
        self._start, self._stop = 0, len(came)

    def _make_room(self, values: list[Any], arrays_size: int) -> None:
        """Replace each `Blank` by its array: lent by the peer, or to be filled."""
        blanks = [(i, value) for i, value in enumerate(values) if type(value) is Blank]
        due = sum(blank.size_bytes for _, blank in blanks if not blank.slot)
        if due != arrays_size:
            raise WireError(f"wire: arrays of {due} bytes in a frame that holds {arrays_size}")
        described = sum(blank.size_bytes for _, blank in blanks)
        if described > self.array_bound_bytes:  # lent or sent
            raise WireError(f"wire: arrays of {described} bytes, allowed {self.array_bound_bytes}")
        for i, blank in blanks:
            if blank.slot:
                values[i] = self._borrow(blank.slot, blank.count, blank.dtype)
            else:
                values[i] = array = self._pool.take(blank.count, blank.dtype)
                self._due.append(array.view(np.uint8).data)

    def _fill(self) -> bool:
        """Move what came into the arrays that are due. True: all of them are full."""
        while self._due:
            due = self._due[0]
            size = min(len(due), self._stop - self._start)
            due[:size] = self._buffer[self._start : self._start + size]
            self._start += size
            if size < len(due):
                self._due[0] = due[size:]
                return False
            self._due.popleft()
        return True
