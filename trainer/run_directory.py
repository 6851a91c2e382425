"""The files of a run: configuration, metrics, events, checkpoints, result.

config.yaml  metrics.jsonl  events.jsonl  checkpoints/step-NNNNNNNN.safetensors  result.json
"""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

from trainer.checkpoints import Checkpoint, save_checkpoint
from trainer.config import Config
from trainer.errors import RunDirectoryError, RunWriteError
from trainer.files import FOLDER, prune, remove_unfinished, write_atomically
from trainer.line_log import LineLog
from trainer.reports import EpochReport, Event, Report
from trainer.run_lock import LOCK, RunLock

CONFIG: Final = "config.yaml"
EVENTS: Final = "events.jsonl"
METRICS: Final = "metrics.jsonl"
RESULT: Final = "result.json"


class RunDirectory:
    """A locked directory that, as a watcher, writes down what a training reports."""

    def __init__(self, path: Path, lock: RunLock, created: list[Path]) -> None:
        """`created`: the folders that were made for it. See `create` and `reopen`."""
        self.path = path
        self._lock, self._created = lock, created
        self.metrics, self.events = LineLog(path / METRICS), LineLog(path / EVENTS)
        self._keep = 1
        self._trouble: str | None = None
        self._troubled = False

    @classmethod
    def create(cls, path: Path, config: Config) -> Self:
        """Make the directory, lock it, and write the configuration.

        Raises:
            RunDirectoryError: it holds something already, is in use, or can not be written.
        """
        where = f"--out {path}"
        try:
            try:
                _refuse_occupied(path, where)
            except RunDirectoryError:
                if not (path / LOCK).exists():  # else the lock says who trains into it
                    raise
            created = [folder for folder in (path, *path.parents) if not folder.exists()]
            made = cls(path, _made_and_locked(path, where), created)
            try:
                _refuse_occupied(path, where)
                made.configure(config)
            except BaseException:
                made.release()
                raise
        except OSError as error:
            raise RunDirectoryError(f"{where}: {error.strerror}") from None
        return made

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Lock the directory of a run that was begun.

        Raises:
            RunDirectoryError: there is none, it is in use, or it can not be written.
        """
        where = f"DIR {path}"
        if not path.is_dir():
            raise RunDirectoryError(f"{where}: no such directory")
        if not (path / CONFIG).is_file():
            raise RunDirectoryError(f"{where}: holds no run, there is no {CONFIG} in it")
        try:
            return cls(path, RunLock(path, "resume", where), [])
        except OSError as error:
            raise RunDirectoryError(f"{where}: {error.strerror}") from None

    def configure(self, config: Config) -> None:
        """Write the configuration, if it is not there as it is."""
        self._keep = config.checkpoints.keep
        content = config.as_yaml().encode()
        path = self.path / CONFIG
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)

    def rewind(self, epochs: int) -> int:
        """Forget what will be run again: all after so many epochs. How often it was resumed.

        Raises:
            OSError: a file could not be replaced.
        """
        remove_unfinished(self.path)
        remove_unfinished(self.path / FOLDER)
        (self.path / RESULT).unlink(missing_ok=True)
        self.metrics.rewrite([line for line in self.metrics.lines() if line["epoch"] <= epochs])
        events = self.events.lines()
        self.events.rewrite(events)  # without what a crash cut off
        return sum(line.get("event") == "resumed" for line in events)

    def __call__(self, report: Report) -> None:
        """Write down; what the disk does not take waits, and `take_trouble` says so once."""
        try:
            if isinstance(report, EpochReport):
                self.metrics.append(asdict(report))
            elif isinstance(report, Event):
                event = asdict(report)
                self.events.append(event | event.pop("details"))
        except RunWriteError as error:
            if not self._troubled:
                self._trouble, self._troubled = f"{error}; kept in memory, training goes on", True

    def take_trouble(self) -> str | None:
        """That lines could not be written: once for all of them."""
        trouble, self._trouble = self._trouble, None
        return trouble

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, and remove the oldest beyond `checkpoints.keep`."""
        path = save_checkpoint(self.path / FOLDER, checkpoint)
        if not (self.path / CONFIG).exists():  # somebody removed the directory
            write_atomically(self.path / CONFIG, checkpoint.config.as_yaml().encode())
        prune(self.path / FOLDER, self._keep)
        return path

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json and let go: the run is complete.

        Raises:
            RunWriteError: that, or a line that waited, could not be written.
        """
        path = self.path / RESULT
        try:
            self.metrics.flush()
            self.events.flush()
            write_atomically(path, (json.dumps(result, indent=2) + "\n").encode())
        except OSError as error:
            raise RunWriteError(f"{path}: {error.strerror}; the result is not saved") from None
        self.release()

    def release(self) -> None:
        """Let others use the directory."""
        self._lock.release()

    def discard(self) -> None:
        """Nothing was trained: leave no trace of this run."""
        for name in (CONFIG, METRICS, EVENTS):
            (self.path / name).unlink(missing_ok=True)
        self.release()
        for folder in (self.path / FOLDER, *self._created):
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()


def resume_command(path: Path) -> str:
    """The command that goes on with a run, as a shell takes it."""
    text = str(path)
    return f"everstep resume {shlex.quote(f'./{text}' if text.startswith('-') else text)}"


def _made_and_locked(path: Path, where: str) -> RunLock:
    while True:
        path.mkdir(parents=True, exist_ok=True)
        try:
            return RunLock(path, "train", where)
        except FileNotFoundError:
            continue  # another training that never began has just removed it


def _refuse_occupied(path: Path, where: str) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise RunDirectoryError(f"{where}: is no directory; choose another")
    names = {entry.name for entry in path.iterdir()}
    if {CONFIG} <= names and RESULT not in names:
        raise RunDirectoryError(
            f"{where}: holds an unfinished run; go on with: {resume_command(path)};"
            " or choose another directory"
        )
    if RESULT in names:
        raise RunDirectoryError(f"{where}: holds a finished run; choose another directory")
    if names - {LOCK}:
        raise RunDirectoryError(
            f"{where}: exists already and is not empty; choose another directory"
        )
