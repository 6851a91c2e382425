"""The coordinator core, a message at a time: given a state, when this comes, then that goes out."""

from dataclasses import replace
from typing import Any

import pytest

from actors.coordinator import Coordinator
from actors.likeness import Likeness
from actors.messages import (
    DRIVER,
    SERVER,
    Assign,
    EpochDone,
    Hello,
    Late,
    NotFinite,
    Ping,
    Pong,
    Progress,
    Refused,
    Repeated,
    RunEpoch,
    ServerAt,
    Snapshot,
    Stall,
    Stop,
    TakeSnapshot,
)
from actors.orders import (
    CLUSTER,
    Assigned,
    Begin,
    Died,
    Down,
    Ended,
    Envelope,
    Failed,
    Joined,
    Kill,
    Look,
    Missing,
    Placed,
    Ready,
    Restarting,
    Start,
    Suspected,
    Tick,
    Unlike,
    Unplaced,
)
from actors.supervisor import Crew, Intensity, Supervision
from tests.toys import hello, kinds, toy_job

STATE = toy_job(8).state
PATIENT = Supervision(Intensity(5, 60.0), Intensity(3, 60.0))
IMPATIENT = Supervision(Intensity(0, 60.0), Intensity(0, 60.0))  # the first death is the last
NOWHERE = ServerAt("", 0)  # there is no server now


def coordinator(
    workers: int = 1,
    least: int | None = None,
    shard_count: int = 8,
    supervision: Supervision = PATIENT,
) -> Coordinator:
    """One that has begun, at 100 s; nobody has come yet."""
    crew = Crew(least or workers, workers, supervision, link_timeout_s=10.0, start_timeout_s=60.0)
    core = Coordinator(crew, shard_count, STATE, Likeness())
    core.handle(Tick(100.0))
    core.handle(Begin())
    return core


def server_hello(name: str = SERVER, port: int = 5) -> Hello:
    return Hello(name, "10.0.0.9", 2, port)


def running(workers: int, shard_count: int = 8, supervision: Supervision = PATIENT) -> Coordinator:
    """A server, so many workers, and the first epoch."""
    core = coordinator(workers, shard_count=shard_count, supervision=supervision)
    core.handle(server_hello())
    for i in range(workers):
        core.handle(hello(f"worker-{i}"))
    core.handle(RunEpoch(0, 9))
    return core


def of(envelopes: list[Envelope], kind: type) -> list[Any]:
    return [message for _, message in envelopes if type(message) is kind]


def snapshot(step: int, kind: type[Snapshot] = Snapshot) -> Any:
    return kind(0, step, 3 * step, 1.5, STATE.parameters, STATE.optimizer_state)


def ticks(core: Coordinator, since_s: float, until_s: float, *awake: str) -> list[Envelope]:
    """Time passes by 250 ms; the awake answer what they are asked."""
    envelopes: list[Envelope] = []
    for i in range(int(since_s * 4), int(until_s * 4) + 1):
        told = core.handle(Tick(i / 4))
        envelopes += told
        for name, message in told:
            if isinstance(message, Ping) and name in awake:
                envelopes += core.handle(Pong(name))
    return envelopes


# --- Coming


def test_all_actors_are_ordered_at_once_and_the_server_gets_the_state() -> None:
    core = Coordinator(Crew(1, 2), 4, STATE, Likeness())
    orders = [(CLUSTER, Start(SERVER, STATE)), *[(CLUSTER, Start(f"worker-{i}")) for i in range(2)]]
    assert core.handle(Begin()) == orders


def test_the_first_worker_gets_all_shards() -> None:
    assert coordinator(2, shard_count=3).handle(hello("worker-0")) == [
        (DRIVER, Joined("worker-0", "127.0.0.1", 1)),
        ("worker-0", Assign((0, 1, 2))),
        (DRIVER, Assigned("worker-0", (0, 1, 2))),
    ]


def test_the_next_worker_takes_its_share() -> None:
    core = coordinator(2)
    core.handle(hello("worker-0"))
    envelopes = core.handle(hello("worker-1"))
    assert ("worker-0", Assign((0, 1, 2, 3))) in envelopes
    assert ("worker-1", Assign((4, 5, 6, 7))) in envelopes


def test_workers_are_told_where_the_server_is_whoever_comes_first() -> None:
    core = coordinator(2)
    assert of(core.handle(hello("worker-0")), ServerAt) == []
    assert ("worker-0", ServerAt("10.0.0.9", 5)) in core.handle(server_hello())
    assert ("worker-1", ServerAt("10.0.0.9", 5)) in core.handle(hello("worker-1"))


def test_training_is_ready_once_with_a_server_and_the_least_number_of_workers() -> None:
    core = coordinator(3, least=2)
    coming = [hello("worker-0"), server_hello(), hello("worker-2"), hello("worker-1")]
    assert [len(of(core.handle(one), Ready)) for one in coming] == [0, 0, 1, 0]


def test_an_epoch_that_is_asked_for_early_begins_when_enough_actors_are_there() -> None:
    core = coordinator(2)
    assert core.handle(RunEpoch(0, 9)) == []
    assert of(core.handle(hello("worker-0")), RunEpoch) == []
    assert of(core.handle(server_hello()), RunEpoch) == []
    told = core.handle(hello("worker-1"))
    assert told[-2:] == [(DRIVER, Ready()), (SERVER, RunEpoch(0, 9))]


def test_an_epoch_that_is_asked_for_early_begins_with_less_when_the_others_do_not_come() -> None:
    core = coordinator(2)
    core.handle(RunEpoch(0, 9))
    core.handle(server_hello())
    core.handle(hello("worker-0"))
    told = ticks(core, 100.0, 170.0, SERVER, "worker-0")
    assert of(told, RunEpoch) == [RunEpoch(0, 9)]
    assert told.index((DRIVER, Ready())) < told.index((SERVER, RunEpoch(0, 9)))


def test_a_snapshot_that_is_asked_for_before_the_server_is_there_is_asked_of_it_then() -> None:
    core = coordinator(1)
    assert core.handle(TakeSnapshot()) == []
    assert (SERVER, TakeSnapshot()) in core.handle(server_hello())


def test_who_is_unknown_is_told_to_stop_and_gets_no_shards() -> None:
    core = running(1)
    assert core.handle(hello("worker-9")) == [("worker-9", Stop())]
    assert core.handle(hello("worker-0.2")) == [("worker-0.2", Stop())]  # nobody ordered it
    assert core.handle(server_hello("server.2")) == [("server.2", Stop())]


def test_who_was_given_up_before_it_said_hello_is_told_to_stop() -> None:
    core = coordinator(1)
    core.handle(Ended("worker-0", "killed"))
    assert core.handle(hello("worker-0")) == [("worker-0", Stop())]
    assert of(core.handle(hello("worker-0.2")), Assign) == [Assign(tuple(range(8)))]


# --- Going


def test_the_shards_of_the_dead_go_to_the_living_at_once_and_another_is_started() -> None:
    core = running(4)
    assert core.handle(Down("worker-0", "killed")) == [  # it had 0 and 1
        (CLUSTER, Kill("worker-0")),
        (DRIVER, Died("worker-0", "killed")),
        ("worker-1", Assign((0, 2, 3))),
        (DRIVER, Assigned("worker-1", (0, 2, 3))),
        ("worker-2", Assign((1, 4, 5))),
        (DRIVER, Assigned("worker-2", (1, 4, 5))),
        (DRIVER, Restarting("worker-0.2", "worker-0", 1, 5, 60.0)),
        (CLUSTER, Start("worker-0.2")),
    ]


def test_the_replacement_gets_a_share_and_the_server_s_address() -> None:
    core = running(2)
    core.handle(Down("worker-0", "killed"))
    told = core.handle(hello("worker-0.2"))
    assert ("worker-0.2", Assign((0, 1, 2, 3))) in told
    assert ("worker-0.2", ServerAt("10.0.0.9", 5)) in told


def test_a_death_counts_once_however_often_it_is_told() -> None:
    core = running(2)
    core.handle(Down("worker-0", "killed"))
    assert core.handle(Down("worker-0", "killed")) == []
    assert core.handle(Ended("worker-0", "killed")) == []
    assert core.handle(Ended("worker-1", "killed")) == []  # it is linked: the link will tell


def test_who_is_not_known_can_not_die() -> None:
    assert running(2).handle(Down("worker-9", "killed")) == []


def test_who_dies_before_its_hello_is_replaced_too() -> None:
    core = coordinator(1)
    assert core.handle(Ended("worker-0", "ImportError: no such module")) == [
        (CLUSTER, Kill("worker-0")),
        (DRIVER, Died("worker-0", "ImportError: no such module")),
        (DRIVER, Restarting("worker-0.2", "worker-0", 1, 5, 60.0)),
        (CLUSTER, Start("worker-0.2")),
    ]


@pytest.mark.parametrize(
    ("name", "farewell"),
    [
        ("worker-0", Down("worker-0", "ValueError: rows")),  # it raised and its process stays
        (SERVER, Down(SERVER, "connection broken")),
        ("worker-1", Ended("worker-1", "left")),  # it has not yet said Hello
    ],
)
def test_whoever_dies_of_whatever_is_killed_first_so_that_its_place_is_free(
    name: str, farewell: Any
) -> None:
    """A Ray actor that raised keeps its CPU, and its replacement would wait for it for ever."""
    core = coordinator(2)
    core.handle(server_hello())
    core.handle(hello("worker-0"))
    told = core.handle(farewell)
    assert told[:2] == [(CLUSTER, Kill(name)), (DRIVER, Died(name, farewell.reason))]
    assert kinds(told)[-2:] == [(DRIVER, "Restarting"), (CLUSTER, "Start")]
    assert len(of(told, Kill)) == 1


def test_the_death_of_the_last_worker_is_waited_out() -> None:
    core = running(1)
    told = core.handle(Down("worker-0", "killed"))
    assert kinds(told) == [
        (CLUSTER, "Kill"),
        (DRIVER, "Died"),
        (DRIVER, "Restarting"),
        (CLUSTER, "Start"),
    ]
    assert of(ticks(core, 100.0, 160.0, SERVER), Failed) == []
    assert ("worker-0.2", Assign(tuple(range(8)))) in core.handle(hello("worker-0.2"))
    assert of(ticks(core, 160.0, 300.0, SERVER, "worker-0.2"), Failed) == []


def test_an_actor_that_dies_too_often_fails_the_training_which_says_no_more() -> None:
    core = running(1)
    name = "worker-0"
    for life in range(2, 7):
        core.handle(Down(name, "killed"))
        core.handle(hello(name := f"worker-0.{life}"))
    *gone, (address, failed) = core.handle(Down(name, "ValueError: rows"))
    died = Died("worker-0.6", "ValueError: rows")
    assert gone == [(CLUSTER, Kill("worker-0.6")), (DRIVER, died)]
    assert address == DRIVER
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("worker-0 died 6 times in 60 s; 5 restarts are allowed")
    assert failed.reason.endswith("the last cause: ValueError: rows")
    assert core.handle(Tick(1000.0)) == core.handle(hello("worker-1")) == []


# --- The server


def test_a_new_server_starts_from_the_newest_snapshot_and_is_told_to_run() -> None:
    core = running(2)
    core.handle(snapshot(3))
    newest = snapshot(5)
    core.handle(newest)
    told = core.handle(Down(SERVER, "killed"))
    assert told[:-1] == [
        (CLUSTER, Kill(SERVER)),
        (DRIVER, Died(SERVER, "killed")),
        ("worker-0", NOWHERE),
        ("worker-1", NOWHERE),
        (DRIVER, Restarting("server.2", SERVER, 1, 3, 60.0)),
    ]
    (start,) = of(told, Start)
    assert start.name == "server.2"
    assert start.state is newest
    told = core.handle(server_hello("server.2", port=6))
    assert [e for e in told if e[0] != DRIVER] == [
        ("worker-0", ServerAt("10.0.0.9", 6)),
        ("worker-1", ServerAt("10.0.0.9", 6)),
        ("server.2", RunEpoch(0, 9)),
    ]


def test_without_a_server_every_worker_knows_it_also_the_suspected_and_who_comes() -> None:
    """Who tried to reach a dead server for too long would leave, and count as dead."""
    core = running(3)
    core.handle(Late(3, (7,)))  # worker-2's
    told = core.handle(Down(SERVER, "killed"))
    assert [e for e in told if e[1] == NOWHERE] == [(f"worker-{i}", NOWHERE) for i in range(3)]
    core.handle(Down("worker-0", "killed"))
    assert of(core.handle(hello("worker-0.2")), ServerAt) == []  # who knows of none is right
    at = ServerAt("10.0.0.9", 6)
    told = core.handle(server_hello("server.2", port=6))
    assert {name for name, message in told if message == at} == {
        "worker-0.2",
        "worker-1",
        "worker-2",
    }


def test_the_end_of_an_epoch_is_a_snapshot_too() -> None:
    core = running(1)
    core.handle(snapshot(5))
    done = snapshot(9, EpochDone)
    core.handle(done)
    (start,) = of(core.handle(Down(SERVER, "killed")), Start)
    assert start.state is done


def test_a_server_that_never_said_anything_starts_from_the_job_s_state() -> None:
    (start,) = of(running(1).handle(Down(SERVER, "killed")), Start)
    assert start.state is STATE


def test_a_snapshot_that_the_dead_server_still_owed_is_asked_of_the_new_one() -> None:
    core = running(1)
    assert core.handle(TakeSnapshot()) == [(SERVER, TakeSnapshot())]
    core.handle(Down(SERVER, "killed"))
    assert ("server.2", TakeSnapshot()) in core.handle(server_hello("server.2"))
    core.handle(snapshot(2))
    core.handle(Down("server.2", "killed"))
    assert of(core.handle(server_hello("server.3")), TakeSnapshot) == []  # it was given


def test_the_end_of_an_epoch_answers_no_request_for_a_snapshot() -> None:
    """The driver waits for a `Snapshot`; the server died after the epoch and before that."""
    core = running(1)
    core.handle(TakeSnapshot())
    core.handle(snapshot(9, EpochDone))
    core.handle(Down(SERVER, "killed"))
    assert ("server.2", TakeSnapshot()) in core.handle(server_hello("server.2"))
    core.handle(snapshot(9))
    core.handle(Down("server.2", "killed"))
    assert of(core.handle(server_hello("server.3")), TakeSnapshot) == []


def test_the_end_of_an_epoch_asks_for_no_snapshot_that_nobody_wanted() -> None:
    core = running(1)
    core.handle(snapshot(9, EpochDone))
    core.handle(Down(SERVER, "killed"))
    assert of(core.handle(server_hello("server.2")), TakeSnapshot) == []


def test_the_end_of_an_epoch_is_told_once_also_when_a_restored_server_runs_it_again() -> None:
    core = running(1)
    done = snapshot(9, EpochDone)
    ((address, told),) = core.handle(done)
    assert (address, told is done) == (DRIVER, True)
    assert core.handle(snapshot(9, EpochDone)) == []
    (later,) = of(core.handle(snapshot(18, EpochDone)), EpochDone)
    assert later.step == 18


def test_the_standstill_after_a_server_s_death_is_told_with_the_first_step_done_again() -> None:
    core = running(1)
    ticks(core, 100.0, 110.0, SERVER, "worker-0")
    core.handle(Progress(0, 3, 9, 1.0))
    ticks(core, 110.25, 111.0, SERVER, "worker-0")
    core.handle(Down(SERVER, "killed"))
    ticks(core, 111.25, 114.5, "worker-0")
    core.handle(server_hello("server.2"))
    told = core.handle(Progress(0, 2, 6, 1.0))
    assert told == [(DRIVER, Stall(2, 4.5)), (DRIVER, Progress(0, 2, 6, 1.0))]  # since 110.0
    assert of(core.handle(Progress(0, 3, 9, 1.0)), Stall) == []


@pytest.mark.parametrize(
    "fact",
    [Stall(3, 1.0), Repeated(4), Refused(7, "no key"), NotFinite(3, 1, 2), Progress(0, 2, 6, 1.0)],
)
def test_what_the_server_tells_reaches_the_driver(fact: Any) -> None:
    assert running(1).handle(fact) == [(DRIVER, fact)]


def test_the_last_words_of_a_server_that_was_killed_change_nothing() -> None:
    """They came in the same batch as the tick that killed it.

    Otherwise the driver would go on to epoch 1, while the new server has steps of epoch 0 to
    do, and would count them as steps of epoch 1.
    """
    core = running(1)
    core.handle(snapshot(8))
    assert ("cluster", Kill(SERVER)) in ticks(core, 100.0, 170.0, "worker-0")
    for fact in (snapshot(9, EpochDone), snapshot(9), Progress(0, 9, 27, 1.0), Stall(9, 1.0)):
        assert core.handle(fact) == []
    core.handle(server_hello("server.2"))
    done = snapshot(9, EpochDone)
    assert (DRIVER, done) in core.handle(done)


# --- Late


def test_a_late_worker_is_suspected_asked_and_others_compute_its_shards() -> None:
    core = running(2)
    assert core.handle(Late(3, (5, 6))) == [
        (DRIVER, Suspected("worker-1", 3)),
        ("worker-1", Assign(())),
        (DRIVER, Assigned("worker-1", ())),
        ("worker-0", Assign(tuple(range(8)))),
        (DRIVER, Assigned("worker-0", tuple(range(8)))),
        ("worker-1", Ping()),
    ]


def test_a_suspect_that_answers_gets_its_shards_again() -> None:
    core = running(2)
    core.handle(Late(3, (5, 6)))
    assert core.handle(Pong("worker-0")) == []
    told = core.handle(Pong("worker-1"))
    assert ("worker-0", Assign((0, 1, 2, 3))) in told
    assert ("worker-1", Assign((4, 5, 6, 7))) in told
    assert core.handle(Pong("worker-1")) == []


def test_a_suspect_that_is_late_again_waits_twice_as_long_each_time() -> None:
    core = running(2)
    waited, now_s = [], 100.0
    for _ in range(5):
        core.handle(Late(3, (5, 6)))
        since_s = now_s
        while not of(core.handle(Pong("worker-1")), Assign):
            now_s += 0.25
            core.handle(Tick(now_s))
            core.handle(Pong("worker-0"))
        waited.append(now_s - since_s)
        now_s += 0.25
        core.handle(Tick(now_s))
    assert waited == [0.0, 1.0, 2.0, 4.0, 8.0]


def test_a_late_shard_of_the_only_worker_suspects_nobody() -> None:
    assert running(1).handle(Late(3, (0,))) == []


# --- Silent


def test_who_is_silent_beyond_the_limit_is_killed_and_replaced() -> None:
    """Before a step is known, the limit is 6 * link_timeout_s: 60 s."""
    core = running(2)
    assert of(ticks(core, 100.0, 160.0, SERVER, "worker-0"), Kill) == []
    told = ticks(core, 160.25, 160.25, SERVER, "worker-0")
    assert [e for e in told if e[1] != Ping()] == [
        (CLUSTER, Kill("worker-1")),
        (DRIVER, Died("worker-1", "silent for more than 60 s")),
        ("worker-0", Assign(tuple(range(8)))),
        (DRIVER, Assigned("worker-0", tuple(range(8)))),
        (DRIVER, Restarting("worker-1.2", "worker-1", 1, 5, 60.0)),
        (CLUSTER, Start("worker-1.2")),
    ]
    assert core.handle(Down("worker-1", "killed")) == []  # its link, closed by the kill


@pytest.mark.parametrize(("workers", "limit_s"), [(1, 14), (3, 22)])
def test_once_steps_are_known_the_limit_is_link_timeout_s_and_two_of_a_worker_alone(
    workers: int, limit_s: int
) -> None:
    """2 steps in 4 s are 2 s each, by one of three alone 6 s: 10 + 2 * 2 and 10 + 2 * 6 s."""
    core, names = running(workers), [f"worker-{i}" for i in range(workers)]
    ticks(core, 100.0, 104.0, SERVER, *names)
    core.handle(Progress(0, 2, 6, 1.0))
    assert of(ticks(core, 104.25, 104.0 + limit_s, *names), Died) == []
    told = ticks(core, 104.25 + limit_s, 104.25 + limit_s, *names)
    assert of(told, Died) == [Died(SERVER, f"silent for more than {limit_s} s")]


def test_a_silence_doubles_the_next_limit_until_a_step_is_done() -> None:
    core = running(1)
    ticks(core, 100.0, 104.0, SERVER, "worker-0")
    core.handle(Progress(0, 4, 12, 1.0))  # a step in 1 s: the limit is 12 s
    assert of(ticks(core, 104.25, 116.25, "worker-0"), Kill) == [Kill(SERVER)]
    core.handle(server_hello("server.2"))  # at 116.25: it may be silent for 24 s
    assert of(ticks(core, 116.5, 140.25, "worker-0"), Kill) == []
    assert of(ticks(core, 140.5, 140.5, "worker-0"), Kill) == [Kill("server.2")]
    core.handle(server_hello("server.3"))
    ticks(core, 140.75, 141.0, "server.3", "worker-0")
    core.handle(Progress(0, 5, 15, 1.0))
    told = ticks(core, 141.25, 190.0, "worker-0")
    assert len(of(told, Kill)) == 1  # after 12 s or somewhat more again, not after 48


def test_reports_that_waited_while_this_process_slept_do_not_make_steps_short() -> None:
    """The second comes at the same time: 0 s a step, but half of the 4 s before are kept."""
    core = running(1)
    ticks(core, 100.0, 104.0, SERVER, "worker-0")
    core.handle(Progress(0, 1, 3, 1.0))
    core.handle(Progress(0, 2, 6, 1.0))
    assert of(ticks(core, 104.25, 118.0, "worker-0"), Died) == []  # 10 + 2 * 2 s
    assert len(of(ticks(core, 118.25, 118.25, "worker-0"), Died)) == 1


def test_a_pause_between_epochs_makes_no_step_long_and_the_limit_no_greater() -> None:
    """Else who is stopped in an epoch's first steps would be waited for as long as the pause."""
    core = running(1)
    ticks(core, 100.0, 101.0, SERVER, "worker-0")
    core.handle(snapshot(9, EpochDone))
    ticks(core, 101.25, 161.0, SERVER, "worker-0")  # the driver evaluates
    core.handle(RunEpoch(1, 18))
    ticks(core, 161.25, 162.0, SERVER, "worker-0")
    core.handle(Progress(1, 10, 3, 1.0))  # a step in 1 s: the limit is 10 + 2 * 1 s
    told = ticks(core, 162.25, 180.0, "worker-0")
    assert Died(SERVER, "silent for more than 12 s") in of(told, Died)


def test_a_start_that_takes_long_makes_no_step_long() -> None:
    core = coordinator(1)
    ticks(core, 100.0, 130.0)
    core.handle(server_hello())
    core.handle(hello("worker-0"))
    core.handle(RunEpoch(0, 9))
    ticks(core, 130.25, 131.0, SERVER, "worker-0")
    core.handle(Progress(0, 1, 3, 1.0))
    told = ticks(core, 131.25, 150.0, "worker-0")
    assert Died(SERVER, "silent for more than 12 s") in of(told, Died)


def test_a_server_that_dies_between_epochs_stands_still_only_from_the_next_epoch_on() -> None:
    core = running(1)
    core.handle(snapshot(9, EpochDone))
    core.handle(Down(SERVER, "killed"))
    ticks(core, 100.0, 140.0, "worker-0")
    core.handle(RunEpoch(1, 18))
    ticks(core, 140.25, 142.0, "worker-0")
    core.handle(server_hello("server.2"))
    assert (DRIVER, Stall(10, 2.0)) in core.handle(Progress(1, 10, 3, 1.0))


def test_a_silent_server_is_killed_and_restarted_too() -> None:
    core = running(1)
    told = ticks(core, 100.0, 161.0, "worker-0")
    assert of(told, Kill) == [Kill(SERVER)]
    assert of(told, Start) == [Start("server.2", STATE)]


def test_who_was_killed_for_its_silence_and_answers_too_late_is_not_killed_again() -> None:
    """Its Pong came in the same batch as the tick that killed it; the name is dead for good."""
    core = running(2)
    ticks(core, 100.0, 161.0, SERVER, "worker-0")
    assert core.handle(Pong("worker-1")) == []
    told = ticks(core, 161.25, 400.0, SERVER, "worker-0")
    assert of(told, Kill) == []
    assert "worker-1" not in {name for name, _ in told}


def test_the_coordinator_s_own_sleep_kills_nobody() -> None:
    core = running(2)
    ticks(core, 100.0, 101.0, SERVER, "worker-0", "worker-1")
    assert of(core.handle(Tick(5000.0)), Kill) == []


# --- Silent before the first word


def test_a_process_that_runs_and_never_says_hello_is_silent_like_any_other() -> None:
    """Placed at 110 s, and before a step is known it may be silent for 60 s."""
    core = coordinator(2, least=1)
    core.handle(server_hello())
    core.handle(hello("worker-0"))
    ticks(core, 100.0, 110.0, SERVER, "worker-0")
    assert core.handle(Placed("worker-1")) == []
    assert of(ticks(core, 110.25, 170.0, SERVER, "worker-0"), Kill) == []
    told = ticks(core, 170.25, 170.25, SERVER, "worker-0")
    assert [e for e in told if e[1] != Ping()] == [
        (CLUSTER, Kill("worker-1")),
        (DRIVER, Died("worker-1", "silent for more than 60 s")),
        (DRIVER, Restarting("worker-1.2", "worker-1", 1, 5, 60.0)),
        (CLUSTER, Start("worker-1.2")),
    ]
    assert core.handle(Ended("worker-1", "killed")) == []  # what the kill brought about
    assert core.handle(hello("worker-1")) == [("worker-1", Stop())]  # it had been on its way


def test_who_finds_no_place_is_waited_for_and_never_silent() -> None:
    core = coordinator(2, least=1)
    core.handle(server_hello())
    core.handle(hello("worker-0"))
    assert of(ticks(core, 100.0, 1000.0, SERVER, "worker-0"), Kill) == []
    assert ("worker-1", Assign((4, 5, 6, 7))) in core.handle(hello("worker-1"))


def test_a_server_that_hangs_before_its_hello_is_killed_and_the_next_gets_its_state() -> None:
    """The server that ran died at 100 s: after 60 s without one, training would have failed."""
    core = running(1)
    core.handle(Progress(0, 1, 3, 1.0))  # a step takes no time: who is silent for 10 s is dead
    core.handle(snapshot(5))
    core.handle(Down(SERVER, "killed"))
    core.handle(Placed("server.2"))
    assert of(ticks(core, 100.0, 110.0, "worker-0"), Kill) == []
    told = ticks(core, 110.25, 110.25, "worker-0")
    assert of(told, Kill) == [Kill("server.2")]
    assert [(start.name, start.state.step) for start in of(told, Start)] == [("server.3", 5)]


@pytest.mark.parametrize("name", ["worker-0", "worker-1", "worker-9", SERVER])
def test_only_of_who_starts_it_matters_that_its_process_runs(name: str) -> None:
    """Ray's word may come after the Hello, or after the death: then it is no sign of life."""
    core = running(2)
    core.handle(Down("worker-1", "killed"))
    ticks(core, 100.0, 150.0)  # nobody answers any more
    assert core.handle(Placed(name)) == []
    told = ticks(core, 150.25, 160.25)
    assert of(told, Kill) == [Kill(SERVER), Kill("worker-0")]
    assert name not in {to for to, message in ticks(core, 160.5, 165.0) if message == Ping()}


# --- After the end


def test_after_the_death_that_fails_the_training_nobody_else_is_given_up() -> None:
    """All three fall silent at the same tick; the first that may not be restarted is the end."""
    core = running(2, supervision=IMPATIENT)
    assert of(ticks(core, 100.0, 160.0), Kill) == []
    told = ticks(core, 160.25, 160.25)
    assert kinds([e for e in told if e[1] not in (Ping(), NOWHERE)]) == [
        (CLUSTER, "Kill"),
        (DRIVER, "Died"),
        (DRIVER, "Failed"),
    ]
    assert told[-1][1] == of(told, Failed)[0]
    assert of(told, Kill) == [Kill(SERVER)]


def test_training_fails_once_also_when_it_has_two_reasons_at_one_tick() -> None:
    """A worker has been silent for 60 s, and for as long there has been no server."""
    core = coordinator(1, supervision=IMPATIENT)
    core.handle(Placed("worker-0"))
    assert of(ticks(core, 100.0, 160.0), Failed) == []
    told = ticks(core, 160.25, 160.25)
    assert kinds(told)[-1] == (DRIVER, "Failed")
    (failed,) = of(told, Failed)
    assert failed.reason.startswith("worker-0 died once in 60 s")


def test_after_the_end_nothing_is_answered() -> None:
    core = running(2, supervision=IMPATIENT)
    core.handle(Down("worker-0", "killed"))
    rest = [
        Down("worker-1", "killed"),
        Ended("worker-1", "left"),
        Placed("worker-1"),
        Pong("worker-1"),
        Late(3, (5,)),
        snapshot(4),
        snapshot(9, EpochDone),
        RunEpoch(1, 18),
        TakeSnapshot(),
        Tick(1000.0),
    ]
    assert [core.handle(message) for message in rest] == [[]] * len(rest)


# --- Overdue


def test_training_begins_without_workers_that_find_no_place_and_takes_them_later() -> None:
    core = coordinator(3)
    core.handle(server_hello())
    core.handle(hello("worker-1"))
    assert of(ticks(core, 100.0, 160.0, SERVER, "worker-1"), Ready) == []
    told = ticks(core, 160.25, 161.0, SERVER, "worker-1")
    assert [e for e in told if e[1] != Ping()] == [
        (DRIVER, Missing(("worker-0", "worker-2"), "did not start within 60 s")),
        (DRIVER, Ready()),
    ]
    assert ("worker-2", Assign((4, 5, 6, 7))) in core.handle(hello("worker-2"))


def test_without_a_server_in_time_training_fails() -> None:
    core = coordinator(1)
    core.handle(hello("worker-0"))
    assert of(ticks(core, 100.0, 160.0, "worker-0"), Failed) == []
    failed = Failed("the parameter server did not start within 60 s", is_overdue=True)
    assert of(ticks(core, 160.25, 170.0, "worker-0"), Failed) == [failed]


def test_without_a_worker_in_time_training_fails_and_says_what_the_last_died_of() -> None:
    core = running(1)
    ticks(core, 100.0, 110.0, SERVER, "worker-0")
    core.handle(Down("worker-0", "out of memory"))
    assert of(ticks(core, 110.25, 170.0, SERVER), Failed) == []
    assert of(ticks(core, 170.25, 180.0, SERVER), Failed) == [
        Failed(
            "no worker is there, and a new one did not start within 60 s;"
            " worker-0 died: out of memory",
            is_overdue=True,
        )
    ]


def test_nobody_is_overdue_while_a_server_and_a_worker_are_there() -> None:
    core = running(3)
    core.handle(Down("worker-0", "killed"))
    core.handle(Down("worker-1", "killed"))
    told = ticks(core, 100.0, 300.0, SERVER, "worker-2")
    assert of(told, Failed) == of(told, Missing) == []


def test_a_new_server_goes_on_with_the_snapshot_s_sums_and_not_with_newer_ones() -> None:
    core = running(1)
    half = replace(snapshot(4), sample_count=12, loss_sum=0.75)
    core.handle(half)
    core.handle(Progress(0, 7, 21, 2.0))
    (start,) = of(core.handle(Down(SERVER, "killed")), Start)
    assert (start.state.step, start.state.sample_count, start.state.loss_sum) == (4, 12, 0.75)


# --- Without a place


def looks(envelopes: list[Envelope]) -> list[tuple[str, ...]]:
    return [message.names for message in of(envelopes, Look)]


def test_who_has_no_process_after_some_seconds_is_looked_for_once() -> None:
    core = coordinator(4, least=1)
    core.handle(server_hello())
    core.handle(hello("worker-0"))
    core.handle(Placed("worker-1"))  # its process runs, so it has a place
    assert looks(ticks(core, 100.0, 105.0, SERVER, "worker-0", "worker-1")) == []
    told = ticks(core, 105.25, 120.0, SERVER, "worker-0", "worker-1")
    assert looks(told) == [("worker-2", "worker-3")]


def test_a_replacement_without_a_place_is_looked_for_too() -> None:
    core = running(2)
    assert looks(ticks(core, 100.0, 120.0, SERVER, "worker-0", "worker-1")) == []
    core.handle(Down("worker-1", "its node is gone"))
    assert looks(ticks(core, 120.25, 140.0, SERVER, "worker-0")) == [("worker-1.2",)]


def test_the_driver_hears_of_the_want_of_places_and_that_training_goes_on() -> None:
    core = coordinator(3, least=1)
    core.handle(server_hello())
    core.handle(hello("worker-0"))
    assert core.handle(Unplaced(("worker-1", "worker-2"), "full")) == [
        (DRIVER, Unplaced(("worker-1", "worker-2"), "full; each joins when there is room"))
    ]


def test_the_driver_hears_for_how_long_training_waits_for_too_few() -> None:
    core = coordinator(3)
    core.handle(server_hello())
    core.handle(hello("worker-0"))
    reason = (
        "full; training waits for 3 workers, or begins with less after 60 s"
        " (cluster.start_timeout_s)"
    )
    told = core.handle(Unplaced(("worker-1", "worker-2"), "full"))
    assert told == [(DRIVER, Unplaced(("worker-1", "worker-2"), reason))]


def test_who_came_meanwhile_is_not_said_to_have_no_place() -> None:
    core = coordinator(3, least=1)
    core.handle(server_hello())
    core.handle(hello("worker-0"))
    assert core.handle(Unplaced(("worker-0",), "full")) == []


# --- Other hosts


def test_the_driver_is_told_of_a_host_that_rounds_otherwise() -> None:
    core = coordinator(2)
    core.handle(replace(server_hello(), arithmetic="BLAS=openblas Zen"))
    told = core.handle(replace(hello("worker-0"), arithmetic="BLAS=openblas Haswell"))
    assert of(told, Unlike) == [
        Unlike(
            "worker-0",
            "127.0.0.1",
            "10.0.0.9",
            ("BLAS: openblas Haswell here, openblas Zen there",),
        )
    ]
