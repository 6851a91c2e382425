"""The place where a run directory is, or is to be: what lies in it, whether it is free, who has it.

It begins no run and ends none: that is `run_directory.py`'s business.
"""

import shlex
from pathlib import Path
from typing import Final

from trainer.errors import RunDirectoryError
from trainer.lock_holder import LOCK, Command
from trainer.run_lock import RunLock
from trainer.storage.place import Place, as_given
from trainer.storage.stored_lock import StoredLock
from trainer.storage.stored_path import StoredPath

CONFIG: Final = "config.yaml"
EVENTS: Final = "events.jsonl"
METRICS: Final = "metrics.jsonl"
RESULT: Final = "result.json"
TRACE: Final = "trace.json"


def resume_command(path: Place, *options: str) -> str:
    """The command that goes on with a run, as a shell takes it."""
    return shlex.join(["everstep", "resume", as_given(path), *options])


def refuse_no_directory(path: Place) -> None:
    """What is given as a run directory has to be one.

    Raises:
        RunDirectoryError: there is nothing of that name, or a file.
    """
    if path.is_dir():
        return
    if path.exists():
        raise RunDirectoryError(f"DIR {path}: is a file, and no run directory")
    raise RunDirectoryError(f"DIR {path}: no such directory")


def refuse_no_run(path: Place) -> None:
    """A training has to have begun there.

    Raises:
        RunDirectoryError: it is no directory, or has no configuration.
    """
    refuse_no_directory(path)
    if not (path / CONFIG).is_file():
        raise RunDirectoryError(f"DIR {path}: holds no run, there is no {CONFIG} in it")


def missing(path: Place) -> list[Path]:
    """The folders that will be made for it, from the inside outwards."""
    if isinstance(path, StoredPath):
        return []
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def locked(path: Place, command: Command, where: str) -> RunLock | StoredLock:
    """The lock of a run directory that is there.

    Raises:
        RunDirectoryError: another process holds it.
        OSError: it can not be made.
    """
    if isinstance(path, StoredPath):
        return StoredLock(path, command, where)
    return RunLock(path, command, where)


def made_and_locked(path: Place, where: str) -> RunLock | StoredLock:
    """The lock of a directory that is made for it; raises as `locked`."""
    while True:
        path.mkdir(parents=True, exist_ok=True)
        try:
            return locked(path, "train", where)
        except FileNotFoundError:
            if isinstance(path, StoredPath):
                raise  # there is no such bucket
            continue  # another training that never began has just removed it


def refuse_occupied(path: Place, where: str) -> None:
    """A new run is written where nothing is.

    Raises:
        RunDirectoryError: there is something.
        OSError: one can not look.
    """
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
