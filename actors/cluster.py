"""What a driver hands to the actors, and what every cluster of actors offers a driver.

Two shells offer it: `local_cluster.LocalCluster` and `ray_cluster.RayCluster`. Both run
the same cores, so both end with the same bytes.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from threadpoolctl import threadpool_limits

from actors.messages import DriverMessage, RunEpoch, Vector
from actors.objectives import Objective, Optimizer, Shard


@dataclass(frozen=True, slots=True)
class Job:
    """A training: what to minimise, on which shards, from which state on."""

    objective: Objective
    optimizer: Optimizer
    shards: Sequence[Shard]
    parameters: Vector
    optimizer_state: Vector
    step: int = 0

    @property
    def array_bound_bytes(self) -> int:
        """The most that one message's arrays take: `EpochDone` holds the whole state."""
        return self.parameters.nbytes + self.optimizer_state.nbytes


class Cluster(Protocol):
    """Actors that train one job, for as long as the `with` block lasts."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def run_epoch(self, epoch: RunEpoch) -> None:
        """Tell the server to go on; returns at once."""

    def receive(self) -> DriverMessage:
        """The next thing that the driver should know; waits for it. `Failed` is the last."""


class _OneBlasThread:
    """Enters as often as one likes, from any thread; the last one out restores the limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                self._limits = threadpool_limits(limits=1, user_api="blas")

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._entered -= 1
            if self._entered == 0:
                self._limits.restore_original_limits()


one_blas_thread = _OneBlasThread()
"""While it is entered, BLAS uses one thread in this process, whatever the environment says.

More threads cut a product into other pieces and round it to other bits, so that the result
would depend on the host's core count.
"""
