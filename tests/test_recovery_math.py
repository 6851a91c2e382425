"""What step logs say about a kill: every expected value is worked out by hand in the test."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.kills import require
from benchmarks.step_log import (
    Attempt,
    StepLog,
    finish_times,
    longest_gap,
    lost_batches,
    read_attempts,
    repeated_steps,
    short_steps,
)


def attempts(*rows: tuple[float, int, int, int, bool]) -> list[Attempt]:
    """From rows of (time, worker, step, batch, applied)."""
    return [
        Attempt(time_s, worker, 1, step, batch, applied)
        for time_s, worker, step, batch, applied in rows
    ]


def test_the_longest_gap_is_the_one_that_contains_the_kill() -> None:
    # Gaps of 1, 1, 4 and 1 s; the kill falls into the one from 2 to 6.
    assert longest_gap([0, 1, 2, 6, 7], kill_s=3) == 4


def test_the_longest_gap_may_come_after_the_one_that_contains_the_kill() -> None:
    # The kill is in the gap from 2 to 3; a worker that joins stops the others from 4 to 9.
    assert longest_gap([0, 1, 2, 3, 4, 9, 10], kill_s=2.5) == 5


def test_a_longer_gap_that_ended_before_the_kill_does_not_count() -> None:
    # From 0 to 10 nothing was finished, but the kill came at 11.
    assert longest_gap([0, 10, 11, 13, 14], kill_s=11.5) == 2


def test_a_gap_that_starts_too_long_after_the_kill_does_not_count() -> None:
    times = [0, 1, 3, 4, 5, 25]
    assert longest_gap(times, kill_s=1, within_s=3) == 2  # from 1 to 3; 5 is 4 s after the kill
    assert longest_gap(times, kill_s=1, within_s=4) == 20  # from 5 to 25


def test_a_step_finished_at_the_moment_of_the_kill_begins_the_gap() -> None:
    assert longest_gap([0, 2, 5], kill_s=2) == 3


def test_the_order_of_the_times_and_equal_times_do_not_matter() -> None:
    assert longest_gap([7, 2, 6, 2, 0, 1], kill_s=3) == 4


@pytest.mark.parametrize("times", [[], [1, 2], [4, 5]])
def test_a_gap_without_a_beginning_or_an_end_is_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match=r"kill at 3 s: .* none is before it, or none after"):
        longest_gap(times, kill_s=3)


@given(
    st.lists(st.integers(0, 20), min_size=1),
    st.lists(st.integers(22, 40), min_size=1),
)
def test_the_longest_gap_is_at_least_the_one_around_the_kill(
    before: list[int], after: list[int]
) -> None:
    around = min(after) - max(before)
    assert around <= longest_gap([*before, *after], kill_s=21) <= max(after) - min(before)


def test_finish_times_leave_out_what_was_not_applied() -> None:
    log = attempts((3, 0, 3, 3, True), (2, 0, 2, 2, False), (1, 1, 1, 1, True))
    assert finish_times(log) == [1, 3]


def test_steps_done_again_after_the_kill_are_repeated_once_each() -> None:
    # Two workers reach step 4 (worker 1 only 3), then both go on from the checkpoint after 2.
    log = attempts(
        *[(step, 0, step, step, True) for step in (1, 2, 3, 4)],
        *[(step + 0.1, 1, step, step, True) for step in (1, 2, 3)],
        *[(10 + step, 0, step, step, True) for step in (3, 4, 5)],
        *[(10.1 + step, 1, step, step, True) for step in (3, 4, 5)],
    )
    assert repeated_steps(log, kill_s=5) == 2  # 3 and 4
    assert repeated_steps(log, kill_s=5, until_s=13.5) == 1  # 4 came at 14
    assert repeated_steps(log, kill_s=20) == 0


def test_a_step_that_one_worker_finishes_before_and_another_after_is_not_repeated() -> None:
    log = attempts((1, 0, 1, 1, True), (1.2, 1, 1, 1, True), (2, 0, 2, 2, True))
    assert repeated_steps(log, kill_s=1.1) == 0


def test_a_step_that_was_refused_before_the_kill_is_not_repeated_after_it() -> None:
    log = attempts((1, 0, 7, 7, False), (3, 0, 7, 8, True))
    assert repeated_steps(log, kill_s=2) == 0


def test_a_batch_is_lost_when_its_worker_goes_on_without_it() -> None:
    # Worker 0: batch 1 was refused; batch 3 nobody saw; batch 5 is the last, its fate is open.
    # Worker 1: batch 0 was refused and applied later.
    log = attempts(
        (0, 0, 0, 0, True),
        (1, 0, 1, 1, False),
        (2, 0, 1, 2, True),
        (4, 0, 2, 4, True),
        (5, 0, 3, 5, False),
        (0, 1, 0, 0, False),
        (1, 1, 0, 0, True),
        (2, 1, 1, 1, True),
    )
    assert lost_batches(log) == {(0, 1), (0, 3)}


def test_a_step_is_short_when_a_worker_has_no_batch_in_it() -> None:
    # After the kill at 2: step 3 has worker 0 only, step 4 an unapplied batch of worker 1,
    # step 5 both; step 6 is still under way.
    log = attempts(
        (1, 0, 1, 1, True),
        (3, 0, 3, 3, True),
        (4, 0, 4, 4, True),
        (4, 1, 4, 4, False),
        (5, 0, 5, 5, True),
        (5, 1, 5, 5, True),
        (6, 0, 6, 6, True),
    )
    assert short_steps(log, kill_s=2, worker_count=2) == 2
    assert short_steps(log, kill_s=2, worker_count=2, until_s=3.5) == 1
    assert short_steps([], kill_s=2, worker_count=2) == 0


def test_a_step_log_comes_back_in_the_order_of_time_without_a_half_line(tmp_path: Path) -> None:
    with StepLog(tmp_path, 1) as second, StepLog(tmp_path, 0) as first:
        first.append(step=5, batch=5)
        second.append(step=5, batch=9, applied=False)
        first.append(step=6, batch=6)
    with next(tmp_path.glob("0-*")).open("a") as file:
        file.write('{"time_s": 1')
    read = read_attempts(tmp_path)
    assert [(a.worker, a.step, a.batch, a.applied) for a in read] == [
        (0, 5, 5, True),
        (1, 5, 9, False),
        (0, 6, 6, True),
    ]
    assert {a.pid for a in read} == {os.getpid()}


def test_a_peer_whose_libraries_are_missing_leaves_with_3_and_says_what_to_install(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        require("json", "no_such_trainer")
    assert left.value.code == 3
    assert capsys.readouterr().err == "no_such_trainer not installed: pip install '.[peers]'\n"
