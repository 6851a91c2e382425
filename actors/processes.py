"""An actor's process: a core, a mailbox, and the loop that runs the one on the other.

Receive, handle, send, until it is told to stop or is left alone. `ray_cluster.py` starts
these processes; nothing here knows how.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from actors.cluster import one_blas_thread
from actors.cores import Core
from actors.endpoint import Address, Endpoint
from actors.messages import DRIVER, Hello, Snapshot, Weights
from actors.objectives import Objective, Optimizer, Shard
from actors.orders import CLUSTER, Connect, Leave, Message, Tick
from actors.parameter_server import ParameterServer
from actors.worker import Worker

_WAIT_S: Final = 0.05
_REASON_CHARACTERS: Final = 4000


@dataclass(frozen=True, slots=True)
class Links:
    """What an actor needs to link to others; `Endpoint` explains each."""

    key: bytes = field(repr=False)
    find_host: Callable[[], str]  # called in the actor's process
    array_bound_bytes: int
    link_timeout_s: float

    def endpoint(self, host: str | None) -> Endpoint:
        """A mailbox in this process, listening if there is a host."""
        return Endpoint(self.key, host, self.array_bound_bytes, self.link_timeout_s)


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
    ) -> None:
        self._core = ParameterServer(name, optimizer, shard_count, state, seen_step)
        self._endpoint = links.endpoint(links.find_host())
        self._hello = Hello(name, self._endpoint.address[0], os.getpid(), self._endpoint.address[1])

    def live(self, driver: Address) -> None:
        """Serve until the driver says `Stop` or is gone."""
        self._endpoint.connect(DRIVER, driver, self._hello)
        run_actor(self._core, self._endpoint)


class WorkerProcess:
    """One worker; it connects to the others, nobody connects to it."""

    def __init__(
        self,
        links: Links,
        name: str,
        objective: Objective,
        shard_count: int,
        fetch: Callable[[int], Shard],
    ) -> None:
        one_blas_thread.__enter__()  # for the life of the process
        self._hello = Hello(name, links.find_host(), os.getpid())
        self._core = Worker(self._hello, objective, shard_count, fetch, links.link_timeout_s)
        self._endpoint = links.endpoint(None)

    def live(self, driver: Address) -> None:
        """Work until the driver says `Stop` or is gone; the driver tells where the server is."""
        self._endpoint.connect(DRIVER, driver, self._hello)
        run_actor(self._core, self._endpoint)


def send_signal(process_id: int, number: int) -> bool:
    """Send a signal to a process of this host. False: there is no such process."""
    try:
        os.kill(process_id, number)
    except ProcessLookupError:
        return False
    return True


def run_actor(core: Core, endpoint: Endpoint, clock: Callable[[], float] = time.monotonic) -> None:
    """Run the core until it wants to leave.

    An exception ends the actor; its peers get it as the reason, with its traceback.
    """
    reason = "left in order"
    try:
        while True:
            received = endpoint.receive(_WAIT_S)
            for message in [Tick(clock()), *without_old_weights(received)]:
                for address, reply in core.handle(message):
                    if address != CLUSTER:
                        endpoint.send(address, reply)
                    elif isinstance(reply, Connect):
                        endpoint.connect(reply.name, (reply.host, reply.port), reply.hello)
                    elif isinstance(reply, Leave):
                        reason = reply.reason
                        return
    except BaseException:
        reason = traceback.format_exc()[-_REASON_CHARACTERS:].strip()
        raise
    finally:
        endpoint.close(reason)


def without_old_weights(messages: Iterable[Message]) -> list[Message]:
    """All messages, but of the weights only the last: who slept need not do old steps."""
    kept: list[Message] = []
    seen = False
    for message in reversed([*messages]):
        if not (isinstance(message, Weights) and seen):
            kept.append(message)
        seen = seen or isinstance(message, Weights)
    return kept[::-1]
