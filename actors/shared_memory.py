"""Memory that the actors of one host can share: leases that a peer maps instead of copying.

A large array that is sent to a process of the same host need not travel: it lies in a slot,
an anonymous file of the kernel's that the peer maps to read. A slot has no name anywhere, so
when its last process ends, however it ends, the kernel takes it back. Next: `lending.py`.
"""

import fcntl
import mmap
import os
from contextlib import suppress
from itertools import count
from typing import Final

import numpy as np

from actors.buffers import ArrayPool, aligned
from actors.errors import LendingError, WireError
from actors.messages import Vector

MOST_SLOTS: Final = 64  # of a pool, of two open files each; what is beyond them is sent as bytes
SHARED_FROM_BYTES: Final = 1 << 15  # less than that is copied sooner than it is accounted for

# Nobody who holds the file can make it shorter, and so crash whoever reads it; or write to it,
# but through the owner's mapping, which is there before.
_SIZE_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_FUTURE_WRITE_SEAL: Final = 0x10  # Linux 5.1; Python has no name for it


class Slot:
    """One piece of memory: its number names it on every link of its owner's."""

    def __init__(self, number: int, size_bytes: int) -> None:
        """Raises OSError where the kernel has none."""
        self.number = number
        self.abandoned = False  # a peer that can not be asked any more may still look at it
        self.descriptor = -1
        self.descriptor = os.memfd_create(
            f"everstep-{number}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        )
        try:
            os.ftruncate(self.descriptor, size_bytes)
            self.mapping = mmap.mmap(self.descriptor, size_bytes)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SIZE_SEALS)
            with suppress(OSError):  # an older kernel
                fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _FUTURE_WRITE_SEAL)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
        except BaseException:
            self.__del__()
            raise

    def __del__(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class SharedPool(ArrayPool):
    """An `ArrayPool` whose larger leases lie in slots."""

    def __init__(self, most_slots: int = MOST_SLOTS) -> None:
        """0 slots: an ordinary pool."""
        super().__init__()
        self._most_slots = most_slots
        self._slots: dict[int, Slot] = {}  # by the identity of their mapping
        self._numbers = count(1)

    def slot_of(self, array: Vector) -> Slot | None:
        """The slot that a whole lease of this pool lies in; None: in none."""
        mapping = getattr(array.base, "obj", None)  # of a lease the base is a memoryview
        slot = self._slots.get(id(mapping))
        return slot if slot is not None and slot.mapping is mapping else None

    def _allocate(self, size_bytes: int) -> memoryview:
        if size_bytes < SHARED_FROM_BYTES or len(self._slots) >= self._most_slots:
            return aligned(size_bytes)
        try:
            slot = Slot(next(self._numbers), size_bytes)
        except OSError:  # no room, or too many open files: it can be sent all the same
            return aligned(size_bytes)
        self._slots[id(slot.mapping)] = slot
        return memoryview(slot.mapping)

    def _free_again(self, memory: memoryview) -> None:
        slot = self._slots.get(id(memory.obj))
        if slot is None or not slot.abandoned:
            super()._free_again(memory)
        else:
            del self._slots[id(memory.obj)]


def map_slot(descriptor: int) -> memoryview:
    """The memory of a peer's slot, to be read; the descriptor is closed.

    Raises:
        WireError: it is no such memory, or could shrink under its reader.
        LendingError: it can not be mapped here.
    """
    try:
        sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        size_bytes = os.fstat(descriptor).st_size
        if not sealed or size_bytes == 0:
            raise WireError("wire: the memory that a peer lends could shrink")
        return memoryview(mmap.mmap(descriptor, size_bytes, prot=mmap.PROT_READ))
    except OSError as error:
        raise LendingError(
            f"wire: the memory that a peer lends can not be mapped: {error}"
        ) from None
    finally:
        os.close(descriptor)


def view_of(memory: memoryview, count: int, dtype: "np.dtype[np.floating]") -> Vector:
    """The first `count` elements, as an array whose base is `memory`.

    Raises:
        WireError: it is smaller than that.
    """
    if count * dtype.itemsize > len(memory):
        raise WireError(
            f"wire: {count * dtype.itemsize} bytes in lent memory of {len(memory)} bytes"
        )
    view: Vector = np.frombuffer(memory, dtype, count)
    return view
