"""Vectors that are used again once nobody looks at them any more.

A message's array is a value as long as anyone holds it, and a fresh large array costs more
in page faults than the addition it holds. So arrays are leased: when the last reference to
a lease and to every view of it is gone, its memory serves the next one. `shared_memory.py`
has the pool whose leases other processes can look at too.
"""

import weakref
from collections import defaultdict

import numpy as np
from numpy.typing import DTypeLike

from actors.messages import Vector

_ALIGNMENT = 64


class Lease(weakref.ref[Vector]):
    """Knows when the last reference to an array and to its views is gone, and what lay there."""

    __slots__ = ("memory",)
    memory: memoryview


class ArrayPool:
    """Leases flat float arrays; safe to be released into from any thread."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[memoryview]] = defaultdict(list)
        self._leases: dict[int, Lease] = {}  # kept, or they would never call

    def take(self, count: int, dtype: DTypeLike) -> Vector:
        """An uninitialised (count,) array that nobody else holds."""
        dtype = np.dtype(dtype)
        if count == 0:
            return np.empty(0, dtype)
        size_bytes = count * dtype.itemsize
        try:
            memory = self._free[size_bytes].pop()
        except IndexError:
            memory = self._allocate(size_bytes)
        # The base of `array` is no array, so NumPy makes every view of it refer to `array`.
        array: Vector = np.frombuffer(memory, dtype, count)
        lease = Lease(array, self._release)
        lease.memory = memory
        self._leases[id(lease)] = lease
        return array

    def _release(self, lease: Lease) -> None:
        del self._leases[id(lease)]
        self._free_again(lease.memory)

    def _allocate(self, size_bytes: int) -> memoryview:
        return aligned(size_bytes)

    def _free_again(self, memory: memoryview) -> None:
        self._free[len(memory)].append(memory)


def aligned(size_bytes: int) -> memoryview:
    """Fresh memory of this process's own, at the beginning of a cache line."""
    memory = np.empty(size_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size_bytes].data
