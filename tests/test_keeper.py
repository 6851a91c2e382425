"""States go by their own cost, files by theirs: a slow disk puts off no state."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from actors.cluster import Cluster
from actors.messages import EpochDone, Snapshot
from tests.test_checkpoints import checkpoint
from trainer.checkpoints import Checkpoint
from trainer.keeper import Keeper
from trainer.reports import CheckpointWritten, Report
from trainer.run_directory import RunDirectory
from trainer.running_config import CheckpointsConfig
from trainer.write_troubles import WriteTroubles

DEADLINE_S = 10


class Disk:
    """A run directory that is written to when it is told to go on."""

    def __init__(self) -> None:
        self.begun, self.may_go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.troubles = WriteTroubles()

    def save(self, given: Checkpoint) -> Path:
        self.begun.release()
        assert self.may_go_on.acquire(timeout=DEADLINE_S)
        return Path(f"step-{given.step}")


class Asked:
    """A cluster that counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def take_snapshot(self) -> None:
        self.count += 1


class Course:
    """A keeper that begins at 0 s, and what it did."""

    def __init__(self, disk: Disk | None) -> None:
        self.disk, self.cluster, self.told = disk, Asked(), list[Report]()
        self.keeper = Keeper(
            CheckpointsConfig(time_share=0.02, every_s=1.0),
            cast(RunDirectory | None, disk),
            lambda state: checkpoint(state.step),
            self.told.append,
            now_s=0.0,
        )

    def asks(self, now_s: float) -> bool:
        before = self.cluster.count
        self.keeper.ask(cast(Cluster, self.cluster), now_s)
        return self.cluster.count > before

    def hold(self, step: int, now_s: float, kind: type[Snapshot] = Snapshot) -> None:
        numbers: Any = np.zeros(3)
        self.keeper.hold(kind(0, step, 32, 1.0, numbers, numbers[:0]), now_s)

    def written(self) -> list[int]:
        return [each.step for each in self.told if isinstance(each, CheckpointWritten)]

    def wait_until_written(self, step: int) -> None:
        assert self.disk
        self.disk.may_go_on.release()
        until = threading.Event()
        while step not in self.written():
            self.keeper.poll()
            assert not until.wait(0.001)


@contextmanager
def beginning(disk: Disk | None) -> Iterator[Course]:
    course = Course(disk)
    try:
        yield course
    finally:
        if disk:
            for _ in range(9):
                disk.may_go_on.release()
        course.keeper.keep()


@pytest.fixture
def course() -> Iterator[Course]:
    with beginning(Disk()) as course:
        yield course


def test_while_a_file_is_being_written_states_are_taken_as_before(course: Course) -> None:
    for step, at_s in ((10, 1.0), (20, 2.1), (30, 3.2), (40, 4.3)):
        assert course.asks(at_s)
        course.hold(step, at_s + 0.005)
        assert not course.asks(at_s + 0.9)
    course.wait_until_written(10)
    assert course.asks(5.4)
    course.hold(50, 5.405)  # those before it are too old to be worth a file
    course.wait_until_written(50)
    assert course.written() == [10, 50]


def test_a_file_is_written_of_each_state_where_both_are_cheap(course: Course) -> None:
    """A file takes milliseconds here, so its pause is the least one."""
    at_s = 1.0
    for step in (10, 20, 30):
        assert course.asks(at_s)
        course.hold(step, at_s + 0.003)
        course.wait_until_written(step)
        at_s += 1.004
    assert course.written() == [10, 20, 30]


def test_a_hanging_server_puts_no_state_off() -> None:
    with beginning(None) as course:
        assert course.asks(1.0)
        course.keeper.server_told(4.0)  # it was stopped for 3 s: 2 percent of 150 s
        course.hold(10, 4.001)
        assert course.asks(5.1)


def test_a_new_server_s_state_has_not_taken_the_dead_one_s_time() -> None:
    with beginning(None) as course:
        assert course.asks(1.0)
        course.keeper.server_told(50.0)
        course.hold(10, 50.001)
        assert course.asks(51.1)


def test_a_state_that_takes_long_is_asked_for_less_often() -> None:
    with beginning(None) as course:
        assert course.asks(1.0)
        course.keeper.server_told(2.0)
        course.hold(10, 2.1)  # 0.1 s are 2 percent of 5 s
        assert not course.asks(7.09)
        assert course.asks(7.2)


def test_the_end_of_an_epoch_stands_for_a_state_that_is_due(course: Course) -> None:
    course.hold(10, 1.0, EpochDone)
    course.wait_until_written(10)
    assert not course.asks(1.9)
    course.hold(15, 1.95, EpochDone)  # none is due
    assert course.asks(2.0)


def test_the_end_of_an_epoch_is_no_answer() -> None:
    with beginning(None) as course:
        assert course.asks(1.0)
        course.hold(10, 1.5, EpochDone)
        assert not course.asks(9.0)
        course.keeper.server_told(9.0)
        course.hold(11, 9.001)
        assert course.asks(10.1)
