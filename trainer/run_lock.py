"""One process at a time in a run directory: a lock that dies with its process.

The operating system holds it (`flock` on a file), so nothing is left to clear away after a
crash; the file's content only tells others who holds it, and, when its holder was killed, how
far that one had come.
"""

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from trainer.errors import RunDirectoryError
from trainer.lock_holder import (
    LOCK,
    Command,
    Sign,
    described,
    last_sign,
    sign_in,
    this_process,
    written,
)

_LOOKS: Final = 5  # somebody who only looks at it may hold it for less than this
_LOOK_S: Final = 0.01


class RunLock:
    """The lock on a run directory, held from the beginning to `release`."""

    def __init__(self, folder: Path, command: Command, where: str) -> None:
        """Take the lock of an existing directory.

        Args:
            where: what the user gave, for the message: `--out run`.

        Raises:
            RunDirectoryError: another process holds it; names that process.
            OSError: the lock file can not be made; FileNotFoundError: the directory has gone.
        """
        self._path, looks = folder / LOCK, 0
        while True:
            # Python opens files so that a child that is another program does not inherit them.
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_the_file():
                    break
            except BlockingIOError:
                holder = described(held(self._descriptor), command)
                os.close(self._descriptor)
                if (looks := looks + 1) <= _LOOKS:
                    time.sleep(_LOOK_S)
                    continue
                raise RunDirectoryError(f"{where}: {holder}") from None
            except OSError:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)  # the file was removed by whoever held it: once more
        self.left = self._sign = sign_in(held(self._descriptor))  # of the holder before
        self._holder = this_process(command)
        self._write(self.left)

    def note(self, step: int) -> None:
        """Its holder lives, and is that far."""
        if self._descriptor >= 0:
            self._sign = Sign(round(time.time(), 3), step)
            self._write(self._sign)

    def release(self, is_told: bool = True) -> None:
        """Remove the file, then let go: who waits for it finds none and makes another.

        `is_told`: the run's events say that this process ended in order; if not, the file stays
        and says it.

        A file that can not be removed stays, and locks nothing: nobody holds it. So this never
        fails, and never takes the place of what a training has to say. Who gave no sign itself
        leaves the one that it found, for whoever comes next.
        """
        if self._descriptor >= 0:
            if self._sign is None or self._sign is not self.left:
                if is_told:
                    self._remove()
                else:
                    self._stay()
            os.close(self._descriptor)
            self._descriptor = -1

    def _remove(self) -> None:
        try:
            if self._is_the_file():
                self._path.unlink(missing_ok=True)
        except OSError:
            self._stay()

    def _stay(self) -> None:
        self._write(last_sign(self._sign))

    def _is_the_file(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _write(self, sign: Sign | None) -> None:
        """In one piece, and cut behind it: whoever reads the first line reads a whole one."""
        content = written(self._holder, sign)
        with suppress(OSError):  # a full disk: the lock is held all the same
            os.pwrite(self._descriptor, content, 0)
            os.ftruncate(self._descriptor, len(content))


def held(descriptor: int) -> Any:
    """What the lock file says; None when that can not be read, or is half there."""
    try:
        return json.loads(os.pread(descriptor, 1000, 0).partition(b"\n")[0])
    except (OSError, ValueError):
        return None
