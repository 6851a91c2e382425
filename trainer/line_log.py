"""A file of JSON lines that is only ever appended to, and never holds half a line.

A line that can not be written waits in memory for the next one that can.
"""

import json
import os
from pathlib import Path
from typing import Any

from trainer.errors import RunWriteError
from trainer.files import write_atomically


class LineLog:
    """Appends lines; keeps those that the disk does not take."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened or made before the first line."""
        self.path = path
        self._waiting: list[bytes] = []

    @property
    def waits(self) -> bool:
        """There are lines that are not in the file."""
        return bool(self._waiting)

    def append(self, line: dict[str, Any]) -> None:
        """Write a line, after those that wait.

        Raises:
            RunWriteError: it could not be written, and waits.
        """
        self._waiting.append(encoded(line))
        self.flush()

    def flush(self) -> None:
        """Write what waits, if there is any.

        Raises:
            RunWriteError: it still could not be written, and waits on.
        """
        if not self._waiting:
            return
        try:
            self._append(b"".join(self._waiting))
        except OSError as error:
            raise RunWriteError(f"{self.path}: {error.strerror}") from None
        self._waiting.clear()

    def sync(self) -> None:
        """Write what waits; the disk has all of it when this returns. Raises as `flush`."""
        self.flush()
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RunWriteError(f"{self.path}: {error.strerror}") from None

    def append_or_forget(self, line: dict[str, Any]) -> None:
        """Write a line; the disk has it when this returns.

        Raises:
            RunWriteError: it could not be written, and does not wait.
        """
        self.flush()
        self._waiting.append(encoded(line))
        try:
            self.sync()
        except RunWriteError:
            self._waiting.clear()
            raise

    def lines(self) -> list[dict[str, Any]]:
        """The whole lines of the file; what a crash or a full disk cut off is left out."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return parsed_lines(content)

    def rewrite(self, lines: list[dict[str, Any]]) -> None:
        """Replace the whole file by these lines, or leave it as it was.

        Raises:
            OSError: it was left as it was.
        """
        if lines or self.path.exists():
            write_atomically(self.path, encoded(*lines))

    def _append(self, content: bytes) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":  # of one that was killed
                content = b"\n" + content
            try:
                while content:
                    content = content[os.write(descriptor, content) :]
            except OSError:
                os.ftruncate(descriptor, size)  # no half line
                raise
        finally:
            os.close(descriptor)


def encoded(*lines: dict[str, Any]) -> bytes:
    """The lines as they stand in a file."""
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def parsed_lines(content: bytes) -> list[dict[str, Any]]:
    """The whole lines of a file's content."""
    return [line for text in content.splitlines() if (line := _parsed(text)) is not None]


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None
