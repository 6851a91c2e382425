"""Message <-> bytes: a fixed header, the fields, the raw arrays. Never pickle, never eval.

    offset  size  header (little endian)
         0     4  magic "EVST"
         4     1  version of this format
         5     1  tag: which message
         6     2  zero
         8     4  size of the fields in bytes, at most 256 KiB
        12     8  size of the arrays in bytes, at most the link's bound

    field kind       bytes
    int              8, signed
    float            8, IEEE 754
    str              4 (length) + UTF-8
    tuple of ints    4 (count) + 8 each
    vector           1 (element type: 4 or 8, the size of the float) + 8 (count)

Fields follow in the order of the dataclass; the vectors' elements follow after all fields,
in the same order. Lengths are checked before anything is allocated. A `Decoder` does no
I/O: it offers the memory to receive into, so that an array lands where it stays.
"""

import struct
from collections.abc import Callable, Generator
from dataclasses import fields
from typing import Any, Final, cast, get_args, get_type_hints

import numpy as np

from actors.buffers import ArrayPool
from actors.errors import WireError
from actors.messages import (
    Assign,
    Dx,
    EpochDone,
    Exit,
    Hello,
    Message,
    Progress,
    RemoteMessage,
    RunEpoch,
    Stall,
    Stop,
    Vector,
    Weights,
)

MAGIC: Final = b"EVST"
VERSION: Final = 1
FIELDS_BOUND_BYTES: Final = 1 << 18

_HEADER = struct.Struct("<4sBBHIQ")
_INT = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_LENGTH = struct.Struct("<I")
_ARRAY = struct.Struct("<BQ")

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
}
_TAGS: Final[dict[type[Message], int]] = {kind: tag for tag, kind in _TYPES.items()}
_FLOATS: Final = {4: np.dtype("<f4"), 8: np.dtype("<f8")}


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
            raise WireError(f"wire: arrays of {arrays_size} bytes, allowed {self.array_bound_bytes}")
        return _TYPES[tag], fields_size, arrays_size

    def _fields(
        self, message_type: type[RemoteMessage], described: bytes, arrays_size: int
    ) -> tuple[dict[str, Any], list[Vector]]:
        reader = _Reader(described)
        values = {name: read(reader) for name, (_, read) in _FIELDS[message_type]}
        reader.end()
        sizes = [value for value in values.values() if isinstance(value, _Blank)]
        due = sum(blank.size_bytes for blank in sizes)
        if due != arrays_size:
            raise WireError(f"wire: arrays of {due} bytes in a frame that holds {arrays_size}")
        arrays = []
        for name, value in values.items():
            if isinstance(value, _Blank):
                values[name] = self._pool.take(value.count, value.dtype)
                arrays.append(values[name])
        return values, arrays


class _Blank:
    """A vector that is described but not yet received."""

    def __init__(self, item_bytes: int, count: int) -> None:
        self.dtype, self.count = _FLOATS[item_bytes], count
        self.size_bytes = item_bytes * count


class _Reader:
    """Takes fields off bytes, never past the end."""

    def __init__(self, described: bytes) -> None:
        self._described = described
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._described[self._at : self._at + size]
        if len(taken) < size:
            raise WireError(f"wire: fields end at byte {len(self._described)}, more are due")
        self._at += size
        return taken

    def end(self) -> None:
        if self._at != len(self._described):
            raise WireError(f"wire: fields of {len(self._described)} bytes, {self._at} are due")


def _write_str(value: str, head: list[bytes], arrays: list[memoryview]) -> None:
    encoded = value.encode("utf-8", errors="replace")
    head += [_LENGTH.pack(len(encoded)), encoded]


def _read_str(reader: _Reader) -> str:
    (size,) = _LENGTH.unpack(reader.take(_LENGTH.size))
    try:
        return reader.take(size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"wire: a text field is not UTF-8: {error.reason}") from None


def _write_ints(value: tuple[int, ...], head: list[bytes], arrays: list[memoryview]) -> None:
    head += [_LENGTH.pack(len(value)), struct.pack(f"<{len(value)}q", *value)]


def _read_ints(reader: _Reader) -> tuple[int, ...]:
    (count,) = _LENGTH.unpack(reader.take(_LENGTH.size))
    packed = reader.take(count * _INT.size)
    return struct.unpack(f"<{count}q", packed)


def _write_vector(value: Vector, head: list[bytes], arrays: list[memoryview]) -> None:
    value = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    head.append(_ARRAY.pack(value.itemsize, value.size))
    arrays.append(value.view(np.uint8).data)


def _read_vector(reader: _Reader) -> _Blank:
    item_bytes, count = _ARRAY.unpack(reader.take(_ARRAY.size))
    if item_bytes not in _FLOATS:
        raise WireError(f"wire: floats of {item_bytes} bytes, allowed 4 and 8")
    return _Blank(item_bytes, count)


_Write = Callable[[Any, list[bytes], list[memoryview]], None]
_Read = Callable[[_Reader], Any]
_KINDS: Final[dict[Any, tuple[_Write, _Read]]] = {
    int: (
        lambda value, head, _: head.append(_INT.pack(value)),
        lambda reader: _INT.unpack(reader.take(_INT.size))[0],
    ),
    float: (
        lambda value, head, _: head.append(_FLOAT.pack(value)),
        lambda reader: _FLOAT.unpack(reader.take(_FLOAT.size))[0],
    ),
    str: (_write_str, _read_str),
    tuple[int, ...]: (_write_ints, _read_ints),
    Vector: (_write_vector, _read_vector),
}


def _field_kinds(message_type: type[Message]) -> list[tuple[str, tuple[_Write, _Read]]]:
    hints = get_type_hints(message_type)
    return [(field.name, _KINDS[hints[field.name]]) for field in fields(message_type)]


_FIELDS: Final = {message_type: _field_kinds(message_type) for message_type in _TAGS}
assert set(_TAGS) == set(get_args(RemoteMessage))
