"""What a driver hands to the actors, and what every cluster of actors offers a driver.

Two shells offer it: `local_cluster.LocalCluster` and `ray_cluster.RayCluster`. Both run
the same cores, so both end with the same bytes.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from threadpoolctl import threadpool_limits

from actors.messages import RunEpoch, Snapshot, Vector
from actors.objectives import Objective, Optimizer, Shard
from actors.orders import DriverMessage, Rounding
from actors.stopwatch import TIMES_BYTES


@dataclass(frozen=True, slots=True)
class Job:
    """A training: what to minimise, on which shards, from which state on."""

    objective: Objective
    optimizer: Optimizer
    shards: Sequence[Shard]
    state: Snapshot
    profile: bool = False  # the actors tell how they spend each step
    name: str = "unnamed"  # by which a cluster's metrics tell it from others
    rounding: Rounding | None = None  # of the run's first host; None: it has had none yet

    @property
    def array_bound_bytes(self) -> int:
        """The most that one message's arrays take: a `Snapshot` holds the whole state."""
        state_bytes = self.state.parameters.nbytes + self.state.optimizer_state.nbytes
        return max(state_bytes, TIMES_BYTES)


def initial_state(parameters: Vector, optimizer_state: Vector) -> Snapshot:
    """The state before the first step."""
    return Snapshot(0, 0, 0, 0.0, parameters, optimizer_state)


class Heard(NamedTuple):
    """What reached the driver's process, and when by `time.monotonic`."""

    at_s: float
    message: DriverMessage


class Cluster(Protocol):
    """Actors that train one job, for as long as the `with` block lasts."""

    def __enter__(self) -> Self:
        """Begin to start the actors; `Ready` is heard once enough of them are there."""

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def run_epoch(self, epoch: RunEpoch) -> None:
        """Tell the server to go on, once enough actors are there; returns at once."""

    def take_snapshot(self) -> None:
        """Ask the server for its state; returns at once, the `Snapshot` is heard later."""

    def take_times(self) -> list[str]:
        """Ask actors how they spent their time; returns at once whom it asked.

        Of each, a `Times` that says it is an answer is heard later.
        """

    def receive(self, timeout_s: float | None = None) -> Heard | None:
        """The next thing that the driver should know. `Failed` is the last.

        None: nothing came within `timeout_s`. Without a timeout it waits.
        """

    def signal(self, name: str, number: int) -> bool:
        """Send the process of `name` a signal. False: there is no such process now."""


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
