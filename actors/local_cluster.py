"""The shell in one process and one thread: messages wait in a queue, nothing is copied.

The reference for every other shell, and the fast way to run small jobs. A core's exception
ends the training: with everything in one process there is nobody left to carry on.
"""

import math
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Self, cast

from actors.arithmetic import arithmetic_here
from actors.cluster import Heard, Job, one_blas_thread
from actors.coordinator import Coordinator
from actors.cores import Core, make_core
from actors.errors import ClusterError, EverstepError
from actors.finite import numbers_may_overflow
from actors.last_words import last_words
from actors.likeness import Likeness
from actors.messages import (
    DRIVER,
    SERVER,
    Hello,
    Late,
    RunEpoch,
    TakeSnapshot,
    TakeTimes,
    Weights,
)
from actors.orders import (
    CLUSTER,
    Begin,
    Connect,
    DriverMessage,
    Envelope,
    Failed,
    Message,
    Start,
    Tick,
)
from actors.profiling import profiled_core
from actors.supervisor import Crew

_COORDINATOR = "coordinator"
_TICK_EVERY_S = 0.01


class LocalCluster:
    """One server, `worker_count` workers and a coordinator, called in turn."""

    def __init__(
        self, job: Job, worker_count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._job, self._clock = job, clock
        self._ticked_s = -math.inf
        self._step = job.state.step  # the running one's number, from 0
        self._queue: deque[Envelope] = deque()
        self._inbox: deque[Heard] = deque()
        crew = Crew(worker_count, worker_count)
        coordinator = Coordinator(crew, len(job.shards), job.state, Likeness(job.rounding))
        self._cores: dict[str, Core] = {_COORDINATOR: coordinator}

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

    def take_times(self) -> list[str]:
        names = [name for name in self._cores if name != _COORDINATOR and self._job.profile]
        self._queue.extend((name, TakeTimes()) for name in names)
        return names

    def signal(self, name: str, number: int) -> bool:  # noqa: ARG002
        """The actors have no processes of their own."""
        return False

    def receive(self, timeout_s: float | None = None) -> Heard | None:
        until_s = math.inf if timeout_s is None else self._clock() + timeout_s
        with numbers_may_overflow():
            while not self._inbox:
                if (now_s := self._clock()) >= until_s:
                    return None
                if not self._queue:
                    raise ClusterError("local cluster: no message is left and the driver waits")
                if now_s - self._ticked_s >= _TICK_EVERY_S:
                    self._tick(now_s)
                self._deliver(*self._queue.popleft())
        return self._inbox.popleft()

    def _tick(self, now_s: float) -> None:
        self._ticked_s = now_s
        for name in (_COORDINATOR, SERVER):
            self._deliver(name, Tick(now_s))

    def _deliver(self, receiver: str, message: Message) -> None:
        if (core := self._cores.get(receiver)) is None:
            return
        if isinstance(message, Weights):
            self._step = message.step
        try:
            replies = core.handle(message)
        except EverstepError:
            raise  # says what, where and how to mend
        except Exception as error:
            self._fail(receiver, error)
            return
        for address, reply in replies:
            if address in self._cores:
                self._queue.append((address, reply))
            else:
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

    def _fail(self, name: str, error: Exception) -> None:
        """As a supervisor that may restart nobody."""
        where = f"{name} failed in step {self._step + 1}, and in one process nobody takes its place"
        reason = f"{where}; the cause: {last_words(error)}"
        self._inbox.append(Heard(self._clock(), Failed(reason, step=self._step)))

    def _obey(self, order: Start | Connect) -> None:
        """Start an actor, or link one to the server: a Hello does it."""
        if isinstance(order, Connect):
            self._queue.append((order.name, order.hello))
            return
        # Any port but 0: it listens.
        hello = Hello(order.name, "localhost", os.getpid(), 1, arithmetic=arithmetic_here())
        if self._job.profile:
            self._cores[order.name] = profiled_core(self._job, order, hello, self._clock)
        else:
            self._cores[order.name] = make_core(self._job, order, hello)
        self._queue.append((_COORDINATOR, hello))
