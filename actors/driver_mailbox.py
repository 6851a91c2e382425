"""The driver's end of the links: a thread that runs the coordinator and keeps the mail.

The coordinator must react to a death at once, also while the driver evaluates or writes a
checkpoint, so it has a thread of its own. What is for the driver waits in `inbox`.
"""

import threading
from queue import SimpleQueue
from typing import Final, cast

from actors.coordinator import Coordinator
from actors.endpoint import Address, Endpoint
from actors.messages import (
    DRIVER,
    SERVER,
    Down,
    DriverMessage,
    Failed,
    Hello,
    Message,
    NotStarted,
    Stop,
)

_WAIT_S: Final = 0.25
_JOIN_S: Final = 5.0


class DriverMailbox:
    """`start` it, `send`, read `inbox`, `stop` it."""

    def __init__(self, endpoint: Endpoint, coordinator: Coordinator) -> None:
        self.inbox: SimpleQueue[DriverMessage] = SimpleQueue()
        self.address = endpoint.address
        self._endpoint = endpoint
        self._coordinator = coordinator
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everstep-links", daemon=True)

    def start(self, server: Address, hello: Hello) -> None:
        """Link to the server, then receive in the background."""
        self._endpoint.connect(SERVER, server, hello)
        self._thread.start()

    def send(self, name: str, message: Message) -> None:
        """From any thread, without waiting."""
        self._endpoint.posts.put(name, message)

    def tell(self, message: Message) -> None:
        """Let the coordinator or the driver know something; from any thread."""
        self._endpoint.posts.put(None, message)

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
                for message in self._endpoint.receive(_WAIT_S):
                    self._handle(message)
        except Exception as error:  # whatever it is, the driver must not wait for ever
            self.inbox.put(Failed(f"the coordinator crashed: {error!r}"))
        finally:
            for name in self._endpoint.names():
                self._endpoint.send(name, Stop())
            self._endpoint.close("the driver stopped")

    def _handle(self, message: Message) -> None:
        """Who is there is the coordinator's affair; whatever else comes is the driver's."""
        if isinstance(message, Down) and self._endpoint.close_link(message.name, message.reason):
            return  # the server lost it; the end of this link follows as a Down of its own
        membership = isinstance(message, Hello | Down | NotStarted)
        envelopes = self._coordinator.handle(message) if membership else [(DRIVER, message)]
        for address, reply in envelopes:
            if address == DRIVER:
                self.inbox.put(cast(DriverMessage, reply))
            else:
                self._endpoint.send(address, reply)
