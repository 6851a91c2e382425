"""One link: an authenticated TCP connection with a queue each way, and no thread.

A link never blocks. Sending queues memory and writes what the kernel takes; receiving
fills the decoder's memory. Until the peer has proven the run's key, nothing of it is
parsed. Next: `endpoint.py`, which holds an actor's links and waits on them.
"""

import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from actors.buffers import ArrayPool
from actors.errors import LinkError
from actors.handshake import Handshake, Role
from actors.messages import RemoteMessage, Weights
from actors.orders import Message
from actors.wire import Decoder, encode

Bytes = bytes | memoryview

_PIECES_PER_WRITE: Final = 64


class Link:
    """What one connection needs to know; `LinkError`, `WireError`, `OSError` mean it is over."""

    def __init__(
        self,
        connection: socket.socket,
        key: bytes,
        role: Role,
        pool: ArrayPool,
        now_s: float,
        name: str | None = None,
    ) -> None:
        """`name` is the peer's, when this side knows whom it called."""
        connection.setblocking(False)
        self.connection = connection
        self.name = name
        self.opened_s = now_s
        self.waiting_since_s: float | None = None  # the peer accepts nothing since then
        self.exit_reason: str | None = None
        self._outgoing: deque[Bytes] = deque()
        self._held: deque[Message] = deque()  # until the peer is proven, and takes what is sent
        self._decoder = Decoder(0, pool)
        self._handshake = Handshake(key, role, self._outgoing.append)

    @property
    def proven(self) -> bool:
        """The peer holds the run's key."""
        return self._handshake.done

    @property
    def pending(self) -> bool:
        """Something waits to be written, or for the peer to prove itself."""
        return bool(self._outgoing or self._held)

    def set_options(self, timeout_s: float) -> None:
        """Send at once, and notice a host that is gone without a word."""
        limit_s = max(1, int(timeout_s))
        with suppress(OSError):  # the link may be reset already; then reading says so
            for level, option, value in (
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limit_s),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, limit_s),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 1),
                (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * limit_s),
            ):
                self.connection.setsockopt(level, option, value)

    def allow_arrays(self, bound_bytes: int) -> None:
        """The peer is known: frames may hold arrays up to the bound."""
        self._decoder.array_bound_bytes = bound_bytes

    def send(self, message: Message, now_s: float) -> None:
        """Queue the message and write what goes without waiting.

        Of weights only the newest wait: a peer that is slow or stopped costs no more memory.
        """
        if isinstance(message, Weights) and self._held:
            self._held = deque(held for held in self._held if not isinstance(held, Weights))
        self._held.append(message)
        self.flush(now_s)

    def close(self) -> None:
        """Close the connection; memory for a message that is half here is free again."""
        self.connection.close()
        self._decoder.close()
        self._outgoing.clear()
        self._held.clear()

    def flush(self, now_s: float) -> None:
        """Write what the kernel takes; a message is cut into bytes when its turn comes."""
        while self._outgoing or (self._held and self.proven):
            if not self._outgoing:
                self._outgoing += encode(self._held.popleft())
            pieces = [self._outgoing[i] for i in range(min(len(self._outgoing), _PIECES_PER_WRITE))]
            try:
                sent = self.connection.sendmsg(pieces)
            except BlockingIOError:
                if self.waiting_since_s is None:
                    self.waiting_since_s = now_s
                return
            self.waiting_since_s = None
            self._drop(sent)
        self.waiting_since_s = None

    def receive(self, now_s: float) -> Iterator[RemoteMessage]:
        """Read until nothing is there; yield each message as it becomes whole.

        Raises:
            LinkError: the stream has ended, or the peer can not prove itself.
            WireError: the peer sends bytes that are no message.
            OSError: the connection is broken.
        """
        while True:
            reader = self._decoder if self.proven else self._handshake
            try:
                count = self.connection.recv_into(reader.view)
            except BlockingIOError:
                return
            if count == 0:
                raise LinkError(self.exit_reason or "connection closed without a word")
            if (message := reader.advance(count)) is not None:
                yield message
            elif isinstance(reader, Handshake):
                self.flush(now_s)  # this side's answer, and what was held back until the proof

    def _drop(self, sent: int) -> None:
        """Forget the first `sent` bytes of the queue."""
        while sent:
            first = self._outgoing.popleft()
            if sent < len(first):
                self._outgoing.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)
