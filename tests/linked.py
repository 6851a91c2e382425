"""Endpoints on loopback that are linked, and a clock that a test turns."""

from collections.abc import Callable

from actors.endpoint import Endpoint
from actors.handshake import new_key
from actors.orders import Message
from tests.toys import hello

KEY = new_key()
BOUND = 1 << 24


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def exchange(
    *endpoints: Endpoint, until: Callable[[list[list[Message]]], bool]
) -> list[list[Message]]:
    """Let the endpoints receive in turn until the condition holds, or the test's time is up."""
    received: list[list[Message]] = [[] for _ in endpoints]
    while not until(received):
        for inbox, one in zip(received, endpoints, strict=True):
            inbox.extend(one.receive(0.01))
    return received


def linked(endpoint: Callable[..., Endpoint]) -> tuple[Endpoint, Endpoint]:
    """A server and a worker that is linked to it."""
    server, worker = endpoint(), endpoint()
    worker.connect("server", server.address, hello("worker-0"))
    exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    return server, worker
