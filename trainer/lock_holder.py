"""What a lock says of the process that holds it, in whatever way it is held."""

import json
import os
import platform
import time
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

LOCK: Final = "run.lock"
Command = Literal["train", "resume"]
DOES: Final = {"train": "trains into it", "resume": "resumes it"}


class Sign(NamedTuple):
    """A sign of life of whoever holds the lock: when, and after which step."""

    unix_s: float
    step: int
    is_last: bool = False  # it let go in order, and could only not remove the file or say so


def this_process(command: Command) -> dict[str, Any]:
    """What others are told of this process."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    process = {"pid": os.getpid(), "host": platform.node(), "command": command}
    return {**process, "since": since, "began_unix_s": round(time.time(), 3)}


def written(holder: Mapping[str, Any], sign: Sign | None) -> bytes:
    """The line that says it."""
    return json.dumps({**holder, **(sign._asdict() if sign else {})}).encode() + b"\n"


def sign_in(holder: Any) -> Sign | None:
    """The sign of life in what stands in a lock, if there is one."""
    try:
        return Sign(float(holder["unix_s"]), int(holder["step"]), bool(holder["is_last"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def last_sign(sign: Sign | None) -> Sign:
    """That of a process that lets go in order, and gave `sign` before."""
    return (sign or Sign(round(time.time(), 3), 0))._replace(is_last=True)


def described(holder: Any, command: Command) -> str:
    """Who holds it, and what the process that wants to run `command` can do about that."""
    who, stop = who_and_stop(holder)
    if command == "resume":
        return f"{who}; wait until it has ended, or stop it first: {stop}"
    return f"{who}; choose another directory"


def who_and_stop(holder: Any) -> tuple[str, str]:
    """Who holds it, and how to stop it, as far as the lock tells: it may be half written."""
    try:
        since = str(holder["since"]).removeprefix(time.strftime("%Y-%m-%d "))
        number, host, does = int(holder["pid"]), holder["host"], DOES[holder["command"]]
    except (ValueError, TypeError, KeyError):
        return "another process writes into it", "Ctrl-C there"
    where = "" if host == platform.node() else " on that host"
    stop = f"Ctrl-C there, or `kill {number}`{where}"
    return f"process {number} on host {host} {does} since {since}", stop
