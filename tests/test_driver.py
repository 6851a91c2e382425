"""A training's course in one process: what is counted, what is written, how it ends."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from actors.cluster import Cluster, Job
from actors.errors import ClusterError
from actors.messages import DriverMessage, EpochDone, Failed
from trainer import Config, load_checkpoint, load_config, train
from trainer.checkpoints import digest
from trainer.errors import DivergedError, RunDirectoryError
from trainer.reports import CheckpointWritten, EpochReport, Report, Started


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_run_directory_holds_what_it_should(quick: Config, tmp_path: Path) -> None:
    result = train(quick, tmp_path / "run")
    names = sorted(path.relative_to(tmp_path / "run").as_posix() for path in tmp_path.rglob("*.*"))
    assert names == [
        "checkpoints/step-00000088.safetensors",
        "config.yaml",
        "events.jsonl",
        "metrics.jsonl",
        "result.json",
    ]
    assert load_config(tmp_path / "run" / "config.yaml") == quick
    metrics = lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["epoch"] for line in metrics] == [1, 2]
    assert metrics[-1]["accuracy"] == result.accuracy
    events = lines(tmp_path / "run" / "events.jsonl")
    assert [e["worker"] for e in events if e["event"] == "joined"] == ["worker-0", "worker-1"]
    assert events[-1]["event"] == "assigned"
    assert events[-1]["shards"] == [4, 5, 6, 7]


def test_the_result_counts_exactly(quick: Config, tmp_path: Path) -> None:
    result = train(quick, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    # By hand: 1,797 rows, 359 held out; 1,438 in 8 shards, the smallest has 179; with
    # micro-batches of 4 that is 44 steps an epoch of 32 samples each.
    assert written["steps"] == 2 * 44
    assert written["samples_applied"] == 2 * 44 * 32
    assert written["epochs"] == 2
    assert written["workers"] == 2
    assert written["digest"] == digest(result.parameters)
    assert (written["deaths"], written["restarts"], written["repeated_steps"]) == (0, 0, 0)
    assert written["stalls_s"] == []
    assert 0 < written["train_s"] <= written["wall_s"]


def test_the_final_checkpoint_holds_the_final_weights(quick: Config, tmp_path: Path) -> None:
    result = train(quick, tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.parameters.tobytes() == result.parameters.tobytes()
    assert (checkpoint.epoch, checkpoint.step) == (2, 88)


def test_checkpoints_are_written_when_asked_for_and_the_oldest_removed(
    quick: Config, tmp_path: Path
) -> None:
    config = quick.with_changes(training={"epochs": 7}, checkpoints={"every_epochs": 2, "keep": 2})
    written: list[Path] = []

    def watch(report: Report) -> None:
        if isinstance(report, CheckpointWritten):
            written.append(report.path)

    train(config, tmp_path / "run", [watch])
    assert [path.stem for path in written] == [
        "step-00000088",
        "step-00000176",
        "step-00000264",
        "step-00000308",
    ]
    kept = sorted(path.stem for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["step-00000264", "step-00000308"]


def test_without_a_directory_nothing_is_written(
    quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(quick).directory is None
    assert list(tmp_path.iterdir()) == []


def test_watchers_hear_the_whole_course_in_order(quick: Config) -> None:
    heard: list[Report] = []
    result = train(quick, watchers=[heard.append])
    assert isinstance(heard[0], Started)
    assert (heard[0].epochs, heard[0].steps_per_epoch) == (2, 44)
    epochs = [report for report in heard if isinstance(report, EpochReport)]
    assert [report.epoch for report in epochs] == [1, 2]
    assert epochs[-1].loss == result.summary.loss


def test_the_default_network_learns_the_digits() -> None:
    result = train(Config(cluster={"kind": "local"}))
    assert result.accuracy >= 0.95


def test_the_mean_loss_is_that_of_the_rows_it_was_trained_on(quick: Config) -> None:
    """One step over all rows at a tiny rate: the mean loss is the one before the step."""
    from trainer.datasets import load_dataset

    config = quick.with_changes(
        training={
            "epochs": 1,
            "shards": 2,
            "batch_size": 1438,
            "learning_rate": 1e-9,
            "dtype": "float64",
        }
    )
    result = train(config)
    dataset = load_dataset(config)
    expected = result.network.evaluate(
        result.network.initial_parameters(0), dataset.train_inputs, dataset.train_targets
    )
    assert result.summary.steps == 1
    assert result.summary.loss == pytest.approx(expected.loss, rel=1e-12)


def test_a_directory_with_something_in_it_is_not_written_to(quick: Config, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="exists already and is not empty; choose another"):
        train(quick, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_directory_that_can_not_be_made_is_named(quick: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="file/run: Not a directory"):
        train(quick, tmp_path / "file" / "run")


def test_a_loss_that_is_no_number_ends_the_training_and_keeps_nothing_of_it(
    quick: Config, tmp_path: Path
) -> None:
    config = quick.with_changes(
        network={"activation": "relu", "output": "identity"},
        training={"learning_rate": 1e6, "epochs": 5},
    )
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) in epoch 1 \(steps 1 to 44\)"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Ending:
    """A local cluster that fails after the first epoch."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._epochs = 0

    def __enter__(self) -> "Ending":
        self._cluster.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.__exit__(None, None, None)

    def run_epoch(self, epoch: object) -> None:
        self._cluster.run_epoch(epoch)  # type: ignore[arg-type]

    def receive(self) -> DriverMessage:
        if self._epochs == 1:
            return Failed("no worker is left; the last, worker-1, died: killed")
        message = self._cluster.receive()
        self._epochs += isinstance(message, EpochDone)
        return message


@pytest.fixture
def failing_after_one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    import trainer.driver

    build: Callable[[Config, Job], Cluster] = trainer.driver.build_cluster
    monkeypatch.setattr(
        "trainer.driver.build_cluster", lambda config, job: Ending(build(config, job))
    )


@pytest.mark.usefixtures("failing_after_one_epoch")
def test_what_was_done_is_kept_when_training_fails(quick: Config, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="training stopped after step 44: no worker") as caught:
        train(quick, tmp_path / "run")
    kept = tmp_path / "run" / "checkpoints" / "step-00000044.safetensors"
    assert caught.value.__notes__ == [f"epoch 1 is kept: {kept}"]
    assert load_checkpoint(kept).epoch == 1
    assert not (tmp_path / "run" / "result.json").exists()


def test_an_interrupt_before_the_first_epoch_leaves_nothing(quick: Config, tmp_path: Path) -> None:
    def interrupt(report: Report) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(quick, tmp_path / "run", [interrupt])
    assert not (tmp_path / "run").exists()


def test_parameters_of_a_result_are_the_caller_s_to_use(quick: Config) -> None:
    result = train(quick)
    outputs = result.network.feedforward(result.parameters, np.zeros((3, 64), "f4"))
    assert outputs.shape == (3, 10)
