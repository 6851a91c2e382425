"""Where an actor listens, and how another one calls it: over TCP, or on one host without it.

An actor has one address, a host and a port. Who listens there has a local socket beside it,
whose name the run's actors make of the address and their key: a process of the same host
finds it, one of another host does not. The name is abstract: no file, and gone with its
process. It can be seen on the host; what protects the link is the key, as over TCP.
"""

import errno
import hmac
import selectors
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from actors.errors import LinkError

Address = tuple[str, int]
Ports = tuple[int, int]  # the first and the last one
ANY_PORT: Final[Ports] = (0, 0)  # whichever the host has free

_BACKLOG: Final = 128
_TAKEN: Final = (errno.EADDRINUSE, errno.EACCES, errno.EPERM)


def listeners(key: bytes, host: str, local: bool, ports: Ports = ANY_PORT) -> list[socket.socket]:
    """Listen on a free port of `host`; `local`: on a local socket too, if there can be one.

    Raises:
        LinkError: none of `ports` can be had.
        OSError: this process can not listen on `host`.
    """
    listener = _listener(host, ports)
    if not local:
        return [listener]
    beside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        beside.bind(local_name(key, address_of(listener)))
        beside.listen(_BACKLOG)
    except OSError:
        beside.close()  # they find the other one
        return [listener]
    return [listener, beside]


def _listener(host: str, ports: Ports) -> socket.socket:
    """On the first port that can be had; one that others use, or may alone use, is passed over.

    A port whose last user's connections have not faded yet (TIME_WAIT) can be had:
    `create_server` asks for it with SO_REUSEADDR.
    """
    first, last = ports
    for port in range(first, last + 1):
        try:
            return _listen(host, port)
        except OSError as error:
            if port == 0 or error.errno not in _TAKEN:
                raise
    raise LinkError(
        f"link: no port of {first}-{last} is free on {host}; end what listens there, or set"
        " cluster.link_ports to more or other ports"
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


class Doors:
    """The listeners of one actor on its selector: each connection goes to `accepted`."""

    def __init__(
        self,
        listeners: list[socket.socket],
        selector: selectors.BaseSelector,
        accepted: Callable[[socket.socket], None],
    ) -> None:
        self._listeners, self._selector, self._accepted = listeners, selector, accepted
        self.open()

    @property
    def address(self) -> Address:
        """Where others connect to."""
        if not self._listeners:
            raise LinkError("link: this actor does not listen")
        return address_of(self._listeners[0])

    def open(self) -> None:
        """Watch those that are not watched."""
        for listener in self._listeners:
            if listener not in self._selector.get_map():
                listener.setblocking(False)
                accept = partial(self._accept, listener)
                self._selector.register(listener, selectors.EVENT_READ, accept)

    def close_local(self) -> None:
        """From now on everybody comes over TCP."""
        for listener in self._listeners[1:]:
            if listener in self._selector.get_map():
                self._selector.unregister(listener)
            listener.close()
        del self._listeners[1:]

    def close(self) -> None:
        """Nobody is let in any more; the selector is closed already."""
        for listener in self._listeners:
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # it is gone already, or this process has no room for it
            self._selector.unregister(listener)  # until `open` is called again
            return
        self._accepted(connection)


def call(key: bytes, address: Address, patience_s: float, local: bool) -> socket.socket:
    """A connection to who listens there; `local`: a local one where both are on one host.

    Raises:
        OSError: nobody listens there, or nobody answers.
    """
    if local:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(patience_s)
        try:
            connection.connect(local_name(key, address))
        except OSError:
            connection.close()
        else:
            return connection
    return socket.create_connection(address, timeout=patience_s)


def address_of(listener: socket.socket) -> Address:
    """Where a TCP listener is called."""
    host, port = listener.getsockname()[:2]
    return host, port


def local_name(key: bytes, address: Address) -> bytes:
    """The abstract name that goes with an address; it tells nothing of the key."""
    code = hmac.digest(key, "local|{}|{}".format(*address).encode(), "sha256")
    return b"\0everstep-" + code.hex().encode()
