"""One link: an authenticated connection with a queue each way, and no thread.

A link never blocks. Sending queues memory and writes what the kernel takes; receiving
fills the decoder's memory. Until the peer has proven the run's key, nothing of it is
parsed. Between two processes of one host it is a local socket, and large arrays are lent
instead of sent (`lending.py`); all else is the same. Next: `endpoint.py`, which holds an
actor's links and waits on them.
"""

import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from actors.decoder import Decoder, nothing_is_borrowed
from actors.errors import LinkError
from actors.handshake import Handshake, Role
from actors.lending import MOST_DESCRIPTORS, Borrower, Lender
from actors.messages import RemoteMessage, Returned, Weights
from actors.orders import Message
from actors.shared_memory import SharedPool
from actors.wire import encode, nothing_is_lent

Bytes = bytes | memoryview

_PIECES_PER_WRITE: Final = 64
RTO_MAX_MS: Final = 44  # TCP_RTO_MAX_MS of Linux 6.15 and newer; Python has no name for it
_DESCRIPTORS_SPACE: Final = socket.CMSG_SPACE(4 * MOST_DESCRIPTORS)


class Link:
    """What one connection needs to know; `LinkError`, `WireError`, `OSError` mean it is over."""

    def __init__(
        self,
        connection: socket.socket,
        key: bytes,
        role: Role,
        pool: SharedPool,
        now_s: float,
        name: str | None = None,
    ) -> None:
        """`pool` leases what is received; `name` is the peer's, when this side called it."""
        connection.setblocking(False)
        self.connection = connection
        self.name = name
        self.opened_s = now_s
        self.waiting_since_s: float | None = None  # the peer accepts nothing since then
        self.watched_for_room = False
        self.exit_reason: str | None = None
        self._outgoing: deque[Bytes] = deque()
        self._held: deque[Message] = deque()  # until the peer is proven, and takes what is sent
        self._is_local = connection.family == socket.AF_UNIX
        self._lender, self._borrower = Lender(pool), Borrower()
        self._lend = self._lender.lend if self._is_local else nothing_is_lent
        borrow = self._borrower.borrow if self._is_local else nothing_is_borrowed
        self._decoder = Decoder(0, pool, borrow)
        self._handshake = Handshake(key, role, self._outgoing.append)

    @property
    def proven(self) -> bool:
        """The peer holds the run's key."""
        return self._handshake.done

    @property
    def pending(self) -> bool:
        """Something waits to be written, or for the peer to prove itself."""
        return bool(self._outgoing or self._held)

    def is_flushing(self, began_s: float, now_s: float, limit_s: float) -> bool:
        """Something is pending, and the peer has taken some since then within the limit."""
        return self.pending and now_s - (self.waiting_since_s or began_s) < limit_s

    def set_options(self, timeout_s: float) -> None:
        """Send at once, and notice a host that is gone without a word."""
        if self._is_local:
            return  # both are so by nature
        limit_s = max(1, int(timeout_s))
        with suppress(OSError):  # the link may be reset already; then reading says so
            for level, option, value in (
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limit_s),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, limit_s),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 1),
                (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * limit_s),
                # Tries again each second, when a cable is cut: it is heard soon after. The last
                # one, for older kernels take it not, and try after twice as long each time.
                (socket.IPPROTO_TCP, RTO_MAX_MS, 1000),
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
        self._lender.close()
        self._borrower.close()
        self._outgoing.clear()
        self._held.clear()

    def flush(self, now_s: float) -> None:
        """Write what the kernel takes; a message is cut into bytes when its turn comes."""
        while self._outgoing or (self._held and self.proven):
            if not self._outgoing:
                self._queue_returns()
                self._outgoing += encode(self._held.popleft(), self._lend)
            pieces = [self._outgoing[i] for i in range(min(len(self._outgoing), _PIECES_PER_WRITE))]
            try:
                sent = self.connection.sendmsg(pieces, self._lender.ancillary())
            except BlockingIOError:
                if self.waiting_since_s is None:
                    self.waiting_since_s = now_s
                return
            self.waiting_since_s = None  # it accepts something
            self._lender.sent()
            self._drop(sent)
        self.waiting_since_s = None

    def give_back(self) -> bool:
        """Whether something goes back to the peer now, although there is nothing to say."""
        if not self._outgoing:
            self._queue_returns()
        return bool(self._outgoing)

    def receive(self, now_s: float) -> Iterator[RemoteMessage]:
        """Read what is there; yield each message as it becomes whole.

        Raises:
            LinkError: the stream has ended, or the peer can not prove itself.
            WireError: the peer sends bytes that are no message.
            OSError: the connection is broken.
        """
        while True:
            reader = self._decoder if self.proven else self._handshake
            view = reader.view
            try:
                count, is_all = self._read_into(view)
            except BlockingIOError:
                return
            if count == 0:
                raise LinkError(self.exit_reason or "connection closed without a word")
            if isinstance(reader, Handshake):
                reader.advance(count)
                self.flush(now_s)  # this side's answer, and what was held back until the proof
                continue
            for message in reader.advance(count):
                if isinstance(message, Returned):
                    self._lender.take_back(message.slot)
                else:
                    yield message
            if is_all:
                return  # what comes later is told again

    def _read_into(self, view: memoryview) -> tuple[int, bool]:
        """How many bytes came, and whether that was all there is for now."""
        if not (self._is_local and self.proven):
            count = self.connection.recv_into(view)
            return count, count < len(view)
        flags = socket.MSG_CMSG_CLOEXEC
        count, ancillary, *_ = self.connection.recvmsg_into([view], _DESCRIPTORS_SPACE, flags)
        self._borrower.received(ancillary)
        # The kernel stops behind bytes that descriptors came along with: more may be there.
        return count, count < len(view) and not ancillary

    def _queue_returns(self) -> None:
        """What the peer gets back goes before what it gets."""
        for slot in self._borrower.unused():
            self._outgoing += encode(Returned(slot))

    def _drop(self, sent: int) -> None:
        """Forget the first `sent` bytes of the queue."""
        while sent:
            first = self._outgoing.popleft()
            if sent < len(first):
                self._outgoing.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)
