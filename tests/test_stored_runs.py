"""Trainings whose run directory is in a store: the same bytes, whatever happens on the way."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command import DEADLINE_S, LOCAL, Everstep, wait_for
from tests.stores import ENVIRONMENT, S3Server, memory, s3, s3_server  # noqa: F401 - fixtures
from tests.test_resume import OFTEN, CutError
from trainer import Config, Result, load_checkpoint, load_config, resume, train
from trainer.errors import CheckpointError, RunDirectoryError
from trainer.faults.log import read_faults, read_timeline
from trainer.faults.plan import load_plan
from trainer.files import FOLDER, checkpoints_in
from trainer.reports import CheckpointFailed, EpochReport, Notice, Report
from trainer.storage import courier
from trainer.storage.place import place_of
from trainer.storage.stored_path import StoredPath

EPOCHS = 60
_PATIENCE_S = 30.0
FINAL = f"step-{EPOCHS * 44:08d}.safetensors"


@pytest.fixture(scope="module")
def config() -> Config:
    checkpoints = {"every_s": 0.001, "time_share": 0.5}
    return Config(training={"epochs": EPOCHS}, cluster={"kind": "local"}, checkpoints=checkpoints)


@pytest.fixture(scope="module")
def undisturbed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return train(config, tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest) -> StoredPath:
    """An empty one in each of two stores."""
    if request.param == "memory":
        return stored(request.getfixturevalue("memory"))
    request.getfixturevalue("s3")
    return stored(f"s3://runs/{request.node.originalname}")


def stored(url: str) -> StoredPath:
    place = place_of(url)
    assert isinstance(place, StoredPath)
    return place


def lines(path: StoredPath | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def measured(run: StoredPath | Path) -> list[tuple[Any, ...]]:
    found = lines(run / "metrics.jsonl")
    return [(e["epoch"], e["step"], e["loss"], e["test_loss"], e["accuracy"]) for e in found]


def check_equal(run: StoredPath, undisturbed: Result) -> None:
    result = json.loads((run / "result.json").read_text())
    assert (result["digest"], result["steps"]) == (undisturbed.digest, undisturbed.summary.steps)
    assert undisturbed.directory is not None
    assert measured(run) == measured(undisturbed.directory)
    assert not (run / "run.lock").exists()
    assert load_checkpoint(str(run)).step == result["steps"]


def cut_short(config: Config, place: StoredPath) -> list[str]:
    """A run that ended before its end, with several checkpoints: their names."""

    def watch(report: Report) -> None:
        if not isinstance(report, EpochReport) or report.epoch <= 5:
            return
        if len(checkpoints_in(place / FOLDER)) > 1:
            raise CutError
        time.sleep(_PATIENCE_S / EPOCHS)  # writing one may take longer than all the epochs

    with pytest.raises(CutError):
        train(config, str(place), [watch])
    return [path.name for path in checkpoints_in(place / FOLDER)]


def test_a_run_in_a_store_has_the_bytes_and_the_files_of_a_local_one(
    config: Config, undisturbed: Result, place: StoredPath
) -> None:
    result = train(config, str(place))
    assert (result.directory, result.digest) == (place, undisturbed.digest)
    check_equal(place, undisturbed)
    names = sorted(path.name for path in place.iterdir())
    assert undisturbed.directory is not None
    assert names == sorted(path.name for path in undisturbed.directory.iterdir())
    assert load_config(place / "config.yaml") == config
    kept = checkpoints_in(place / FOLDER)
    assert 1 <= len(kept) <= config.checkpoints.keep
    assert kept[-1].name == FINAL
    events = [line["event"] for line in lines(place / "events.jsonl")]
    assert (events[0], events[-1]) == ("joined", "ended")
    assert events.count("snapshot_written") >= len(kept)
    for command in (train, lambda config, url: resume(url, ["training.seed=1"])):
        with pytest.raises(Exception, match=r"holds a finished run|decides the weights"):
            command(config, str(place))
    assert sorted(path.name for path in place.iterdir()) == names


def test_a_file_url_is_a_local_directory(quick: Config, tmp_path: Path) -> None:
    result = train(quick, f"file://{tmp_path}/run")
    assert result.directory == tmp_path / "run"
    assert (tmp_path / "run" / "result.json").is_file()
    assert resume(f"file://{tmp_path}/run").digest == result.digest


def test_a_run_that_was_cut_goes_on_from_the_store_to_the_same_bytes_and_metrics(
    config: Config, undisturbed: Result, place: StoredPath
) -> None:
    kept = cut_short(config, place)
    with pytest.raises(RunDirectoryError) as caught:
        train(config, place)
    assert str(caught.value) == (
        f"--out {place}: holds an unfinished run; go on with: everstep resume {place};"
        " or choose another directory"
    )
    result = resume(str(place), ["cluster.workers=3"])
    check_equal(place, undisturbed)
    assert (result.summary.resumes, result.summary.deaths) == (1, 0)
    (resumed,) = [e for e in lines(place / "events.jsonl") if e["event"] == "resumed"]
    assert resumed["file"] == kept[-1]


@pytest.mark.parametrize("cut", [-1000, 7, 0])
def test_a_truncated_newest_checkpoint_in_a_store_is_passed_over_and_set_aside(
    cut: int,
    config: Config,
    undisturbed: Result,
    memory: str,  # noqa: F811
) -> None:
    place, told = stored(memory), []
    kept = cut_short(config, place)
    newest = place / "checkpoints" / kept[-1]
    newest.write(newest.read_bytes()[:cut])

    def watch(report: Report) -> None:
        if isinstance(report, Notice):
            told.append(report.text)

    resume(place, watchers=[watch])
    check_equal(place, undisturbed)
    (line,) = told
    assert line.startswith(f"checkpoint {newest}: damaged")
    (resumed,) = [e for e in lines(place / "events.jsonl") if e["event"] == "resumed"]
    assert resumed["file"] == kept[-2]
    assert newest.with_name(f"{newest.name}.damaged").exists()


def test_a_store_that_does_not_answer_is_no_damage_to_its_checkpoints(
    config: Config,
    memory: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = stored(memory)
    kept = cut_short(config, place)
    with monkeypatch.context() as patch:
        refuse_of(patch, "cat_file", lambda path: path.endswith(".safetensors"))
        with pytest.raises(RunDirectoryError) as caught:
            resume(place)
    assert str(caught.value).startswith(
        f"checkpoint {place}/checkpoints/{kept[-1]}: the store can not be reached (gone);"
    )
    assert [path.name for path in checkpoints_in(place / FOLDER)] == kept


def refuse_of(
    patch: pytest.MonkeyPatch, method: str, refused: Callable[[str], bool] = lambda path: True
) -> None:
    """The store in memory fails in that, for these paths, as an S3 without a network would."""
    from fsspec.implementations.memory import MemoryFileSystem

    real = getattr(MemoryFileSystem, method)

    def maybe(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        if refused(path):
            raise ConnectionError("gone")
        return real(self, path, *arguments, **options)

    patch.setattr(MemoryFileSystem, method, maybe)


def test_a_killed_driver_s_run_goes_on_from_s3_and_its_death_is_told(
    undisturbed: Result,
    s3: S3Server,  # noqa: F811
    everstep: Everstep,
) -> None:
    place = stored("s3://runs/killed/deep")
    length = ("--set", f"training.epochs={EPOCHS}")
    process = everstep.start("train", *LOCAL, *OFTEN, *length, "--out", str(place))
    wait_for(lambda: checkpoints_in(place / FOLDER), process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)
    assert (place / "run.lock").exists()  # of a dead one of this machine: nobody waits for it
    result = resume(str(place))
    check_equal(place, undisturbed)
    (death,) = result.summary.recoveries
    assert (death["name"], death["event"]) == ("driver", "died")
    assert result.summary.resumed_at_step > 0


def test_faults_are_written_to_the_store_before_they_kill(
    undisturbed: Result,
    s3: S3Server,  # noqa: F811
    everstep: Everstep,
) -> None:
    place, plan = stored("s3://runs/faulted"), everstep.directory / "plan.yaml"
    plan.write_text("faults: [{kill: driver, at_step: 400}]\n")
    command = ["train", *LOCAL, "--set", f"training.epochs={EPOCHS}", "--faults", "plan.yaml"]
    done = everstep.run(*command, "--out", str(place))
    assert done.returncode == -signal.SIGKILL, done.stderr
    (record,) = read_faults(place)
    assert (record.fired, record.attempt) == (True, 1)
    result = resume(place, faults=load_plan(plan))  # it does not fire again
    check_equal(place, undisturbed)
    assert result.summary.recoveries[0]["cause"] == "fault 1 (kill driver at step 400)"
    assert {moment.attempt for moment in read_timeline(place)} == {1, 2}


def test_the_commands_read_a_run_from_s3_and_a_second_training_into_it_is_refused(
    quick: Config,
    s3: S3Server,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from trainer.cli import app

    place, rows = "s3://runs/used", tmp_path / "rows.npz"
    np.savez(rows, x=np.zeros((2, 64)))
    refused: list[str] = []

    def another(report: Report) -> None:
        if isinstance(report, EpochReport) and report.epoch == 1:
            for command in (lambda: train(quick, place), lambda: resume(place)):
                with pytest.raises(RunDirectoryError) as caught:
                    command()
                refused.append(str(caught.value))

    def run(*arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            app([*arguments], prog_name="everstep")
        output, errors = capsys.readouterr()
        assert ended.value.code == status, errors
        return output + errors

    monkeypatch.setattr(courier, "EVERY_S", 0.2)
    result = train(quick, place, [another])
    assert [line.partition(": process ")[0] for line in refused] == [
        f"--out {place}",
        f"DIR {place}",
    ]
    assert all("trains into it since" in line for line in refused)
    name = f"step-{result.summary.steps:08d}"
    for chosen in (
        [],
        ["--checkpoint", name],
        ["--checkpoint", f"{place}/checkpoints/{name}.safetensors"],
    ):
        assert f"accuracy  {result.accuracy:.4f}" in run("evaluate", place, *chosen)
        assert run("predict", place, str(rows), *chosen).startswith("class,p_0,")
    assert f"DIR {place}: is complete already" in run("resume", place).replace("\n", " ")
    absent = "everstep: DIR s3://runs/absent: no such directory\n"
    assert run("evaluate", "s3://runs/absent", status=2) == absent
    assert run("resume", "s3://runs/absent", status=2) == absent
    experiment = ["experiment", str(tmp_path / "plan.yaml"), "--out", "s3://runs/experiment"]
    (tmp_path / "plan.yaml").write_text("faults: [{kill: driver, at_step: 9}]\n")
    needs = (
        "everstep: --out s3://runs/experiment: an experiment needs a directory of this machine\n"
    )
    assert run(*experiment, status=2) == needs


def test_a_store_that_takes_nothing_for_a_while_gets_it_all_later_and_that_is_told_once(
    config: Config,
    undisturbed: Result,
    memory: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(courier, "EVERY_S", 0.01)
    gone, notices, failed = [False], list[str](), list[CheckpointFailed]()
    refuse_of(monkeypatch, "pipe_file", lambda path: gone[0])
    assert MemoryFileSystem.store == {}

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport):
            gone[0] = 3 <= report.epoch < EPOCHS - 3
        elif isinstance(report, Notice):
            notices.append(report.text)
        elif isinstance(report, CheckpointFailed):
            failed.append(report)

    train(config, memory, [watch])
    check_equal(stored(memory), undisturbed)
    assert failed
    told = [*notices, *(report.reason for report in failed if not report.again)]
    (line,) = told  # whichever met it first
    assert re_gone(f"{memory}/run.lock") in line
    assert line.endswith("kept in memory, training goes on") == bool(notices)
    written = [line["event"] for line in lines(stored(memory) / "events.jsonl")]
    assert written.count("snapshot_failed") == len(failed)


def re_gone(path: str) -> str:
    return f"{path}: the store can not be reached (gone); check its address and the network"


def test_a_store_that_is_gone_in_mid_training_fails_the_command_at_its_end(
    quick: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, failed = S3Server(), list[CheckpointFailed]()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", server.address)  # the other way to say it
    set_fsspec_again()
    place, reached = "s3://runs/gone", []

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport):
            reached.append(report.epoch)
            if report.epoch == 1:
                server.stop()
        elif isinstance(report, CheckpointFailed):
            failed.append(report)

    try:
        with pytest.raises(CheckpointError) as caught:
            train(quick, place, [watch])
    finally:
        monkeypatch.undo()
        set_fsspec_again()
    assert reached == [1, 2]
    final = "step-00000088.safetensors"
    assert str(caught.value).startswith(
        f"checkpoint {place}/checkpoints/{final}: not written: {place}/run.lock: the store can not"
    )
    assert caught.value.__notes__ == [
        "training is done, but its final state, after step 88, is not saved",
        f"nothing could be kept: {caught.value}",
        f"begin anew with: everstep resume {place}",
    ]


def set_fsspec_again() -> None:
    """It reads the environment when it is imported, as a user's process does after it is set."""
    import os

    from fsspec.config import conf, set_conf_env

    conf.clear()
    set_conf_env(conf, os.environ)
