"""Whoever knocks at an actor's doors without being one of the run's actors.

A door is its port, or the local socket beside it: whoever is on the host may try that one too.
"""

import selectors
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from actors.addresses import Address, local_name
from actors.endpoint import Endpoint
from actors.errors import LinkError
from actors.handshake import Handshake, new_key
from actors.messages import Dx, Hello
from actors.wire import MAGIC, VERSION, encode
from tests.linked import KEY
from tests.toys import hello

Door = Address | bytes  # bytes: a local socket's abstract name
DEADLINE_S = 30.0

HELLO_TAG, DX_TAG = 1, 5


def header(tag: int, fields_bytes: int, arrays_bytes: int) -> bytes:
    """A frame's header, valid but for what it announces."""
    return struct.pack("<4sBBHIQ", MAGIC, VERSION, tag, 0, fields_bytes, arrays_bytes)


GARBAGE = {
    "a web browser": b"GET / HTTP/1.1\r\nHost: everstep\r\n\r\n" + b" " * 64,
    "a frame before the proof": b"".join(encode(hello("worker-9"))) * 3,
    "zeros": bytes(4096),
    "no key": b"EVERSTEP" + bytes(32) + bytes(32),  # the right words, a proof of nothing
    "a flood": b"EVERSTEP" + b"\xff" * (1 << 24),
}


def port(server: Endpoint) -> Door:
    """Whoever reaches the host finds it."""
    return server.address


def local_socket(server: Endpoint) -> Door:
    """Whoever is on the host finds it: all can see its name."""
    name = local_name(KEY, server.address)
    assert b"@" + name[1:] in Path("/proc/net/unix").read_bytes().split()
    return name


def reach(door: Door) -> socket.socket:
    """A connection, of which nothing is known yet on either side."""
    if not isinstance(door, bytes):
        return socket.create_connection(door, timeout=DEADLINE_S)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(DEADLINE_S)
    try:
        connection.connect(door)
    except OSError:
        connection.close()
        raise
    return connection


def say(door: Door, words: bytes) -> bytes:
    """Say it; all that is heard until the other side hangs up."""
    heard = b""
    with reach(door) as connection:
        with suppress(ConnectionError):
            connection.sendall(words)
        with suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                heard += part
    return heard


def proven(door: Door, key: bytes) -> socket.socket:
    """A connection on which `key` is proven.

    Raises:
        ConnectionError, LinkError: the other side does not take it, and is not who it should be.
    """
    connection = reach(door)
    try:
        handshake = Handshake(key, "connector", connection.sendall)
        while not handshake.done:
            if not (count := connection.recv_into(handshake.view)):
                raise ConnectionError("hung up")
            handshake.advance(count)
    except BaseException:
        connection.close()
        raise
    return connection


def say_proven(door: Door, key: bytes, words: bytes) -> None:
    """Prove the key, say it, and wait until the other side hangs up."""
    with proven(door, key) as connection, suppress(ConnectionError):
        connection.sendall(words)
        while connection.recv(1 << 16):
            pass


def prove_wrongly(door: Door) -> None:
    """With another run's key."""
    with suppress(ConnectionError, LinkError):
        proven(door, new_key()).close()


ABSURD = {
    "fields": header(HELLO_TAG, 2**32 - 1, 0),
    "arrays": header(HELLO_TAG, 8, 2**63),
    "arrays of weights before a Hello": header(4, 21, 1 << 20),
}


class Recorder:
    """Passes all bytes on between a worker and a server, and keeps what the worker says."""

    def __init__(self, server: Address) -> None:
        self.said = b""
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._listener.getsockname()[:2]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def accept(self) -> None:
        """The worker has called."""
        caller, _ = self._listener.accept()
        callee = socket.create_connection(self._server)
        for one, other in ((caller, callee), (callee, caller)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ, one is caller)

    def pass_on(self) -> None:
        """Whatever has come."""
        for key, _ in self._selector.select(0):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            part = connection.recv(1 << 16)
            self._pairs[connection].sendall(part)
            if key.data:
                self.said += part

    def close(self) -> None:
        self._selector.close()
        self._listener.close()
        for connection in self._pairs:
            connection.close()


def recorded(make: Callable[[], Endpoint], dx: Dx) -> bytes:
    """All that a worker said to a server, from the first byte on: proof, Hello and a gradient."""
    server, worker = make(), make()
    recorder = Recorder(server.address)
    try:
        worker.connect("server", recorder.address, hello("worker-0"))
        worker.send("server", dx)
        recorder.accept()
        heard: list[object] = []
        until_s = time.monotonic() + DEADLINE_S
        while len(heard) < 2:
            assert time.monotonic() < until_s
            recorder.pass_on()
            worker.receive(0.0)
            heard += server.receive(0.0)
        assert isinstance(heard[0], Hello)
        assert isinstance(heard[1], Dx)  # so the recording is a conversation that was good
        return recorder.said
    finally:
        recorder.close()
        worker.close("recorded", flush_s=0.0)
        server.close("recorded", flush_s=0.0)
