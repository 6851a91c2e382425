"""The ledger of deaths: every expected number is the difference of two times told to it."""

import numpy as np

from actors.messages import Progress, Refused, Repeated, Snapshot, Stall
from actors.orders import Died, DriverMessage, Joined, Restarting, Suspected
from trainer.recoveries import Recoveries


def told(*heard: tuple[float, DriverMessage]) -> Recoveries:
    recoveries = Recoveries()
    for at_s, message in heard:
        recoveries.hear(at_s, message)
    return recoveries


def restarting(name: str, replaces: str) -> Restarting:
    return Restarting(name, replaces, 1, 5, 60.0)


def test_a_death_is_got_over_by_the_next_step_and_ended_by_the_replacement() -> None:
    recoveries = told(
        (10.0, Progress(0, 40, 100, 1.0)),
        (12.0, Died("worker-1", "killed")),
        (12.0, restarting("worker-1.2", "worker-1")),
        (12.25, Stall(41, 0.5)),
        (14.5, Joined("worker-1.2", "host", 7)),
    )
    (death,) = recoveries.all
    assert (death.name, death.event, death.cause) == ("worker-1", "died", "killed")
    assert death.at_step == 40
    assert (death.takeover_s, death.stalled_s, death.restart_s) == (0.25, 0.5, 2.5)
    assert death.detected_s is None
    assert (recoveries.deaths, recoveries.restarts, recoveries.suspicions) == (1, 1, 0)
    assert recoveries.stalls_s == [0.5]


def test_one_stall_belongs_to_all_that_were_down() -> None:
    recoveries = told(
        (12.0, Died("worker-1", "killed")),
        (12.5, Suspected("worker-0", 9)),
        (13.0, Stall(10, 1.25)),
        (15.0, Stall(11, 0.5)),
    )
    assert [r.takeover_s for r in recoveries.all] == [1.0, 0.5]
    assert [r.stalled_s for r in recoveries.all] == [1.25, 1.25]
    assert recoveries.stalls_s == [1.25, 0.5]
    assert (recoveries.deaths, recoveries.suspicions) == (1, 1)


def test_a_stall_that_is_told_before_its_death_is_attached_to_it() -> None:
    recoveries = told((12.0, Stall(10, 0.5)), (12.5, Died("worker-1", "killed")))
    (death,) = recoveries.all
    assert (death.stalled_s, death.takeover_s) == (0.5, 0.0)


def test_a_stall_of_long_ago_is_not() -> None:
    recoveries = told((12.0, Stall(10, 0.5)), (13.5, Died("worker-1", "killed")))
    assert recoveries.all[0].stalled_s is None


def test_a_death_soon_after_another_s_stall_gets_its_own() -> None:
    recoveries = told(
        (12.0, Died("worker-0", "killed")),
        (12.25, Stall(10, 0.5)),
        (12.75, Died("worker-1", "killed")),
        (13.0, Stall(11, 0.375)),  # it began at 12.625, before the second death was heard of
    )
    assert [(r.stalled_s, r.takeover_s) for r in recoveries.all] == [(0.5, 0.25), (0.375, 0.25)]


def test_a_replacement_that_dies_too_hands_on_whom_it_was_to_replace() -> None:
    recoveries = told(
        (10.0, Died("worker-1", "killed")),
        (10.0, restarting("worker-1.2", "worker-1")),
        (11.0, Died("worker-1.2", "killed")),
        (11.0, restarting("worker-1.3", "worker-1.2")),
        (13.0, Joined("worker-1.3", "host", 7)),
    )
    assert [r.restart_s for r in recoveries.all] == [3.0, 2.0]
    assert recoveries.restarts == 2


def test_repeated_steps_are_the_last_server_death_s() -> None:
    recoveries = told(
        (10.0, Died("server", "killed")),
        (10.0, restarting("server.2", "server")),
        (11.0, Died("worker-1", "killed")),
        (12.0, Repeated(7)),
    )
    assert [r.repeated_steps for r in recoveries.all] == [7, 0]
    assert recoveries.repeated_steps == 7


def test_a_planned_fault_is_detected_by_the_next_news_of_its_slot() -> None:
    recoveries = Recoveries()
    recoveries.fault("worker-1.2", 9.5)
    recoveries.hear(9.75, Died("worker-0", "killed"))
    recoveries.hear(10.0, Died("worker-1.2", "killed"))
    recoveries.hear(11.0, Died("worker-1.3", "killed"))
    assert [r.detected_s for r in recoveries.all] == [None, 0.5, None]


def test_refused_connections_are_added_up() -> None:
    assert told((1.0, Refused(3, "no key")), (2.0, Refused(4, "x"))).refused_connections == 7


def test_the_step_of_a_death_is_the_last_one_heard_of() -> None:
    nothing = np.empty(0, "f4")
    recoveries = told(
        (1.0, Progress(0, 40, 100, 1.0)),
        (2.0, Snapshot(0, 44, 100, 1.0, nothing, nothing)),
        (3.0, Died("worker-1", "killed")),
    )
    assert recoveries.all[0].at_step == 44
