"""A disk that takes nothing: what was to be written waits, and no line is ever half there."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ability import unable
from tests.command import DEADLINE_S, LOCAL, LONG, Everstep, wait_for
from trainer import Config, load_checkpoint, train
from trainer.errors import CheckpointError, RunDirectoryError, RunWriteError
from trainer.files import checkpoints_in
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


def test_a_disk_that_is_full_at_the_start_is_a_wrong_place_and_nothing_is_left_there(
    quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.files.os.fsync", full)
    out = tmp_path / "made" / "run"
    with pytest.raises(RunDirectoryError) as caught:  # which is exit status 2
        train(quick, out)
    assert str(caught.value) == f"--out {out}: No space left on device"
    assert not (tmp_path / "made").exists()


def test_a_final_state_that_can_not_be_written_fails_the_training(
    quick: Config, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport) and report.epoch == 2:
            run.joinpath("checkpoints").write_text("in the way")

    with pytest.raises(
        CheckpointError, match=r"step-00000088\.safetensors: .*; not written"
    ) as caught:
        train(quick, run, [watch])
    assert caught.value.__notes__ == [
        "training is done, but its final state, after step 88, is not saved",
        f"nothing could be kept: {caught.value}",
        f"begin anew with: everstep resume {run}",
    ]
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
    expected = train(quick)
    assert caught.value.__notes__ == [
        f"training is done; the digest of its weights: {expected.digest}",
        f"kept: {run / 'checkpoints' / 'step-00000088.safetensors'}",
        f"go on with: everstep resume {run}",
    ]
    (run / "result.json").rmdir()
    result = resume(run)
    assert result.digest == expected.digest
    assert result.summary.samples_applied == 2 * 44 * 32


@pytest.fixture
def bound_by_modes(everstep: Everstep) -> Everstep:
    """The command as it is for everybody but root, who may write where modes forbid it."""
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        tried = [*command, sys.executable, "-c", ""] if shutil.which("setpriv") else ["false"]
        if subprocess.run(tried, check=False, capture_output=True).returncode:
            unable("modes", "root may write everywhere, and setpriv can not change that here")
        everstep.prefix = command
    return everstep


@contextmanager
def unwritable(*folders: Path) -> Iterator[None]:
    for folder in folders:
        folder.chmod(0o555)
    try:
        yield
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize("names", [["."], [".", "checkpoints"]])
def test_a_run_directory_that_becomes_unwritable_hides_neither_the_end_nor_what_is_kept(
    names: list[str], bound_by_modes: Everstep
) -> None:
    run = bound_by_modes.directory / "run"
    process = bound_by_modes.start("train", *LOCAL, *LONG, "--out", "run")
    wait_for(lambda: list(run.glob("checkpoints/step-*")), process)
    with unwritable(*(run / name for name in names)):
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_S)
    newest = checkpoints_in(run / "checkpoints")[-1]
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines()[-3:] == [
        "everstep: stopped by SIGTERM",
        f"everstep: kept: run/checkpoints/{newest.name}",
        "everstep: go on with: everstep resume run",
    ]
    assert (run / "run.lock").exists()  # it could not be removed, and nobody holds it
    epochs = load_checkpoint(newest).epoch + 1
    done = bound_by_modes.run("resume", "run", "--set", f"training.epochs={epochs}")
    assert done.returncode == 0, done.stderr
    assert not (run / "run.lock").exists()
    assert json.loads((run / "result.json").read_text())["deaths"] == 0


STOP_WRITING = """
import sys
from pathlib import Path
from trainer import Config, train
from trainer.reports import EpochReport
run = Path(sys.argv[1])

def watch(report):
    if isinstance(report, EpochReport) and report.epoch == 2:
        (run / "checkpoints").mkdir()
        for name in sys.argv[2:]:
            (run / name).chmod(0o555)

try:
    train(Config(training={"epochs": 2}, cluster={"kind": "local"}), run, [watch])
except Exception as error:
    for line in (error, *error.__notes__):
        print(line)
"""


@pytest.mark.parametrize("names", [["."], ["checkpoints", "."]])
def test_the_end_of_a_training_whose_directory_became_unwritable_says_what_is_not_saved(
    names: list[str], quick: Config, bound_by_modes: Everstep
) -> None:
    run = bound_by_modes.directory / "run"
    script = [sys.executable, "-c", STOP_WRITING, "run", *names]
    done = subprocess.run(
        [*bound_by_modes.prefix, *script],
        cwd=bound_by_modes.directory,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    for name in names:
        (run / name).chmod(0o755)
    final = "run/checkpoints/step-00000088.safetensors"
    expected = {
        1: [
            "run/result.json: Permission denied; the result is not saved",
            f"training is done; the digest of its weights: {train(quick).digest}",
            f"kept: {final}",
            "go on with: everstep resume run",
        ],
        2: [
            f"checkpoint {final}: Permission denied; not written",
            "training is done, but its final state, after step 88, is not saved",
            f"nothing could be kept: checkpoint {final}: Permission denied; not written",
            "begin anew with: everstep resume run",
        ],
    }
    assert done.stdout.splitlines() == expected[len(names)], done.stderr
