"""The examples run, and say what they claim to say."""

import json
import signal
import struct
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from trainer import Config, load_config, train
from trainer.reports import Event


def test_the_digits_example_is_the_default_written_out(repository: Path) -> None:
    import yaml

    path = repository / "examples" / "digits.yaml"
    assert load_config(path) == Config()
    written = yaml.safe_load(path.read_text())
    complete = yaml.safe_load(Config().as_yaml())
    assert {name: set(keys) for name, keys in written.items()} == {
        name: set(keys) for name, keys in complete.items()
    }


def test_the_readme_s_kill_commands_find_the_newest_life_of_a_worker_and_of_the_server(
    repository: Path, tmp_path: Path
) -> None:
    """Stand-ins that wait for the end of their input, and a run that tells of them."""
    lines = (repository / "README.md").read_text().splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ kill ")]
    assert len(commands) == 2
    names = ["server", "worker-1", "worker-0", "server.2", "worker-1.2"]
    living = {name: subprocess.Popen(["cat"], stdin=subprocess.PIPE) for name in names}
    (tmp_path / "runs" / "killed").mkdir(parents=True)
    with (tmp_path / "runs" / "killed" / "events.jsonl").open("w") as file:
        for name, process in living.items():
            for event in (
                Event(1.0, 7, "joined", name, {"host": "127.0.0.1", "process_id": process.pid}),
                Event(2.0, 8, "stalled", "server", {"finished_step": 8, "seconds": 0.1}),
            ):
                line = asdict(event)
                file.write(json.dumps(line | line.pop("details")) + "\n")
    for command in commands:
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, timeout=60)
    statuses = {}
    for name, process in living.items():
        process.communicate(timeout=60)
        statuses[name] = process.returncode
    assert [name for name, status in statuses.items() if status] == ["server.2", "worker-1.2"]
    assert {status for status in statuses.values() if status} == {-signal.SIGKILL}


def write_idx(path: Path, array: np.ndarray) -> None:
    """An IDX file of bytes: magic, dimensions, elements."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_the_mnist_example_trains_on_files_of_mnist_s_form(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten patterns with noise, in 28x28 bytes: a stand-in that only its form shares with MNIST."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 200, (10, 28, 28)) * (generator.random((10, 28, 28)) < 0.2)
    for name, count in (("train", 600), ("t10k", 100)):
        labels = np.arange(count) % 10
        images = patterns[labels] + generator.integers(0, 50, (count, 28, 28))
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", labels)
    monkeypatch.chdir(tmp_path)
    config = load_config(repository / "examples" / "mnist.yaml")
    assert config.network.sizes == (784, 30, 10)
    assert (config.training.batch_size, config.training.learning_rate) == (10, 3.0)
    result = train(config.with_changes(cluster={"kind": "local"}, training={"epochs": 30}))
    assert result.summary.steps == 30 * 60
    assert result.accuracy > 0.9


def test_the_python_example_is_short_and_shows_equal_bytes(
    repository: Path, tmp_path: Path
) -> None:
    path = repository / "examples" / "python_api.py"
    statements = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(statements) <= 20
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "4 workers, the same bytes: True"
    assert list(tmp_path.iterdir()) == []
