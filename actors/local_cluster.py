"""The shell in one process and one thread: messages wait in a queue, nothing is copied.

The reference for every other shell, and the fast way to run small jobs. A core's exception
is the caller's: with everything in one process there is nobody left to carry on.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Self, cast

from actors.cluster import Heard, Job, one_blas_thread
from actors.coordinator import Coordinator
from actors.cores import make_core
from actors.errors import ClusterError
from actors.messages import DRIVER, SERVER, Hello, Late, RunEpoch, TakeSnapshot
from actors.orders import (
    CLUSTER,
    Begin,
    Connect,
    DriverMessage,
    Envelope,
    Message,
    Start,
    Tick,
)
from actors.parameter_server import ParameterServer
from actors.supervisor import Crew
from actors.worker import Worker

_COORDINATOR = "coordinator"
_TICK_EVERY = 64  # messages


class LocalCluster:
    """One server, `worker_count` workers and a coordinator, called in turn."""

    def __init__(
        self, job: Job, worker_count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._job, self._clock = job, clock
        self._queue: deque[Envelope] = deque()
        self._inbox: deque[Heard] = deque()
        crew = Crew(worker_count, worker_count)
        self._cores: dict[str, Coordinator | ParameterServer | Worker] = {
            _COORDINATOR: Coordinator(crew, len(job.shards), job.state)
        }

    def __enter__(self) -> Self:
        one_blas_thread.__enter__()
        self._queue.append((_COORDINATOR, Begin()))
        return self

    def __exit__(self, *error: object) -> None:
        one_blas_thread.__exit__(*error)

    def run_epoch(self, epoch: RunEpoch) -> None:
        self._queue.append((_COORDINATOR, epoch))

    def take_snapshot(self) -> None:
        self._queue.append((_COORDINATOR, TakeSnapshot()))

    def signal(self, name: str, number: int) -> bool:  # noqa: ARG002
        """The actors have no processes of their own."""
        return False

    def receive(self, timeout_s: float | None = None) -> Heard | None:
        until_s = None if timeout_s is None else self._clock() + timeout_s
        while not self._inbox:
            if until_s is not None and self._clock() >= until_s:
                return None
            if not self._queue:
                raise ClusterError("local cluster: no message is left and the driver waits")
            now_s = self._clock()
            for name in (_COORDINATOR, SERVER):
                self._deliver(name, Tick(now_s))
            for _ in range(min(len(self._queue), _TICK_EVERY)):
                self._deliver(*self._queue.popleft())
        return self._inbox.popleft()

    def _deliver(self, receiver: str, message: Message) -> None:
        if (core := self._cores.get(receiver)) is None:
            return
        for address, reply in core.handle(message):
            self._post(receiver, address, reply)

    def _post(self, sender: str, address: str, message: Message) -> None:
        match message:
            case Start() | Connect() if address == CLUSTER:
                self._obey(message)
            case Late():
                pass  # one thread: nobody else would be sooner
            case _ if address == DRIVER and sender == _COORDINATOR:
                self._inbox.append(Heard(self._clock(), cast(DriverMessage, message)))
            case _:
                self._queue.append((_COORDINATOR if address == DRIVER else address, message))

    def _obey(self, order: Start | Connect) -> None:
        """Start an actor, or link one to the server: a Hello does it."""
        if isinstance(order, Connect):
            self._queue.append((order.name, order.hello))
            return
        hello = Hello(order.name, "localhost", os.getpid(), port=1)  # any but 0: it listens
        self._cores[order.name] = make_core(self._job, order, hello)
        self._queue.append((_COORDINATOR, hello))
