"""One process at a time in a stored run directory: an object that its holder writes anew.

No store lets go of a lock when its holder dies. So a lock counts as left behind when its holder
was a process of this machine that has ended, or when it does not change for `SILENCE_S`; no
clocks are compared. A holder that the store did not hear for so long may have lost it: it looks
before it writes anything. Where it then finds another's, or none (the other has ended), it has
lost it for good, and whatever is asked of it raises a `LockLostError`.
"""

import json
import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from trainer.errors import LockLostError, RunDirectoryError, RunWriteError
from trainer.lock_holder import (
    LOCK,
    Command,
    Sign,
    described,
    last_sign,
    sign_in,
    this_process,
    who_and_stop,
    written,
)
from trainer.storage.stored_path import StoredPath

SILENCE_S: Final = 15.0  # several times `courier.EVERY_S`
_LOOK_S: Final = 0.5
_FRESH: Final = 1 / 3  # of the silence: for so long after a sign of life nobody has to look
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # runs on in a sleep


class StoredLock:
    """Offers what `RunLock` does, and `confirm`, which has to be called every few seconds."""

    def __init__(self, folder: StoredPath, command: Command, where: str) -> None:
        """Take the lock; waits for `SILENCE_S` where its holder may be a dead one.

        Raises:
            RunDirectoryError: a living process holds it; names that process.
            OSError: the store does not answer, or does not take it.
        """
        self._path, self._command = folder / LOCK, command
        self._holder = this_process(command)
        self._holder |= {"machine": this_machine(), "token": secrets.token_hex(8), "life": 0}
        self._holder["started_ticks"] = _started_ticks(os.getpid())
        self._over = ""  # why it is not held any more
        self._asking = threading.Lock()
        self.left = self._sign = self._take(where)

    def note(self, step: int) -> None:
        """Its holder is that far; told to others with the next `confirm`."""
        self._sign = Sign(round(time.time(), 3), step)

    def confirm(self) -> None:
        """Give a sign of life, if the lock is still this process's.

        Raises:
            LockLostError: it is not.
            RunWriteError: the store did not say.
        """
        try:
            self._renew()
        except OSError as error:
            raise RunWriteError(f"{self._path}: {error.strerror}") from None

    def check(self) -> None:
        """Before a write: the same, unless the last sign of life is fresh.

        Raises:
            LockLostError: the lock is not this process's any more.
            OSError: the store did not say.
        """
        self.refuse_lost()
        if _now_s() - self._heard_s >= SILENCE_S * _FRESH:
            self._renew()

    def refuse_lost(self) -> None:
        """Without a look at the store.

        Raises:
            LockLostError: it is known that the lock is not this process's any more.
        """
        if self._over:
            text = f"{self._path}: {self._over}; this process writes nothing any more"
            raise LockLostError(text)

    def release(self, is_told: bool = True) -> None:
        """Remove the object, if it is still this process's; this never fails.

        `is_told`: the run's events say that this process ended in order; if not, the object stays
        and says it.

        Who gave no sign of its own leaves the one that it found, for whoever comes next.
        """
        with self._asking, suppress(OSError):
            if self._over:
                return
            self._over = "is given back"
            found = self._found()
            if found is None or not self._is_ours(found):
                return
            is_own = self._sign is None or self._sign is not self.left
            if is_own and is_told:
                self._path.unlink(missing_ok=True)
                return
            if is_own:
                self._sign = last_sign(self._sign)
            self._holder["is_free"] = True
            self._write()

    def _renew(self) -> None:
        with self._asking:
            self.refuse_lost()
            found = self._found()
            silent_s = _now_s() - self._heard_s
            if found is None and silent_s >= SILENCE_S:
                self._over = f"is gone, {silent_s:.0f} s after this process last wrote it"
            elif found is not None and not self._is_ours(found):
                self._over, _ = who_and_stop(found)
            self.refuse_lost()
            self._write()

    def _take(self, where: str) -> Sign | None:
        """The sign of the holder before, if it left one."""
        while True:
            self._sign, self._heard_s = None, _now_s()
            try:
                self._path.create(written(self._holder, None))
            except FileExistsError:
                if (found := self._found()) is None:
                    continue  # it was released just now
                if not self._is_ours(found):  # as it is when the library asked the store twice
                    if not (found.get("is_free") or has_ended(found)):
                        if (now := self._watched(found)) is None:
                            continue
                        if now != found:
                            raise self._refusal(where, now) from None
                    self._sign = sign_in(found)
                    self._write()
                    time.sleep(_LOOK_S)  # until whoever else found the same has written too
            # Two may have come at once, where the store does not keep them apart.
            if (found := self._found()) is not None:
                if self._is_ours(found):
                    return self._sign
                raise self._refusal(where, found)

    def _watched(self, found: dict[str, Any]) -> dict[str, Any] | None:
        """What the object says when it says something else, or when it has long been silent."""
        until_s = time.monotonic() + SILENCE_S
        while (now := self._found()) == found and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        return now

    def _refusal(self, where: str, found: dict[str, Any]) -> RunDirectoryError:
        return RunDirectoryError(f"{where}: {described(found, self._command)}")

    def _is_ours(self, found: dict[str, Any]) -> bool:
        return bool(found.get("token") == self._holder["token"])

    def _found(self) -> dict[str, Any] | None:
        """What the object says; None: there is none."""
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}

    def _write(self) -> None:
        began_s = _now_s()
        self._holder["life"] += 1
        self._path.write(written(self._holder, self._sign))
        self._heard_s = began_s


def _now_s() -> float:
    return time.clock_gettime(_CLOCK)


def this_machine() -> str:
    """Until it starts anew, and apart from its living containers; empty: it does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def has_ended(found: dict[str, Any]) -> bool:
    """Whether it was a process of this machine that is no more."""
    machine, number = this_machine(), found.get("pid")
    if not machine or found.get("machine") != machine or not isinstance(number, int):
        return False
    if not 0 < number < 2**31:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # another user's
    # Its number may be another's by now, the more in a container that was started anew.
    known, there = found.get("started_ticks"), _started_ticks(number)
    return known is not None and there is not None and known != there


def _started_ticks(process_id: int) -> int | None:
    """When a process of this machine began, since the machine did; None: it does not say."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])  # proc(5), field 22; names may hold spaces
