"""When the next one is due: every expected time is counted by hand from the two bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.cadence import Cadence


def test_the_first_one_is_due_after_the_least_time() -> None:
    cadence = Cadence(0.02, every_s=1.0, now_s=100.0)
    assert not cadence.is_due(100.99)
    assert cadence.is_due(101.0)
    assert cadence.wait_s(100.25) == 0.75


def test_a_quick_one_is_followed_after_the_least_time() -> None:
    cadence = Cadence(0.5, every_s=1.0, now_s=0.0)
    cadence.began(1.0)
    cadence.over(0.125, 1.125)
    assert not cadence.is_due(2.124)
    assert cadence.is_due(2.125)


def test_a_slow_one_waits_until_it_is_but_its_share_of_the_time() -> None:
    cadence = Cadence(0.25, every_s=1.0, now_s=0.0)
    cadence.began(1.0)
    cadence.over(1.5, 2.5)  # 1.5 s are a quarter of 6 s
    assert not cadence.is_due(8.49)
    assert cadence.is_due(8.5)


def test_two_are_never_under_way() -> None:
    cadence = Cadence(0.5, every_s=1.0, now_s=0.0)
    cadence.began(1.0)
    assert cadence.in_flight
    assert not cadence.is_due(1000.0)
    assert cadence.wait_s(1000.0) == math.inf
    cadence.over(999.0, 1000.0)
    assert cadence.wait_s(1000.0) == 1998.0


def test_it_counts_from_the_last_time_that_it_was_said_to_begin() -> None:
    cadence = Cadence(0.5, every_s=1.0, now_s=0.0)
    cadence.began(6.0)
    assert cadence.spent_s(6.5) == 0.5
    cadence.began(50.0)
    cadence.began(2.0)  # heard of only now
    assert cadence.spent_s(50.25) == 0.25


def test_what_comes_unasked_puts_the_next_one_off_but_pays_no_debt() -> None:
    cadence = Cadence(0.5, every_s=1.0, now_s=0.0)
    assert cadence.spent_s(7.0) == 0.0
    cadence.over(0.0, 7.0)
    assert cadence.wait_s(7.0) == 1.0
    cadence.began(8.0)
    cadence.over(4.0, 12.0)  # half of 8 s
    cadence.over(0.0, 13.0)
    assert cadence.wait_s(13.0) == 7.0


def test_the_start_of_the_actors_is_not_the_first_one_s_time() -> None:
    cadence = Cadence(0.02, every_s=1.0, now_s=0.0)
    cadence.begin(5.0)  # five seconds later the first step begins
    assert not cadence.is_due(5.99)
    assert cadence.is_due(6.0)


def test_without_a_share_of_the_time_none_is_ever_due() -> None:
    cadence = Cadence(0.0, every_s=1.0, now_s=0.0)
    assert not cadence.is_due(1e9)
    cadence.over(0.0, 1e9)
    assert not cadence.is_due(2e9)


def share_of(costs_s: list[float], share: float, every_s: float) -> float:
    """Of the time until the next one after those costs is due."""
    cadence, now_s = Cadence(share, every_s, now_s=0.0), 0.0
    for cost_s in costs_s:
        now_s += cadence.wait_s(now_s)
        cadence.began(now_s)
        now_s += cost_s
        cadence.over(cost_s, now_s)
    return sum(costs_s) / (now_s + cadence.wait_s(now_s))


@pytest.mark.parametrize("costs_s", [[0.01, 1.0], [0.01, 1.0, 1.0, 1.0], [1.0, 0.01, 0.01, 0.01]])
def test_costs_that_alternate_take_no_more_than_their_share(costs_s: list[float]) -> None:
    assert 0.01 < share_of(costs_s * 50, 0.02, every_s=1.0) <= 0.02


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=20), st.floats(0.001, 0.5), st.floats(0.001, 10)
)
def test_whatever_they_cost_they_take_no_more_than_their_share(
    costs_s: list[float], share: float, every_s: float
) -> None:
    assert share_of(costs_s, share, every_s) <= share * (1 + 1e-9)


def test_what_is_counted_from_its_beginning_comes_as_often_as_its_share_allows() -> None:
    """So a file is due again when the next snapshot comes, and not just after it."""
    cadence = Cadence(0.25, every_s=1.0, now_s=0.0)
    cadence.began(1.0)
    cadence.over(0.25)
    assert cadence.wait_s(1.25) == 0.75
    cadence.began(2.0)
    cadence.over(1.0)
    assert cadence.wait_s(3.0) == 3.0
