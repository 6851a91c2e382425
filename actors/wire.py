"""Message <-> bytes: a fixed header, the fields, the raw arrays. Never pickle, never eval.

    offset  size  header (little endian)
         0     4  magic "EVST"
         4     1  version of this format
         5     1  tag: which message
         6     2  zero
         8     4  size of the fields in bytes, at most 256 KiB
        12     8  size of the arrays in bytes, at most the link's bound

The fields follow as `fields.py` writes them, then the vectors' elements,
in the same order. Lengths are checked before anything is allocated. Next: `decoder.py`,
which makes messages of what comes.
"""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from actors.errors import WireError
from actors.fields import Layout
from actors.messages import (
    Assign,
    Dx,
    EpochDone,
    Exit,
    HandOver,
    Hello,
    Late,
    NotFinite,
    Ping,
    Pong,
    Progress,
    Refused,
    RemoteMessage,
    Repeated,
    Returned,
    RunEpoch,
    ServerAt,
    Snapshot,
    Stall,
    Stop,
    TakeSnapshot,
    TakeTimes,
    Times,
    Vector,
    Weights,
)
from actors.orders import Message

MAGIC: Final = b"EVST"
VERSION: Final = 4
FIELDS_BOUND_BYTES: Final = 1 << 18

_HEADER = struct.Struct("<4sBBHIQ")
HEADER_BYTES: Final = _HEADER.size

# A tag is never used again for another message.
TYPES: Final[dict[int, type[RemoteMessage]]] = {
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
    21: Returned,
    22: TakeTimes,
    23: Times,
    24: HandOver,
}
LAYOUTS: Final = {tag: Layout(kind) for tag, kind in TYPES.items()}
_TAGS: Final[dict[type[Message], int]] = {kind: tag for tag, kind in TYPES.items()}


def nothing_is_lent(array: Vector) -> int:  # noqa: ARG001
    """Every array's bytes are sent."""
    return 0


def encode(
    message: Message, lend: Callable[[Vector], int] = nothing_is_lent
) -> list[bytes | memoryview]:
    """The frame, in pieces of at least a byte: header and fields, then each array's memory.

    Raises:
        WireError: the message never travels, or its fields are larger than a frame may hold.
    """
    if (tag := _TAGS.get(type(message))) is None:
        raise WireError(f"wire: a {type(message).__name__} never travels")
    described, arrays, arrays_size = LAYOUTS[tag].write(message, lend)
    if len(described) > FIELDS_BOUND_BYTES:
        raise WireError(
            f"wire: the fields of {type(message).__name__} take {len(described)} bytes,"
            f" a frame holds at most {FIELDS_BOUND_BYTES}"
        )
    header = _HEADER.pack(MAGIC, VERSION, tag, 0, len(described), arrays_size)
    return [header + described, *arrays]


class Header(NamedTuple):
    """What a frame's first bytes announce."""

    tag: int
    fields_size: int
    arrays_size: int


def read_header(received: memoryview, at: int, array_bound_bytes: int) -> Header:
    """The header that begins at byte `at`.

    Raises:
        WireError: it is none, or announces what is not allowed.
    """
    magic, version, tag, zero, fields_size, arrays_size = _HEADER.unpack_from(received, at)
    if magic != MAGIC or zero != 0:
        raise WireError(f"wire: {bytes(received[at : at + 8]).hex()} does not begin a frame")
    if version != VERSION:
        raise WireError(
            f"wire: frame version {version}, this side speaks {VERSION};"
            " install the same Everstep on every host"
        )
    if tag not in TYPES:
        raise WireError(f"wire: no message has tag {tag}")
    if fields_size > FIELDS_BOUND_BYTES:
        raise WireError(f"wire: fields of {fields_size} bytes, allowed {FIELDS_BOUND_BYTES}")
    if arrays_size > array_bound_bytes:
        raise WireError(f"wire: arrays of {arrays_size} bytes, allowed {array_bound_bytes}")
    return Header(tag, fields_size, arrays_size)
