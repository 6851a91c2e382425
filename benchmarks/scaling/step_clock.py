"""When each step was finished, and what CPU time the server had used by then.

The server's process writes two numbers a step into a mapped file, which costs microseconds;
the driver's process reads them when the training is over.
"""

import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actors.messages import Vector
from actors.objectives import Optimizer

MOST_STEPS: Final = 20_000


class StepClock:
    """The file: a row a step, of `time.monotonic` and the server's CPU seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        np.memmap(path, np.float64, "w+", shape=(MOST_STEPS, 2)).flush()

    def clocked(self, optimizer: Optimizer) -> "ClockedOptimizer":
        """The same optimizer, whose updates are noted here."""
        return ClockedOptimizer(optimizer, self._path)

    def steps(self, first: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Seconds of each step first..stop-1 since the one before, and CPU seconds of the server.

        Args:
            first: at least 1; steps are counted from 0.
        """
        rows = np.memmap(self._path, np.float64, "r", shape=(MOST_STEPS, 2))
        seconds, cpu_s = np.diff(rows[first - 1 : stop], axis=0).T
        return np.array(seconds), np.array(cpu_s)


class ClockedOptimizer:
    """Any optimizer; each update ends a step."""

    def __init__(self, optimizer: Optimizer, path: Path) -> None:
        self._optimizer, self._path = optimizer, path
        self._rows: NDArray[np.float64] | None = None  # mapped in the server's process
        self._step = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return ClockedOptimizer, (self._optimizer, self._path)

    def init(self, parameters: Vector) -> Vector:
        return self._optimizer.init(parameters)

    def update(
        self,
        parameters: Vector,
        gradient_sum: Vector,
        sample_count: int,
        state: Vector,
        out: Vector,
        state_out: Vector,
    ) -> None:
        self._optimizer.update(
            parameters, gradient_sum, sample_count, state, out=out, state_out=state_out
        )
        if self._rows is None:
            self._rows = np.memmap(self._path, np.float64, "r+", shape=(MOST_STEPS, 2))
        self._rows[self._step] = time.monotonic(), time.process_time()
        self._step += 1
