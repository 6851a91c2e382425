"""Every shard has exactly one holder, whoever comes, goes, is late and answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.assignment import Assignment, deal, take_over, told
from actors.messages import DRIVER, Assign
from actors.orders import Assigned


def assigned(shard_count: int, *workers: str) -> Assignment:
    assignment = Assignment(shard_count)
    for name in workers:
        assignment.add(name)
    return assignment


THREE = ("worker-0", "worker-1", "worker-2")


# --- Dealing and taking over


def test_shards_are_dealt_in_runs_of_nearly_equal_length() -> None:
    assert deal(8, THREE) == {
        "worker-0": (0, 1),
        "worker-1": (2, 3, 4),
        "worker-2": (5, 6, 7),
    }


def test_who_takes_over_keeps_what_it_has() -> None:
    held = {"worker-1": (2, 3), "worker-2": (4, 5, 6, 7)}
    assert take_over(held, (0, 1)) == {"worker-1": (0, 1, 2, 3), "worker-2": (4, 5, 6, 7)}


@given(st.integers(1, 40), st.integers(1, 12))
def test_dealing_gives_each_shard_once_and_nobody_two_more_than_another(
    shard_count: int, worker_count: int
) -> None:
    dealt = deal(shard_count, [f"worker-{i}" for i in range(worker_count)])
    assert [shard for shards in dealt.values() for shard in shards] == list(range(shard_count))
    sizes = [len(shards) for shards in dealt.values()]
    assert max(sizes) - min(sizes) <= 1


def test_only_those_whose_shards_change_are_told_and_the_new_one_in_any_case() -> None:
    assignment = assigned(1, "worker-0")
    assert assignment.add("worker-1") == {"worker-0": (), "worker-1": (0,)}  # equal runs
    assert assignment.add("worker-2") == {"worker-1": (), "worker-2": (0,)}
    assignment = assigned(2, "worker-0", "worker-1")
    assert assignment.remove("worker-1") == {"worker-0": (0, 1)}


def test_worker_10_is_dealt_to_after_worker_9() -> None:
    assignment = assigned(11, *(f"worker-{i}" for i in range(10)))
    assert assignment.add("worker-10")["worker-10"] == (10,)


# --- Late and answering


def test_a_late_worker_s_shards_go_to_the_others() -> None:
    assignment = assigned(6, *THREE)
    suspects, changes = assignment.late((2,), 10.0)  # worker-1 holds 2 and 3
    assert suspects == ["worker-1"]
    assert changes == {"worker-1": (), "worker-0": (0, 1, 2), "worker-2": (3, 4, 5)}
    assert assignment.suspects == {"worker-1"}


def test_if_all_are_late_nobody_is_suspected() -> None:
    assignment = assigned(6, *THREE)
    assert assignment.late((0, 1, 2, 3, 4, 5), 10.0) == ([], {})
    assert assigned(6, "worker-0").late((3,), 10.0) == ([], {})


def test_who_is_late_for_the_first_time_gets_its_share_again_as_soon_as_it_answers() -> None:
    assignment = assigned(6, *THREE)
    assignment.late((2,), 10.0)
    changes = assignment.answered("worker-1", 10.0)
    assert changes == {"worker-0": (0, 1), "worker-1": (2, 3), "worker-2": (4, 5)}


def test_an_answer_of_who_is_trusted_changes_nothing() -> None:
    assert assigned(6, *THREE).answered("worker-1", 10.0) == {}


def bench_s(assignment: Assignment, now_s: float) -> float:
    """worker-1 is late now: how long its answers do not count, to the eighth of a second."""
    suspects, _ = assignment.late((2,), now_s)
    assert suspects == ["worker-1"]
    for i in range(8 * 100):
        if assignment.answered("worker-1", now_s + i / 8):
            return i / 8
    raise AssertionError("it is never trusted again")


def test_the_bench_is_twice_as_long_each_time_up_to_a_minute() -> None:
    assignment, now_s, benches = assigned(6, *THREE), 100.0, []
    for _ in range(10):
        benches.append(bench_s(assignment, now_s))
        now_s += benches[-1] + 1.0
    assert benches == [0, 1, 2, 4, 8, 16, 32, 64, 64, 64]


@pytest.mark.parametrize(("pause_s", "expected"), [(4.0, 4.0), (4.125, 0.0)])
def test_lateness_is_forgiven_after_good_conduct_for_twice_the_last_bench(
    pause_s: float, expected: float
) -> None:
    assignment, now_s = assigned(6, *THREE), 100.0
    for _ in range(3):  # benches of 0, 1 and 2 s
        now_s += bench_s(assignment, now_s)
    assert bench_s(assignment, now_s + pause_s) == expected


def test_when_the_last_trusted_worker_is_gone_the_suspects_are_trusted_again() -> None:
    assignment = assigned(6, *THREE)
    assignment.late((0, 2), 10.0)
    assert assignment.suspects == {"worker-0", "worker-1"}
    assert assignment.remove("worker-2") == {"worker-0": (0, 1, 2), "worker-1": (3, 4, 5)}
    assert not assignment.suspects


class Comings(RuleBasedStateMachine):
    """Workers come, go, are late and answer, in any order, as the coordinator sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.shard_count = 7
        self.assignment = Assignment(self.shard_count)
        self.held: dict[str, tuple[int, ...]] = {}  # as told to the workers
        self.now_s = 1.0

    def told(self, changes: dict[str, tuple[int, ...]]) -> None:
        assert changes.keys() <= self.held.keys()
        self.held |= changes

    @rule(number=st.integers(0, 12))
    def come(self, number: int) -> None:
        name = f"worker-{number}"
        if name not in self.assignment:
            self.held[name] = (99,)  # whatever a worker had before, it is told
            self.told(self.assignment.add(name))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        del self.held[name]
        self.told(self.assignment.remove(name))

    @precondition(lambda self: self.held)
    @rule(shards=st.sets(st.integers(0, 6), min_size=1))
    def be_late(self, shards: set[int]) -> None:
        holders = {name for name, held in self.held.items() if shards & set(held)}
        suspects, changes = self.assignment.late(tuple(sorted(shards)), self.now_s)
        assert set(suspects) <= holders
        self.told(changes)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), seconds=st.floats(0, 100))
    def answer(self, data: st.DataObject, seconds: float) -> None:
        self.now_s += seconds
        name = data.draw(st.sampled_from(sorted(self.held)))
        was = self.assignment.suspects
        self.told(self.assignment.answered(name, self.now_s))
        assert was - self.assignment.suspects <= {name}

    @invariant()
    def each_shard_has_one_holder(self) -> None:
        if self.held:
            held = sorted(shard for shards in self.held.values() for shard in shards)
            assert held == list(range(self.shard_count))

    @invariant()
    def suspects_hold_nothing_and_not_all_are_suspected(self) -> None:
        suspects = self.assignment.suspects
        assert all(self.held[name] == () for name in suspects)
        assert suspects < self.held.keys() or not self.held

    @invariant()
    def who_is_there_is_known(self) -> None:
        assert sorted(self.assignment.workers) == sorted(self.held)


test_every_shard_has_exactly_one_holder_whatever_comes = Comings.TestCase


# --- Telling


def test_each_worker_is_told_its_own_shards_and_the_driver_who_has_which() -> None:
    assert told({"worker-1": (0, 1), "worker-0": ()}) == [
        ("worker-1", Assign((0, 1))),
        (DRIVER, Assigned("worker-1", (0, 1))),
        ("worker-0", Assign(())),
        (DRIVER, Assigned("worker-0", ())),
    ]
    assert told({}) == []
