"""Message <-> bytes: a fixed header, the fields, the raw arrays. Never pickle, never eval.

    offset  size  header (little endian)
         0     4  magic "EVST"
         4     1  version of this format
         5     1  tag: which message
         6     2  zero
         8     4  size of the fields in bytes, at most 256 KiB
        12     8  size of the arrays in bytes, at most the link's bound

The fields follow as `fields.py` writes them, then the vectors' elements,
in the same order. Lengths are checked before anything is allocated. A `Decoder` does no
I/O: it offers the memory to receive into, so that an array lands where it stays.
"""

import struct
from collections.abc import Generator
from dataclasses import fields
from typing import Any, Final, cast, get_type_hints

import numpy as np

from actors.buffers import ArrayPool
from actors.errors import WireError
from actors.fields import KINDS, Blank, Read, Reader, Write
from actors.messages import (
    Assign,
    Dx,
    EpochDone,
    Exit,
    Hello,
    Late,
    NotFinite,
    Ping,
    Pong,
    Progress,
    Refused,
    RemoteMessage,
    Repeated,
    RunEpoch,
    ServerAt,
    Snapshot,
    Stall,
    Stop,
    TakeSnapshot,
    Vector,
    Weights,
)
from actors.orders import Message

MAGIC: Final = b"EVST"
VERSION: Final = 2
FIELDS_BOUND_BYTES: Final = 1 << 18

_HEADER = struct.Struct("<4sBBHIQ")

# A tag is never used again for another message.
_TYPES: Final[dict[int, type[RemoteMessage]]] = {
    1: Hello,
    2: Assign,
    3: RunEpoch,
    4: Weights,
    5: Dx,
    6: EpochDone,
    7: Progress,
    8: Stall,
    9: Exit,
    10: Stop,
    12: ServerAt,
    13: TakeSnapshot,
    14: Snapshot,
    15: Late,
    16: Repeated,
    17: NotFinite,
    18: Refused,
    19: Ping,
    20: Pong,
}
_TAGS: Final[dict[type[Message], int]] = {kind: tag for tag, kind in _TYPES.items()}


def encode(message: Message) -> list[bytes | memoryview]:
    """The frame, in pieces of at least a byte: header and fields, then each array's memory.

    Raises:
        WireError: the message never travels, or its fields are larger than a frame may hold.
    """
    message_type = type(message)
    if message_type not in _FIELDS:
        raise WireError(f"wire: a {message_type.__name__} never travels")
    head: list[bytes] = []
    arrays: list[memoryview] = []
    for name, (write, _) in _FIELDS[message_type]:
        write(getattr(message, name), head, arrays)
    described = b"".join(head)
    if len(described) > FIELDS_BOUND_BYTES:
        raise WireError(
            f"wire: the fields of {message_type.__name__} take {len(described)} bytes,"
            f" a frame holds at most {FIELDS_BOUND_BYTES}"
        )
    arrays_size = sum(array.nbytes for array in arrays)
    tag = _TAGS[message_type]
    header = _HEADER.pack(MAGIC, VERSION, tag, 0, len(described), arrays_size)
    return [header + described, *(array for array in arrays if array.nbytes)]


def decode(frame: bytes, array_bound_bytes: int) -> RemoteMessage:
    """One whole frame to its message.

    Raises:
        WireError: the bytes are not exactly one message within the bound.
    """
    decoder = Decoder(array_bound_bytes, ArrayPool())
    rest = memoryview(frame)
    while True:
        count = min(len(rest), len(decoder.view))
        if count == 0:
            raise WireError(f"wire: the frame stops after {len(frame)} bytes, more are due")
        decoder.view[:count] = rest[:count]
        rest = rest[count:]
        if (message := decoder.advance(count)) is not None:
            break
    if rest:
        raise WireError(f"wire: {len(rest)} bytes follow the {type(message).__name__}")
    return message


class Decoder:
    """Receive into `view`, then `advance` by what came: a message once it is whole."""

    def __init__(self, array_bound_bytes: int, pool: ArrayPool) -> None:
        self.array_bound_bytes = array_bound_bytes
        self._pool = pool
        self.view: memoryview
        self._begin()

    def advance(self, count: int) -> RemoteMessage | None:
        """`count` bytes of `view` are filled.

        Raises:
            WireError: they are no message; the decoder is of no use after that.
        """
        self.view = self.view[count:]
        while not self.view:
            try:
                self.view = next(self._parts)
            except StopIteration as whole:
                self._begin()
                return cast(RemoteMessage, whole.value)
        return None

    def close(self) -> None:
        """Let go of what is received in part."""
        self._parts.close()

    def _begin(self) -> None:
        self._parts = self._message()
        self.view = next(self._parts)

    def _message(self) -> Generator[memoryview, None, RemoteMessage]:
        """Yield the memory of each part to be filled; return the message."""
        header = bytearray(_HEADER.size)
        yield memoryview(header)
        message_type, fields_size, arrays_size = self._header(header)
        described = bytearray(fields_size)
        yield memoryview(described)
        values, arrays = self._fields(message_type, bytes(described), arrays_size)
        for array in arrays:
            yield array.view(np.uint8).data
        return message_type(**values)

    def _header(self, header: bytearray) -> tuple[type[RemoteMessage], int, int]:
        magic, version, tag, zero, fields_size, arrays_size = _HEADER.unpack(header)
        if magic != MAGIC or zero != 0:
            raise WireError(f"wire: {bytes(header[:8]).hex()} does not begin a frame")
        if version != VERSION:
            raise WireError(
                f"wire: frame version {version}, this side speaks {VERSION};"
                " install the same Everstep on every host"
            )
        if tag not in _TYPES:
            raise WireError(f"wire: no message has tag {tag}")
        if fields_size > FIELDS_BOUND_BYTES:
            raise WireError(f"wire: fields of {fields_size} bytes, allowed {FIELDS_BOUND_BYTES}")
        if arrays_size > self.array_bound_bytes:
            raise WireError(
                f"wire: arrays of {arrays_size} bytes, allowed {self.array_bound_bytes}"
            )
        return _TYPES[tag], fields_size, arrays_size

    def _fields(
        self, message_type: type[RemoteMessage], described: bytes, arrays_size: int
    ) -> tuple[dict[str, Any], list[Vector]]:
        reader = Reader(described)
        values = {name: read(reader) for name, (_, read) in _FIELDS[message_type]}
        reader.end()
        blanks = {name: value for name, value in values.items() if isinstance(value, Blank)}
        due = sum(blank.size_bytes for blank in blanks.values())
        if due != arrays_size:
            raise WireError(f"wire: arrays of {due} bytes in a frame that holds {arrays_size}")
        arrays = {name: self._pool.take(blank.count, blank.dtype) for name, blank in blanks.items()}
        return values | arrays, [*arrays.values()]


def _field_kinds(message_type: type[Message]) -> list[tuple[str, tuple[Write, Read]]]:
    hints = get_type_hints(message_type)
    return [(field.name, KINDS[hints[field.name]]) for field in fields(message_type)]


_FIELDS: Final = {message_type: _field_kinds(message_type) for message_type in _TAGS}
