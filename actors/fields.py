"""How a message's fields become bytes and are read back; `wire.py` builds frames of it.

    field kind       fixed part                                              tail
    int              8, signed
    float            8, IEEE 754
    str              4 (length)                                              UTF-8
    tuple of ints    4 (count)                                               8 each
    vector           1 (4 or 8, the size of the float) + 8 (count) + 4 (slot)

The fixed parts of all fields come first, then the tails, both in the fields' order. A vector's
elements are in neither: they are sent as they lie in memory, after all fields; or, if the slot
is not 0, they lie in that slot of the sender's and are not sent at all (see `lending.py`).
Lengths are checked before anything is allocated.
"""

import struct
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, Literal, get_type_hints

import numpy as np

from actors.errors import WireError
from actors.messages import RemoteMessage, Vector

_Kind = Literal["number", "str", "ints", "vector"]

_KINDS: Final[dict[Any, tuple[_Kind, str]]] = {
    int: ("number", "q"),
    float: ("number", "d"),
    str: ("str", "I"),
    tuple[int, ...]: ("ints", "I"),
    Vector: ("vector", "BQI"),
}
_INT_BYTES: Final = 8
_FLOATS: Final[dict[int, np.dtype[Any]]] = {4: np.dtype("<f4"), 8: np.dtype("<f8")}


class Blank:
    """A vector that is described but not yet received, or that lies in a slot of the peer's."""

    __slots__ = ("count", "dtype", "size_bytes", "slot")

    def __init__(self, item_bytes: int, count: int, slot: int) -> None:
        """Raises WireError where there are no such floats."""
        if item_bytes not in _FLOATS:
            raise WireError(f"wire: floats of {item_bytes} bytes, allowed 4 and 8")
        self.dtype, self.count, self.slot = _FLOATS[item_bytes], count, slot
        self.size_bytes = item_bytes * count


class Layout:
    """One kind of message: its fields to bytes and back."""

    def __init__(self, message_type: type[RemoteMessage]) -> None:
        hints = get_type_hints(message_type)
        kinds = [(field.name, *_KINDS[hints[field.name]]) for field in fields(message_type)]
        self._fields = [(name, kind) for name, kind, _ in kinds]
        self._fixed = struct.Struct("<" + "".join(code for *_, code in kinds))

    def write(
        self, message: Any, lend: Callable[[Vector], int]
    ) -> tuple[bytes, list[memoryview], int]:
        """The fields' bytes; each vector's memory that is to be sent; how many bytes that is.

        `lend` gives the slot in which the peer finds a vector, or 0.
        """
        fixed: list[Any] = []
        tail: list[bytes] = []
        arrays: list[memoryview] = []
        size_bytes = 0
        for name, kind in self._fields:
            value = getattr(message, name)
            if kind == "number":
                fixed.append(value)
            elif kind == "vector":
                slot = lend(value)
                fixed += (value.itemsize, value.size, slot)
                if not slot and value.size:
                    arrays.append(_memory_of(value))
                    size_bytes += value.nbytes
            elif kind == "str":
                tail.append(value.encode("utf-8", errors="replace"))
                fixed.append(len(tail[-1]))
            else:
                tail.append(struct.pack(f"<{len(value)}q", *value))
                fixed.append(len(value))
        return b"".join((self._fixed.pack(*fixed), *tail)), arrays, size_bytes

    def read(self, described: memoryview) -> list[Any]:
        """The fields' values, in order; a `Blank` for each vector.

        Raises:
            WireError: these bytes are not exactly this message's fields.
        """
        if len(described) < self._fixed.size:
            raise WireError(f"wire: fields end at byte {len(described)}, more are due")
        fixed = iter(self._fixed.unpack_from(described))
        at = self._fixed.size
        values: list[Any] = []
        for _, kind in self._fields:
            if kind == "number":
                values.append(next(fixed))
            elif kind == "vector":
                values.append(Blank(next(fixed), next(fixed), next(fixed)))
            else:
                count = next(fixed)
                stop = at + (count if kind == "str" else _INT_BYTES * count)
                if stop > len(described):
                    raise WireError(f"wire: fields end at byte {len(described)}, more are due")
                part, at = described[at:stop], stop
                values.append(_text(part) if kind == "str" else struct.unpack(f"<{count}q", part))
        if at != len(described):
            raise WireError(f"wire: fields of {len(described)} bytes, {at} are due")
        return values


def _memory_of(vector: Vector) -> memoryview:
    vector = np.ascontiguousarray(vector, vector.dtype.newbyteorder("<"))
    return vector.view(np.uint8).data


def _text(part: memoryview) -> str:
    try:
        return str(part, "utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"wire: a text field is not UTF-8: {error.reason}") from None
