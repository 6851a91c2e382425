"""The driver's end of the links: a thread that runs the coordinator and keeps the mail.

The coordinator must react to a death at once, also while the driver evaluates or writes a
checkpoint, so it has a thread of its own. What is for the driver waits in `inbox`.
"""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, cast

from actors.cluster import Heard
from actors.coordinator import Coordinator
from actors.endpoint import Endpoint
from actors.messages import DRIVER, SERVER, HandOver, Stop, TakeTimes
from actors.names import slot_of
from actors.orders import (
    CLUSTER,
    Begin,
    Died,
    Down,
    DriverMessage,
    Envelope,
    Failed,
    Joined,
    Kill,
    Message,
    Order,
    Tick,
)

_WAIT_S: Final = 0.25
_JOIN_S: Final = 5.0


class DriverMailbox:
    """`start` it, `tell` the coordinator, read `inbox`, `stop` it."""

    def __init__(
        self,
        endpoint: Endpoint,
        coordinator: Coordinator,
        obey: Callable[[Order], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`obey` is given the coordinator's orders, in this mailbox's thread; it must not wait."""
        self.inbox: SimpleQueue[Heard] = SimpleQueue()
        self.address = endpoint.address
        self.processes: dict[str, Joined] = {}  # of all living actors
        self._endpoint = endpoint
        self._coordinator = coordinator
        self._obey = obey
        self._clock = clock
        self._leaving: dict[str, str] = {}  # who was told to, and why
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everstep-links", daemon=True)

    def start(self) -> None:
        """Let the coordinator begin, in the background."""
        self.tell(Begin())
        self._thread.start()

    def tell(self, message: Message) -> None:
        """Let the coordinator know something; from any thread, without waiting."""
        self._endpoint.posts.put(None, message)

    def fail(self, reason: str) -> None:
        """The cluster is lost, and training can not go on in it; from any thread."""
        self._put(Failed(reason, cluster_is_lost=True))

    def clear(self, host: str) -> None:
        """Its node will go: whoever is there leaves in order before; from any thread."""
        for name, process in [*self.processes.items()]:
            if process.host == host and name not in self._leaving:
                self._leaving[name] = f"its node {host} is drained"
                self._endpoint.posts.put(name, HandOver() if slot_of(name) == SERVER else Stop())

    def take_times(self) -> list[str]:
        """Ask every living actor for its `Times`; from any thread, without waiting."""
        names = [*self.processes]
        for name in names:
            self._endpoint.posts.put(name, TakeTimes())
        return names

    def stop(self) -> None:
        """Tell all actors to stop and close the links; deaths no longer count."""
        self._stopping.set()
        if self._thread.is_alive():
            self._endpoint.posts.wake()
            self._thread.join(_JOIN_S)
        else:  # it was never started
            self._endpoint.close("the driver stopped")

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                received = self._endpoint.receive(_WAIT_S)
                for message in [Tick(self._clock()), *received]:
                    for envelope in self._coordinator.handle(self._explained(message)):
                        self._deliver(envelope)
        except Exception as error:  # whatever it is, the driver must not wait for ever
            self._put(Failed(f"the coordinator crashed: {error!r}"))
        finally:
            for name in self._endpoint.names():
                self._endpoint.send(name, Stop())
            self._endpoint.close("the driver stopped")

    def _explained(self, message: Message) -> Message:
        """Why somebody left whom this side told to."""
        if isinstance(message, Down) and (why := self._leaving.get(message.name)):
            return Down(message.name, f"{message.reason}, because {why}")
        return message

    def _deliver(self, envelope: Envelope) -> None:
        address, message = envelope
        if address == DRIVER:
            self._put(cast(DriverMessage, message))
        elif address == CLUSTER:
            order = cast(Order, message)
            if isinstance(order, Kill) and not self._endpoint.close_link(order.name, "killed"):
                self.processes.pop(order.name, None)  # over: its number may be another's by now
            self._obey(order)
        else:
            self._endpoint.send(address, message)

    def _put(self, message: DriverMessage) -> None:
        if isinstance(message, Joined):
            self.processes[message.name] = message
        elif isinstance(message, Died):
            self.processes.pop(message.name, None)
        self.inbox.put(Heard(self._clock(), message))
