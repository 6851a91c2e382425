"""When snapshots are due: every expected time is counted by hand from the two bounds."""

import math

from hypothesis import given
from hypothesis import strategies as st

from trainer.cadence import Cadence


def test_the_first_is_due_after_the_least_time() -> None:
    cadence = Cadence(0.02, every_s=1.0, now_s=100.0)
    assert not cadence.is_due(100.99)
    assert cadence.is_due(101.0)
    assert cadence.wait_s(100.25) == 0.75


def test_a_quick_snapshot_is_followed_after_the_least_time() -> None:
    cadence = Cadence(0.5, every_s=1.0, now_s=0.0)
    cadence.requested(1.0)
    cadence.received(1.125, to_write=True)
    cadence.written(1.25, seconds=0.125)
    assert not cadence.is_due(2.24)
    assert cadence.is_due(2.25)


def test_a_slow_snapshot_waits_until_it_is_but_its_share_of_the_time() -> None:
    cadence = Cadence(0.25, every_s=1.0, now_s=0.0)
    cadence.requested(1.0)
    cadence.received(1.5, to_write=True)
    cadence.written(2.5, seconds=1.0)
    # It took 0.5 s to come and 1 s to write: 1.5 s are a quarter of 6 s.
    assert not cadence.is_due(8.49)
    assert cadence.is_due(8.5)


def test_two_are_never_in_flight() -> None:
    cadence = Cadence(0.5, every_s=1.0, now_s=0.0)
    cadence.requested(1.0)
    assert not cadence.is_due(1000.0)
    assert cadence.wait_s(1000.0) == math.inf
    cadence.received(1000.0, to_write=True)
    assert not cadence.is_due(5000.0)
    cadence.written(5000.0, seconds=0.0)
    assert cadence.is_due(8000.0)


def test_what_is_not_written_is_over_when_it_has_come() -> None:
    cadence = Cadence(0.5, every_s=1.0, now_s=0.0)
    cadence.requested(1.0)
    cadence.received(3.0, to_write=False)
    assert cadence.wait_s(3.0) == 4.0  # 2 s are half of 4 s


def test_a_dead_server_s_time_is_not_the_snapshot_s() -> None:
    cadence = Cadence(0.5, every_s=1.0, now_s=0.0)
    cadence.requested(1.0)
    cadence.requested(50.0)  # of the new server
    cadence.received(50.5, to_write=False)
    assert cadence.wait_s(50.5) == 1.0


def test_the_start_of_the_actors_is_not_the_first_snapshot_s_time() -> None:
    cadence = Cadence(0.02, every_s=1.0, now_s=0.0)
    cadence.begin(5.0)  # five seconds later the first step begins
    assert not cadence.is_due(5.99)
    assert cadence.is_due(6.0)


def test_a_server_that_joined_before_the_request_does_not_make_it_older() -> None:
    cadence = Cadence(0.5, every_s=1.0, now_s=0.0)
    cadence.requested(6.0)
    cadence.requested(2.0)  # the first server's Joined, which was read only now
    cadence.received(6.5, to_write=False)
    assert cadence.wait_s(6.5) == 1.0  # 0.5 s are half of 1 s


def test_without_a_share_of_the_time_none_is_ever_due() -> None:
    cadence = Cadence(0.0, every_s=1.0, now_s=0.0)
    assert not cadence.is_due(1e9)
    cadence.received(1e9, to_write=False)
    assert not cadence.is_due(2e9)


@given(
    st.floats(0.001, 0.5),
    st.floats(0.001, 10),
    st.tuples(st.floats(0, 20), st.floats(0, 20)),
)
def test_snapshots_never_take_more_than_their_share(
    share: float, every_s: float, cost: tuple[float, float]
) -> None:
    cadence = Cadence(share, every_s, now_s=0.0)
    now_s = spent_s = 0.0
    for come_s, write_s in [cost] * 20:
        now_s += cadence.wait_s(now_s) * (1 + 1e-9)
        assert cadence.is_due(now_s)
        # All earlier ones together, and the work in between: a share of what has passed.
        assert spent_s <= share * (now_s + spent_s) * (1 + 1e-6)
        cadence.requested(now_s)
        now_s += come_s
        cadence.received(now_s, to_write=True)
        now_s += write_s
        cadence.written(now_s, write_s)
        spent_s += come_s + write_s


def test_one_that_met_a_hanging_server_does_not_put_off_the_next_ones() -> None:
    cadence = Cadence(0.02, every_s=1.0, now_s=0.0)
    cadence.requested(1.0)
    cadence.received(1.001, to_write=False)
    cadence.requested(2.0)
    cadence.received(5.0, to_write=False)  # the server was stopped for 3 s: 2 percent of 150 s
    assert cadence.wait_s(5.0) == 1.0


def test_a_cost_that_stays_high_is_believed() -> None:
    cadence, now_s = Cadence(0.5, every_s=1.0, now_s=0.0), 0.0
    for took_s in (0.25, 4.0, 4.0, 4.0, 4.0):
        cadence.requested(now_s)
        now_s += took_s
        cadence.received(now_s, to_write=False)
    assert cadence.wait_s(now_s) == 8.0  # the last four took 4 s: half of 8 s
