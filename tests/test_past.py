"""What earlier processes left behind, as the next one reads it: expected values by hand."""

from typing import Any

from actors.messages import Progress
from actors.orders import Rounding
from trainer.faults.log import Kill
from trainer.lock_holder import Sign
from trainer.past import UNKNOWN_CAUSE, Before, how_it_ended, read_past
from trainer.recoveries import Recoveries


def line(event: str, worker: str, unix_s: float, step: int = 0, **more: Any) -> dict[str, Any]:
    return {"at_s": unix_s - 1000, "step": step, "event": event, "worker": worker} | {
        "unix_s": unix_s,
        **more,
    }


def recovered(worker: str, unix_s: float, cause: str, **numbers: Any) -> dict[str, Any]:
    unknown = dict.fromkeys(("detected_s", "takeover_s", "restart_s", "stalled_s"))
    details = {"from": "died", "cause": cause, "at_step": 40, "repeated_steps": 0}
    return line("recovered", worker, unix_s, **(details | unknown | numbers))


FIRST = [
    line("joined", "worker-1", 1002.0),
    line("died", "worker-1", 1010.0, 40, reason="killed"),
    line("restarting", "worker-1.2", 1010.0, 40),
    line("stalled", "server", 1010.5, 41, seconds=0.5),
    recovered("worker-1", 1012.0, "killed", takeover_s=0.5, restart_s=2.0, stalled_s=0.5),
    line("suspected", "worker-0", 1015.0, 60, late_step=60),  # nobody told how that ended
    line("refused", "server", 1016.0, 70, count=3, reason="no key"),
    line("repeated", "server", 1017.0, 70, step_count=7),
]
SECOND = [
    line("died", "driver", 1020.0, 50, reason="killed", reached_step=80),
    line("resumed", "driver", 1025.0, 50, file="step-00000050.safetensors", count=1),
    line("repeated", "driver", 1025.0, 50, step_count=30),
    line("died", "worker-1", 1030.0, 60, reason="killed"),
    recovered("driver", 1031.0, "killed", takeover_s=6.0, restart_s=11.0, stalled_s=11.0),
]


def test_deaths_and_what_was_told_of_them_are_summed_up_over_the_processes() -> None:
    past = read_past([*FIRST, *SECOND])
    assert (past.deaths, past.restarts, past.suspicions) == (3, 2, 1)
    assert (past.refused_connections, past.repeated_steps) == (3, 37)
    assert past.stalls_s == [0.5, 11.0]
    assert [(r.name, r.event, r.at_s, r.takeover_s) for r in past.recoveries] == [
        ("worker-1", "died", 1010.0, 0.5),
        ("worker-0", "suspected", 1015.0, None),
        ("driver", "died", 1020.0, 6.0),
        ("worker-1", "died", 1030.0, None),  # another worker-1: of the second process
    ]
    assert past.recoveries[2].at_step == 80
    assert past.began_unix_s == 1000.0


def test_the_first_host_is_the_one_that_all_later_ones_are_compared_with() -> None:
    first = line("rounding", "driver", 1002.0, host="10.0.0.1", arithmetic="BLAS=a")
    other = line("rounding", "driver", 1026.0, host="10.0.0.9", arithmetic="BLAS=b")
    assert read_past([first, *FIRST, *SECOND, other]).rounding == Rounding("10.0.0.1", "BLAS=a")
    assert read_past(FIRST).rounding is None  # of an earlier version


def test_the_ledger_goes_on_from_the_past_and_counts_its_time_from_the_first_beginning() -> None:
    recoveries = Recoveries(50, read_past([*FIRST, *SECOND]))
    # This process's clock shows 100 where the wall clock shows 1050.
    recoveries.resume(Before(90, 1040.0, "killed"), seen_s=90.0, began_s=95.0)
    assert (recoveries.deaths, recoveries.restarts, recoveries.repeated_steps) == (4, 3, 77)
    recoveries.hear(99.0, Progress(0, 50, 32, 1.0))  # no new step
    recoveries.hear(100.0, Progress(0, 51, 64, 1.0))
    (driver,) = recoveries.take()
    assert (driver.name, driver.cause, driver.at_step) == ("driver", "killed", 90)
    assert (driver.takeover_s, driver.restart_s, driver.stalled_s) == (5.0, 10.0, 10.0)
    assert driver.repeated_steps == 40
    assert recoveries.stalls_s == [0.5, 11.0, 10.0]
    told = recoveries.since_the_beginning(95.0, 950.0)
    assert [each["at_s"] for each in told] == [10.0, 15.0, 20.0, 30.0, 40.0]


def test_a_process_that_ended_in_order_did_not_die_and_its_lost_steps_count_all_the_same() -> None:
    ended = line("ended", "driver", 1018.0, 75, reason="stopped by Ctrl-C")
    before = how_it_ended([*FIRST, ended], [], None, None)
    assert before == Before(75, 1018.0, None)
    recoveries = Recoveries(70)
    recoveries.resume(before, 0.0, 0.0)
    assert (recoveries.deaths, recoveries.restarts, recoveries.repeated_steps) == (0, 0, 5)
    assert recoveries.take(at_the_end=True) == []


def test_a_process_that_ended_without_a_word_is_known_by_its_last_sign_of_life() -> None:
    metrics = [{"epoch": 1, "step": 78}]
    assert how_it_ended(FIRST, metrics, None, None) == Before(78, 1017.0, UNKNOWN_CAUSE)
    assert how_it_ended(FIRST, metrics, Sign(1017.5, 83), None) == Before(83, 1017.5, UNKNOWN_CAUSE)
    assert how_it_ended([], [], None, None) == Before(0, 0.0, UNKNOWN_CAUSE)


def test_a_process_that_could_write_nothing_more_and_let_go_did_not_die() -> None:
    assert how_it_ended(FIRST, [], Sign(1018.0, 83, is_last=True), None) == Before(83, 1018.0)


def test_only_the_steps_of_the_last_process_are_how_far_it_came() -> None:
    assert how_it_ended([*FIRST, *SECOND], [], None, None).step == 60


def test_a_planned_kill_is_the_cause_unless_somebody_lived_on_after_it() -> None:
    kill = Kill(1019.0, 84, "fault 2 (kill driver at step 80)")
    before = how_it_ended(FIRST, [], Sign(1019.0, 80), kill)
    assert (before.cause, before.step) == (kill.fault, 84)  # it had heard of that step
    later = how_it_ended(FIRST, [], Sign(1040.0, 60), kill)
    assert (later.cause, later.step) == (UNKNOWN_CAUSE, 70)
