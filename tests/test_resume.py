"""A training that goes on after its process has ended: the same bytes, the same metrics."""

import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command import DEADLINE_S, LOCAL, LONG, Everstep, events_of, result_of, wait_for
from tests.test_checkpoints import alter, mislabel, truncate
from trainer import Config, Result, load_checkpoint, load_config, resume, train
from trainer.errors import CheckpointError, ConfigError, DataError, RunDirectoryError
from trainer.files import checkpoints_in
from trainer.reports import EpochReport, Notice, Report

OFTEN = ("--set", "checkpoints.every_s=0.05", "--set", "checkpoints.time_share=0.5")
EPOCHS = 60


class CutError(Exception):
    """The process that trains ends here, as far as a test is concerned."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    train(Config(training={"epochs": EPOCHS}, cluster={"kind": "local"}), path)
    return path


def measured(run: Path) -> list[tuple[Any, ...]]:
    """What metrics.jsonl says of the network, not of the time: to be equal bit for bit."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(e["epoch"], e["step"], e["loss"], e["test_loss"], e["accuracy"]) for e in lines]


def cut_short(path: Path, epoch: int = 20, epochs: int = EPOCHS) -> Path:
    """A run that ended in the middle of that epoch, with several checkpoints."""

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport) and report.epoch == epoch:
            raise CutError

    config = Config(
        training={"epochs": epochs},
        cluster={"kind": "local"},
        checkpoints={"every_s": 0.001, "time_share": 0.5},
    )
    with pytest.raises(CutError):
        train(config, path, [watch])
    return path


def check_equal(run: Path, undisturbed: Path) -> None:
    result, expected = result_of(run), result_of(undisturbed)
    for key in ("digest", "accuracy", "loss", "test_loss", "epochs", "steps", "samples_applied"):
        assert result[key] == expected[key], key
    assert measured(run) == measured(undisturbed)


@pytest.mark.parametrize("workers", ["1", "5", "{min: 1, max: 3}"])
def test_a_resumed_training_ends_with_the_same_bytes_and_metrics_with_any_workers(
    workers: str, undisturbed: Path, tmp_path: Path
) -> None:
    run = cut_short(tmp_path / "run")
    result = resume(run, [f"cluster.workers={workers}"])
    check_equal(run, undisturbed)
    assert (result.summary.resumes, result.digest) == (1, result_of(undisturbed)["digest"])
    (resumed,) = [e for e in events_of(run) if e["event"] == "resumed"]
    assert resumed["file"] == f"step-{resumed['step']:08d}.safetensors"
    assert (resumed["count"], result.summary.resumed_at_step) == (1, resumed["step"])
    assert load_config(run / "config.yaml").cluster.max_workers in (1, 5, 3)


def test_the_driver_may_be_killed_again_and_again(everstep: Everstep, undisturbed: Path) -> None:
    run = everstep.directory / "run"
    length = ("--set", f"training.epochs={EPOCHS}")
    command = ["train", *LOCAL, *OFTEN, *length, "--out", "run"]
    for _ in range(3):
        before = len(events_of(run))
        process = everstep.start(*command)

        def written(before: int = before) -> bool:
            return any(e["event"] == "snapshot_written" for e in events_of(run)[before:])

        wait_for(written, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=DEADLINE_S)
        command = ["resume", "run"]
    done = everstep.run("resume", "run")
    assert done.returncode == 0, done.stderr
    check_equal(run, undisturbed)
    result = result_of(run)
    assert (result["resumes"], result["deaths"], result["restarts"]) == (3, 3, 3)
    deaths = result["recoveries"]
    assert [(death["name"], death["event"]) for death in deaths] == [("driver", "died")] * 3
    assert all(death["cause"].startswith("ended without a word") for death in deaths)
    assert all(0 < death["takeover_s"] < death["restart_s"] for death in deaths)
    assert {death["stalled_s"] for death in deaths} <= set(result["stalls_s"])
    assert result["repeated_steps"] == sum(death["repeated_steps"] for death in deaths)
    assert [death["at_s"] for death in deaths] == sorted(death["at_s"] for death in deaths)
    assert [e["count"] for e in events_of(run) if e["event"] == "resumed"] == [1, 2, 3]


@pytest.mark.parametrize("damage", [truncate, alter, mislabel])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(
    damage: Callable[[Path], None], everstep: Everstep, undisturbed: Path
) -> None:
    run = cut_short(everstep.directory / "run")
    paths = checkpoints_in(run / "checkpoints")
    damage(paths[-1])
    for command in (["evaluate"], ["resume"]):
        done = everstep.run(*command, "run")
        assert done.returncode == 0, done.stderr
        complaints = [line for line in done.stderr.splitlines() if "damaged" in line]
        assert len(complaints) == 1
        assert f"checkpoint run/checkpoints/{paths[-1].name}: damaged" in complaints[0]
    check_equal(run, undisturbed)
    (resumed,) = [e for e in events_of(run) if e["event"] == "resumed"]
    assert resumed["file"] == paths[-2].name
    assert (run / "checkpoints" / f"{paths[-1].name}.damaged").exists()


def test_what_a_kill_in_mid_write_left_is_gone_after_a_resume(
    tmp_path: Path, undisturbed: Path
) -> None:
    run = cut_short(tmp_path / "run")
    left = [run / ".config.yaml.1.tmp", run / "checkpoints" / ".step-00000001.safetensors.1.tmp"]
    for path in left:
        path.write_bytes(b"half")
    resume(run)
    assert not any(path.exists() for path in left)
    check_equal(run, undisturbed)


def test_when_all_checkpoints_are_damaged_nothing_is_changed(tmp_path: Path) -> None:
    run = cut_short(tmp_path / "run")
    for path in checkpoints_in(run / "checkpoints"):
        alter(path)
    before = {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}
    with pytest.raises(CheckpointError, match="no checkpoint is intact"):
        resume(run)
    assert {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_prints_a_command_that_goes_on_as_it_stands(
    stop: signal.Signals, everstep: Everstep
) -> None:
    seldom = ("--set", "checkpoints.every_s=3600")
    process = everstep.start("train", *LOCAL, *LONG, *seldom, "--out", "my run")
    run = everstep.directory / "my run"
    wait_for((run / "metrics.jsonl").exists, process)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=DEADLINE_S)
    name = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[stop]
    assert process.returncode == 128 + stop
    stopped, kept, way_on = errors.splitlines()[-3:]
    assert stopped == f"everstep: stopped by {name}"
    (path,) = checkpoints_in(run / "checkpoints")
    step = load_checkpoint(path).step
    assert kept == f"everstep: kept: my run/checkpoints/{path.name}"
    assert way_on == "everstep: go on with: everstep resume 'my run'"
    program, *arguments = shlex.split(way_on.partition("go on with: ")[2])
    assert program == "everstep"
    enough = step // 44 + 1  # 44 steps an epoch: the running one is the last
    done = everstep.run(*arguments, "--set", f"training.epochs={enough}")
    assert done.returncode == 0, done.stderr
    result = result_of(run)
    assert (result["epochs"], result["resumed_at_step"]) == (enough, step)
    expected = train(Config(training={"epochs": enough}, cluster={"kind": "local"}))
    assert result["digest"] == expected.digest
    assert (result["deaths"], result["recoveries"]) == (0, [])  # it was stopped, and did not die
    ended = [e["reason"] for e in events_of(run) if e["event"] == "ended"]
    assert ended == [f"stopped by {name}", "done"]


def test_a_complete_run_prints_its_result_and_runs_nothing(
    everstep: Everstep, undisturbed: Path
) -> None:
    before = (undisturbed / "result.json").read_bytes()
    done = everstep.run("resume", str(undisturbed))
    assert done.returncode == 0
    told = f"DIR {undisturbed}: is complete already, nothing was run; --set training.epochs=N goes"
    assert done.stderr == f"{told} on to more epochs\n"
    assert result_of(undisturbed)["digest"] in done.stdout
    assert (undisturbed / "result.json").read_bytes() == before
    assert not (undisturbed / "run.lock").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--profile"], "nothing was profiled; leave out --profile,"),
        (["--faults", "plan.yaml"], "no fault could fire; leave out --faults,"),
        (
            ["--faults", "plan.yaml", "--profile"],
            "no fault could fire and nothing was profiled; leave out --faults and --profile,",
        ),
    ],
)
def test_a_complete_run_refuses_what_could_have_no_effect_and_stays_as_it_is(
    options: list[str], told: str, everstep: Everstep, undisturbed: Path
) -> None:
    (everstep.directory / "plan.yaml").write_text("faults: [{kill: driver, at_step: 3}]")
    before = (undisturbed / "result.json").read_bytes()
    done = everstep.run("resume", str(undisturbed), *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"everstep: DIR {undisturbed}: is complete already, {told} or go on to more epochs with"
        " --set training.epochs=N\n"
    )
    assert (undisturbed / "result.json").read_bytes() == before
    assert not (undisturbed / "run.lock").exists()


def test_a_complete_run_can_be_made_longer(tmp_path: Path, undisturbed: Path) -> None:
    train(Config(training={"epochs": 3}, cluster={"kind": "local"}), tmp_path / "run")
    result = resume(tmp_path / "run", [f"training.epochs={EPOCHS}"])
    check_equal(tmp_path / "run", undisturbed)
    assert result.summary.resumed_at_step == 3 * 44


def test_a_run_without_a_checkpoint_begins_again(tmp_path: Path, undisturbed: Path) -> None:
    run = cut_short(tmp_path / "run")
    for path in checkpoints_in(run / "checkpoints"):
        path.unlink()
    resume(run)
    check_equal(run, undisturbed)


def test_a_result_that_was_not_written_is_made_from_the_last_checkpoint(
    tmp_path: Path, undisturbed: Path
) -> None:
    config = Config(training={"epochs": EPOCHS}, cluster={"kind": "local"})
    train(config, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(metrics[:-1]) + metrics[-1][:10])
    resume(tmp_path / "run")
    check_equal(tmp_path / "run", undisturbed)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.seed=1", "training.seed decides the weights and stays as it is when"),
        ("training.learning_rate=1", "training.learning_rate decides the weights"),
        ("network.activation=relu", "network.activation decides the weights"),
        ("data.scaling=none", "data.scaling decides the weights"),
        ("training.epochs=1", "training.epochs: 1 end with step 44, but step "),
        ("cluster.workers=9", "9 workers but only 8 shards"),
        ("cluster.wokers=1", "unknown key; did you mean workers?"),
        ("supervision", "must be section.key=value"),
    ],
)
def test_what_decides_the_weights_can_not_be_changed(
    override: str, line: str, tmp_path: Path
) -> None:
    run = cut_short(tmp_path / "run", epoch=3)
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=line.replace("?", r"\?")) as caught:
        resume(run, [override])
    assert "\n" not in str(caught.value)
    assert (run / "config.yaml").read_bytes() == before
    assert not (run / "run.lock").exists()


def test_what_may_change_is_written_to_the_configuration(tmp_path: Path) -> None:
    run = cut_short(tmp_path / "run", epoch=3, epochs=4)
    resume(run, ["checkpoints.keep=1", "supervision.worker.max_restarts=9", "cluster.workers=1"])
    config = load_config(run / "config.yaml")
    assert config.checkpoints.keep == 1
    assert config.supervision.worker.max_restarts == 9
    assert config.cluster.workers == 1
    assert len(checkpoints_in(run / "checkpoints")) == 1


def test_a_configuration_that_was_edited_is_refused_by_its_key(tmp_path: Path) -> None:
    run = cut_short(tmp_path / "run", epoch=3)
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("learning_rate: 3.0", "learning_rate: 2.0"))
    with pytest.raises(
        ConfigError, match=r"training.learning_rate: .* says 2.0, .* was trained with 3.0; set it"
    ):
        resume(run)


def table(path: Path, seed: int) -> dict[str, Any]:
    """A small .npz of two classes, and a configuration for it."""
    generator = np.random.default_rng(seed)
    labels = np.arange(400) % 2
    np.savez(path, x=generator.normal(labels[:, None], 1, (400, 3)), y=labels)
    return {
        "data": {"source": "npz", "path": str(path)},
        "network": {"sizes": (3, 2)},
        "cluster": {"kind": "local"},
        "training": {"epochs": 4},
    }


def test_a_host_that_rounds_otherwise_than_the_run_s_first_one_is_named(tmp_path: Path) -> None:
    run = cut_short(tmp_path / "run")
    (before,) = (e for e in events_of(run) if e["event"] == "rounding")
    lines = (run / "events.jsonl").read_text()
    (blas,) = (fact for fact in before["arithmetic"].splitlines() if fact.startswith("BLAS="))
    (run / "events.jsonl").write_text(lines.replace(blas, "BLAS=another"))
    resume(run)
    (unlike,) = (e for e in events_of(run) if e["event"] == "unlike")
    assert unlike["differences"] == [f"BLAS: {blas.removeprefix('BLAS=')} here, another there"]
    (host,) = result_of(run)["unlike_hosts"]
    assert host["differences"] == unlike["differences"]
    assert len([e for e in events_of(run) if e["event"] == "rounding"]) == 1


def test_on_the_same_host_a_resumed_run_names_nobody(tmp_path: Path) -> None:
    run = cut_short(tmp_path / "run")
    resume(run)
    assert result_of(run)["unlike_hosts"] == []


def test_data_that_changed_is_refused(tmp_path: Path) -> None:
    config = Config(**table(tmp_path / "rows.npz", seed=1))

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport) and report.epoch == 2:
            raise CutError

    with pytest.raises(CutError):
        train(config, tmp_path / "run", [watch])
    expected = train(config)
    table(tmp_path / "rows.npz", seed=2)
    with pytest.raises(
        DataError,
        match=r"^data npz: not what this run was trained on \(digest \w{12}, it was \w{12}\); ",
    ):
        resume(tmp_path / "run")
    table(tmp_path / "rows.npz", seed=1)
    assert resume(tmp_path / "run").digest == expected.digest


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"^DIR .*absent: no such directory$"):
        resume(tmp_path / "absent")
    with pytest.raises(RunDirectoryError, match=r"holds no run, there is no config\.yaml in it"):
        resume(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_notices_reach_the_watchers_of_the_python_interface(tmp_path: Path) -> None:
    config = Config(training={"epochs": 2}, cluster={"kind": "local"})
    first: Result = train(config, tmp_path / "run")
    heard: list[Report] = []
    again = resume(tmp_path / "run", watchers=[heard.append])
    (notice,) = heard
    assert isinstance(notice, Notice)
    assert notice.text.startswith(f"DIR {tmp_path / 'run'}: is complete already, nothing was run;")
    assert again.summary == first.summary
    assert again.parameters.tobytes() == first.parameters.tobytes()


def test_a_run_of_one_process_goes_on_upon_ray_and_the_other_way(
    everstep: Everstep, undisturbed: Path
) -> None:
    run = cut_short(everstep.directory / "run")
    process = everstep.start("resume", "run", "--set", "cluster.kind=ray")

    def joined() -> bool:
        events = events_of(run)
        began = [i for i, e in enumerate(events) if e["event"] == "resumed"]
        return bool(began) and any(e["event"] == "assigned" for e in events[began[0] :])

    wait_for(joined, process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE_S)
    if process.returncode != 0:  # it may have been quicker than the signal
        assert process.returncode == 130, errors
        assert "go on with: everstep resume run" in errors
        done = everstep.run("resume", "run", *LOCAL)
        assert done.returncode == 0, done.stderr
    check_equal(run, undisturbed)
    everstep.wait_until_alone()


def test_events_of_another_format_are_refused_in_one_line_and_nothing_is_changed(
    tmp_path: Path,
) -> None:
    run = cut_short(tmp_path / "run")
    events = run / "events.jsonl"
    events.write_text(events.read_text() + '{"event": "died", "worker": "worker-1"}\n')
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunDirectoryError, match=r"events\.jsonl: holds a line that this version"):
        resume(run)
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert after == before
