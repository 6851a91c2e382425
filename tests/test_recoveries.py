"""The ledger of deaths: every expected number is the difference of two times told to it."""

import numpy as np

from actors.messages import Progress, Refused, Repeated, Snapshot, Stall
from actors.orders import Died, DriverMessage, Joined, Restarting, Silent, Suspected
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


def test_a_recovery_is_told_once_when_all_of_it_is_known() -> None:
    recoveries = Recoveries()
    recoveries.hear(10.0, Died("worker-1", "killed"))
    recoveries.hear(10.0, restarting("worker-1.2", "worker-1"))
    recoveries.hear(10.5, Stall(41, 0.5))
    assert recoveries.take() == []  # the replacement is not there
    recoveries.hear(12.0, Joined("worker-1.2", "host", 7))
    (told,) = recoveries.take()
    assert (told.name, told.takeover_s, told.restart_s) == ("worker-1", 0.5, 2.0)
    recoveries.hear(13.0, Suspected("worker-0", 50))
    assert recoveries.take() == []
    recoveries.hear(13.5, Stall(51, 0.75))
    assert [each.name for each in recoveries.take()] == ["worker-0"]
    assert recoveries.take(at_the_end=True) == []


def test_a_server_s_recovery_waits_for_the_repeated_steps_until_the_end() -> None:
    recoveries = Recoveries()
    recoveries.hear(10.0, Died("server", "killed"))
    recoveries.hear(10.0, restarting("server.2", "server"))
    recoveries.hear(11.0, Joined("server.2", "host", 7))
    recoveries.hear(11.5, Stall(41, 1.5))
    assert recoveries.take() == []
    again = Recoveries()
    again.hear(10.0, Died("server", "killed"))
    again.hear(11.5, Stall(41, 1.5))
    assert [each.name for each in again.take(at_the_end=True)] == ["server"]  # there were none
    recoveries.hear(11.75, Repeated(7))
    assert [each.repeated_steps for each in recoveries.take()] == [7]


def test_a_death_that_ended_the_training_is_not_told_as_got_over() -> None:
    """Of the second server: the stall before is the first one's, and none followed."""
    recoveries = told(
        (10.0, Died("server", "killed")),
        (10.0, restarting("server.2", "server")),
        (11.0, Joined("server.2", "host", 7)),
        (11.5, Stall(41, 1.5)),
        (12.0, Died("server.2", "killed")),
    )
    assert [each.name for each in recoveries.take(at_the_end=True)] == ["server"]
    last = recoveries.all[-1]
    assert (last.takeover_s, last.stalled_s) == (None, None)


def test_a_stall_belongs_to_the_deaths_that_were_known_and_to_no_later_one() -> None:
    recoveries = told(
        (10.0, Died("worker-1", "killed")),
        (10.5, Stall(41, 0.5)),
        (11.0, Died("worker-1.2", "killed")),
    )
    assert [r.stalled_s for r in recoveries.all] == [0.5, None]
    assert [each.name for each in recoveries.take(at_the_end=True)] == ["worker-1"]


def test_a_death_that_a_step_seemed_to_follow_is_got_over_only_when_another_one_does() -> None:
    early = (12.0, Stall(10, 0.5)), (12.5, Died("worker-1", "killed"))
    assert told(*early).take(at_the_end=True) == []
    recoveries = told(*early, (13.0, Progress(0, 11, 32, 1.0)))
    assert [each.name for each in recoveries.take(at_the_end=True)] == ["worker-1"]


PAUSE = "fault 1 (pause server for 2 s at step 40)"


def test_a_stall_is_put_down_to_the_planned_pause_that_caused_it() -> None:
    recoveries = Recoveries()
    recoveries.hear(9.75, Progress(0, 40, 100, 1.0))
    recoveries.fault("server", 10.0, PAUSE)
    recoveries.hear(12.25, Silent("server", 2.25))
    recoveries.hear(12.25, Stall(41, 2.5))
    (stood,) = recoveries.take()
    assert (stood.name, stood.event, stood.cause) == ("server", "stalled", PAUSE)
    assert (stood.at_step, stood.at_s, stood.takeover_s, stood.stalled_s) == (40, 10.0, 2.25, 2.5)
    assert recoveries.stall_cause == PAUSE
    assert (recoveries.deaths, recoveries.suspicions) == (0, 0)


def test_a_planned_pause_is_named_also_where_another_one_is_known_to_be_late() -> None:
    recoveries = Recoveries()
    recoveries.fault("worker-0", 10.0, PAUSE)
    recoveries.fault("worker-1", 10.0, PAUSE)
    recoveries.hear(10.5, Suspected("worker-0", 40))
    recoveries.hear(12.25, Stall(41, 2.5))
    assert [(r.name, r.event) for r in recoveries.all] == [
        ("worker-0", "suspected"),
        ("worker-1", "stalled"),
    ]
    assert recoveries.all[0].detected_s == 0.5
    assert recoveries.stall_cause is None  # it was told who is late


def test_neither_a_pause_of_long_ago_nor_a_kill_is_what_made_a_server_stand() -> None:
    recoveries = Recoveries()
    recoveries.fault("server", 10.0, PAUSE)
    recoveries.fault("worker-1", 29.75)  # a kill, which will be heard of as a death
    recoveries.hear(30.0, Stall(41, 2.5))
    assert recoveries.all == []
    recoveries.hear(30.25, Died("worker-1", "killed"))
    assert recoveries.all[0].detected_s == 0.5


def test_a_stall_without_a_death_names_who_did_not_answer_or_says_that_nobody_died() -> None:
    recoveries = told(
        (12.25, Silent("worker-0", 2.25)),
        (12.25, Silent("worker-1", 3.0)),
        (12.25, Stall(41, 2.5)),
    )
    assert recoveries.stall_cause == (
        "worker-0 did not answer for 2.2 s, worker-1 did not answer for 3.0 s"
    )
    assert [(r.name, r.event, r.stalled_s) for r in recoveries.take()] == [
        ("worker-0", "stalled", 2.5),
        ("worker-1", "stalled", 2.5),
    ]
    recoveries.hear(20.0, Stall(50, 0.5))  # the silence before is told
    assert recoveries.stall_cause == "nobody died or was late, as far as is known"
    assert recoveries.take() == []


def test_who_did_not_answer_is_not_what_a_death_s_stall_is_put_down_to() -> None:
    recoveries = told(
        (11.0, Died("worker-1", "killed")),
        (12.0, Silent("worker-0", 2.0)),
        (12.0, Stall(41, 2.5)),
    )
    assert [r.name for r in recoveries.all] == ["worker-1"]
    assert recoveries.stall_cause is None


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
