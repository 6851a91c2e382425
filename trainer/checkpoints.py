"""A training's state as a file: safetensors with a JSON header, written whole or not at all.

Tensors: `parameters`, `optimizer_state`, and the feature scaling `shift` and `scale`, so
that a checkpoint predicts on raw inputs. Header: configuration, epoch, step, classes,
columns, versions, digests. Nothing in it is ever unpickled.
"""

import hashlib
import json
import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import trainer
from trainer.config import Config
from trainer.datasets import ClassName, Scaler
from trainer.errors import CheckpointError
from trainer.layout import Vector

FOLDER: Final = "checkpoints"
_HEADER: Final = "everstep"
_SEAL: Final = "contents_digest"  # over header and tensors
_NAME: Final = re.compile(r"step-(\d{8,})\.safetensors")


class Checkpoint(NamedTuple):
    """The state after `step` steps, and what is needed to use it."""

    config: Config
    epoch: int  # epochs done
    step: int
    parameters: Vector
    optimizer_state: Vector
    scaler: Scaler
    classes: tuple[ClassName, ...]
    columns: tuple[str, ...] | None


def digest(parameters: Vector) -> str:
    """The BLAKE2b-256 hex digest of the flat vector's little-endian bytes."""
    return _blake2b(parameters)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `step-NNNNNNNN.safetensors` into `folder`: whole and synced, or not at all.

    Raises:
        CheckpointError: it could not be written; an older file of that name is untouched.
    """
    from safetensors.numpy import save

    tensors = _tensors(checkpoint)
    header = {
        "config": checkpoint.config.model_dump(mode="json"),
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "classes": checkpoint.classes,
        "columns": checkpoint.columns,
        "digest": digest(checkpoint.parameters),
        "versions": {
            "everstep": trainer.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(header)
        sealed = {_HEADER: text, _SEAL: _contents_digest(text, tensors)}
        write_atomically(path, save(tensors, sealed))
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {error.strerror}; not written") from None
    return path


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file, or the newest one of a run directory.

    Raises:
        CheckpointError: there is none, or its bytes are not those that were written.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.is_dir():
        path = newest(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            text, seal = metadata[_HEADER], metadata[_SEAL]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _contents_digest(text, tensors) != seal:
            raise CheckpointError(f"checkpoint {path}: damaged, its digest does not match")
        return _checkpoint(json.loads(text), tensors)
    except KeyError:
        raise CheckpointError(f"checkpoint {path}: is no checkpoint of Everstep's") from None
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path}: damaged or no checkpoint: {error}") from None


def newest(run_directory: Path) -> Path:
    """The checkpoint with the highest step of a run directory.

    Raises:
        CheckpointError: it holds none.
    """
    paths = checkpoints_in(run_directory / FOLDER)
    if not paths:
        raise CheckpointError(f"checkpoint {run_directory}: no checkpoint in this directory")
    return paths[-1]


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoint files of a folder, by step."""
    return sorted(
        (path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)), key=_step_of
    )


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for path in checkpoints_in(folder)[:-keep]:
        with suppress(OSError):  # it is read or removed by somebody else
            path.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file by `content`, synced; a crash leaves the old file or the new one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
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


def _step_of(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _tensors(checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
    return {
        "parameters": checkpoint.parameters,
        "optimizer_state": checkpoint.optimizer_state,
        "shift": checkpoint.scaler.shift,
        "scale": checkpoint.scaler.scale,
    }


def _checkpoint(header: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Checkpoint:
    columns = header["columns"]
    return Checkpoint(
        Config(**header["config"]),
        header["epoch"],
        header["step"],
        tensors["parameters"],
        tensors["optimizer_state"],
        Scaler(tensors["shift"], tensors["scale"]),
        tuple(header["classes"]),
        None if columns is None else tuple(columns),
    )


def _contents_digest(header: str, tensors: dict[str, NDArray[Any]]) -> str:
    return _blake2b(*(tensors[name] for name in sorted(tensors)), begin=header.encode())


def _blake2b(*arrays: NDArray[Any], begin: bytes = b"") -> str:
    hasher = hashlib.blake2b(begin, digest_size=32)
    for array in arrays:
        hasher.update(
            np.ascontiguousarray(array, array.dtype.newbyteorder("<")).view(np.uint8).data
        )
    return hasher.hexdigest()
