"""Checkpoints: whole or not at all, and never believed when their bytes have changed."""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from trainer.checkpoints import (
    Checkpoint,
    checkpoints_in,
    digest,
    load_checkpoint,
    prune,
    save_checkpoint,
    write_atomically,
)
from trainer.config import Config
from trainer.datasets import Scaler
from trainer.errors import CheckpointError


def checkpoint(step: int = 450, classes: tuple[int | str, ...] = (0, 1, 2)) -> Checkpoint:
    return Checkpoint(
        config=Config(training={"epochs": 7}),
        epoch=3,
        step=step,
        parameters=np.linspace(0, 1, 1000, dtype="f4"),
        optimizer_state=np.empty(0, "f4"),
        scaler=Scaler(np.array([1.0, 2.0]), np.array([3.0, 4.0])),
        classes=classes,
        columns=("height", "width"),
    )


def test_the_digest_is_blake2b_256_of_the_little_endian_bytes() -> None:
    values = np.array([1.5, -2.0], ">f4")
    by_hand = blake2b(bytes.fromhex("0000c03f000000c0"), digest_size=32).hexdigest()
    assert digest(values) == digest(values.astype("<f4")) == by_hand


@pytest.mark.parametrize("classes", [(0, 1, 2), ("setosa", "virginica")])
def test_a_checkpoint_survives_the_round_trip(
    classes: tuple[int | str, ...], tmp_path: Path
) -> None:
    saved = checkpoint(classes=classes)
    path = save_checkpoint(tmp_path / "checkpoints", saved)
    assert path.name == "step-00000450.safetensors"
    loaded = load_checkpoint(path)
    for name in ("config", "epoch", "step", "classes", "columns"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert loaded.parameters.dtype == np.float32
    assert loaded.parameters.tobytes() == saved.parameters.tobytes()
    assert loaded.optimizer_state.size == 0
    assert [part.tolist() for part in loaded.scaler] == [[1.0, 2.0], [3.0, 4.0]]


def test_a_directory_stands_for_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in (9, 100_000_001, 20):  # more digits than the name is padded to
        save_checkpoint(tmp_path / "checkpoints", checkpoint(step))
    assert load_checkpoint(tmp_path).step == 100_000_001


def test_nothing_is_left_beside_the_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint())
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000450.safetensors"]


def test_any_changed_byte_is_recognised(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint())
    content = bytearray(path.read_bytes())
    damage = r"step-00000450\.safetensors: (damaged|is no checkpoint of Everstep's)"
    for at in range(0, len(content), 7):
        damaged = content.copy()
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=damage):
            load_checkpoint(path)


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1])
def test_a_truncated_checkpoint_is_recognised(size: int, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        load_checkpoint(path)


def test_a_safetensors_file_of_somebody_else_is_no_checkpoint(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"weight": np.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="is no checkpoint of Everstep's"):
        load_checkpoint(tmp_path / "other.safetensors")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"step-1\.safetensors: no such file"):
        load_checkpoint(tmp_path / "step-1.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint in this directory"):
        load_checkpoint(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint())
    before = (tmp_path / "step-00000450.safetensors").read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.checkpoints.os.fsync", full_disk)
    with pytest.raises(CheckpointError, match="No space left on device; not written"):
        save_checkpoint(tmp_path, checkpoint()._replace(epoch=4))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_pruning_keeps_the_newest(tmp_path: Path) -> None:
    for step in (10, 9, 100, 11):
        save_checkpoint(tmp_path, checkpoint(step))
    (tmp_path / "step-notes.txt").write_text("not a checkpoint")
    prune(tmp_path, keep=2)
    assert [path.name for path in checkpoints_in(tmp_path)] == [
        "step-00000011.safetensors",
        "step-00000100.safetensors",
    ]
    assert (tmp_path / "step-notes.txt").exists()


def test_writing_atomically_replaces_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a longer old content")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
