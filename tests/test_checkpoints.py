"""Checkpoints: whole or not at all, and never believed when their bytes have changed."""

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import trainer
from trainer.checkpoints import (
    Checkpoint,
    digest,
    load_checkpoint,
    newest_intact,
    save_checkpoint,
)
from trainer.config import Config
from trainer.datasets import Scaler
from trainer.errors import CheckpointError
from trainer.files import checkpoints_in, prune, remove_unfinished, write_atomically


def checkpoint(step: int = 450, classes: tuple[int | str, ...] = (0, 1, 2)) -> Checkpoint:
    return Checkpoint(
        config=Config(network={"sizes": [2, 30, 3]}, training={"epochs": 7, "seed": 5}),
        epoch=3,
        step=step,
        sample_count=96,
        loss_sum=0.1 + 0.2,
        samples_applied=4224,
        parameters=np.linspace(0, 1, 183, dtype="f4"),  # 30 * 2 + 30, 3 * 30 + 3
        optimizer_state=np.empty(0, "f4"),
        scaler=Scaler(np.array([1.0, 2.0]), np.array([3.0, 4.0])),
        classes=classes,
        columns=("height", "width"),
        data_digest="ab" * 32,
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
    names = ("config", "epoch", "step", "sample_count", "samples_applied", "classes", "columns")
    for name in (*names, "data_digest"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert loaded.parameters.dtype == np.float32
    assert loaded.parameters.tobytes() == saved.parameters.tobytes()
    assert loaded.optimizer_state.size == 0
    assert [part.tolist() for part in loaded.scaler] == [[1.0, 2.0], [3.0, 4.0]]


def header_of(path: Path) -> dict[str, Any]:
    """As any reader of safetensors sees it."""
    with safe_open(path, framework="numpy") as file:
        header: dict[str, Any] = json.loads(file.metadata()["everstep"])
    return header


def test_the_header_tells_what_it_is_of_without_everstep(tmp_path: Path) -> None:
    header = header_of(save_checkpoint(tmp_path, checkpoint()))
    assert (header["step"], header["epoch"], header["seed"]) == (450, 3, 5)
    assert header["digest"] == blake2b(checkpoint().parameters, digest_size=32).hexdigest()
    assert header["versions"] == {
        "everstep": trainer.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    assert Config(**header["config"]) == checkpoint().config
    assert header["tensors"] == {
        "parameters": "float32 [183]",
        "optimizer_state": "float32 [0]",
        "shift": "float64 [2]",
        "scale": "float64 [2]",
    }


def test_a_directory_stands_for_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in (9, 100_000_001, 20):  # more digits than the name is padded to
        save_checkpoint(tmp_path / "checkpoints", checkpoint(step))
    assert load_checkpoint(tmp_path).step == 100_000_001


@pytest.mark.parametrize("value", [0.1 + 0.2, 5e-324, -0.0, 1.7976931348623157e308, 1 / 3])
def test_the_loss_sum_keeps_every_bit(value: float, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint()._replace(loss_sum=value))
    assert load_checkpoint(path).loss_sum.hex() == value.hex()


def test_a_checkpoint_s_state_is_what_a_server_goes_on_from(tmp_path: Path) -> None:
    state = load_checkpoint(save_checkpoint(tmp_path, checkpoint())).state
    assert (state.epoch, state.step, state.sample_count) == (3, 450, 96)
    assert state.loss_sum.hex() == (0.1 + 0.2).hex()
    assert state.parameters.tobytes() == checkpoint().parameters.tobytes()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def mislabel(path: Path) -> None:
    """The same bytes, said to be integers."""
    content = path.read_bytes()
    changed = content.replace(b'"parameters":{"dtype":"F', b'"parameters":{"dtype":"I')
    assert changed != content
    path.write_bytes(changed)


@pytest.mark.parametrize("damage", [truncate, alter, mislabel])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    paths = [save_checkpoint(tmp_path / "checkpoints", checkpoint(step)) for step in (1, 2, 3)]
    damage(paths[2])
    found = newest_intact(tmp_path)
    assert (found.checkpoint.step, found.path) == (2, paths[1])
    assert list(found.damaged) == [paths[2]]
    assert found.damaged[paths[2]].startswith(f"checkpoint {paths[2]}: damaged")
    assert "\n" not in found.damaged[paths[2]]
    assert load_checkpoint(tmp_path).step == 2


def test_when_all_are_damaged_all_are_named(tmp_path: Path) -> None:
    for step in (1, 2):
        alter(save_checkpoint(tmp_path / "checkpoints", checkpoint(step)))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path)
    lines = str(caught.value).splitlines()
    assert ["step-00000002" in lines[0], "step-00000001" in lines[1]] == [True, True]
    assert lines[2] == "no checkpoint is intact; move them away to begin anew"


def test_nothing_is_left_beside_the_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint())
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000450.safetensors"]


DAMAGE = r"^checkpoint \S+step-00000450\.safetensors: (damaged|is no checkpoint of Everstep's)"
VALUES = b'IU0"'  # the first letters of other dtypes, a digit, JSON's own sign


def changes(content: bytes) -> Iterator[tuple[int, int]]:
    """Places and bytes: several others for each of the header, one for each of the arrays."""
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    for at, old in enumerate(content):
        more = {old ^ 2, old ^ 32, *VALUES} if at < header_bytes else set()
        yield from ((at, value) for value in ({old ^ 1} | more) - {old})


def test_any_changed_byte_is_recognised(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint())
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for at, value in changes(content):
            os.pwrite(file.fileno(), bytes([value]), at)
            with pytest.raises(CheckpointError, match=DAMAGE):
                load_checkpoint(path)
            os.pwrite(file.fileno(), content[at : at + 1], at)
    assert load_checkpoint(path).step == 450


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1])
def test_a_truncated_checkpoint_is_recognised(size: int, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        load_checkpoint(path)


def test_a_safetensors_file_of_somebody_else_is_no_checkpoint(tmp_path: Path) -> None:
    save_file({"weight": np.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="is no checkpoint of Everstep's"):
        load_checkpoint(tmp_path / "other.safetensors")


FOREIGN = {
    "parameters": np.zeros(184, "f4"),
    "optimizer_state": np.zeros(183, "f4"),
    "shift": np.zeros(3),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_whole_checkpoint_that_does_not_fit_its_configuration_is_refused(
    name: str, tmp_path: Path
) -> None:
    foreign = FOREIGN[name]
    if name == "shift":
        altered = checkpoint()._replace(scaler=Scaler(foreign, np.ones(2)))
    else:
        altered = checkpoint()._replace(**{name: foreign})
    path = save_checkpoint(tmp_path, altered)
    asked = {
        "parameters": "float32 [183]",
        "optimizer_state": "float32 [0]",
        "shift": "float64 [2]",
    }
    expected = (
        f"checkpoint {path}: does not fit its own configuration: {name} is"
        f" {foreign.dtype} [{foreign.size}], must be {asked[name]}"
    )
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == expected


def test_a_whole_checkpoint_of_another_dtype_is_refused(tmp_path: Path) -> None:
    altered = checkpoint()._replace(parameters=np.zeros(183, "f8"))
    with pytest.raises(CheckpointError, match=r"parameters is float64 \[183\], must be float32"):
        load_checkpoint(save_checkpoint(tmp_path, altered))


def write_as_before(path: Path, dtype: str) -> None:
    """As Everstep wrote them before a checkpoint named its tensors' dtypes and shapes."""
    tensors = {
        "parameters": checkpoint().parameters,
        "optimizer_state": checkpoint().optimizer_state,
        "scale": checkpoint().scaler.scale,
        "shift": checkpoint().scaler.shift,
    }
    header = header_of(save_checkpoint(path.parent, checkpoint()))
    del header["tensors"]
    text = json.dumps(header)
    hasher = blake2b(text.encode(), digest_size=32)
    for name in sorted(tensors):
        hasher.update(tensors[name].tobytes())
    tensors["parameters"] = tensors["parameters"].view(dtype)
    save_file(tensors, path, {"everstep": text, "contents_digest": hasher.hexdigest()})


def test_a_checkpoint_that_does_not_name_its_tensors_is_read_if_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    write_as_before(path, "f4")
    assert load_checkpoint(path).parameters.tobytes() == checkpoint().parameters.tobytes()
    write_as_before(path, "i4")
    with pytest.raises(CheckpointError, match=r"parameters is int32 \[183\], must be float32"):
        load_checkpoint(path)


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

    monkeypatch.setattr("trainer.files.os.fsync", full_disk)
    with pytest.raises(CheckpointError, match="No space left on device; not written"):
        save_checkpoint(tmp_path, checkpoint()._replace(epoch=4))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


KILLED_IN_MID_WRITE = """
import os, signal, sys
from pathlib import Path
from trainer.files import write_atomically

def content():
    yield b"half"
    os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), content())
"""


def test_what_a_kill_in_mid_write_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint())
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED_IN_MID_WRITE, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = set(tmp_path.iterdir()) - {path}
    assert (left.name[0], left.suffix) == (".", ".tmp")
    assert checkpoints_in(tmp_path) == [path]
    (tmp_path / "notes.tmp").write_text("somebody's")
    remove_unfinished(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "notes.tmp"}
    assert path.read_bytes() == before


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
