"""An actor's mailbox: its links, the port it listens on, and the wait for what comes.

Single-threaded: `receive` waits on all links at once and gives messages in the order in
which they became whole. A broken link is a `Down`, at once. The one method that another
thread may call is `post`.
"""

import selectors
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, cast

from actors.buffers import ArrayPool
from actors.errors import EverstepError, LinkError
from actors.handshake import Role
from actors.links import Link
from actors.messages import Down, Exit, Hello, Message, RemoteMessage

Address = tuple[str, int]

_STRANGERS: Final = 64  # connections that have not yet said who they are
_HANDSHAKE_S: Final = 5.0
_CHECK_EVERY_S: Final = 0.25


class Endpoint:
    """Sends to and receives from other actors by name."""

    def __init__(
        self,
        key: bytes,
        host: str,
        array_bound_bytes: int,
        link_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listen on a free port of `host`.

        Args:
            key: the run's secret; who does not hold it is refused.
            array_bound_bytes: the most that one frame's arrays may take.
            link_timeout_s: a peer that accepts nothing for so long is `Down`.
        """
        self._key = key
        self._array_bound_bytes = array_bound_bytes
        self._link_timeout_s = link_timeout_s
        self._clock = clock
        self._pool = ArrayPool()
        self._named: dict[str, Link] = {}
        self._strangers: dict[Link, None] = {}
        self._inbox: list[Message] = []
        self._posts: SimpleQueue[tuple[str, Message]] = SimpleQueue()
        self._checked_s = clock()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server((host, 0), backlog=128)
        self._listener.setblocking(False)
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._take_posts)

    @property
    def address(self) -> Address:
        """Where others connect to."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    def connect(self, name: str, address: Address, hello: Hello) -> None:
        """Open a link to `name` and say `hello`; failure comes as a `Down`."""
        try:
            connection = socket.create_connection(address, timeout=self._link_timeout_s)
        except OSError as error:
            self._inbox.append(Down(name, f"can not connect to {address[0]}:{address[1]}: {error}"))
            return
        link = self._open(connection, "connector", name)
        link.allow_arrays(self._array_bound_bytes)
        self._named[name] = link
        self.send(name, hello)

    def send(self, name: str, message: Message) -> None:
        """Send without waiting. To a name that has no link: nothing happens, as in Erlang."""
        if (link := self._named.get(name)) is None:
            return
        try:
            link.send(message, self._clock())
        except OSError:
            link.forget_outgoing()
            self._serve(link)  # its last words may be there, then the end of the stream
        else:
            self._watch(link)

    def post(self, name: str, message: Message) -> None:
        """`send`, for another thread than the one that receives."""
        self._posts.put((name, message))
        self.wake()

    def wake(self) -> None:
        """Make `receive` return early; from another thread."""
        with suppress(BlockingIOError):  # then enough wake-ups are on their way
            self._wake_sender.send(b"\0")

    def receive(self, timeout_s: float) -> list[Message]:
        """What came, waiting at most `timeout_s`; empty when nothing did."""
        if not self._inbox:
            for key, _ in self._selector.select(min(timeout_s, _CHECK_EVERY_S)):
                if isinstance(key.data, Link):
                    self._serve(key.data)
                else:
                    cast(Callable[[], None], key.data)()
        self._check_times()
        received, self._inbox = self._inbox, []
        return received

    def close(self, reason: str, flush_s: float = 1.0) -> None:
        """Say why to all peers, write what is queued for at most `flush_s`, close all links."""
        for name in self.names():
            self.send(name, Exit(reason))
        until_s = self._clock() + flush_s
        while any(self._is_waiting(link) for link in self._links()) and self._clock() < until_s:
            self.receive(until_s - self._clock())
        for link in list(self._links()):
            self._close(link, reason)
        for opened in (self._selector, self._listener, self._wake_receiver, self._wake_sender):
            opened.close()

    def names(self) -> list[str]:
        """Whom this actor is linked to."""
        return list(self._named)

    def drop(self, name: str, reason: str) -> None:
        """Close the link to `name`; it is `Down`."""
        if (link := self._named.get(name)) is not None:
            self._close(link, reason)

    def _links(self) -> Iterable[Link]:
        return {**self._strangers, **dict.fromkeys(self._named.values())}

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # gone before it was accepted
        while len(self._strangers) >= _STRANGERS:
            self._close(next(iter(self._strangers)), "too many strangers")
        self._strangers[self._open(connection, "acceptor", None)] = None

    def _open(self, connection: socket.socket, role: Role, name: str | None) -> Link:
        link = Link(connection, self._key, role, self._pool, self._clock(), name)
        self._selector.register(connection, selectors.EVENT_READ, link)
        self._watch(link)
        return link

    def _take_posts(self) -> None:
        self._wake_receiver.recv(4096)
        while True:
            try:
                self.send(*self._posts.get_nowait())
            except Empty:
                return

    def _serve(self, link: Link) -> None:
        """Write and read what is possible; whatever ends the link says why."""
        try:
            link.flush(self._clock())
            for message in link.receive(self._clock()):
                self._take(link, message)
        except (OSError, EverstepError) as error:
            self._close(link, _reason(error))
        else:
            self._watch(link)

    def _take(self, link: Link, message: RemoteMessage) -> None:
        if isinstance(message, Exit):
            link.exit_reason = message.reason
            return
        if link.name is None:
            self._introduce(link, message)
        self._inbox.append(message)

    def _introduce(self, link: Link, message: RemoteMessage) -> None:
        """A stranger's first message is its `Hello`. An older link of that name is over."""
        if not isinstance(message, Hello):
            raise LinkError(f"link: the first message is {type(message).__name__}, not Hello")
        self.drop(message.name, "the same name linked again")
        del self._strangers[link]
        link.name = message.name
        link.allow_arrays(self._array_bound_bytes)
        self._named[message.name] = link

    def _close(self, link: Link, reason: str) -> None:
        if link.connection.fileno() < 0:
            return
        self._selector.unregister(link.connection)
        link.connection.close()
        self._strangers.pop(link, None)
        if link.name is not None and self._named.get(link.name) is link:
            del self._named[link.name]
            self._inbox.append(Down(link.name, reason))

    def _watch(self, link: Link) -> None:
        """Wait for room to write only while something waits to be written."""
        if link.connection.fileno() < 0:
            return
        events = selectors.EVENT_READ
        if link.waiting_since_s is not None:
            events |= selectors.EVENT_WRITE
        if self._selector.get_key(link.connection).events != events:
            self._selector.modify(link.connection, events, link)

    def _is_waiting(self, link: Link) -> bool:
        return link.waiting_since_s is not None

    def _check_times(self) -> None:
        """Whoever accepts nothing, or does not say who it is, for too long is closed."""
        now_s = self._clock()
        if now_s - self._checked_s < _CHECK_EVERY_S:
            return
        self._checked_s = now_s
        for link in list(self._links()):
            since_s = link.waiting_since_s
            if since_s is not None and now_s - since_s > self._link_timeout_s:
                self._close(link, f"accepted nothing for {self._link_timeout_s:g} s")
            elif link.name is None and now_s - link.opened_s > _HANDSHAKE_S:
                self._close(link, f"did not say who it is for {_HANDSHAKE_S:g} s")
            elif not link.proven and now_s - link.opened_s > _HANDSHAKE_S:
                self._close(link, f"did not prove the key for {_HANDSHAKE_S:g} s")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"connection broken: {error.strerror or error}"
    return str(error)
