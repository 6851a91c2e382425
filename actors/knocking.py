"""Who of many answers at the door, all asked at once."""

import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import suppress


def who_answers(doors: Mapping[str, tuple[str, int]], patience_s: float) -> set[str]:
    """The names of those who take a connection within so many seconds.

    Args:
        doors: numeric host, and port, of each.
    """
    answered: set[str] = set()
    knocks: dict[str, socket.socket] = {}
    until_s = time.monotonic() + patience_s
    with selectors.DefaultSelector() as waiting:
        try:
            for name, door in doors.items():
                with suppress(OSError):  # there is no way at all to that address
                    knocks[name] = _knock(door)
                    waiting.register(knocks[name], selectors.EVENT_WRITE, name)
            while waiting.get_map() and (left_s := until_s - time.monotonic()) > 0:
                for key, _ in waiting.select(left_s):
                    waiting.unregister(knock := knocks[key.data])
                    if knock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        answered.add(key.data)
        finally:
            for knock in knocks.values():
                knock.close()
    return answered


def _knock(door: tuple[str, int]) -> socket.socket:
    """What comes of it is told once the socket is writable; OSError: it is known at once."""
    family = socket.AF_INET6 if ":" in door[0] else socket.AF_INET
    knock = socket.socket(family, socket.SOCK_STREAM)
    knock.setblocking(False)
    try:
        knock.connect(door)
    except BlockingIOError:
        pass
    except OSError:
        knock.close()
        raise
    return knock
