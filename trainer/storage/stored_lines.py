"""JSON lines in a store that can not append: gathered in memory, and the whole file put anew."""

import threading
from typing import Any

from trainer.errors import RunWriteError
from trainer.line_log import LineLog, encoded, parsed_lines
from trainer.storage.place import Place
from trainer.storage.stored_path import StoredPath


class StoredLines:
    """Offers what `LineLog` does, but a line is in the store only after `flush`."""

    def __init__(self, path: StoredPath) -> None:
        """The store is not asked before it has to be."""
        self.path = path
        self._stored: bytes | None = None  # None: not known yet
        self._waiting: list[bytes] = []  # only ever appended to by others than `flush`
        self._flushing = threading.Lock()

    @property
    def waits(self) -> bool:
        """There are lines that are not in the store."""
        return bool(self._waiting)

    def append(self, line: dict[str, Any]) -> None:
        """Keep a line for the next `flush`; returns at once."""
        self._waiting.append(encoded(line))

    def flush(self) -> None:
        """Write what waits, if there is any; may be called in a thread of its own.

        Raises:
            RunWriteError: it could not be written, and waits on.
        """
        with self._flushing:
            if not (count := len(self._waiting)):
                return
            try:
                self._put(self._content() + b"".join(self._waiting[:count]))
            except OSError as error:
                raise RunWriteError(f"{self.path}: {error.strerror}") from None
            del self._waiting[:count]

    sync = flush  # a store that has it, keeps it

    def append_or_forget(self, line: dict[str, Any]) -> None:
        """Write a line; the store has it when this returns.

        Raises:
            RunWriteError: it could not be written, and does not wait.
        """
        self.flush()
        self.append(line)
        try:
            self.flush()
        except RunWriteError:
            self._waiting.pop()
            raise

    def lines(self) -> list[dict[str, Any]]:
        """All of them.

        Raises:
            OSError: the store did not tell.
        """
        with self._flushing:
            return parsed_lines(self._content() + b"".join(self._waiting))

    def rewrite(self, lines: list[dict[str, Any]]) -> None:
        """Replace the whole file by these lines, or leave it as it was.

        Raises:
            OSError: it was left as it was.
        """
        with self._flushing:
            content = encoded(*lines)
            if content != self._content():
                self._put(content)

    def _content(self) -> bytes:
        if self._stored is None:
            try:
                self._stored = self.path.read_bytes()
            except FileNotFoundError:
                self._stored = b""
            if self._stored and not self._stored.endswith(b"\n"):  # of a store that shows halves
                self._stored += b"\n"
        return self._stored

    def _put(self, content: bytes) -> None:
        self.path.write(content)
        self._stored = content


def lines_at(path: Place) -> LineLog | StoredLines:
    """The JSON lines that lie there, or will."""
    return StoredLines(path) if isinstance(path, StoredPath) else LineLog(path)
