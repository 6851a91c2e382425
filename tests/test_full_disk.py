"""A disk that is full for a while: told once, and what waited is written when there is room."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer import Config, train
from trainer.line_log import LineLog
from trainer.reports import CheckpointFailed, EpochReport, Notice, Report


class Disk:
    """Takes nothing while it is full; which files those are can be said."""

    def __init__(self) -> None:
        self.is_full = False
        self.lines: tuple[str, ...] = ("metrics.jsonl", "events.jsonl", "faults.jsonl")

    def check(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made, append, sync = Disk(), LineLog._append, os.fsync

    def maybe_append(log: LineLog, content: bytes) -> None:
        if log.path.name in made.lines:
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
