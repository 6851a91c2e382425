"""What the disk or the store does not take: each cause is told once, whichever file met it first.

It lasts until every file that met it has been written, and a checkpoint too: those are the
largest, and a disk that is almost full takes a line now and then.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.errors import LockLostError, RunWriteError
from trainer.files import FOLDER
from trainer.line_log import LineLog
from trainer.storage.stored_lines import StoredLines


class WriteTroubles:
    """Which files meet which cause now; several threads may say so."""

    def __init__(self) -> None:
        self._files: dict[str, set[str]] = {}  # by cause: those to be written before it is over
        self._lines: list[str] = []
        self._one_at_a_time = threading.Lock()

    def met(self, file: str, error: Exception) -> bool:
        """Take in that `file` could not be written; whether its cause is news."""
        with self._one_at_a_time:
            files = self._files.setdefault(_cause(error), set())
            is_news = not files
            files |= {file, FOLDER}
        return is_news

    def over(self, file: str) -> None:
        """Take in that `file` is written."""
        with self._one_at_a_time:
            for files in self._files.values():
                files.discard(file)

    def keep(self, file: str, error: RunWriteError) -> None:
        """Lines of `file` wait in memory: `take` says so, if the cause is news."""
        # With a lost lock the training ends, and says so itself.
        if not isinstance(error, LockLostError) and self.met(file, error):
            self._lines.append(f"{error}; kept in memory, training goes on")

    @contextmanager
    def patient(self, lines: LineLog | StoredLines) -> Iterator[None]:
        """Lines that can not be written inside wait.

        Raises:
            LockLostError: none will be written any more.
        """
        try:
            yield
        except LockLostError:
            raise
        except RunWriteError as error:
            self.keep(lines.path.name, error)
        else:
            if not lines.waits:
                self.over(lines.path.name)

    def take(self) -> str | None:
        """A line for a person, once."""
        return self._lines.pop(0) if self._lines else None


def _cause(error: Exception) -> str:
    """What the system said: ours are raised where that was caught."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OSError):
        inner = inner.__context__
    return type(error).__name__ if inner is None else str(inner.strerror)
