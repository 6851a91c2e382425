"""One process at a time in a stored run directory: an object that its holder writes anew.

No store lets go of a lock when its holder dies. So a lock counts as left behind when its holder
was a process of this machine that has ended, or when it does not change for `SILENCE_S`; no
clocks are compared. A holder that the store did not hear for so long may lose it to another: it
finds that out before it writes anything, and writes nothing any more.
"""

import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from trainer.errors import RunDirectoryError, RunWriteError
from trainer.lock_holder import (
    LOCK,
    Command,
    Sign,
    described,
    sign_in,
    this_process,
    who_and_stop,
    written,
)
from trainer.storage.stored_path import StoredPath

SILENCE_S: Final = 15.0  # several times `courier.EVERY_S`
_LOOK_S: Final = 0.5


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
        self._holder |= {"machine": _this_machine(), "token": secrets.token_hex(8), "life": 0}
        self._held = True
        self.left = self._sign = self._take(where)

    def note(self, step: int) -> None:
        """Its holder is that far; told to others with the next `confirm`."""
        self._sign = Sign(round(time.time(), 3), step)

    def confirm(self) -> None:
        """Give a sign of life, if the lock is still this process's.

        Raises:
            RunWriteError: it is not, or the store did not say.
        """
        if not self._held:
            return
        try:
            found = self._found()
            if found is None or self._is_ours(found):
                self._write()
                return
        except OSError as error:
            raise RunWriteError(f"{self._path}: {error.strerror}") from None
        who, _ = who_and_stop(found)
        raise RunWriteError(f"{self._path}: {who}; this process writes nothing any more")

    def release(self) -> None:
        """Remove the object, if it is still this process's; this never fails.

        Who gave no sign of its own leaves the one that it found, for whoever comes next.
        """
        held, self._held = self._held, False
        with suppress(OSError):
            found = self._found() if held else None
            if found is None or not self._is_ours(found):
                return
            if self._sign is None or self._sign is not self.left:
                self._path.unlink(missing_ok=True)
            else:
                self._holder["is_free"] = True
                self._write()

    def _take(self, where: str) -> Sign | None:
        """The sign of the holder before, if it left one."""
        while True:
            self._sign = None
            try:
                self._path.create(written(self._holder, None))
            except FileExistsError:
                if (found := self._found()) is None:
                    continue  # it was released just now
                if not self._is_ours(found):  # as it is when the library asked the store twice
                    if not (found.get("is_free") or _has_ended(found)):
                        if (now := self._watched(found)) is None:
                            continue
                        if now != found:
                            raise self._refusal(where, now) from None
                    self._sign = sign_in(found)
                    self._write()
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
        self._holder["life"] += 1
        self._path.write(written(self._holder, self._sign))


def _this_machine() -> str:
    """Until it starts anew, and apart from its containers; empty: it does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _has_ended(found: dict[str, Any]) -> bool:
    """Whether it was a process of this machine that is no more."""
    machine, number = _this_machine(), found.get("pid")
    if not machine or found.get("machine") != machine or not isinstance(number, int):
        return False
    if not 0 < number < 2**31:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
