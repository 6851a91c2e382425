"""A disk that takes nothing: what was to be written waits, and no line is ever half there."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainer import Config, train
from trainer.errors import CheckpointError, RunWriteError
from trainer.line_log import LineLog
from trainer.reports import CheckpointFailed, EpochReport, Notice, Report


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file grows beyond that: as on a full disk, what fits is written, the rest is not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_that_does_not_fit_is_not_half_there_and_is_written_with_the_next(
    tmp_path: Path,
) -> None:
    log = LineLog(tmp_path / "log")
    log.append({"line": 1})
    size = log.path.stat().st_size
    with file_size_limit(size + 5):
        for number in (2, 3):
            with pytest.raises(RunWriteError, match=r"log: File too large"):
                log.append({"line": number})
            assert log.path.stat().st_size == size
    log.append({"line": 4})
    assert [line["line"] for line in log.lines()] == [1, 2, 3, 4]


def test_what_a_crash_cut_off_is_no_line(tmp_path: Path) -> None:
    log = LineLog(tmp_path / "log")
    log.append({"line": 1})
    with log.path.open("a") as file:
        file.write('{"line": 2')
    assert log.lines() == [{"line": 1}]


def test_lines_that_can_not_be_written_are_said_once_and_written_later(
    quick: Config, tmp_path: Path
) -> None:
    """A directory in the place of metrics.jsonl: root may write anywhere else."""
    run, said = tmp_path / "run", []

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport) and report.epoch == 1:
            (run / "metrics.jsonl").unlink()
            (run / "metrics.jsonl").mkdir()
        if isinstance(report, EpochReport) and report.epoch == 4:
            (run / "metrics.jsonl").rmdir()
        if isinstance(report, Notice):
            said.append(report.text)

    train(quick.with_changes(training={"epochs": 6}), run, [watch])
    assert said == [f"{run / 'metrics.jsonl'}: Is a directory; kept in memory, training goes on"]
    # The first line went with the file; the watchers come after the directory itself.
    written = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in written] == [2, 3, 4, 5, 6]


def test_checkpoints_that_can_not_be_written_are_said_and_written_later(
    quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[CheckpointFailed] = []
    fsync, full = os.fsync, [True]

    def maybe_full(descriptor: int) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport):
            full[0] = report.epoch < 30
            monkeypatch.setattr("trainer.files.os.fsync", maybe_full)
        if isinstance(report, CheckpointFailed):
            failed.append(report)

    config = quick.with_changes(
        training={"epochs": 40}, checkpoints={"time_share": 0.5, "every_s": 0.001}
    )
    result = train(config, tmp_path / "run", [watch])
    assert len(failed) > 1
    assert "No space left on device; not written" in failed[0].reason
    assert [report.again for report in failed[:2]] == [False, True]
    assert (tmp_path / "run" / "result.json").exists()
    assert (
        tmp_path / "run" / "checkpoints" / f"step-{result.summary.steps:08d}.safetensors"
    ).exists()


def test_a_final_state_that_can_not_be_written_fails_the_training(
    quick: Config, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport) and report.epoch == 2:
            run.joinpath("checkpoints").write_text("in the way")

    with pytest.raises(CheckpointError, match=r"step-00000088\.safetensors: .*; not written"):
        train(quick, run, [watch])
    assert not (run / "result.json").exists()


def test_a_result_that_can_not_be_written_fails_and_can_be_resumed(
    quick: Config, tmp_path: Path
) -> None:
    from trainer import resume

    run = tmp_path / "run"

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport) and report.epoch == 2:
            (run / "result.json").mkdir()

    with pytest.raises(
        RunWriteError, match=r"result.json: Is a directory; the result is"
    ) as caught:
        train(quick, run, [watch])
    assert caught.value.__notes__ == [
        f"step 88 is kept: {run / 'checkpoints' / 'step-00000088.safetensors'}",
        f"go on with: everstep resume {run}",
    ]
    (run / "result.json").rmdir()
    result = resume(run)
    assert result.digest == train(quick).digest
    assert result.summary.samples_applied == 2 * 44 * 32
