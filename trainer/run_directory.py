"""The files of a run: configuration, metrics, events, checkpoints, result.

config.yaml  metrics.jsonl  events.jsonl  checkpoints/step-NNNNNNNN.safetensors  result.json
trace.json, with --profile
"""

import json
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

from actors.messages import DRIVER
from trainer.checkpoints import Checkpoint, save_checkpoint
from trainer.config import Config
from trainer.errors import CheckpointError, LockLostError, RunDirectoryError, RunWriteError
from trainer.faults.log import FAULTS, TIMELINE, last_kill_of
from trainer.files import (
    FOLDER,
    checkpoint_name,
    prune,
    remove_empty,
    remove_unfinished,
    write_atomically,
)
from trainer.lock_holder import LOCK
from trainer.past import Before, how_it_ended
from trainer.reports import EpochReport, Event, InEpoch, Report
from trainer.run_lines import epochs_in, events_in
from trainer.run_lock import RunLock
from trainer.run_place import (
    CONFIG,
    EVENTS,
    METRICS,
    RESULT,
    TRACE,
    locked,
    made_and_locked,
    missing,
    refuse_no_run,
    refuse_occupied,
)
from trainer.storage.courier import Courier
from trainer.storage.place import Place
from trainer.storage.stored_lines import lines_at
from trainer.storage.stored_lock import StoredLock
from trainer.storage.stored_path import StoredPath
from trainer.write_troubles import WriteTroubles


class RunDirectory:
    """A locked directory that, as a watcher, writes down what a training reports."""

    def __init__(self, path: Place, lock: RunLock | StoredLock, created: list[Path]) -> None:
        """`created`: the folders that were made for it. See `create` and `reopen`."""
        self.path = path
        self._lock, self._created = lock, created
        # The same place, where nothing is written without the lock.
        self.held: Place = path
        if isinstance(path, StoredPath) and isinstance(lock, StoredLock):
            self.held = path.held_by(lock.check)
        self.metrics, self.events = lines_at(self.held / METRICS), lines_at(self.held / EVENTS)
        self._keep = 1
        self.troubles = WriteTroubles()
        self._courier: Courier | None = None
        if isinstance(lock, StoredLock):
            errands = (lock.confirm, self.metrics.flush, self.events.flush)
            self._courier = Courier(errands, partial(self.troubles.keep, LOCK))

    @classmethod
    def create(cls, path: Place, config: Config) -> Self:
        """Make the directory, lock it, and write the configuration.

        Raises:
            RunDirectoryError: it holds something already, is in use, or can not be written.
        """
        where, created = f"--out {path}", list[Path]()
        try:
            try:
                refuse_occupied(path, where)
            except RunDirectoryError:
                if not (path / LOCK).exists():  # else the lock says who trains into it
                    raise
            created += missing(path)
            made = cls(path, made_and_locked(path, where), created)
            try:
                refuse_occupied(path, where)
                made.configure(config)
            except BaseException:
                made.release()
                raise
        except OSError as error:
            with suppress(OSError):  # the first error is the one to tell
                remove_empty(created)
            raise RunDirectoryError(f"{where}: {error.strerror}") from None
        return made

    @classmethod
    def reopen(cls, path: Place) -> Self:
        """Lock the directory of a run that was begun.

        Raises:
            RunDirectoryError: there is none, it is in use, or it can not be written.
        """
        where = f"DIR {path}"
        try:
            refuse_no_run(path)
            return cls(path, locked(path, "resume", where), [])
        except OSError as error:
            raise RunDirectoryError(f"{where}: {error.strerror}") from None

    def configure(self, config: Config) -> None:
        """Write the configuration, if it is not there as it is."""
        self._keep = config.checkpoints.keep
        content = config.as_yaml().encode()
        path = self.held / CONFIG
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)

    def how_it_ended(self) -> Before:
        """What is known of the process that trained here last; to be asked before `rewind`."""
        events, metrics = events_in(self.path), epochs_in(self.path)
        if (self.path / RESULT).exists():  # it was whole
            events = [*events, {"event": "ended"}]
        return how_it_ended(events, metrics, self._lock.left, last_kill_of(DRIVER, self.path))

    def rewind(self, epochs: int) -> int:
        """Forget what will be run again: all after so many epochs. How often it was resumed.

        Raises:
            OSError: a file could not be replaced.
        """
        remove_unfinished(self.held)
        remove_unfinished(self.held / FOLDER)
        (self.held / RESULT).unlink(missing_ok=True)
        self.metrics.rewrite([line for line in self.metrics.lines() if line["epoch"] <= epochs])
        events = self.events.lines()
        self.events.rewrite(events)  # without what a crash cut off
        return sum(line.get("event") == "resumed" for line in events)

    def __call__(self, report: Report) -> None:
        """Write down; what the disk does not take waits, and `take_trouble` says so once."""
        match report:
            case InEpoch(step=step) | EpochReport(step=step) | Event(step=step, event="resumed"):
                self._lock.note(step)
        if isinstance(report, EpochReport):
            with self.troubles.patient(self.metrics):
                self.metrics.append(asdict(report))
        elif isinstance(report, Event):
            event = asdict(report)
            with self.troubles.patient(self.events):
                self.events.append(event | event.pop("details"))

    def take_trouble(self) -> str | None:
        """That lines could not be written: once for each cause.

        Raises:
            LockLostError: and none will be any more; this is said every time.
        """
        if isinstance(self._lock, StoredLock):
            self._lock.refuse_lost()
        return self.troubles.take()

    def save(self, checkpoint: Checkpoint) -> Place:
        """Write a checkpoint, and remove the oldest beyond `checkpoints.keep`.

        Raises:
            CheckpointError: it could not be written.
            LockLostError: and none ever will be.
        """
        folder = self.held / FOLDER
        try:
            self._deliver()
        except LockLostError:
            raise
        except RunWriteError as error:
            path = folder / checkpoint_name(checkpoint.step)
            raise CheckpointError(f"checkpoint {path}: not written: {error}") from None
        path = save_checkpoint(folder, checkpoint)
        if not (self.held / CONFIG).exists():  # somebody removed the directory
            write_atomically(self.held / CONFIG, checkpoint.config.as_yaml().encode())
        prune(folder, self._keep)
        return self.path / FOLDER / path.name

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json and let go: the run is complete.

        Raises:
            RunWriteError: that, or a line that waited, could not be written.
        """
        path = self.held / RESULT
        try:
            self._deliver()
            self.metrics.flush()
            self.events.flush()
            write_atomically(path, (json.dumps(result, indent=2) + "\n").encode())
        except (OSError, RunWriteError) as error:
            why = f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)
            kind = LockLostError if isinstance(error, LockLostError) else RunWriteError
            failure = kind(f"{why}; the result is not saved")
            failure.add_note(f"training is done; the digest of its weights: {result['digest']}")
            raise failure from None
        self.release()

    @property
    def name(self) -> str:
        """What a person calls the run: the last part of where it lies."""
        return (self.path if isinstance(self.path, StoredPath) else self.path.resolve()).name

    def release(self) -> None:
        """Let others use the directory; a store that does not answer is not waited for."""
        if self._courier is not None:
            self._courier.close(self._release_lock)
        else:
            self._release_lock()

    def discard(self) -> None:
        """Nothing was trained: leave no trace of this run.

        Raises:
            OSError: a file could not be removed.
            LockLostError: it is another's run now, and stays.
        """
        # The courier would bring back what is removed; if it waits for the store, all would wait.
        if self._courier is not None and not self._courier.close():
            return
        try:
            for name in (CONFIG, METRICS, EVENTS, TRACE, FAULTS, TIMELINE):
                (self.held / name).unlink(missing_ok=True)
        finally:
            self._lock.release()
        remove_empty([self.path / FOLDER, *self._created])

    def _release_lock(self) -> None:
        with suppress(RunWriteError):
            self.events.flush()
        self._lock.release(is_told=not self.events.waits)

    def _deliver(self) -> None:
        """A store has every line before a state that comes after it, and only from the holder."""
        if self._courier is not None:
            self._courier.deliver()
            self.troubles.over(LOCK)
