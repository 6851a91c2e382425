"""A toy to train, plain enough to know its gradient by heart, and ones that end their process."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actors.cluster import Cluster, Job, initial_state
from actors.local_cluster import LocalCluster
from actors.messages import EpochDone, Hello, RunEpoch, Vector
from actors.objectives import BatchLoss, Shard
from actors.orders import DriverMessage, Envelope, Failed
from actors.shared_memory import SHARED_FROM_BYTES


class Attraction:
    """Loss 1/2 |parameters - target|^2 for each row: the gradient is a sum of differences."""

    def gradient(self, parameters: Vector, batch: Any, out: Vector) -> BatchLoss:
        out[:] = 0
        loss_sum = 0.0
        for target in batch:
            difference = parameters - target
            out += difference
            loss_sum += float(difference @ difference) / 2
        return BatchLoss(loss_sum, len(batch))


class Targets:
    """A shard whose rows are a pure function of (shard, step)."""

    def __init__(self, number: int, size: int, rows: int, dtype: str) -> None:
        self.number, self.size, self.rows, self.dtype = number, size, rows, dtype

    def batch(self, step: int) -> Any:
        generator = np.random.default_rng([self.number, step])
        return generator.normal(size=(self.rows, self.size)).astype(self.dtype)


class Descent:
    """Gradient descent at a fixed rate."""

    def init(self, parameters: Vector) -> Vector:
        return parameters[:0]

    def update(
        self,
        parameters: Vector,
        gradient_sum: Vector,
        sample_count: int,
        state: Vector,
        out: Vector,
        state_out: Vector,
    ) -> None:
        np.subtract(parameters, gradient_sum * parameters.dtype.type(0.1 / sample_count), out=out)


class Momentum:
    """Descent with a memory: its state is as long as the parameters."""

    def init(self, parameters: Vector) -> Vector:
        return np.zeros_like(parameters)

    def update(
        self,
        parameters: Vector,
        gradient_sum: Vector,
        sample_count: int,
        state: Vector,
        out: Vector,
        state_out: Vector,
    ) -> None:
        state_out[:] = state * parameters.dtype.type(0.9) + gradient_sum
        np.subtract(parameters, state_out * parameters.dtype.type(0.1 / sample_count), out=out)


def killed() -> None:
    """As `kill -9` and the kernel's own hand out of memory do it."""
    os.kill(os.getpid(), signal.SIGKILL)


def left_at_once() -> None:
    """As a crash in native code that ends the process with a status."""
    os._exit(7)


def left() -> None:
    sys.exit(3)


def out_of_memory() -> None:
    raise MemoryError("no room for a gradient")


class Deadly:
    """A shard that ends its process when `step` is computed: once, by the marker."""

    def __init__(
        self, shard: Shard, step: int, marker: Path, die: Callable[[], None] = killed
    ) -> None:
        self.shard, self.step, self.marker, self.die = shard, step, marker, die

    def batch(self, step: int) -> Any:
        if step == self.step and self._first():
            self.die()
        return self.shard.batch(step)

    def _first(self) -> bool:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Failing:
    """A shard whose data can not be used from `step` on."""

    def __init__(self, shard: Shard, step: int) -> None:
        self.shard, self.step = shard, step

    def batch(self, step: int) -> Any:
        if step >= self.step:
            raise ValueError("the disk ate the rows")
        return self.shard.batch(step)


def toy_job(shard_count: int = 4, size: int = 33, rows: int = 3, dtype: str = "float32") -> Job:
    """A job of the toys above."""
    parameters = np.linspace(-1, 1, size).astype(dtype)
    shards: Sequence[Shard] = [Targets(i, size, rows, dtype) for i in range(shard_count)]
    optimizer = Momentum()
    state = initial_state(parameters, optimizer.init(parameters))
    return Job(Attraction(), optimizer, shards, state)


def lent_job(shard_count: int = 4, rows: int = 3) -> Job:
    """The same with arrays that are so large that processes of one host lend them."""
    return toy_job(shard_count, SHARED_FROM_BYTES // 4 + 33, rows)


def finish(cluster: Cluster, *until_steps: int) -> list[DriverMessage]:
    """Run an epoch up to each of these steps; all that the driver hears until then."""
    messages: list[DriverMessage] = []
    with cluster:
        for epoch, until_step in enumerate(until_steps):
            cluster.run_epoch(RunEpoch(epoch, until_step))
            while True:
                heard = cluster.receive()
                assert heard is not None
                messages.append(heard.message)
                if isinstance(messages[-1], Failed):
                    return messages
                if isinstance(messages[-1], EpochDone):
                    break
    return messages


def undisturbed(job: Job, steps: int) -> EpochDone:
    """The end of that training with one worker in one process."""
    done = finish(LocalCluster(job, 1), steps)[-1]
    assert isinstance(done, EpochDone)
    return done


def hello(name: str) -> Hello:
    """A worker's first message."""
    return Hello(name, "127.0.0.1", 1)


def kinds(envelopes: Sequence[Envelope]) -> list[tuple[str, str]]:
    """To whom, and what kind of message."""
    return [(address, type(message).__name__) for address, message in envelopes]
