"""Leases: memory serves again only when nobody can look at it any more."""

import gc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.buffers import ArrayPool


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_serves_again_once_its_lease_is_gone() -> None:
    pool = ArrayPool()
    lease = pool.take(1000, "f4")
    before = address(lease)
    del lease
    assert address(pool.take(500, "f8")) == before  # as many bytes


def test_a_view_keeps_the_memory_as_its_lease_would() -> None:
    pool = ArrayPool()
    lease = pool.take(1000, "f4")
    before, view = address(lease), lease[10:20].reshape(2, 5).T
    del lease
    other = pool.take(1000, "f4")
    assert address(other) != before
    del view
    assert address(pool.take(1000, "f4")) == before


def test_a_memoryview_in_a_send_queue_keeps_the_memory() -> None:
    pool = ArrayPool()
    lease = pool.take(8, "f8")
    before, queued = address(lease), memoryview(lease.view(np.uint8).data)[3:]
    del lease
    assert address(pool.take(8, "f8")) != before
    del queued
    gc.collect()
    assert address(pool.take(8, "f8")) == before


def test_leases_are_aligned_and_writable_and_may_be_empty() -> None:
    pool = ArrayPool()
    for count, dtype in ((0, "f4"), (1, "f4"), (7, "f8"), (4097, "f4")):
        lease = pool.take(count, dtype)
        assert (lease.shape, lease.dtype) == ((count,), np.dtype(dtype))
        assert address(lease) % 64 == 0 or count == 0
        lease[:] = 1


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=60))
def test_two_leases_that_are_held_never_share_memory(plan: list[tuple[int, bool]]) -> None:
    pool, held = ArrayPool(), []
    for value, (count, drop) in enumerate(plan):
        lease = pool.take(count * 16, "f4")
        lease[:] = value
        held.append((value, lease))
        del lease
        if drop:
            held.pop(value % len(held))
    for value, lease in held:
        assert (lease == value).all()
