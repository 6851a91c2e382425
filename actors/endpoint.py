"""An actor's mailbox: its links, the port it listens on, and the wait for what comes.

Single-threaded: `receive` waits on all links at once and gives messages in the order in
which they became whole. A broken link is a `Down`, at once. Other threads have `posts`.
"""

import errno
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final, cast

from actors.addresses import ANY_PORT, Address, Doors, Ports, call, listeners
from actors.buffers import ArrayPool
from actors.errors import EverstepError, LendingError, LinkError
from actors.handshake import Role
from actors.links import Link
from actors.messages import Exit, Hello, RemoteMessage
from actors.orders import Down, Message
from actors.posts import Posts
from actors.refusals import Refusals
from actors.shared_memory import MOST_SLOTS, SharedPool

_STRANGERS: Final = 64  # connections that have not yet said who they are
_CHECK_EVERY_S: Final = 0.25
_PATIENCE: Final = 4  # a fourth of the link timeout is enough to connect


class Endpoint:
    """Sends to and receives from other actors by name."""

    def __init__(
        self,
        key: bytes,
        host: str | None,
        array_bound_bytes: int,
        link_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        share_memory: bool = True,
        ports: Ports = ANY_PORT,
    ) -> None:
        """Open the mailbox.

        Args:
            key: the run's secret; who does not hold it is refused.
            host: listen on one of its `ports` that is free; None: nobody connects to this actor.
            array_bound_bytes: the most that one frame's arrays may take.
            link_timeout_s: a peer that takes nothing, or proves nothing, for so long is `Down`.
            share_memory: with processes of the same host; else everything goes over TCP.
        """
        self._key = key
        self._array_bound_bytes = array_bound_bytes
        self._link_timeout_s = link_timeout_s
        self._clock = clock
        self._pool = SharedPool(MOST_SLOTS if share_memory else 0)
        self._share_memory = share_memory
        self._named: dict[str, Link] = {}
        self._strangers: dict[Link, None] = {}
        self._inbox: list[Message] = []
        self._refusals = Refusals()
        self._checked_s = clock()
        self._closed = False
        self._selector = selectors.DefaultSelector()
        self.posts = Posts()  # other threads may put something in
        self._selector.register(self.posts.receiver, selectors.EVENT_READ, self._take_posts)
        doors = [] if host is None else listeners(key, host, share_memory, ports)
        self._doors = Doors(doors, self._selector, self._accept)

    @property
    def pool(self) -> ArrayPool:
        """Leases for what is sent; what was received lay in it too."""
        return self._pool

    @property
    def address(self) -> Address:
        """Where others connect to."""
        return self._doors.address

    def connect(self, name: str, address: Address, hello: Hello) -> None:
        """Open a link to `name`, in place of an older one; failure comes as a `Down`."""
        if (older := self._named.pop(name, None)) is not None:
            self._close(older, "another link takes its place")
        try:
            patience_s = self._link_timeout_s / _PATIENCE
            connection = call(self._key, address, patience_s, self._share_memory)
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
        except OSError as error:
            self._serve(link)  # its last words may be there
            # A frame may be cut: nothing may follow it.
            self._broken(link, error)
        else:
            self._watch(link)

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
        """Say why to all peers, write what is queued unless one takes none for `flush_s`, close."""
        if self._closed:
            return
        self._closed = True
        for name in self.names():
            self.send(name, Exit(reason))
        began_s = self._clock()
        while any(link.is_flushing(began_s, self._clock(), flush_s) for link in self._links()):
            self.receive(flush_s)
        for link in list(self._links()):
            self._close(link, reason)
        self._selector.close()
        self.posts.close()
        self._doors.close()

    def close_link(self, name: str, reason: str) -> bool:
        """Close the link to `name`: it is `Down`. False when there is none."""
        if (link := self._named.get(name)) is None:
            return False
        self._close(link, reason)
        return True

    def names(self) -> list[str]:
        """Whom this actor is linked to."""
        return list(self._named)

    def _links(self) -> Iterable[Link]:
        return {**self._strangers, **dict.fromkeys(self._named.values())}

    def _accept(self, connection: socket.socket) -> None:
        while len(self._strangers) >= _STRANGERS:
            self._close(next(iter(self._strangers)), "too many strangers")
        link = self._open(connection, "acceptor", None)
        self._strangers[link] = None
        self._serve(link)

    def _open(self, connection: socket.socket, role: Role, name: str | None) -> Link:
        link = Link(connection, self._key, role, self._pool, self._clock(), name)
        link.set_options(self._link_timeout_s)
        self._selector.register(connection, selectors.EVENT_READ, link)
        return link

    def _take_posts(self) -> None:
        for name, message in self.posts.take():
            if name is None:
                self._inbox.append(message)
            else:
                self.send(name, message)

    def _serve(self, link: Link) -> None:
        """Read, then write what is possible; whatever ends the link says why."""
        try:
            for message in link.receive(self._clock()):
                self._take(link, message)
            link.flush(self._clock())
        except (OSError, EverstepError) as error:
            self._broken(link, error)
        else:
            self._watch(link)

    def _broken(self, link: Link, error: Exception) -> None:
        """Its link is over. Where memory can not be lent, the next one is without."""
        if isinstance(error, LendingError) or getattr(error, "errno", 0) == errno.ETOOMANYREFS:
            self._share_memory = False
            self._doors.close_local()
        self._close(link, link.exit_reason or _reason(error))

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
        self.close_link(message.name, "the same name linked again")
        del self._strangers[link]
        link.name = message.name
        link.allow_arrays(self._array_bound_bytes)
        self._named[message.name] = link

    def _close(self, link: Link, reason: str) -> None:
        if link.connection.fileno() < 0:
            return
        self._selector.unregister(link.connection)
        link.close()
        if link in self._strangers:
            del self._strangers[link]
            self._refusals.add(reason)
        if link.name is not None and self._named.get(link.name) is link:
            del self._named[link.name]
            self._inbox.append(Down(link.name, reason))

    def _watch(self, link: Link) -> None:
        """Wait for room to write only while something waits to be written."""
        waits = link.waiting_since_s is not None
        if waits != link.watched_for_room and link.connection.fileno() >= 0:
            link.watched_for_room = waits
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
            self._selector.modify(link.connection, events, link)

    def _check_times(self) -> None:
        """Whoever accepts nothing, or does not say who it is, for too long is closed."""
        now_s = self._clock()
        if now_s - self._checked_s < _CHECK_EVERY_S:
            return
        self._checked_s = now_s
        self._inbox += self._refusals.report(now_s)
        limit_s = self._link_timeout_s
        for link in list(self._links()):
            since_s = link.waiting_since_s
            if since_s is not None and now_s - since_s > limit_s:
                self._close(link, f"accepted nothing for {limit_s:g} s")
            elif not (link.proven and link.name) and now_s - link.opened_s > limit_s:
                self._close(link, f"did not prove who it is for {limit_s:g} s")
            elif link.give_back():
                self._serve(link)
        self._doors.open()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"connection broken: {error.strerror or error}"
    return str(error)
