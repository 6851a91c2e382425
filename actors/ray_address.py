"""Which Ray cluster is meant, and whether it can be: looked at before Ray itself is imported.

Importing Ray takes a second, and what it says of an address it can not read helps nobody.
Next: `ray_cluster.py`, which joins.
"""

import os
import re
import socket
import sys
from ipaddress import IPv6Address
from typing import Final

from actors.errors import ClusterError

AUTO: Final = "auto"  # the cluster whose node this machine is
PRIVATE: Final = "local"
_VARIABLE: Final = "RAY_ADDRESS"
_HOST_AND_PORT: Final = re.compile(r"(\[[^]]*\]|[^][\s:/@]+):([^:]*)")
_MOST_PORT: Final = 65535
_NONE_HERE: Final = "Could not find any running Ray instance"  # Ray's words
_ALLOWED: Final = (
    "give HOST:PORT of the cluster's head, auto on a node of the cluster, or local for a private"
    " Ray"
)
_INSTEAD: Final = (
    "run the command on a node of the cluster with --address auto or --address HOST:PORT of the"
    " head, or hand it to `ray job submit`; --address local is a private Ray"
)


def problem_of(address: str) -> str | None:
    """Why no cluster has this address, and what to do instead; None: one may have it."""
    if address in (AUTO, PRIVATE):
        return None
    if "://" in address:
        whose = "Ray's client" if address.startswith("ray://") else "a browser or `ray job`"
        return f"is an address for {whose}, and not for training; {_INSTEAD}"
    if (match := _HOST_AND_PORT.fullmatch(address)) is None:
        return f"is not allowed; {_in_brackets(address) or _ALLOWED}"
    host, port = match.groups()
    if host.startswith("[") and not _is_ipv6(host[1:-1]):
        return f"is not allowed; {host[1:-1]!r} in the brackets is no IPv6 address"
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= _MOST_PORT:
        return f"is not allowed; the port must be a number from 1 to {_MOST_PORT}, like {host}:6379"
    return None


def chosen(address: str | None) -> str:
    """The address that counts: RAY_ADDRESS stands in for none and, as Ray has it, for `auto`.

    Raises:
        ClusterError: RAY_ADDRESS is none; names it.
    """
    given = said_here()
    if given is None or address not in (None, AUTO):
        return address or PRIVATE
    if problem := problem_of(given):
        raise ClusterError(f"{_VARIABLE} {given!r}: {problem}")
    return given


def said_here() -> str | None:
    """RAY_ADDRESS, as it stands; None: it says nothing."""
    return os.environ.get(_VARIABLE) or None


def is_ray_loaded() -> bool:
    """The caller may have started a Ray himself: then no address is looked at."""
    return "ray" in sys.modules


def probe(address: str, patience_s: float) -> None:
    """Raise OSError where nobody listens; `auto` and `local` name nobody that could."""
    if match := _HOST_AND_PORT.fullmatch(address):
        host, port = match[1].strip("[]"), int(match[2])
        socket.create_connection((host, port), timeout=patience_s).close()


def told(cause: str) -> str:
    """What Ray said when it could not join, in words that help."""
    if _NONE_HERE in cause:
        return "no Ray runs on this machine; start one there, or give HOST:PORT of another's head"
    return cause


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _in_brackets(address: str) -> str | None:
    """What an IPv6 address without brackets should be; None: it is no such address."""
    host, _, port = address.rpartition(":")
    if _is_ipv6(host) or _is_ipv6(address):
        like = f"[{host}]:{port}" if _is_ipv6(host) else f"[{address}]:6379"
        return f"an IPv6 address stands in brackets, like {like}"
    return None
