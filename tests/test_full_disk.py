"""A disk that is full for a while: told once, and what waited is written when there is room."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer import Config, load_checkpoint, resume, train
from trainer.errors import RunWriteError
from trainer.faults.log import read_faults
from trainer.faults.plan import Plan
from trainer.files import checkpoints_in
from trainer.line_log import LineLog
from trainer.reports import (
    CheckpointFailed,
    CheckpointWritten,
    EpochReport,
    Event,
    Faulted,
    Notice,
    Report,
)
from trainer.run_directory import RunDirectory
from trainer.status import read_status


class Disk:
    """Takes nothing while it is full."""

    def __init__(self) -> None:
        self.is_full = False

    def check(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made, append, sync = Disk(), LineLog._append, os.fsync

    def maybe_append(log: LineLog, content: bytes) -> None:
        made.check()
        append(log, content)

    def maybe_sync(descriptor: int) -> None:
        made.check()
        sync(descriptor)

    monkeypatch.setattr(LineLog, "_append", maybe_append)
    monkeypatch.setattr(os, "fsync", maybe_sync)
    return made


def told_in(heard: list[Report]) -> list[str]:
    """What a person was told of it."""
    failed = [r.reason for r in heard if isinstance(r, CheckpointFailed) and not r.again]
    return [r.text for r in heard if isinstance(r, Notice)] + failed


def full_from_to(disk: Disk, first: int, last: int, heard: list[Report]) -> Callable[..., None]:
    """A watcher: the disk is full from the end of one epoch to the end of another."""

    def watch(report: Report) -> None:
        heard.append(report)
        if isinstance(report, EpochReport):
            disk.is_full = first <= report.epoch < last

    return watch


def test_one_full_disk_is_told_once_whichever_file_met_it_first(
    quick: Config, tmp_path: Path, disk: Disk
) -> None:
    heard: list[Report] = []
    config = quick.with_changes(
        training={"epochs": 40}, checkpoints={"time_share": 0.5, "every_s": 0.001}
    )
    train(config, tmp_path / "run", [full_from_to(disk, 5, 30, heard)])
    assert any(isinstance(report, CheckpointFailed) for report in heard)
    (line,) = told_in(heard)
    assert "No space left on device" in line
    assert (tmp_path / "run" / "result.json").exists()
    assert len(LineLog(tmp_path / "run" / "metrics.jsonl").lines()) == 40


HIT = {"pause": "driver", "for_s": 0.01, "at_step": 60}
HIT_LATER = {"pause": "driver", "for_s": 0.01, "at_step": 44 * 6}


def fates(heard: list[Report]) -> list[tuple[bool, str]]:
    (faulted,) = [report for report in heard if isinstance(report, Faulted)]
    return [(record.fired, record.why) for record in faulted.records]


def test_faults_go_on_while_the_disk_is_full_and_are_written_when_it_is_not(
    quick: Config, tmp_path: Path, disk: Disk
) -> None:
    heard: list[Report] = []
    watch = full_from_to(disk, 1, 200, heard)
    run, config = tmp_path / "run", quick.with_changes(training={"epochs": 210})
    train(config, run, [watch], Plan(faults=(HIT, HIT_LATER)))
    (line,) = told_in(heard)
    assert "No space left on device" in line
    assert fates(heard) == [(True, ""), (True, "")]
    assert [record.number for record in read_faults(run) if record.fired] == ["1", "2"]
    assert (run / "result.json").exists()


def test_a_disk_that_is_full_when_faults_begin_does_not_stop_them(
    quick: Config, tmp_path: Path, disk: Disk
) -> None:
    heard: list[Report] = []

    def watch(report: Report) -> None:
        heard.append(report)
        if isinstance(report, Event) and report.event == "joined":
            disk.is_full = True
        if isinstance(report, EpochReport) and report.epoch == 200:
            disk.is_full = False

    run = tmp_path / "run"
    train(quick.with_changes(training={"epochs": 210}), run, [watch], Plan(faults=(HIT,)))
    assert fates(heard) == [(True, "")]
    assert [record.attempt for record in read_faults(run)] == [1]


def test_a_driver_is_not_killed_before_that_is_on_the_disk(
    quick: Config, tmp_path: Path, disk: Disk
) -> None:
    heard: list[Report] = []

    def watch(report: Report) -> None:
        heard.append(report)
        if isinstance(report, EpochReport) and report.epoch == 1:
            # A directory of that name: this file alone can not be written, now and at the end.
            (run / "faults.jsonl").unlink(missing_ok=True)
            (run / "faults.jsonl").mkdir()

    run = tmp_path / "run"
    config = quick.with_changes(training={"epochs": 100})
    late = {"kill": "driver", "at_step": 44 * 50}
    result = train(config, run, [watch], Plan(faults=(late, {**HIT, "at_step": 44 * 60})))
    error = f"{run / 'faults.jsonl'}: Is a directory"
    unwritten = f"it could not be written down before: {error}"
    assert fates(heard) == [(False, unwritten), (True, "")]
    told = told_in(heard)
    assert f"{error}; kept in memory, training goes on" in told
    assert told[-1] == f"{error}; its last lines are lost"
    assert result.digest == train(config).digest
    assert (run / "result.json").exists()


def test_a_line_that_can_not_be_written_at_once_is_forgotten(tmp_path: Path, disk: Disk) -> None:
    log = LineLog(tmp_path / "faults.jsonl")
    disk.is_full = True
    with pytest.raises(RunWriteError, match="No space left"):
        log.append_or_forget({"line": 1})
    disk.is_full = False
    log.append_or_forget({"line": 2})
    assert log.lines() == [{"line": 2}]


class CutError(Exception):
    """The training ends here."""


def cut_on_a_full_disk(config: Config, run: Path, disk: Disk) -> None:
    """A training that has a checkpoint, and ends in order while nothing can be written."""

    def watch(report: Report) -> None:
        if isinstance(report, CheckpointWritten):
            disk.is_full = True
        if isinstance(report, EpochReport) and disk.is_full:
            raise CutError

    config = config.with_changes(
        training={"epochs": 10_000}, checkpoints={"time_share": 0.5, "every_s": 0.001}
    )
    with pytest.raises(CutError):
        train(config, run, [watch])
    disk.is_full = False


def test_an_end_that_could_not_be_written_is_no_death(
    quick: Config, tmp_path: Path, disk: Disk
) -> None:
    run = tmp_path / "run"
    cut_on_a_full_disk(quick, run, disk)
    assert LineLog(run / "events.jsonl").lines()[-1]["event"] != "ended"
    status = read_status(run)
    assert (status.state, status.reason) == (
        "failed",
        "it ended in order, but events.jsonl could not be written, and lacks why",
    )
    epochs = load_checkpoint(checkpoints_in(run / "checkpoints")[-1]).epoch + 1
    summary = resume(run, [f"training.epochs={epochs}"]).summary
    assert (summary.deaths, summary.resumes) == (0, 1)
    assert not [e for e in LineLog(run / "events.jsonl").lines() if e["event"] == "died"]
    assert not (run / "run.lock").exists()


def test_an_end_that_can_be_written_at_last_is_and_leaves_no_lock(
    tmp_path: Path, disk: Disk
) -> None:
    directory = RunDirectory.create(tmp_path / "run", Config())
    disk.is_full = True
    directory(Event(1.0, 7, "ended", "driver", {"reason": "done"}))
    disk.is_full = False
    directory.release()
    assert [line["event"] for line in directory.events.lines()] == ["ended"]
    assert not (tmp_path / "run" / "run.lock").exists()
