"""Names, restarts, lateness, silence, who is missing: pure decisions, each at its edges."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.last_words import are_last_words, last_words
from actors.messages import DRIVER, Refused, Stall
from actors.muster import Muster
from actors.names import by_number, next_life, slot_of
from actors.orders import Failed, Missing, Restarting, Silent
from actors.pace import Pace
from actors.presence import Presence
from actors.refusals import Refusals
from actors.standstill import Standstill
from actors.supervisor import Intensity, Supervision, Supervisor

# --- Names


def test_a_name_is_a_slot_and_its_life() -> None:
    assert next_life("worker-1") == "worker-1.2"
    assert next_life("worker-1.2") == "worker-1.3"
    assert next_life("server.9") == "server.10"
    assert slot_of("worker-12.34") == "worker-12"
    assert slot_of("server") == "server"


@given(st.sampled_from(["server", "worker-0", "worker-17"]), st.integers(1, 50))
def test_no_name_is_used_again_and_all_lives_share_a_slot(slot: str, lives: int) -> None:
    names = [slot]
    for _ in range(lives):
        names.append(next_life(names[-1]))
    assert len(set(names)) == lives + 1
    assert {slot_of(name) for name in names} == {slot}


def test_worker_10_comes_after_worker_9_in_whatever_life() -> None:
    names = ["worker-10", "worker-2.11", "worker-9", "worker-0.2"]
    assert sorted(names, key=by_number) == ["worker-0.2", "worker-2.11", "worker-9", "worker-10"]


# --- Restart intensity: 2 within 10 s for a worker, 1 within 5 s for the server


SUPERVISION = Supervision(worker=Intensity(2, 10.0), server=Intensity(1, 5.0))


def test_a_restart_is_granted_with_the_numbers_that_were_compared() -> None:
    supervisor = Supervisor(SUPERVISION)
    granted = [
        supervisor.died("worker-1", "killed", 1.0, 1),
        supervisor.died("worker-1.2", "killed", 2.0, 2),
    ]
    assert granted == [
        Restarting("worker-1.2", "worker-1", 1, 2, 10.0),
        Restarting("worker-1.3", "worker-1.2", 2, 2, 10.0),
    ]


def test_one_death_more_than_is_allowed_fails_and_says_how_often_and_why() -> None:
    supervisor = Supervisor(SUPERVISION)
    supervisor.died("worker-1", "killed", 1.0, 1)
    supervisor.died("worker-1.2", "killed", 2.0, 2)
    assert supervisor.died("worker-1.3", "ValueError: rows", 3.0, 3) == Failed(
        "worker-1 died 3 times in 10 s; 2 restarts are allowed"
        " (supervision.worker.max_restarts); the last cause: ValueError: rows"
    )


def test_the_server_has_its_own_intensity() -> None:
    supervisor = Supervisor(SUPERVISION)
    granted = supervisor.died("server", "killed", 1.0, 1)
    assert granted == Restarting("server.2", "server", 1, 1, 5.0)
    assert supervisor.died("server.2", "killed", 6.0, 6) == Failed(
        "server died 2 times in 5 s; 1 restarts are allowed"
        " (supervision.server.max_restarts); the last cause: killed"
    )


def test_who_may_never_be_restarted_fails_at_once() -> None:
    supervisor = Supervisor(Supervision(worker=Intensity(0, 10.0)))
    assert supervisor.died("worker-0", "killed", 1.0, 1) == Failed(
        "worker-0 died once in 10 s; 0 restarts are allowed"
        " (supervision.worker.max_restarts); the last cause: killed"
    )


@pytest.mark.parametrize(("third_s", "allowed"), [(10.99, False), (11.0, False), (11.01, True)])
def test_the_window_slides_and_holds_its_own_edge(third_s: float, allowed: bool) -> None:
    """The first restart was at 1 s: until 11 s it is within the last 10 s, then no more."""
    supervisor = Supervisor(SUPERVISION)
    supervisor.died("worker-1", "killed", 1.0, 1)
    supervisor.died("worker-1.2", "killed", 9.0, 9)
    assert isinstance(supervisor.died("worker-1.3", "killed", third_s, 11), Restarting) == allowed


def test_the_window_slides_by_single_restarts_and_not_by_periods() -> None:
    supervisor = Supervisor(SUPERVISION)
    assert isinstance(supervisor.died("worker-1", "killed", 1.0, 1), Restarting)
    assert isinstance(supervisor.died("worker-1.2", "killed", 9.0, 9), Restarting)
    assert isinstance(supervisor.died("worker-1.3", "killed", 12.0, 12), Restarting)  # 9 and 12
    assert isinstance(supervisor.died("worker-1.4", "killed", 18.9, 18), Failed)  # 9, 12, 18.9


def test_the_window_does_not_slide_while_no_step_is_finished() -> None:
    supervisor = Supervisor(SUPERVISION)
    supervisor.died("worker-1", "silent", 100.0, 7)
    supervisor.died("worker-1.2", "silent", 200.0, 7)
    assert supervisor.died("worker-1.3", "silent", 400.0, 7) == Failed(
        "worker-1 died 3 times in 300 s; 2 restarts are allowed"
        " (supervision.worker.max_restarts); the last cause: silent"
    )


def words(number: int) -> str:
    """Of a worker that could not compute a shard."""
    try:
        raise ValueError(f"rows {number}")
    except ValueError as error:
        return last_words(error)


def test_what_no_worker_can_compute_ends_it_after_as_many_restarts_whoever_tries() -> None:
    supervisor = Supervisor(SUPERVISION)
    assert isinstance(supervisor.died("worker-0", words(0), 1.0, 7), Restarting)
    assert isinstance(supervisor.died("worker-1", words(1), 2.0, 7), Restarting)
    failed = supervisor.died("worker-2", words(2), 3.0, 7)
    assert isinstance(failed, Failed)
    assert failed.reason.startswith(
        "worker-2 died: 3 exceptions in a row, no step between; 2 restarts are allowed"
        " (supervision.worker.max_restarts); the last cause: Traceback (most recent call last):\n"
    )
    assert failed.reason.endswith("ValueError: rows 2")


def test_exceptions_with_steps_between_are_each_worker_s_own() -> None:
    supervisor = Supervisor(SUPERVISION)
    for i in range(20):
        assert isinstance(supervisor.died(f"worker-{i}", words(i), 1.0, i), Restarting)


def test_the_end_of_long_last_words_is_told_and_they_are_still_known_as_such() -> None:
    try:
        raise ValueError("x" * 10_000 + "y")
    except ValueError as error:
        told = last_words(error)
    assert told.endswith("xy")
    assert len(told) < 5_000
    assert are_last_words(told)
    assert not are_last_words("connection closed without a word")


def test_one_worker_s_deaths_are_not_another_s() -> None:
    supervisor = Supervisor(SUPERVISION)
    for i in range(20):
        assert isinstance(supervisor.died(f"worker-{i}", "killed", 1.0, 1), Restarting)


# --- Lateness: 0.2 s and three times the median of the last steps


def paced(*seconds: float) -> tuple[Pace, float]:
    """After steps of these lengths; and the time at which the last one ended."""
    pace, now_s = Pace(), 100.0
    pace.begin(now_s)
    for step_s in seconds:
        now_s += step_s
        pace.step(now_s)
    return pace, now_s


def asked_often(pace: Pace, began_s: float, seconds: float) -> list[float]:
    """After how many seconds the step was late, asked every 125 ms, which floats hold exactly."""
    times = [i / 8 for i in range(int(seconds * 8) + 1)]
    return [time_s for time_s in times if pace.is_late(began_s + time_s)]


def test_a_step_is_late_after_three_times_the_median_and_a_margin() -> None:
    pace, now_s = paced(1.0, 2.0, 3.0)  # median 2 s: late after 6.2 s
    assert asked_often(pace, now_s, 7.0) == [6.25]


def test_it_is_late_again_each_time_it_lasts_twice_as_long() -> None:
    pace, now_s = paced(1.0, 1.0, 1.0)  # after 3.2, 6.4 and 12.8 s
    assert asked_often(pace, now_s, 20.0) == [3.25, 6.5, 12.875]


def test_the_patience_begins_anew_with_each_step() -> None:
    pace, now_s = paced(1.0, 1.0, 1.0)
    assert asked_often(pace, now_s, 4.0) == [3.25]
    pace.step(now_s + 4.0)
    assert asked_often(pace, now_s + 4.0, 4.0) == [3.25]


def test_the_first_step_of_all_may_take_some_seconds() -> None:
    pace, now_s = paced()  # late after 5 s, and after 10 s
    assert asked_often(pace, now_s, 12.0) == [5.125, 10.125]


def test_one_step_is_history_enough() -> None:
    pace, now_s = paced(1.0)
    assert asked_often(pace, now_s, 4.0) == [3.25]


def test_very_short_steps_are_not_late_at_an_operating_system_s_hiccup() -> None:
    pace, now_s = paced(0.001, 0.001, 0.001)
    assert not pace.is_late(now_s + 0.2)
    assert pace.is_late(now_s + 0.204)


def test_only_the_last_sixteen_steps_are_the_history() -> None:
    pace, now_s = paced(*[9.0] * 30, *[1.0] * 16)
    assert asked_often(pace, now_s, 4.0) == [3.25]


def late_steps(pace: Pace, now_s: float, *seconds: float) -> list[int]:
    """Which of these steps were late, asked in the middle and at the end of each."""
    late = []
    for number, step_s in enumerate(seconds):
        asked = [pace.is_late(now_s + step_s * part) for part in (0.5, 1.0)]
        late += [number] * any(asked)
        now_s += step_s
        pace.step(now_s)
    return late


USUAL = [1 / 1024] * 1000  # each gains 2/1024 s
SLOW = 23 / 1024  # each loses 20/1024 s
STOPPED = [*[1 / 1024] * 5, 50 / 1024]  # 47 - 10 are lost


def test_short_steps_are_late_when_they_have_lost_too_much() -> None:
    """Half a second: 512/1024 s."""
    assert late_steps(*paced(*USUAL), *[SLOW] * 40) == [25]


def test_who_is_stopped_again_and_again_for_a_moment_makes_them_late_too() -> None:
    times = late_steps(*paced(*USUAL), *STOPPED * 20)
    assert times == [6 * 13 + 5]  # 14 * 37 + 10 > 512


def test_they_are_late_again_after_twice_as_much_and_then_the_pace_is_another() -> None:
    """After half a second, and 1, 2 and 4 seconds more."""
    times = late_steps(*paced(*USUAL), *[SLOW] * 4000)
    assert [later - time for time, later in pairwise(times)] == [52, 103, 205]


def test_once_all_is_well_again_they_are_late_after_as_little_as_before() -> None:
    steps = [*[SLOW] * 26, *USUAL]
    assert late_steps(*paced(*USUAL), *steps * 3) == [25, 25 + len(steps), 25 + 2 * len(steps)]


def test_a_hiccup_of_the_operating_system_now_and_then_makes_nobody_late() -> None:
    hiccups = [*USUAL[:9], 10 / 1024]  # 7 - 18 are lost
    assert late_steps(*paced(*USUAL), *hiccups * 1000) == []


def test_steps_that_are_all_a_little_slower_are_not_late() -> None:
    assert late_steps(*paced(*USUAL), *[3 / 1024] * 10_000) == []


def test_a_clock_that_goes_slower_than_the_steps_makes_nobody_late() -> None:
    """As in one process: most steps take no time by it, and now and then one takes 10 ms."""
    coarse = [*[0.0] * 35, 10 / 1024]
    assert late_steps(*paced(*coarse), *coarse * 500) == []


def test_its_own_sleep_makes_nobody_late() -> None:
    """Stopped for 50 s within a step: what came meanwhile is still unread."""
    pace, now_s = paced(1.0, 1.0, 1.0)
    assert asked_often(pace, now_s, 1.0) == []
    assert asked_often(pace, now_s + 51.0, 4.0) == [2.25]  # awake for 1 s before, 3.2 s in all


def test_a_pause_between_epochs_is_neither_history_nor_sleep() -> None:
    pace, now_s = paced(1.0, 1.0, 1.0)
    pace.begin(now_s + 60.0)
    assert asked_often(pace, now_s + 60.0, 4.0) == [3.25]


# --- Silence: 10 s and two steps, or 60 s until a step is known


def present(*names: str, step_s: float | None = 0.0) -> Presence:
    presence = Presence(10.0)
    if step_s is not None:
        presence.steps_take(step_s)
    for name in names:
        presence.heard(name, 100.0)
    presence.tick(100.0)
    return presence


def silent_at(presence: Presence, since_s: float, until_s: float) -> dict[str, float]:
    """Who was first found silent when, asked every 125 ms."""
    found: dict[str, float] = {}
    for i in range(int(since_s * 8), int(until_s * 8) + 1):
        for name in presence.tick(i / 8)[1]:
            found.setdefault(name, i / 8)
    return found


def test_who_is_not_heard_for_longer_than_the_limit_is_silent() -> None:
    presence = present("worker-0", "worker-1")
    assert silent_at(presence, 100.0, 105.0) == {}
    presence.heard("worker-1", 105.0)
    assert silent_at(presence, 105.0, 112.0) == {"worker-0": 110.125}


def test_everybody_is_asked_once_a_second() -> None:
    presence = present("worker-0", "server")
    asked = [i / 8 for i in range(800, 825) if presence.tick(i / 8)[0]]
    assert asked == [101.0, 102.0, 103.0]
    assert presence.tick(104.0)[0] == ["worker-0", "server"]


def test_the_forgotten_are_neither_asked_nor_silent() -> None:
    presence = present("worker-0", "worker-1")
    presence.forget("worker-0")
    presence.forget("worker-9")  # who was never there
    assert presence.tick(101.0)[0] == ["worker-1"]
    assert silent_at(presence, 101.0, 120.0) == {"worker-1": 110.125}


def test_its_own_sleep_makes_nobody_silent() -> None:
    presence = present("worker-0")
    assert silent_at(presence, 100.0, 105.0) == {}
    assert presence.tick(1000.0)[1] == []  # this process was stopped: 5 s of silence so far
    assert silent_at(presence, 1000.0, 1010.0) == {"worker-0": 1005.125}


def test_the_limit_grows_with_the_step_because_a_worker_answers_between_gradients() -> None:
    presence = present("worker-0", step_s=5.0)  # 10 + 2 * 5 s
    assert presence.limit_s == 20.0
    assert silent_at(presence, 100.0, 130.0) == {"worker-0": 120.125}


def test_until_a_step_is_known_the_limit_is_six_times_as_long() -> None:
    presence = present("worker-0", step_s=None)
    assert silent_at(presence, 100.0, 170.0) == {"worker-0": 160.125}


@pytest.mark.parametrize(("step_s", "limit_s"), [(None, 60.0), (5.0, 20.0)])
def test_each_silence_doubles_the_limit_until_a_step_is_done(
    step_s: float | None, limit_s: float
) -> None:
    """Whoever is busy for longer than ever is not ended again and again."""
    presence, now_s = present(step_s=step_s), 100.0
    for times in (1.0, 2.0, 4.0):
        presence.heard("worker-0", now_s)
        until_s = now_s + times * limit_s
        found = silent_at(presence, now_s, until_s + 0.125)
        assert found == {"worker-0": until_s + 0.125}
        presence.forget("worker-0")
        now_s = until_s + 0.125
    assert presence.limit_s == 8 * limit_s
    presence.steps_take(1.0)
    assert presence.limit_s == 12.0


def test_who_are_silent_at_the_same_time_double_the_limit_once() -> None:
    presence = present("worker-0", "worker-1")
    assert presence.tick(100.5)[1] == presence.tick(101.0)[1] == []
    assert set(silent_at(presence, 101.0, 110.125)) == {"worker-0", "worker-1"}
    assert presence.limit_s == 20.0


def test_who_did_not_answer_for_most_of_a_stall_is_named_with_it_until_a_step_is_done() -> None:
    """Two actors, asked once a second; one answers, the other one only at the end."""
    presence, stall = present("worker-0", "worker-1"), Stall(5, 4.0)
    for now_s in (101.0, 102.0, 103.0, 104.0):
        presence.heard("worker-0", now_s)
    silent = [(DRIVER, Silent("worker-1", 4.0)), (DRIVER, stall)]
    assert presence.explained([stall], 104.0) == silent
    presence.heard("worker-1", 104.0)  # awake again
    assert presence.explained([stall], 104.5) == silent
    presence.steps_take(1.0)
    assert presence.explained([Stall(6, 4.0)], 105.0) == [(DRIVER, Stall(6, 4.0))]


def test_who_was_heard_at_the_last_asking_but_one_is_not_silent_in_a_short_stall() -> None:
    presence = present("worker-0")
    assert presence.explained([Stall(5, 0.5)], 101.5) == [(DRIVER, Stall(5, 0.5))]


# --- Who is there: training begins with two workers, whoever is missing is waited for 60 s


def test_training_can_begin_once_with_a_server_and_enough_workers() -> None:
    muster = Muster(2, 60.0)
    assert not muster.count(True, 1, 100.0)
    assert not muster.count(False, 2, 101.0)
    assert muster.count(True, 2, 102.0)
    assert not muster.count(True, 3, 103.0)  # it has begun


def test_who_is_missing_is_overdue_after_the_patience_from_the_beginning_of_time() -> None:
    muster = Muster(2, 60.0)
    muster.begin(100.0)
    assert not muster.count(True, 1, 130.0)  # who comes meanwhile prolongs nothing
    assert not muster.is_overdue(160.0)
    assert muster.is_overdue(160.125)


def test_after_the_beginning_one_worker_is_enough_and_none_is_waited_for() -> None:
    muster = Muster(2, 60.0)
    muster.begin(100.0)
    muster.count(True, 2, 110.0)
    muster.count(True, 1, 120.0)
    assert not muster.is_overdue(1000.0)
    muster.count(True, 0, 1000.0)
    muster.count(False, 0, 1030.0)  # since 1000 s nobody could train
    assert not muster.is_overdue(1060.0)
    assert muster.is_overdue(1060.125)
    assert not muster.count(True, 1, 1061.0)
    assert not muster.is_overdue(2000.0)


def test_training_begins_with_less_and_says_who_is_missing() -> None:
    muster = Muster(3, 60.0)
    muster.begin(100.0)
    muster.ordered("worker-1", 100.0)
    muster.ordered("worker-2", 100.0)
    muster.count(True, 1, 110.0)
    assert muster.is_overdue(161.0)
    told = [(DRIVER, Missing(("worker-1", "worker-2"), "why"))]
    assert muster.begin_with_less("why") == told
    assert not muster.is_overdue(1000.0)
    assert not muster.count(True, 3, 1001.0)  # it begins only once


# --- Standstills, and how long a step takes


def moving(*samples: tuple[int, float]) -> Standstill:
    """From 100 s on, at step 0; then these steps were heard of, and when."""
    standstill = Standstill(0)
    standstill.begin(100.0)
    for step, now_s in samples:
        assert standstill.moved(step, now_s) == []
    return standstill


def test_a_step_takes_the_time_between_two_reports_shared_by_the_steps_between() -> None:
    assert moving((4, 102.0)).step_s == 0.5
    assert moving((4, 102.0), (5, 105.0)).step_s == 3.0  # the last one counts


def test_steps_become_shorter_by_half_at_most_and_longer_at_once() -> None:
    """After 8 s a step: 1 s comes as 4, then 2, then 1 s; 6 s at once."""
    standstill = moving((1, 108.0))
    seen = []
    for step, now_s in [(2, 109.0), (3, 110.0), (4, 111.0), (5, 112.0), (6, 118.0)]:
        standstill.moved(step, now_s)
        seen.append(standstill.step_s)
    assert seen == [4.0, 2.0, 1.0, 1.0, 6.0]


def test_reports_that_come_all_at_once_do_not_make_a_step_take_no_time() -> None:
    standstill = moving((1, 104.0), (2, 104.0))
    assert standstill.step_s == 2.0


def test_steps_that_are_done_again_tell_nothing_of_a_step_s_time() -> None:
    standstill = moving((4, 102.0), (2, 130.0), (4, 160.0))
    assert (standstill.step, standstill.step_s) == (4, 0.5)
    standstill.moved(5, 161.0)
    assert (standstill.step, standstill.step_s) == (5, 1.0)  # since the last report


def test_a_pause_is_neither_a_step_s_time_nor_a_standstill() -> None:
    standstill = moving((4, 102.0))
    standstill.end_pause(200.0)
    assert standstill.moved(5, 201.0) == []
    assert standstill.step_s == 1.0


def test_after_a_server_s_death_the_first_report_ends_a_standstill_from_the_last_one() -> None:
    standstill = moving((4, 102.0))
    standstill.server_died()
    assert standstill.moved(2, 109.0) == [Stall(2, 7.0)]
    assert standstill.moved(3, 110.0) == []


def test_a_server_that_dies_twice_before_a_step_stands_still_once() -> None:
    standstill = moving((4, 102.0))
    standstill.server_died()
    standstill.begin(105.0)  # the next one comes, and dies too
    standstill.server_died()
    standstill.begin(107.0)
    assert standstill.moved(5, 109.0) == [Stall(5, 7.0)]


def test_who_dies_in_a_pause_holds_up_only_what_follows_it() -> None:
    standstill = moving((4, 102.0))
    standstill.server_died()
    standstill.end_pause(200.0)
    assert standstill.moved(5, 203.0) == [Stall(5, 3.0)]


# --- Refusals: told after 0.5, 1, 2, ... and at most 64 s


def test_who_knocks_all_night_is_told_less_and_less_often_and_every_knock_is_counted() -> None:
    refusals, told = Refusals(), []
    for i in range(100 * 8, 120 * 8):  # a knock every 125 ms, for 20 s
        refusals.add(f"knock {i}")
        told += [(i / 8, report.count, report.reason) for report in refusals.report(i / 8)]
    times = [at_s for at_s, _, _ in told]
    assert times == [100.0, 100.5, 101.5, 103.5, 107.5, 115.5]
    assert [count for _, count, _ in told] == [1, 4, 8, 16, 32, 64]  # 8 knocks a second
    assert told[-1][2] == f"knock {int(115.5 * 8)}"  # the last one's reason


def test_no_refusal_waits_longer_than_about_a_minute() -> None:
    refusals, times = Refusals(), []
    for now_s in range(100, 500):
        refusals.add("no key")
        times += [now_s for _ in refusals.report(float(now_s))]
    assert times[-2] - times[-3] == times[-1] - times[-2] == 64


def test_what_was_told_is_not_told_again() -> None:
    refusals = Refusals()
    assert refusals.report(100.0) == []
    refusals.add("no key")
    assert refusals.report(101.0) == [Refused(1, "no key")]
    assert refusals.report(1000.0) == []


@pytest.mark.parametrize(
    "reason", ["connection closed without a word", "connection broken: Broken pipe"]
)
def test_a_connection_that_only_ended_is_not_called_a_stranger_s(reason: str) -> None:
    refusals = Refusals()
    refusals.add(reason)
    (refused,) = refusals.report(101.0)
    assert refused.reason == (
        f"ended before it said who it is, perhaps by its actor's death ({reason})"
    )


def test_a_standstill_that_was_told_is_not_told_again_by_the_server() -> None:
    standstill = moving((1, 100.0), (2, 100.2))
    (told,) = standstill.moved(3, 105.2)  # the cable held the report back
    assert told.seconds == pytest.approx(5.0)
    assert standstill.heard(Stall(4, 5.1), 105.25) == []
    later = Stall(9, 0.3)
    assert standstill.heard(later, 106.0) == [later]


def test_of_a_standstill_that_goes_on_after_it_was_told_the_rest_is_told() -> None:
    standstill = moving((1, 100.0), (2, 100.2))
    assert len(standstill.moved(3, 105.2)) == 1
    (rest,) = standstill.heard(Stall(4, 8.0), 108.2)
    assert rest.seconds == pytest.approx(3.0)
