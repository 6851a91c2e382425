"""An actor's process: a core, a mailbox, and the loop that runs the one on the other.

Receive, handle, send, until it is told to stop or is left alone. `ray_cluster.py` starts
these processes; nothing here knows how.
"""

import os
import time
import traceback
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple, Protocol

from actors.cluster import one_blas_thread
from actors.endpoint import Address, Endpoint
from actors.messages import DRIVER, SERVER, Down, Envelope, Hello, Message, Stop, Tick
from actors.objectives import Objective, Shard
from actors.parameter_server import ParameterServer
from actors.worker import Worker

_WAIT_S: Final = 0.25
_REASON_CHARACTERS: Final = 4000


class Links(NamedTuple):
    """What an actor needs to link to others; `Endpoint` explains each."""

    key: bytes
    find_host: Callable[[], str]  # called in the actor's process
    array_bound_bytes: int
    link_timeout_s: float

    def endpoint(self, host: str | None) -> Endpoint:
        """A mailbox in this process, listening if there is a host."""
        return Endpoint(self.key, host, self.array_bound_bytes, self.link_timeout_s)


class ServerProcess:
    """The parameter server, with a port that the others connect to."""

    def __init__(self, links: Links, *state: Any) -> None:
        """`state` is what `ParameterServer` takes."""
        self._core = ParameterServer(*state)
        self._endpoint = links.endpoint(links.find_host())

    def address(self) -> Address:
        """Where the others connect to."""
        return self._endpoint.address

    def live(self) -> None:
        """Serve until the driver says `Stop` or is gone."""
        run_actor(self._core, self._endpoint, linked=[DRIVER])


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
        self._core = Worker(objective, shard_count, fetch)
        self._hello = Hello(name, links.find_host(), os.getpid())
        self._endpoint = links.endpoint(None)

    def live(self, server: Address, driver: Address) -> None:
        """Work until the driver says `Stop`, or until the driver or the server is gone."""
        self._endpoint.connect(DRIVER, driver, self._hello)
        self._endpoint.connect(SERVER, server, self._hello)
        run_actor(self._core, self._endpoint, linked=[SERVER, DRIVER])


class Core(Protocol):
    """A functional core: a message in, messages out, no I/O."""

    def handle(self, message: Message) -> list[Envelope]: ...


def run_actor(
    core: Core,
    endpoint: Endpoint,
    linked: Collection[str],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run the core until `Stop`, or until one of `linked` is down: then the actor leaves too.

    An exception ends the actor; its peers get it as the reason, with its traceback.
    """
    reason = "left in order"
    try:
        while True:
            messages = endpoint.receive(_WAIT_S)
            _handle(core, endpoint, Tick(clock()))
            for message in messages:
                if isinstance(message, Stop):
                    return
                if isinstance(message, Down) and message.name in linked:
                    reason = f"left, because {message.name} is down: {message.reason}"
                    return
                _handle(core, endpoint, message)
    except BaseException:
        reason = traceback.format_exc()[-_REASON_CHARACTERS:].strip()
        raise
    finally:
        endpoint.close(reason)


def _handle(core: Core, endpoint: Endpoint, message: Message) -> None:
    for address, reply in core.handle(message):
        endpoint.send(address, reply)
