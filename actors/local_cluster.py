"""The shell in one process and one thread: messages wait in a queue, nothing is copied.

The reference for every other shell, and the fast way to run small jobs. A core's exception
is the caller's: with everything in one process there is nobody left to carry on.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from actors.cluster import Job, one_blas_thread
from actors.coordinator import Coordinator
from actors.errors import ClusterError
from actors.messages import (
    DRIVER,
    SERVER,
    DriverMessage,
    Envelope,
    Hello,
    Message,
    RunEpoch,
    Tick,
)
from actors.parameter_server import ParameterServer
from actors.worker import Worker

_COORDINATOR = "coordinator"
_TICK_EVERY = 64  # messages


class LocalCluster:
    """One server, `worker_count` workers and a coordinator, called in turn."""

    def __init__(
        self, job: Job, worker_count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._queue: deque[Envelope] = deque()
        self._inbox: deque[DriverMessage] = deque()
        shard_count = len(job.shards)
        self._cores: dict[str, Coordinator | ParameterServer | Worker] = {
            _COORDINATOR: Coordinator(shard_count, ()),
            SERVER: ParameterServer(
                job.optimizer, shard_count, job.parameters, job.optimizer_state, job.step
            ),
        }
        for i in range(worker_count):
            hello = Hello(f"worker-{i}", "localhost", os.getpid())
            self._cores[hello.name] = Worker(job.objective, shard_count, job.shards.__getitem__)
            self._queue += [(_COORDINATOR, hello), (SERVER, hello)]

    def __enter__(self) -> Self:
        one_blas_thread.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        one_blas_thread.__exit__(*error)

    def run_epoch(self, epoch: RunEpoch) -> None:
        self._queue.append((SERVER, epoch))

    def receive(self) -> DriverMessage:
        while not self._inbox:
            if not self._queue:
                raise ClusterError("local cluster: no message is left and the driver waits")
            self._deliver((SERVER, Tick(self._clock())))
            for _ in range(min(len(self._queue), _TICK_EVERY)):
                self._deliver(self._queue.popleft())
        return self._inbox.popleft()

    def _deliver(self, envelope: Envelope) -> None:
        for address, message in self._cores[envelope[0]].handle(envelope[1]):
            self._post(address, message)

    def _post(self, address: str, message: Message) -> None:
        if address == DRIVER:
            self._inbox.append(message)  # type: ignore[arg-type]  # only these go to the driver
        else:
            self._queue.append((address, message))
