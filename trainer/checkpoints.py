"""A training's state as a file: safetensors with a JSON header, written whole or not at all.

Tensors: `parameters`, `optimizer_state`, and the feature scaling `shift` and `scale`, so
that a checkpoint predicts on raw inputs. Header: configuration, epoch, step, classes,
columns, versions, digests, and the tensors' names, dtypes and shapes. Nothing in it is ever
unpickled.
"""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import trainer
from actors.messages import Snapshot
from trainer.config import Config
from trainer.datasets import ClassName, Scaler
from trainer.errors import CheckpointError, ConfigError, RunDirectoryError
from trainer.files import FOLDER, checkpoint_name, checkpoints_in, write_atomically
from trainer.layout import Vector, spans_of
from trainer.storage.place import Place, place_of
from trainer.storage.stored_path import local_copy

_HEADER: Final = "everstep"
_SEAL: Final = "contents_digest"  # over header and tensors


class Checkpoint(NamedTuple):
    """The state after `step` steps, and what is needed to use it and to go on from it."""

    config: Config
    epoch: int  # from 0: the running one, or the last one
    step: int
    sample_count: int  # over the epoch's steps so far
    loss_sum: float  # over the same samples
    samples_applied: int  # in the epochs before
    parameters: Vector
    optimizer_state: Vector
    scaler: Scaler
    classes: tuple[ClassName, ...]
    columns: tuple[str, ...] | None
    data_digest: str  # of what it was trained on: `datasets.data_digest`

    @property
    def state(self) -> Snapshot:
        """What a server goes on from."""
        return Snapshot(
            self.epoch,
            self.step,
            self.sample_count,
            self.loss_sum,
            self.parameters,
            self.optimizer_state,
        )


def digest(parameters: Vector) -> str:
    """The BLAKE2b-256 hex digest of the flat vector's little-endian bytes."""
    return _blake2b(parameters)


def save_checkpoint(folder: Place, checkpoint: Checkpoint) -> Place:
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
        "sample_count": checkpoint.sample_count,
        "loss_sum": float(checkpoint.loss_sum).hex(),  # JSON knows no infinity, and no bits
        "samples_applied": checkpoint.samples_applied,
        "seed": checkpoint.config.training.seed,
        "data_digest": checkpoint.data_digest,
        "classes": checkpoint.classes,
        "columns": checkpoint.columns,
        "digest": digest(checkpoint.parameters),
        "versions": {
            "everstep": trainer.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "tensors": _forms(tensors),  # said by the file too, but there no digest covers it
    }
    path = folder / checkpoint_name(checkpoint.step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(header)
        sealed = {_HEADER: text, _SEAL: _contents_digest(text, tensors)}
        write_atomically(path, save(tensors, sealed))
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {error.strerror}; not written") from None
    return path


def load_checkpoint(path: str | Place) -> Checkpoint:
    """Read a checkpoint file, or the newest intact one of a run directory.

    Raises:
        CheckpointError: there is none, or its bytes are not those that were written.
        RunDirectoryError: the store that it is in can not be asked.
    """
    path = place_of(path, "checkpoint")
    try:
        return _load(path)
    except OSError as error:
        if isinstance(path, Path):
            raise
        raise RunDirectoryError(f"checkpoint {path}: {error.strerror}") from None


def _load(path: Place) -> Checkpoint:
    if path.is_dir():
        return newest_intact(path).checkpoint
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: no such file")
    with local_copy(path) as file:
        return _read(file, path)


def _read(local: Path, path: Place) -> Checkpoint:
    """The checkpoint in a local file; `path` is where it comes from."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(local, framework="numpy") as file:
            metadata = file.metadata() or {}
            text, seal = metadata[_HEADER], metadata[_SEAL]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _contents_digest(text, tensors) != seal:
            raise CheckpointError(f"checkpoint {path}: damaged, its digest does not match")
        header, forms = json.loads(text), _forms(tensors)
        if header.get("tensors", forms) != forms:  # older ones do not say; they have to fit
            raise CheckpointError(f"checkpoint {path}: damaged, its tensors are others")
        checkpoint = _checkpoint(header, tensors)
        _check_fit(checkpoint.config, forms, path)
        return checkpoint
    except KeyError:
        raise CheckpointError(f"checkpoint {path}: is no checkpoint of Everstep's") from None
    except ConfigError as error:  # its seal is whole
        first = str(error).partition("\n")[0]
        raise CheckpointError(f"checkpoint {path}: of another Everstep: {first}") from None
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path}: damaged or no checkpoint: {error}") from None


class Intact(NamedTuple):
    """The newest checkpoint that can be believed."""

    checkpoint: Checkpoint
    path: Place
    damaged: dict[Place, str]  # newer ones that can not, and a line about each


def newest_intact(run_directory: Place) -> Intact:
    """The newest checkpoint of a run directory whose bytes are those that were written.

    Raises:
        CheckpointError: it holds none, or none that is intact; names them.
    """
    damaged: dict[Place, str] = {}
    for path in reversed(checkpoints_in(run_directory / FOLDER)):
        try:
            return Intact(load_checkpoint(path), path, damaged)
        except CheckpointError as error:
            damaged[path] = str(error)
    if damaged:
        raise CheckpointError(
            "\n".join([*damaged.values(), "no checkpoint is intact; move them away to begin anew"])
        )
    raise CheckpointError(f"checkpoint {run_directory}: no checkpoint in this directory")


def _tensors(checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
    return {
        "parameters": checkpoint.parameters,
        "optimizer_state": checkpoint.optimizer_state,
        "shift": checkpoint.scaler.shift,
        "scale": checkpoint.scaler.scale,
    }


def _forms(tensors: dict[str, NDArray[Any]]) -> dict[str, str]:
    """Dtype and shape of each."""
    return {name: f"{array.dtype.name} {list(array.shape)}" for name, array in tensors.items()}


def _check_fit(config: Config, forms: dict[str, str], path: Place) -> None:
    """A whole checkpoint may still be none that this version could go on from."""
    dtype, sizes = config.training.dtype, config.network.sizes
    columns = f"float64 [{sizes[0]}]"
    for name, form in {
        "parameters": f"{dtype} [{spans_of(sizes)[-1].stop}]",
        "optimizer_state": f"{dtype} [0]",  # no optimizer keeps any
        "shift": columns,
        "scale": columns,
    }.items():
        if forms[name] != form:
            raise CheckpointError(
                f"checkpoint {path}: does not fit its own configuration: {name} is {forms[name]},"
                f" must be {form}"
            )


def _checkpoint(header: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Checkpoint:
    columns = header["columns"]
    return Checkpoint(
        Config(**header["config"]),
        header["epoch"],
        header["step"],
        header["sample_count"],
        float.fromhex(header["loss_sum"]),
        header["samples_applied"],
        tensors["parameters"],
        tensors["optimizer_state"],
        Scaler(tensors["shift"], tensors["scale"]),
        tuple(header["classes"]),
        None if columns is None else tuple(columns),
        header["data_digest"],
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
