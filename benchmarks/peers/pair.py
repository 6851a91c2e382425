"""Two processes that do the same at the same time, with one BLAS thread each: what floors need."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from typing import Any, TypeAlias

from actors.cluster import one_blas_thread
from benchmarks.cases import WORKERS

InTwo: TypeAlias = Callable[..., list[Any]]

_meeting: Barrier
_shared: tuple[Any, ...] = ()


@contextmanager
def two_processes(*shared: Any) -> Iterator[InTwo]:
    """Start them; the context's value runs `work(rank, *arguments)` in both.

    Args:
        shared: arrays of `multiprocessing.sharedctypes`, which `shared_arrays` gives the work.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, spawn, _begin, (spawn.Barrier(WORKERS), shared)) as pool:

        def in_two(work: Callable[..., Any], *arguments: Any) -> list[Any]:
            running = [pool.submit(_run, work, rank, *arguments) for rank in range(WORKERS)]
            return [each.result() for each in running]

        yield in_two


def meet() -> None:
    """Wait for the other process."""
    _meeting.wait()


def shared_arrays() -> tuple[Any, ...]:
    """What `two_processes` was given, in the process that works."""
    return _shared


def _begin(meeting: Barrier, shared: tuple[Any, ...]) -> None:
    global _meeting, _shared
    _meeting, _shared = meeting, shared
    one_blas_thread.__enter__()


def _run(work: Callable[..., Any], rank: int, *arguments: Any) -> Any:
    meet()  # so that neither process takes both
    return work(rank, *arguments)
