"""Whether a process trains into a run directory now, for who only looks: nothing is written.

On a disk the operating system knows. In a store nobody does: there a lock counts as held when its
holder is a living process of this machine, or when its object is written anew while one watches.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from trainer.lock_holder import DOES, LOCK, Command, Sign, sign_in
from trainer.run_lock import held
from trainer.storage import courier, stored_lock
from trainer.storage.place import Place
from trainer.storage.stored_path import StoredPath

Told: TypeAlias = Callable[[str], None]

_LOOK_S: Final = 0.25
_PATIENT_S: Final = courier.EVERY_S + 1.0  # a living one gives its sign sooner


class Holder(NamedTuple):
    """The process that holds the lock."""

    process_id: int
    host: str
    command: Command
    began_unix_s: float


class Look(NamedTuple):
    """What somebody sees who only looks."""

    is_held: bool
    holder: Holder | None = None  # None: nobody, or the file does not say
    sign: Sign | None = None  # its, or that of one who was killed
    silence: str | None = None  # why it counts as let go of, where that can not be known


def ignored(line: str) -> None:
    """Tell nobody."""


def look(folder: Place, told: Told = ignored) -> Look:
    """Whether a process trains into a run directory now, and how far it is.

    In a store it takes as long as another machine's holder is silent, at most `SILENCE_S`.

    Args:
        told: called with a line when that takes longer than it does with a living one.

    Raises:
        OSError: the lock is there and can not be read.
    """
    if isinstance(folder, StoredPath):
        return _stored(folder / LOCK, told)
    return _local(folder / LOCK)


def _local(path: Path) -> Look:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return Look(is_held=False)
    try:
        said = held(descriptor)
        sign = sign_in(said)
        try:
            # For a moment; whoever comes to train is patient with that.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Look(True, _holder(said), sign)
        return Look(False, None, sign)
    finally:
        os.close(descriptor)


def _stored(path: StoredPath, told: Told) -> Look:
    content = first = _content(path)
    began_s, is_told = time.monotonic(), False
    while content is not None:
        said, silent_s = _said(content), time.monotonic() - began_s
        lives = _lives(said)
        if lives is None and content != first:
            lives = True
        if lives is not None:
            return Look(lives, _holder(said) if lives else None, sign_in(said))
        if silent_s >= stored_lock.SILENCE_S:
            return Look(False, None, sign_in(said), f"{_who(said)} {_silence()}")
        if silent_s >= _PATIENT_S and not is_told:
            told(f"{path}: {_who(said)} is silent; watched for {stored_lock.SILENCE_S:.0f} s")
            is_told = True
        time.sleep(_LOOK_S)
        content = _content(path)
    return Look(is_held=False)


def _lives(said: dict[str, Any]) -> bool | None:
    """Whether the holder does; None: it is of another machine, so one has to watch."""
    if said.get("is_free") or stored_lock.has_ended(said):
        return False
    machine = stored_lock.this_machine()
    is_here = machine and said.get("machine") == machine and isinstance(said.get("pid"), int)
    return True if is_here else None


def _who(said: dict[str, Any]) -> str:
    holder = _holder(said)
    return f"process {holder.process_id} on host {holder.host}" if holder else "its holder"


def _silence() -> str:
    return (
        f"gave the store no sign of life for {stored_lock.SILENCE_S:.0f} s: it was killed,"
        " its machine failed, or it does not reach the store"
    )


def _content(path: StoredPath) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _said(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _holder(said: Any) -> Holder | None:
    try:
        command: Command = said["command"]
        if command not in DOES:
            return None
        began_unix_s = float(said["began_unix_s"])
        return Holder(int(said["pid"]), str(said["host"]), command, began_unix_s)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
