"""How each kind of message field becomes bytes and is read back; `wire.py` builds on it.

    field kind       bytes
    int              8, signed
    float            8, IEEE 754
    str              4 (length) + UTF-8
    tuple of ints    4 (count) + 8 each
    vector           1 (element type: 4 or 8, the size of the float) + 8 (count)

A vector's elements are not among its field's bytes: they are sent as they lie in memory,
after all fields. Lengths are checked before anything is allocated.
"""

import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from actors.errors import WireError
from actors.messages import Vector

_INT = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_LENGTH = struct.Struct("<I")
_ARRAY = struct.Struct("<BQ")
_FLOATS: Final[dict[int, np.dtype[Any]]] = {4: np.dtype("<f4"), 8: np.dtype("<f8")}


class Blank:
    """A vector that is described but not yet received."""

    def __init__(self, item_bytes: int, count: int) -> None:
        self.dtype, self.count = _FLOATS[item_bytes], count
        self.size_bytes = item_bytes * count


class Reader:
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


def _write_str(value: str, head: list[bytes], _: list[memoryview]) -> None:
    encoded = value.encode("utf-8", errors="replace")
    head += [_LENGTH.pack(len(encoded)), encoded]


def _read_str(reader: Reader) -> str:
    (size,) = _LENGTH.unpack(reader.take(_LENGTH.size))
    try:
        return reader.take(size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"wire: a text field is not UTF-8: {error.reason}") from None


def _write_ints(value: tuple[int, ...], head: list[bytes], _: list[memoryview]) -> None:
    head += [_LENGTH.pack(len(value)), struct.pack(f"<{len(value)}q", *value)]


def _read_ints(reader: Reader) -> tuple[int, ...]:
    (count,) = _LENGTH.unpack(reader.take(_LENGTH.size))
    packed = reader.take(count * _INT.size)
    return struct.unpack(f"<{count}q", packed)


def _write_vector(value: Vector, head: list[bytes], arrays: list[memoryview]) -> None:
    value = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    head.append(_ARRAY.pack(value.itemsize, value.size))
    arrays.append(value.view(np.uint8).data)


def _read_vector(reader: Reader) -> Blank:
    item_bytes, count = _ARRAY.unpack(reader.take(_ARRAY.size))
    if item_bytes not in _FLOATS:
        raise WireError(f"wire: floats of {item_bytes} bytes, allowed 4 and 8")
    return Blank(item_bytes, count)


Write = Callable[[Any, list[bytes], list[memoryview]], None]
Read = Callable[[Reader], Any]
KINDS: Final[dict[Any, tuple[Write, Read]]] = {
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
