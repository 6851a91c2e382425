"""A training's course in one process: what is counted, what is written, how it ends."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.cluster import Cluster, Heard, Job
from actors.errors import ClusterError
from actors.messages import EpochDone, NotFinite
from actors.orders import DriverMessage, Failed
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
    joined = [e["worker"] for e in events if e["event"] == "joined"]
    assert joined == ["server", "worker-0", "worker-1"]
    assigned = [e for e in events if e["event"] == "assigned"]
    assert assigned[-1]["shards"] == [4, 5, 6, 7]
    assert [e["event"] for e in events[-2:]] == ["snapshot_written", "ended"]
    assert events[-2]["file"] == "step-00000088.safetensors"


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
    assert 0 < written["start_s"] <= written["wall_s"] - written["train_s"]


def test_the_final_checkpoint_holds_the_final_weights(quick: Config, tmp_path: Path) -> None:
    result = train(quick, tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.parameters.tobytes() == result.parameters.tobytes()
    assert (checkpoint.epoch, checkpoint.step) == (1, 88)  # the second epoch, from 0
    assert (checkpoint.samples_applied, checkpoint.sample_count) == (44 * 32, 44 * 32)


def test_checkpoints_are_written_when_they_are_due_and_the_oldest_removed(
    quick: Config, tmp_path: Path
) -> None:
    config = quick.with_changes(
        training={"epochs": 40}, checkpoints={"time_share": 0.5, "every_s": 0.001, "keep": 2}
    )
    written: list[int] = []

    def watch(report: Report) -> None:
        if isinstance(report, CheckpointWritten):
            written.append(report.step)

    train(config, tmp_path / "run", [watch])
    assert len(written) > 2
    assert written == sorted(set(written))
    assert written[-1] == 40 * 44
    kept = sorted(path.stem for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"step-{step:08d}" for step in written[-2:]]


def test_with_no_share_of_the_time_only_the_final_state_is_written(
    quick: Config, tmp_path: Path
) -> None:
    config = quick.with_changes(checkpoints={"time_share": 0, "every_s": 0.001})
    train(config, tmp_path / "run")
    (path,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert path.stem == "step-00000088"


def test_without_a_directory_nothing_is_written(
    quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(quick).directory is None
    assert list(tmp_path.iterdir()) == []


def test_watchers_hear_the_whole_course_in_order(quick: Config) -> None:
    heard: list[Report] = []
    result = train(quick, watchers=[heard.append])
    begun = next(i for i, report in enumerate(heard) if isinstance(report, Started))
    assert heard[begun] == Started(2, 44, heard[begun].start_s)
    assert {report.event for report in heard[:begun]} == {"joined", "assigned", "rounding"}
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
    with pytest.raises(DivergedError) as caught:
        train(config, tmp_path / "run")
    assert re.fullmatch(
        r"training diverged in step \d+: the (gradient of shard \d is not finite in|update of)"
        r" the (weights|biases) of layer [12]( is not finite)?; lower training.learning_rate,"
        r" now 1e\+06",
        str(caught.value),
    )
    assert not (tmp_path / "run").exists()


class Ending:
    """A local cluster from which another message comes than the end of the second epoch."""

    def __init__(self, cluster: Cluster, message: DriverMessage) -> None:
        self._cluster, self._message = cluster, message
        self._epochs = 0
        self.run_epoch, self.take_snapshot = cluster.run_epoch, cluster.take_snapshot

    def __enter__(self) -> "Ending":
        self._cluster.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.__exit__(None, None, None)

    def receive(self, timeout_s: float | None = None) -> Heard | None:
        heard = self._cluster.receive(timeout_s)
        if heard and isinstance(heard.message, EpochDone):
            self._epochs += 1
            if self._epochs == 2:
                return heard._replace(message=self._message)
        return heard


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Callable[[DriverMessage], None]:
    import trainer.driver

    build: Callable[[Config, Job], Cluster] = trainer.driver.build_cluster

    def end_with(message: DriverMessage) -> None:
        monkeypatch.setattr(
            "trainer.driver.build_cluster", lambda config, job: Ending(build(config, job), message)
        )

    return end_with


def test_what_was_done_is_kept_when_training_fails_and_the_way_on_is_named(
    ending: Callable[[DriverMessage], None], quick: Config, tmp_path: Path
) -> None:
    ending(Failed("no worker is left; the last, worker-1, died: killed"))
    config = quick.with_changes(checkpoints={"every_s": 3600})
    with pytest.raises(ClusterError, match=r"training stopped after step \d+: no worker") as caught:
        train(config, tmp_path / "run")
    kept = tmp_path / "run" / "checkpoints" / "step-00000044.safetensors"
    assert caught.value.__notes__ == [
        f"kept: {kept}",
        f"go on with: everstep resume {tmp_path / 'run'}",
    ]
    assert load_checkpoint(kept).epoch == 0
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("found", "line"),
    [
        # 64-30-10: layer 1 has 1,920 weights and 30 biases, layer 2 300 weights and 10 biases.
        (NotFinite(70, 3, 0), "the gradient of shard 3 is not finite in the weights of layer 1"),
        (NotFinite(70, 0, 1920), "the gradient of shard 0 is not finite in the biases of layer 1"),
        (NotFinite(70, 0, 1950), "the gradient of shard 0 is not finite in the weights of layer 2"),
        (NotFinite(70, -1, 2259), "the update of the biases of layer 2 is not finite"),
        (NotFinite(70, 5, -1), "the loss of shard 5 is not finite"),
    ],
)
def test_a_number_that_is_not_finite_is_placed_and_what_was_before_is_kept(
    found: NotFinite,
    line: str,
    ending: Callable[[DriverMessage], None],
    quick: Config,
    tmp_path: Path,
) -> None:
    ending(found)
    with pytest.raises(DivergedError) as caught:
        train(quick.with_changes(checkpoints={"every_s": 3600}), tmp_path / "run")
    # Steps count from 0 in messages and from 1 for people: 70 are done, the 71st is not.
    assert str(caught.value) == (
        f"training diverged in step 71: {line}; lower training.learning_rate, now 3"
    )
    kept = tmp_path / "run" / "checkpoints" / "step-00000044.safetensors"
    assert caught.value.__notes__ == [
        f"kept: {kept}",
        "resumed from that, the training would diverge again",
    ]


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


@pytest.mark.usefixtures("ray_session")
def test_the_final_weights_are_the_caller_s_own_also_where_the_actors_shared_theirs() -> None:
    network = {"sizes": (64, 200, 10)}  # large enough to be lent
    result = train(Config(network=network, training={"epochs": 1}))
    before = result.digest
    np.multiply(result.parameters, 0, out=result.parameters)  # nobody else looks at them
    assert result.digest == before
    assert not result.parameters.any()


class Refusing:
    """A shard that raises from a step on, two calls deep."""

    def __init__(self, shard: Any, step: int) -> None:
        self.shard, self.step = shard, step

    def batch(self, step: int) -> Any:
        if step >= self.step:
            self._read()
        return self.shard.batch(step)

    def _read(self) -> None:
        raise ValueError("the disk ate the rows")


@pytest.mark.parametrize("epochs", [0, 1])
def test_an_exception_in_one_process_is_reported_as_on_ray_and_says_what_is_kept(
    epochs: int, quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `epochs` epochs of 44 steps: with a checkpoint, or without one."""
    from trainer import job

    def cut(*arguments: Any) -> list[Any]:
        first, second, *rest = shards_of(*arguments)
        return [first, Refusing(second, 44 * epochs + 2), *rest]

    shards_of = job.cut
    monkeypatch.setattr(job, "cut", cut)
    run = tmp_path / "run"
    with pytest.raises(ClusterError) as caught:
        train(quick.with_changes(checkpoints={"every_s": 3600}), run)
    told, done = str(caught.value).splitlines(), 44 * epochs + 2
    assert told[0] == (
        f"training stopped after step {done}: worker-0 failed in step {done + 1}, and in one"
        " process nobody takes its place; the cause: Traceback (most recent call last):"
    )
    assert told[-1] == "ValueError: the disk ate the rows"
    named = [line.rpartition(" in ")[2] for line in told if line.startswith("  File ")]
    assert named == ["batch", "_read"]  # none of the machine's own
    kept = {
        0: ["no epoch was finished; nothing is kept"],
        1: [
            f"kept: {run / 'checkpoints' / 'step-00000044.safetensors'}",
            f"go on with: everstep resume {run}",
        ],
    }
    assert caught.value.__notes__ == kept[epochs]
