"""Vectors that are used again once nobody looks at them any more.

A message's array is a value as long as anyone holds it, and a fresh large array costs more
in page faults than the addition it holds. So arrays are leased: when the last reference to
a lease and to every view of it is gone, its memory serves the next one.
"""

import weakref
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from actors.messages import Vector

_ALIGNMENT = 64


class ArrayPool:
    """Leases flat float arrays; safe to be released into from any thread."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[memoryview]] = defaultdict(list)
        self._leases: dict[int, weakref.ref[Any]] = {}  # kept, or they would never call

    def take(self, count: int, dtype: DTypeLike) -> Vector:
        """An uninitialised (count,) array that nobody else holds."""
        dtype = np.dtype(dtype)
        size_bytes = max(count * dtype.itemsize, 1)
        free = self._free[size_bytes]
        try:
            memory = free.pop()
        except IndexError:
            memory = _aligned(size_bytes)
        # The base of `lease` is no array, so NumPy makes every view of it refer to `lease`.
        lease = np.frombuffer(memory, dtype, count)

        def release(reference: weakref.ref[Any]) -> None:
            del self._leases[id(reference)]
            free.append(memory)

        reference = weakref.ref(lease, release)
        self._leases[id(reference)] = reference
        return lease


def _aligned(size_bytes: int) -> memoryview:
    memory = np.empty(size_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size_bytes].data
