"""A toy job of any size whose computation costs next to nothing, or is emulated by waiting.

So what a step costs besides arithmetic is seen alone. The optimizer is the product's own.
"""

import time
from typing import Any, Final

import numpy as np

from actors.cluster import Job, initial_state
from actors.messages import Vector
from actors.objectives import BatchLoss
from trainer.optimizers import SGD

_LEARNING_RATE: Final = 0.1


class EmulatedShard:
    """A shard for whose step its worker waits, once, however many shards it holds."""

    def __init__(self, number: int, wait_s: float) -> None:
        self.number, self.wait_s = number, wait_s

    def batch(self, step: int) -> Vector:
        """One row, a pure function of the step."""
        _computation.emulate(step, self.wait_s)
        return np.array([(self.number + step) % 7], "f4")


class Pull:
    """The gradient pulls every parameter towards the row: one pass, no temporaries."""

    def gradient(self, parameters: Vector, batch: Any, out: Vector) -> BatchLoss:
        np.subtract(parameters, batch[0], out=out)
        return BatchLoss(float(out[0]) ** 2, len(batch))


def toy_job(parameter_count: int, shard_count: int, wait_s: float = 0.0) -> Job:
    """`wait_s` for each step and worker; 0: at full speed."""
    parameters = np.linspace(-1, 1, parameter_count, dtype="f4")
    optimizer = SGD(_LEARNING_RATE)
    state = initial_state(parameters, optimizer.init(parameters))
    shards = [EmulatedShard(number, wait_s) for number in range(shard_count)]
    return Job(Pull(), optimizer, shards, state)


class _Computation:
    """What this process, a worker, has waited for already."""

    def __init__(self) -> None:
        self._step = -1

    def emulate(self, step: int, wait_s: float) -> None:
        """Wait if this step's wait has not been yet."""
        if step != self._step:
            self._step = step
            time.sleep(wait_s)


_computation = _Computation()
