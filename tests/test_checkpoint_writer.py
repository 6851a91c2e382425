"""The thread that writes checkpoints: the newest wins, errors are values."""

import threading
from pathlib import Path

import pytest

from tests.test_checkpoints import checkpoint
from trainer.checkpoint_writer import CheckpointWriter
from trainer.checkpoints import Checkpoint


def test_of_those_that_wait_only_the_newest_is_written() -> None:
    begun, go_on = threading.Event(), threading.Event()
    saved: list[int] = []

    def save(given: Checkpoint) -> Path:
        begun.set()
        assert go_on.wait(10)
        saved.append(given.step)
        return Path(f"step-{given.step}")

    writer = CheckpointWriter(save)
    writer.submit(checkpoint(1))
    assert begun.wait(10)  # the first one is being written
    for step in (2, 3, 4):
        writer.submit(checkpoint(step))
    assert writer.finished() == []
    go_on.set()
    writer.close()
    assert saved == [1, 4]
    assert [(w.step, w.outcome) for w in writer.finished()] == [
        (1, Path("step-1")),
        (4, Path("step-4")),
    ]
    assert writer.finished() == []


@pytest.mark.parametrize("error", [OSError(28, "full"), MemoryError(), ValueError("odd")])
def test_an_error_is_a_value_and_the_next_one_is_written(error: Exception) -> None:
    def save(given: Checkpoint) -> Path:
        if given.step == 1:
            raise error
        return Path("written")

    writer = CheckpointWriter(save)
    writer.submit(checkpoint(1))
    outcomes = []
    while not outcomes:
        outcomes = writer.finished()
    assert outcomes[0].outcome is error
    writer.submit(checkpoint(2))
    writer.close()
    assert [w.outcome for w in writer.finished()] == [Path("written")]


def test_the_seconds_are_those_of_the_writing() -> None:
    times = iter([10.0, 10.75])
    writer = CheckpointWriter(lambda given: Path("written"), clock=lambda: next(times))
    writer.submit(checkpoint(1))
    writer.close()
    assert [w.seconds for w in writer.finished()] == [0.75]


def test_a_writer_that_got_nothing_closes() -> None:
    writer = CheckpointWriter(lambda given: Path())
    writer.close()
    writer.close()
    assert writer.finished() == []
