"""Whether the head of the Ray cluster still answers, and which nodes will go: threads that ask.

Ray itself waits a minute for a head that is lost, and then ends the process from within, with
nothing said or kept; and it ends who is still on a node that goes. Whoever is told here has
the time to do better. Knows no Ray.

The head is called by one thread, and Ray asked for the nodes by another: Ray does not answer
while its head is lost, and whoever waits for it can not tell.
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, Protocol, Self

from actors.ray_address import probe
from actors.side_thread import SideThread

_EVERY_S: Final = 1.0
_MOST_PATIENCE_S: Final = 30.0  # Ray's own is 60 s: RAY_gcs_rpc_server_reconnect_timeout_s


class Told(Protocol):
    """Who is told; each is called in a thread of its own."""

    def fail(self, reason: str) -> None:
        """The head is lost: training can not go on. Called once."""

    def clear(self, host: str) -> None:
        """The node will go soon. Called again and again, until it is gone."""


class ClusterWatch:
    """Asks for as long as the `with` block lasts, or until the head is lost."""

    def __init__(
        self,
        head: str,
        limit_s: float,
        going: Callable[[], Iterable[str]],
        told: Told,
    ) -> None:
        """Not before the `with` block.

        Args:
            head: its HOST:PORT.
            limit_s: without an answer for so long the head is lost.
            going: the addresses of the nodes that will go: `ray drain-node`, or a cloud that
                takes them back; may raise whatever it likes, and may never return.
        """
        self._head, self._going, self._told = head, going, told
        self._limit_s = min(limit_s, _MOST_PATIENCE_S)
        self.head_is_lost = False
        self._silent_since_s: float | None = None
        self._asking = SideThread("everstep-draining")
        self._answer: Future[None] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everstep-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(_EVERY_S)  # a call to the head takes no longer
        self._asking.end(_EVERY_S)  # it may wait for an answer that never comes

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            called_s = time.monotonic()
            try:
                probe(self._head, _EVERY_S)
            except OSError as error:
                # Since it was called in vain: this process may have slept before.
                self._silent_since_s = self._silent_since_s or called_s
                if time.monotonic() - self._silent_since_s > self._limit_s:
                    self.head_is_lost = True
                    self._told.fail(_why(self._head, self._limit_s, error))
                    return
            else:
                self._silent_since_s = None
                if self._answer is None or self._answer.done():
                    self._answer = self._asking.call(self._clear)

    def _clear(self) -> None:
        with suppress(Exception):  # the next look may tell more
            for host in self._going():
                self._told.clear(host)


def _why(head: str, limit_s: float, error: OSError) -> str:
    """Why training can not go on, and what can."""
    return (
        f"the head of the Ray cluster at {head} is lost: no answer for {limit_s:g} s"
        f" ({error.strerror or error}); the training can go on in another cluster"
    )
