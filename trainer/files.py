"""Files that are whole or not there at all, and the names of the checkpoints among them."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from trainer.storage.place import Place

FOLDER: Final = "checkpoints"
_NAME: Final = re.compile(r"step-(\d{8,})\.safetensors")


def write_atomically(path: Place, content: bytes | Iterable[bytes]) -> None:
    """Replace the file by `content`, synced; a crash leaves the old file or the new one."""
    if not isinstance(path, Path):
        path.write(content if isinstance(content, bytes) else b"".join(content))
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def checkpoint_name(step: int) -> str:
    """The file name of the checkpoint after `step` steps."""
    return f"step-{step:08d}.safetensors"


def checkpoints_in(folder: Place) -> list[Place]:
    """The checkpoint files of a folder, by step."""
    return sorted(
        (path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)), key=_step_of
    )


def prune(folder: Place, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    with suppress(OSError):  # a store that does not tell what there is
        for path in checkpoints_in(folder)[:-keep]:
            with suppress(OSError):  # it is read or removed by somebody else
                path.unlink()


def set_aside(path: Place) -> None:
    """Give a damaged checkpoint a name that is no checkpoint's."""
    target: Any = path.with_name(f"{path.name}.damaged")  # of the same kind as `path`
    with suppress(OSError):
        path.rename(target)


def remove_unfinished(folder: Place) -> None:
    """Remove what a process that was killed had only begun to write."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            path.unlink()


def remove_empty(folders: Iterable[Place]) -> None:
    """From the inside outwards; one with something in it stays."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _step_of(path: Place) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1
