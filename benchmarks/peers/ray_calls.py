"""A parameter server by plain Ray actor calls: the synchronous pattern of Ray's own documentation.

A server actor and two worker actors; the driver passes the references of gradients and weights
on, and looks at the weights every tenth step, as the documentation's loop does. Gradients are
computed by Everstep's own network, one BLAS thread a worker; a gradient is one flat array, which
costs less than the documentation's list.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import turn
from benchmarks.cases import LEARNING_RATE, WORKERS, Case, Work, load, network_of
from benchmarks.peers.private_ray import private_ray

_LOOK_EVERY = 10


def main() -> int:
    """The turn; its exit status."""
    options = turn.begin(turn.arguments(__doc__), "ray")
    with tempfile.TemporaryDirectory(prefix="peer-") as name, private_ray(Path(name)):
        turn.write(options, turn.take(options, train))
    return 0


def train(case: Case, folder: Path) -> turn.Trained:
    """Three actors, all steps, and no actor any more."""
    import ray

    work = load(case, folder)
    server = ray.remote(num_cpus=0)(ParameterServer).remote(work.parameters, case.batch)
    worker = ray.remote(num_cpus=1)(Worker)
    workers = [worker.remote(case, folder, rank) for rank in range(WORKERS)]
    _steps(server, workers, turn.WARM_UP_STEPS)
    ray.get([actor.begin_again.remote() for actor in (server, *workers)])
    first_s = time.monotonic()
    parameters = _steps(server, workers, case.steps)
    last_s = time.monotonic()
    for actor in (server, *workers):
        ray.kill(actor)
    return turn.Trained(first_s, last_s, parameters)


def _steps(server: Any, workers: list[Any], count: int) -> Any:
    import ray

    weights = server.get_weights.remote()
    for step in range(count):
        gradients = [worker.compute_gradient.remote(weights) for worker in workers]
        weights = server.apply_gradients.remote(*gradients)
        if step % _LOOK_EVERY == 0:
            ray.get(weights)
    return ray.get(weights)


class ParameterServer:
    """Holds the weights."""

    def __init__(self, parameters: Any, batch: int) -> None:
        self._first, self._step_size = parameters, np.float32(LEARNING_RATE / batch)
        self.begin_again()

    def begin_again(self) -> None:
        """Forget the warm-up."""
        self._parameters = self._first.copy()
        self._sum = np.empty_like(self._parameters)

    def get_weights(self) -> Any:
        """The weights of the next step."""
        return self._parameters

    def apply_gradients(self, first: Any, second: Any) -> Any:
        """Take a step; the new weights."""
        np.add(first, second, out=self._sum)
        np.multiply(self._sum, self._step_size, out=self._sum)
        np.subtract(self._parameters, self._sum, out=self._parameters)
        return self._parameters


class Worker:
    """Computes the gradient of its half of each batch."""

    def __init__(self, case: Case, folder: Path, rank: int) -> None:
        from actors.cluster import one_blas_thread

        one_blas_thread.__enter__()
        work: Work = load(case, folder)
        self._network, self._order = network_of(case), work.halves()[rank]
        self._inputs, self._targets = work.inputs, work.targets
        self._gradient = np.empty_like(work.parameters)
        self.begin_again()

    def begin_again(self) -> None:
        """Forget the warm-up."""
        self._step = 0

    def compute_gradient(self, weights: Any) -> Any:
        """Of the next rows, their sum; Ray copies it before the next call."""
        rows = self._order[self._step]
        self._step += 1
        self._network.backprop(weights, self._inputs[rows], self._targets[rows], self._gradient)
        return self._gradient


if __name__ == "__main__":
    sys.exit(main())
