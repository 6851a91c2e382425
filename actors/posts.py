"""What other threads hand to the one that receives: a queue, and a socket that wakes it up."""

import socket
from contextlib import suppress
from queue import Empty, SimpleQueue

from actors.orders import Message


class Posts:
    """`put` from any thread; `take` in the one that waits for `receiver` to be readable."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[str | None, Message]] = SimpleQueue()
        self.receiver, self._sender = socket.socketpair()
        self.receiver.setblocking(False)
        self._sender.setblocking(False)

    def put(self, name: str | None, message: Message) -> None:
        """A message for `name`; None: for the receiving actor itself."""
        self._queue.put((name, message))
        self.wake()

    def wake(self) -> None:
        """Make `receiver` readable."""
        with suppress(OSError):  # enough wake-ups are on their way, or nobody receives any more
            self._sender.send(b"\0")

    def take(self) -> list[tuple[str | None, Message]]:
        """All that was put so far."""
        with suppress(BlockingIOError):
            self.receiver.recv(4096)
        taken = []
        while True:
            try:
                taken.append(self._queue.get_nowait())
            except Empty:
                return taken

    def close(self) -> None:
        """Nobody receives any more; what is put from now on is lost."""
        self.receiver.close()
        self._sender.close()
