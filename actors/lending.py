"""What one link's two ends have lent each other: arrays that are mapped instead of copied.

The frame of a message names the slot in which an array lies; the first time, the slot's
descriptor goes along. The lender holds the array until the borrower says that nobody there
looks at it any more. If the link ends before, the slot is never written again: a borrower
that still lives may still read. Whoever has lent enough already sends bytes, so a peer that
reads nothing costs a few arrays and then fills its own queue, as without shared memory.
"""

import os
import socket
import weakref
from array import array as c_array
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from actors.errors import LendingError, WireError
from actors.messages import Vector
from actors.shared_memory import MOST_SLOTS, SharedPool, Slot, map_slot, view_of

MOST_LENT: Final = 3  # the one that is worked on, the one on its way, the one on its way back
MOST_DESCRIPTORS: Final = 64  # that one receive takes

_Ancillary = tuple[int, int, Any]


class Lender:
    """This end's slots at the peer."""

    def __init__(self, pool: SharedPool) -> None:
        self._pool = pool
        self._lent: deque[tuple[Slot, Vector]] = deque()
        self._known: set[int] = set()  # slots whose descriptor the peer has
        self._new: list[Slot] = []  # whose descriptors go along with the next bytes

    def lend(self, array: Vector) -> int:
        """The number of the slot in which the peer finds the array; 0: send its bytes."""
        if len(self._lent) >= MOST_LENT or (slot := self._pool.slot_of(array)) is None:
            return 0
        self._lent.append((slot, array))
        if slot.number not in self._known:
            self._known.add(slot.number)
            self._new.append(slot)
        return slot.number

    def ancillary(self) -> list[_Ancillary]:
        """What goes along with the next bytes."""
        if not self._new:
            return []
        descriptors = c_array("i", [slot.descriptor for slot in self._new])
        return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]

    def sent(self) -> None:
        """`ancillary` is on its way."""
        self._new.clear()

    def take_back(self, number: int) -> None:
        """The peer looks at it no more; as often as it was lent, it comes back.

        Raises:
            WireError: the peer does not have it.
        """
        for place, (slot, _) in enumerate(self._lent):
            if slot.number == number:
                del self._lent[place]
                return
        raise WireError(f"wire: slot {number} comes back, and was not lent")

    def close(self) -> None:
        """The link has ended: what is still there is not to be written again."""
        for slot, _ in self._lent:
            slot.abandoned = True
        self._lent.clear()
        self._new.clear()


class _Loan(weakref.ref[Vector]):
    """Knows when the last reference to a borrowed array and to its views is gone."""

    __slots__ = ("number",)
    number: int


class Borrower:
    """The peer's slots at this end."""

    def __init__(self) -> None:
        self._descriptors: deque[int] = deque()  # come, and not yet mapped
        self._mapped: dict[int, memoryview] = {}
        self._loans: dict[int, _Loan] = {}  # kept, or they would never call
        self._unused: deque[int] = deque()  # appended to by whichever thread lets go last

    def received(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """What came along with bytes.

        Raises:
            WireError: more than any peer needs.
        """
        for level, kind, packed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = c_array("i")
                descriptors.frombytes(packed[: len(packed) - len(packed) % descriptors.itemsize])
                self._descriptors.extend(descriptors)
        if len(self._descriptors) > MOST_DESCRIPTORS:
            raise WireError(f"wire: more than {MOST_DESCRIPTORS} descriptors came for no array")

    def borrow(self, number: int, count: int, dtype: "np.dtype[Any]") -> Vector:
        """The array in a slot; the peer gets it back when the last view of it is gone.

        Raises:
            LendingError: its memory can not be had here.
            WireError: the array does not fit, or there are more slots than any peer has.
        """
        if number not in self._mapped:
            self._map(number)
        array = view_of(self._mapped[number], count, dtype)
        loan = _Loan(array, self._release)
        loan.number = number
        self._loans[id(loan)] = loan
        return array

    def unused(self) -> Iterator[int]:
        """Which slots the peer gets back now; each is told once."""
        while self._unused:
            yield self._unused.popleft()

    def close(self) -> None:
        """The link has ended; arrays that somebody still holds stay readable."""
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._mapped.clear()

    def _map(self, number: int) -> None:
        if not self._descriptors:
            raise LendingError(f"wire: an array lies in slot {number}, which never came")
        if len(self._mapped) >= MOST_SLOTS:
            raise WireError(f"wire: more than {MOST_SLOTS} slots")
        self._mapped[number] = map_slot(self._descriptors.popleft())

    def _release(self, loan: _Loan) -> None:
        del self._loans[id(loan)]
        self._unused.append(loan.number)
