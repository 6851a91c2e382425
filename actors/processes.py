"""An actor's process: a core, a mailbox, and the loop that runs the one on the other.

Receive, handle, send, until it is told to stop or is left alone. `ray_cluster.py` starts
these processes; nothing here knows how.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from actors.addresses import ANY_PORT, Address, Ports
from actors.arithmetic import arithmetic_here
from actors.cluster import one_blas_thread
from actors.cores import Core
from actors.endpoint import Endpoint
from actors.finite import numbers_may_overflow
from actors.last_words import last_words
from actors.messages import DRIVER, Hello, Snapshot, Weights
from actors.objectives import Objective, Optimizer, Shard
from actors.orders import CLUSTER, Connect, Leave, Message, Tick
from actors.parameter_server import ParameterServer
from actors.profiling import Mailbox, observed, profiled_optimizer
from actors.stopwatch import Stopwatch
from actors.worker import Worker

_WAIT_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Links:
    """What an actor needs to link to others; `Endpoint` explains each."""

    key: bytes = field(repr=False)
    find_host: Callable[[], str]  # called in the actor's process
    array_bound_bytes: int
    link_timeout_s: float
    share_memory: bool = True
    ports: Ports = ANY_PORT

    def endpoint(self, host: str | None) -> Endpoint:
        """A mailbox in this process, listening if there is a host."""
        return Endpoint(
            self.key,
            host,
            self.array_bound_bytes,
            self.link_timeout_s,
            share_memory=self.share_memory,
            ports=self.ports,
        )


class ServerProcess:
    """The parameter server, with a port that the workers connect to."""

    def __init__(
        self,
        links: Links,
        name: str,
        optimizer: Optimizer,
        shard_count: int,
        state: Snapshot,
        seen_step: int,
        profile: bool,
    ) -> None:
        one_blas_thread.__enter__()  # for the life of the process
        watch = Stopwatch(name) if profile else None
        optimizer = profiled_optimizer(optimizer, watch)
        self._endpoint = links.endpoint(links.find_host())
        pool = self._endpoint.pool
        core = ParameterServer(name, optimizer, shard_count, state, seen_step, pool)
        self._core, self._mailbox = observed(name, core, self._endpoint, watch)
        host, port = self._endpoint.address
        self._hello = Hello(name, host, os.getpid(), port, arithmetic=arithmetic_here())

    def live(self, driver: Address) -> None:
        """Serve until the driver says `Stop` or is gone."""
        self._endpoint.connect(DRIVER, driver, self._hello)
        run_actor(self._core, self._mailbox)


class WorkerProcess:
    """One worker; it connects to the others, nobody connects to it."""

    def __init__(
        self,
        links: Links,
        name: str,
        objective: Objective,
        shard_count: int,
        fetch: Callable[[int], Shard],
        profile: bool,
    ) -> None:
        one_blas_thread.__enter__()  # for the life of the process
        host = links.find_host()
        self._hello = Hello(name, host, os.getpid(), arithmetic=arithmetic_here())
        self._endpoint = links.endpoint(None)
        limit_s, pool = links.link_timeout_s, self._endpoint.pool
        core = Worker(self._hello, objective, shard_count, fetch, limit_s, pool)
        watch = Stopwatch(name) if profile else None
        self._core, self._mailbox = observed(name, core, self._endpoint, watch)

    def live(self, driver: Address) -> None:
        """Work until the driver says `Stop` or is gone; the driver tells where the server is."""
        self._endpoint.connect(DRIVER, driver, self._hello)
        run_actor(self._core, self._mailbox)


def send_signal(process_id: int, number: int) -> bool:
    """Send a signal to a process of this host. False: there is no such process."""
    try:
        os.kill(process_id, number)
    except ProcessLookupError:
        return False
    return True


def run_actor(core: Core, endpoint: Mailbox, clock: Callable[[], float] = time.monotonic) -> None:
    """Run the core until it wants to leave.

    An exception ends the actor; its peers get it as the reason, with its traceback.
    """
    reason: str | None = None
    try:
        with numbers_may_overflow():
            while reason is None:
                reason = _handle(
                    core, endpoint, without_old_weights(endpoint.receive(_WAIT_S)), clock()
                )
    except BaseException as error:
        reason = last_words(error)
        raise
    finally:
        endpoint.close(reason or "left in order")


def _handle(core: Core, endpoint: Mailbox, messages: deque[Message], now_s: float) -> str | None:
    """One round of the core; why it leaves, if it does.

    No message is held after the core has had it: its array may go back to who lent it.
    """
    messages.appendleft(Tick(now_s))
    while messages:
        for address, reply in core.handle(messages.popleft()):
            if address != CLUSTER:
                endpoint.send(address, reply)
            elif isinstance(reply, Connect):
                endpoint.connect(reply.name, (reply.host, reply.port), reply.hello)
            elif isinstance(reply, Leave):
                return reply.reason
    return None


def without_old_weights(messages: Iterable[Message]) -> deque[Message]:
    """All messages, but of the weights only the last: who slept need not do old steps."""
    kept: deque[Message] = deque()
    seen = False
    for message in reversed([*messages]):
        if not (isinstance(message, Weights) and seen):
            kept.appendleft(message)
        seen = seen or isinstance(message, Weights)
    return kept
