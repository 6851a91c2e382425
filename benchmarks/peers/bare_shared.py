"""The floor under every exchange: two processes that share memory, and nothing that could fail.

Each computes the gradient of its half of the batch with Everstep's own network, writes it into
shared memory, waits for the other, and updates its half of the shared weights from both gradients.
No message, no server, no digest, no snapshot; whoever waits spins on the other's counter.
"""

import ctypes
import os
import sys
import time
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import turn
from benchmarks.cases import LEARNING_RATE, WORKERS, Case, chosen_cases, load, network_of
from benchmarks.peers.pair import InTwo, meet, shared_arrays, two_processes

_SPINS: Final = 1000  # before the core is offered to someone else
_APART: Final = 8  # counters, so that each has a cache line of its own


def main() -> int:
    """The turn; its exit status."""
    options = turn.begin(turn.arguments(__doc__))
    most = max(network_of(case).parameter_count for case in chosen_cases(options))
    vectors = [RawArray(ctypes.c_float, most) for _ in range(1 + WORKERS)]
    counters = RawArray(ctypes.c_int64, WORKERS * _APART)
    with two_processes(counters, *vectors) as in_two:
        rows = turn.take(options, lambda case, folder: _measure(case, folder, in_two))
        turn.write(options, rows)
    return 0


def _measure(case: Case, folder: Path, in_two: InTwo) -> turn.Trained:
    (first_s, last_s, parameters), _ = in_two(_train, case, folder)
    return turn.Trained(first_s, last_s, parameters)


def _train(rank: int, case: Case, folder: Path) -> tuple[float, float, Any]:
    work, network = load(case, folder), network_of(case)
    counters, *vectors = shared_arrays()
    parameters, *gradients = (
        np.frombuffer(vector, np.float32)[: network.parameter_count] for vector in vectors
    )
    middle = network.parameter_count // WORKERS
    mine = slice(0, middle) if rank == 0 else slice(middle, None)
    step_size, spin = np.float32(LEARNING_RATE / case.batch), Spin(counters, rank)
    targets, order = work.targets, work.halves()[rank]
    inputs_of, targets_of = (
        np.empty((order.shape[1], table.shape[1]), np.float32) for table in (work.inputs, targets)
    )
    scaled = np.empty_like(parameters[mine])

    def step(rows: Any) -> None:
        np.take(work.inputs, rows, axis=0, out=inputs_of, mode="clip")
        np.take(targets, rows, axis=0, out=targets_of, mode="clip")
        network.backprop(parameters, inputs_of, targets_of, gradients[rank])
        spin.until_both_are_here()
        np.add(gradients[0][mine], gradients[1][mine], out=scaled)
        np.multiply(scaled, step_size, out=scaled)
        np.subtract(parameters[mine], scaled, out=parameters[mine])
        spin.until_both_are_here()

    for begin in (order[: turn.WARM_UP_STEPS], order):
        parameters[mine] = work.parameters[mine]
        meet()
        first_s = time.monotonic()
        for rows in begin:
            step(rows)
    return first_s, time.monotonic(), parameters.copy()


class Spin:
    """A barrier of two processes: each counts its arrivals, and watches the other's count."""

    def __init__(self, counters: Any, rank: int) -> None:
        self._counts = memoryview(counters).cast("B").cast("q")
        self._mine, self._other = rank * _APART, (1 - rank) * _APART
        self._arrivals = self._counts[self._mine]

    def until_both_are_here(self) -> None:
        """Return once the other has arrived as often."""
        counts, other = self._counts, self._other
        self._arrivals = arrivals = self._arrivals + 1
        counts[self._mine] = arrivals
        spins = 0
        while counts[other] < arrivals:
            spins += 1
            if spins % _SPINS == 0:
                os.sched_yield()


if __name__ == "__main__":
    sys.exit(main())
