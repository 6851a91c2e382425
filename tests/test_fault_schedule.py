"""Which signal is due when: the schedule alone, on a clock of the test's own."""

import math
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.faults.plan import Plan
from trainer.faults.schedule import FaultSchedule, Signal
from trainer.faults.targets import Living

HERE, THERE = Living("10.0.0.1", 11), Living("10.0.0.2", 12)
ALL = {"server": THERE, "worker-0": HERE, "worker-1": THERE, "worker-10": HERE}


def schedule(*faults: dict[str, Any], **more: Any) -> FaultSchedule:
    return FaultSchedule(Plan(faults=faults, **more))


def sent(signals: list[Signal]) -> list[tuple[str, int]]:
    return [(signal.name, signal.number) for signal in signals]


def run(made: FaultSchedule, until_s: float, from_s: float = 0.0) -> list[tuple[float, str, int]]:
    """All that is sent while everybody lives, waking just when the schedule asks for it."""
    log, now_s = [], from_s
    for _ in range(100_000):
        log += [(now_s, *signal) for signal in sent(made.due(now_s, 0, ALL))]
        now_s = made.next_s(now_s)
        if now_s > until_s:
            return log
    raise AssertionError(f"the clock stands at {now_s}")


def test_a_kill_is_due_once_when_its_step_is_heard_of() -> None:
    made = schedule({"kill": "worker-1", "at_step": 100})
    assert made.due(0.0, 99, ALL) == []
    assert sent(made.due(1.0, 103, ALL)) == [("worker-1", SIGKILL)]
    assert made.due(2.0, 104, ALL) == []
    assert made.unfired(104, 2.0, ALL) == []


def test_a_kill_is_due_at_its_time() -> None:
    made = schedule({"kill": "server", "at_s": 1.5})
    assert made.next_s(0.0) == 1.5
    assert run(made, 10.0) == [(1.5, "server", SIGKILL)]
    assert made.next_s(1.5) == math.inf


def test_a_second_kill_of_the_same_target_waits_for_its_next_life() -> None:
    fault = {"kill": "worker-1", "at_step": 10}
    made = schedule(fault, fault)
    assert sent(made.due(0.0, 10, ALL)) == [("worker-1", SIGKILL)]
    assert made.due(0.1, 10, ALL) == []  # dead, and not yet known to be
    assert sent(made.due(0.2, 11, ALL | {"worker-1.2": HERE})) == [("worker-1.2", SIGKILL)]


def test_the_newest_life_is_hit_and_ten_is_not_one() -> None:
    lives = ALL | {"server.9": HERE, "server.10": HERE}
    made = schedule({"kill": "server", "at_s": 0}, {"kill": "worker-1", "at_s": 0})
    assert sent(made.due(0.0, 0, lives)) == [("server.10", SIGKILL), ("worker-1", SIGKILL)]


def test_a_node_is_the_first_worker_s_host_or_the_one_that_is_named() -> None:
    made = schedule({"kill": "node", "at_s": 0})
    assert sent(made.due(0.0, 0, ALL)) == [("worker-0", SIGKILL), ("worker-10", SIGKILL)]
    made = schedule({"kill": "node", "host": "10.0.0.2", "at_s": 0})
    assert sent(made.due(0.0, 0, ALL)) == [("server", SIGKILL), ("worker-1", SIGKILL)]


def test_the_driver_is_always_there() -> None:
    made = schedule({"kill": "driver", "at_step": 1}, {"pause": "driver", "for_s": 1, "at_s": 5})
    assert sent(made.due(0.0, 1, {})) == [("driver", SIGKILL)]
    assert sent(made.due(5.0, 1, {})) == [("driver", SIGSTOP)]
    assert made.due(6.1, 1, {}) == []  # somebody else wakes it


def test_a_pause_ends_after_its_time() -> None:
    made = schedule({"pause": "worker-0", "for_s": 2.0, "at_s": 1.0})
    assert run(made, 10.0) == [(1.0, "worker-0", SIGSTOP), (3.0, "worker-0", SIGCONT)]


def test_a_process_stands_until_its_last_pause_is_over() -> None:
    made = schedule(
        {"pause": "worker-0", "for_s": 2.0, "at_s": 1.0},
        {"pause": "worker-0", "for_s": 2.0, "at_s": 2.0},
        {"slow": "worker-0", "factor": 2, "for_s": 1.0, "at_s": 2.5},
    )
    assert run(made, 10.0) == [
        (1.0, "worker-0", SIGSTOP),
        (2.0, "worker-0", SIGSTOP),
        (2.5, "worker-0", SIGSTOP),
        (4.0, "worker-0", SIGCONT),
    ]


@given(factor=st.floats(1.05, 50), for_s=st.floats(0.2, 5), from_s=st.floats(0, 1000))
def test_a_slowed_process_runs_its_share_and_goes_on_in_the_end(
    factor: float, for_s: float, from_s: float
) -> None:
    made = schedule({"slow": "server", "factor": factor, "for_s": for_s, "at_s": from_s})
    log = run(made, from_s + for_s + 1)
    assert [number for _, _, number in log] == [SIGSTOP, SIGCONT] * (len(log) // 2)
    times = [at_s for at_s, _, _ in log]
    stood_s = sum(go_on - stop for stop, go_on in zip(times[::2], times[1::2], strict=True))
    # Whole periods of 50 ms, and one that the end cuts.
    assert stood_s == pytest.approx(for_s * (1 - 1 / factor), abs=0.05)
    assert times[-1] <= from_s + for_s + 1e-6


def test_what_stands_is_released_at_the_end() -> None:
    made = schedule(
        {"slow": "server", "factor": 100, "at_s": 0}, {"pause": "worker-0", "for_s": 9, "at_s": 0}
    )
    made.due(0.0, 0, ALL)
    assert sorted(sent(made.release())) == [("server", SIGCONT), ("worker-0", SIGCONT)]
    assert made.release() == []


def test_a_kill_that_found_no_process_waits_for_the_next_life() -> None:
    made = schedule({"kill": "worker-1", "at_s": 0})
    (signal,) = made.due(0.0, 0, ALL)
    made.missed("worker-1")
    made.wait_again(signal.planned)
    assert made.due(0.1, 0, ALL) == []
    assert sent(made.due(0.2, 0, ALL | {"worker-1.2": HERE})) == [("worker-1.2", SIGKILL)]


def test_an_unfired_fault_says_why() -> None:
    made = schedule({"kill": "worker-7", "at_step": 5}, {"kill": "server", "at_s": 60})
    assert made.due(3.0, 50, ALL) == []
    whys = {planned.number: why for planned, why in made.unfired(50, 3.04, ALL)}
    assert whys == {
        "1": "no such actor lived: worker-7; there were server, worker-0, worker-1, worker-10",
        "2": "training was over at step 50, after 3.0 s",
    }


def test_what_fired_before_the_driver_died_does_not_fire_again() -> None:
    plan = Plan(
        faults=({"kill": "driver", "at_step": 5}, {"kill": "server", "at_step": 5}),
        random={"per_minute": 60, "targets": ["server"]},
    )
    made = FaultSchedule(plan, {("1", "kill driver at step 5")}, from_s=1000.0)
    assert sent(made.due(1000.0, 9, ALL)) == [("server", SIGKILL)]
    assert 1000 < made.next_s(1000.0) < 1020  # random faults of the past are past


def test_a_random_fault_hits_any_living_worker_and_nobody_when_none_lives() -> None:
    random = {"per_minute": 600, "seed": 3, "targets": ["worker"], "kinds": ["pause"]}
    made = schedule(random=random)
    hit = {name for _, name, number in run(made, 20.0) if number == SIGSTOP}
    assert hit == {"worker-0", "worker-1", "worker-10"}
    made = schedule(random=random)
    assert made.due(20.0, 0, {"server": HERE}) == []
    assert made.unfired(0, 20.0, {"server"}) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["kill", "pause", "slow"]),
            st.sampled_from(["worker-0", "worker-1", "server", "node"]),
            st.floats(0, 3),
        ),
        max_size=8,
    )
)
def test_nobody_dead_is_hit_and_nobody_stands_in_the_end(
    drawn: list[tuple[str, str, float]],
) -> None:
    needs = {"kill": {}, "pause": {"for_s": 0.5}, "slow": {"factor": 3, "for_s": 0.3}}
    made = schedule(*({kind: who, "at_s": at_s} | needs[kind] for kind, who, at_s in drawn))
    standing, dead = set(), set()
    for _, name, number in run(made, 10.0):
        assert name not in dead
        if number == SIGKILL:
            dead.add(name)
            standing.discard(name)
        elif number == SIGSTOP:
            standing.add(name)
        else:
            assert name in standing
            standing.discard(name)
    assert not standing


def test_a_random_fault_that_finds_nobody_is_told_once_with_the_reason() -> None:
    random = {"per_minute": 600, "seed": 3, "targets": ["worker-7"]}
    made = schedule(random=random)
    due_s = made.next_s(0.0)
    assert made.take_dropped() == []
    assert made.due(due_s, 5, ALL) == []
    ((planned, why),) = made.take_dropped()
    assert (planned.number, why) == ("random-1", "no worker-7 lived then")
    assert made.take_dropped() == []
    made.wait_again(planned, "its record was in the way")
    assert made.take_dropped() == [(planned, "its record was in the way")]
    assert made.unfired(9, due_s, ALL) == []  # it is told already
