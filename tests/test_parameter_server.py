"""The server core, a message at a time: given a state, when this comes, then that goes out."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.errors import ProtocolError
from actors.messages import (
    DRIVER,
    Dx,
    EpochDone,
    HandOver,
    Late,
    NotFinite,
    Ping,
    Pong,
    Progress,
    Refused,
    Repeated,
    RunEpoch,
    Snapshot,
    Stall,
    Stop,
    TakeSnapshot,
    Vector,
    Weights,
)
from actors.orders import CLUSTER, Down, Envelope, Leave, Tick
from actors.parameter_server import ParameterServer
from tests.toys import Momentum, hello, kinds, toy_job

SIZE = 33


def server(shard_count: int = 2, state: Snapshot | None = None) -> ParameterServer:
    job = toy_job(shard_count)
    return ParameterServer("server", Momentum(), shard_count, state or job.state)


def dx(step: int, start: int, stop: int, value: float = 1.0) -> Dx:
    count = stop - start
    return Dx(step, start, stop, 3 * count, value, np.full(SIZE, value * count, "f4"))


def only(envelopes: list[Envelope], kind: type) -> Any:
    (message,) = {id(m): m for _, m in envelopes if type(m) is kind}.values()
    return message


def parameters_of(envelopes: list[Envelope]) -> bytes:
    (message,) = {id(m): m for _, m in envelopes if isinstance(m, Weights | EpochDone)}.values()
    return message.parameters.tobytes()


def values_of(state: Snapshot) -> tuple[object, ...]:
    arrays = state.parameters.tobytes(), state.optimizer_state.tobytes()
    return state.epoch, state.step, state.sample_count, state.loss_sum.hex(), *arrays


# --- Steps and epochs


def test_an_epoch_begins_with_weights_to_every_worker() -> None:
    core = server()
    core.handle(hello("worker-0"))
    core.handle(hello("worker-1"))
    assert kinds(core.handle(RunEpoch(0, 1))) == [("worker-0", "Weights"), ("worker-1", "Weights")]


def test_a_worker_that_joins_in_mid_step_gets_the_running_weights() -> None:
    core = server()
    core.handle(RunEpoch(0, 3))
    assert kinds(core.handle(hello("worker-7"))) == [("worker-7", "Weights")]


def test_a_worker_that_joins_before_the_first_epoch_gets_nothing_yet() -> None:
    assert server().handle(hello("worker-0")) == []


def test_the_step_ends_when_every_shard_is_in() -> None:
    core = server()
    core.handle(hello("worker-0"))
    core.handle(RunEpoch(0, 2))
    assert core.handle(dx(0, 0, 1)) == []
    assert kinds(core.handle(dx(0, 1, 2))) == [("worker-0", "Weights")]


def test_the_last_step_tells_the_driver_sums_over_the_epoch() -> None:
    core = server()
    core.handle(RunEpoch(0, 2))
    core.handle(dx(0, 0, 2))
    ((address, done),) = core.handle(dx(1, 0, 2, value=0.5))
    assert address == DRIVER
    assert isinstance(done, EpochDone)
    assert (done.epoch, done.step, done.sample_count, done.loss_sum) == (0, 2, 12, 1.5)


def test_the_next_epoch_s_sums_begin_at_zero() -> None:
    core = server()
    core.handle(RunEpoch(0, 1))
    core.handle(dx(0, 0, 2))
    core.handle(RunEpoch(1, 2))
    done = only(core.handle(dx(1, 0, 2, value=0.25)), EpochDone)
    assert (done.epoch, done.step, done.sample_count, done.loss_sum) == (1, 2, 6, 0.25)


def test_the_same_gradient_twice_counts_once() -> None:
    once, twice = server(), server()
    for core, arrivals in ((once, [dx(0, 0, 1)]), (twice, [dx(0, 0, 1), dx(0, 0, 1, 99.0)])):
        core.handle(RunEpoch(0, 1))
        for message in arrivals:
            assert core.handle(message) == []
    assert parameters_of(once.handle(dx(0, 1, 2))) == parameters_of(twice.handle(dx(0, 1, 2)))


@pytest.mark.parametrize("step", [0, 2, -1])
def test_a_gradient_of_another_step_is_ignored(step: int) -> None:
    core = server()
    core.handle(RunEpoch(0, 3))
    core.handle(dx(0, 0, 2))
    assert core.handle(dx(step, 0, 2)) == []  # step 1 runs


def test_a_gradient_after_the_epoch_is_ignored() -> None:
    core = server()
    core.handle(RunEpoch(0, 1))
    core.handle(dx(0, 0, 2))
    assert core.handle(dx(1, 0, 2)) == []


def test_an_epoch_that_is_asked_for_twice_runs_once() -> None:
    core = server()
    core.handle(hello("worker-0"))
    core.handle(RunEpoch(0, 1))
    assert core.handle(RunEpoch(0, 1)) == []
    core.handle(dx(0, 0, 2))
    assert core.handle(RunEpoch(0, 1)) == []


def test_weights_that_were_sent_are_never_written_again() -> None:
    core = server()
    core.handle(hello("worker-0"))
    ((_, first),) = core.handle(RunEpoch(0, 9))
    assert isinstance(first, Weights)
    before = first.parameters.tobytes()
    for step in range(8):
        core.handle(dx(step, 0, 2))
    assert first.parameters.tobytes() == before


def test_a_gradient_of_another_size_or_type_is_refused() -> None:
    core = server()
    core.handle(RunEpoch(0, 1))
    for gradient in (np.ones(SIZE + 1, "f4"), np.ones(SIZE, "f8")):
        with pytest.raises(ProtocolError, match=r"step 0, shards 0\.\.1 has .* values of"):
            core.handle(Dx(0, 0, 2, 6, 1.0, gradient))


def test_the_dead_get_no_more_weights() -> None:
    core = server()
    core.handle(hello("worker-0"))
    core.handle(hello("worker-1"))
    core.handle(Down("worker-0", "killed"))
    assert kinds(core.handle(RunEpoch(0, 1))) == [("worker-1", "Weights")]


# --- Snapshots


@pytest.mark.parametrize("arrived", range(7))
def test_a_snapshot_can_be_taken_at_any_moment_and_nothing_of_a_running_step_is_in_it(
    arrived: int,
) -> None:
    """Two gradients a step: after an odd number of them a step is half done."""
    core, plain = server(), server()
    for one in (core, plain):
        one.handle(RunEpoch(0, 9))
    gradients = [dx(i // 2, i % 2, i % 2 + 1, 0.5 + i) for i in range(arrived)]
    for gradient in gradients:
        core.handle(gradient)
    for gradient in gradients[: arrived // 2 * 2]:
        plain.handle(gradient)
    (snapshot,) = (only(one.handle(TakeSnapshot()), Snapshot) for one in [core])
    assert snapshot.step == arrived // 2
    assert values_of(snapshot) == values_of(only(plain.handle(TakeSnapshot()), Snapshot))


def test_a_snapshot_before_the_first_epoch_is_the_first_state() -> None:
    assert values_of(only(server().handle(TakeSnapshot()), Snapshot)) == values_of(toy_job(2).state)


def test_before_its_state_a_server_tells_where_it_is() -> None:
    """So the driver can tell what a snapshot takes from what came before it."""
    core = server()
    assert kinds(core.handle(TakeSnapshot())) == [(DRIVER, "Snapshot")]  # nothing to tell yet
    core.handle(RunEpoch(0, 2))
    core.handle(dx(0, 0, 2))
    told, _ = core.handle(TakeSnapshot())
    assert told == (DRIVER, Progress(0, 1, 6, 1.0))
    core.handle(dx(1, 0, 2))  # the epoch is over, and its end told
    assert kinds(core.handle(TakeSnapshot())) == [(DRIVER, "Snapshot")]


def test_who_hands_over_sends_its_state_and_leaves() -> None:
    core, other = server(), server()
    for one in (core, other):
        one.handle(RunEpoch(0, 9))
        one.handle(dx(0, 0, 2))
    state = only(other.handle(TakeSnapshot()), Snapshot)
    (to_driver, sent), (to_cluster, leave) = core.handle(HandOver())
    assert (to_driver, values_of(sent)) == (DRIVER, values_of(state))
    assert (to_cluster, leave) == (CLUSTER, Leave("left in order"))


def test_a_snapshot_is_never_written_again() -> None:
    core = server()
    core.handle(RunEpoch(0, 9))
    core.handle(dx(0, 0, 2))
    snapshot = only(core.handle(TakeSnapshot()), Snapshot)
    before = values_of(snapshot)
    for step in range(1, 8):
        core.handle(dx(step, 0, 2))
    assert values_of(snapshot) == before


@pytest.mark.parametrize("at_step", range(6))
def test_a_server_restored_anywhere_ends_with_the_same_state_and_sums_bit_for_bit(
    at_step: int,
) -> None:
    """Epochs end after steps 3 and 6. The values are not sums that floats hold exactly."""
    gradients = [dx(step, 0, 2, 0.1 * (step + 1)) for step in range(6)]
    plain, restored = server(), server()
    for step in range(at_step):
        restored.handle(RunEpoch(step // 3, (step // 3 + 1) * 3))
        restored.handle(gradients[step])
    restored = server(state=only(restored.handle(TakeSnapshot()), Snapshot))
    ends: list[list[tuple[object, ...]]] = []
    for core, first in ((plain, 0), (restored, at_step)):
        ends.append([])
        for step in range(first, 6):
            core.handle(RunEpoch(step // 3, (step // 3 + 1) * 3))
            done = [m for _, m in core.handle(gradients[step]) if isinstance(m, EpochDone)]
            ends[-1] += map(values_of, done)
    assert ends[1] == ends[0][at_step // 3 :]


def test_a_restored_server_tells_once_how_many_steps_it_ran_again() -> None:
    """It starts after step 0; a worker has seen the weights after step 3."""
    core = server()
    core.handle(RunEpoch(0, 9))
    core.handle(replace(hello("worker-0"), step=3))
    core.handle(replace(hello("worker-1"), step=2))
    told = [core.handle(dx(step, 0, 2)) for step in range(5)]
    repeated = [[m for _, m in envelopes if isinstance(m, Repeated)] for envelopes in told]
    assert repeated == [[], [], [Repeated(3)], [], []]


def test_steps_that_only_the_driver_had_heard_of_are_repeated_too() -> None:
    """All who held newer weights are dead with the server: it is told that step 2 was done."""
    core = ParameterServer("server.2", Momentum(), 2, toy_job(2).state, seen_step=2)
    core.handle(RunEpoch(0, 9))
    told = [core.handle(dx(step, 0, 2)) for step in range(4)]
    repeated = [[m for _, m in envelopes if isinstance(m, Repeated)] for envelopes in told]
    assert repeated == [[], [Repeated(2)], [], []]


def test_a_server_that_was_not_restored_repeats_nothing() -> None:
    core = server()
    core.handle(RunEpoch(0, 3))
    core.handle(dx(0, 0, 2))
    core.handle(replace(hello("worker-0"), step=1))  # it linked again, with weights from here
    told = core.handle(dx(1, 0, 2)) + core.handle(dx(2, 0, 2))
    assert "Repeated" not in [kind for _, kind in kinds(told)]


# --- What is not finite


class Overflowing(Momentum):
    """An optimizer whose third parameter is no number once the gradient is 7."""

    def update(
        self,
        parameters: Vector,
        gradient_sum: Vector,
        sample_count: int,
        state: Vector,
        out: Vector,
        state_out: Vector,
    ) -> None:
        super().update(parameters, gradient_sum, sample_count, state, out, state_out)
        if gradient_sum[0] == 7:
            out[3] = np.inf


def test_an_update_that_is_not_finite_is_told_and_not_applied() -> None:
    job = toy_job(1)
    core = ParameterServer("server", Overflowing(), 1, job.state)
    core.handle(hello("worker-0"))
    core.handle(RunEpoch(0, 9))
    core.handle(dx(0, 0, 1, 1.0))
    before = values_of(only(core.handle(TakeSnapshot()), Snapshot))
    assert core.handle(dx(1, 0, 1, 7.0)) == [(DRIVER, NotFinite(1, -1, 3))]
    assert values_of(only(core.handle(TakeSnapshot()), Snapshot)) == before
    assert core.handle(dx(1, 0, 1, 1.0)) == []  # the run is over


# --- Time


def history_of(core: ParameterServer, steps: int, step_s: float = 1.0) -> float:
    """Steps of that length from the time 1 s on; when they are done."""
    now_s = 1.0
    core.handle(Tick(now_s))
    core.handle(RunEpoch(0, 99))
    for step in range(steps):
        now_s = ticked(core, now_s, step_s)
        core.handle(dx(step, 0, 4))
    return now_s


def ticked(core: ParameterServer, now_s: float, seconds: float) -> float:
    """Time passes as a process sees it that never sleeps: in ticks of 50 ms."""
    for _ in range(round(seconds / 0.05)):
        now_s += 0.05
        core.handle(Tick(now_s))
    return now_s


def test_late_names_the_running_step_and_the_shards_that_are_not_in() -> None:
    """Late after 0.2 s and three times the median of 1 s."""
    core = server(4)
    now_s = history_of(core, 3)
    core.handle(dx(3, 1, 2))
    core.handle(dx(3, 3, 4))
    now_s = ticked(core, now_s, 3.15)
    told = core.handle(Tick(now_s + 0.1))
    assert [m for _, m in told if isinstance(m, Late)] == [Late(3, (0, 2))]
    told = core.handle(dx(3, 0, 1)) + core.handle(dx(3, 2, 3))
    assert only(told, Stall).step == 4


def test_nobody_is_late_before_there_is_a_history_nor_between_epochs() -> None:
    core = server(4)
    history_of(core, 2)
    assert "Late" not in [kind for _, kind in kinds(core.handle(Tick(99.0)))]
    core = server(4)
    history_of(core, 99)
    assert core.handle(Tick(1000.0)) == []


def test_a_worker_that_hangs_in_an_epoch_s_first_step_is_late_however_long_the_pause_was() -> None:
    core = server(4)
    now_s = history_of(core, 99) + 60.0  # the driver evaluates
    core.handle(Tick(now_s))
    core.handle(RunEpoch(1, 200))
    late = []
    for _ in range(80):  # 4 s
        now_s += 0.05
        late += [m for _, m in core.handle(Tick(now_s)) if isinstance(m, Late)]
    assert late == [Late(99, (0, 1, 2, 3))]


def test_a_death_in_mid_step_is_reported_as_a_stall_when_the_step_ends() -> None:
    core = server()
    core.handle(hello("worker-0"))
    core.handle(hello("worker-1"))
    core.handle(Tick(10.0))
    core.handle(RunEpoch(0, 2))
    core.handle(Tick(11.0))
    core.handle(dx(0, 0, 2))
    core.handle(Tick(12.0))
    core.handle(Down("worker-1", "killed"))
    core.handle(Tick(14.5))
    (stalled, _) = core.handle(dx(1, 0, 2))
    assert stalled == (DRIVER, Stall(2, 3.5))  # from 11.0 to 14.5


def test_a_death_between_two_epochs_holds_up_only_the_epoch_that_follows() -> None:
    core = server()
    core.handle(hello("worker-0"))
    core.handle(Tick(10.0))
    core.handle(RunEpoch(0, 1))
    core.handle(dx(0, 0, 2))
    core.handle(Down("worker-0", "killed"))
    core.handle(Tick(70.0))
    core.handle(RunEpoch(1, 2))
    core.handle(Tick(71.5))
    (stalled, _) = core.handle(dx(1, 0, 2))
    assert stalled == (DRIVER, Stall(2, 1.5))


def test_several_deaths_in_one_step_are_one_stall() -> None:
    core = server()
    for name in ("worker-0", "worker-1", "worker-2"):
        core.handle(hello(name))
    core.handle(RunEpoch(0, 2))
    core.handle(Down("worker-1", "killed"))
    core.handle(Down("worker-2", "killed"))
    assert kinds(core.handle(dx(0, 0, 2))) == [(DRIVER, "Stall"), ("worker-0", "Weights")]
    assert kinds(core.handle(dx(1, 0, 2))) == [(DRIVER, "EpochDone")]


def test_progress_is_told_a_few_times_a_second_and_only_when_there_is_some() -> None:
    core = server()
    core.handle(Tick(1.0))
    core.handle(RunEpoch(0, 9))
    assert core.handle(Tick(2.0)) == []
    core.handle(dx(0, 0, 2))
    assert core.handle(Tick(3.0)) == [(DRIVER, Progress(0, 1, 6, 1.0))]
    core.handle(dx(1, 0, 2))
    assert core.handle(Tick(3.01)) == []


def test_no_progress_is_told_of_an_epoch_that_is_over() -> None:
    core = server()
    core.handle(Tick(1.0))
    core.handle(RunEpoch(0, 1))
    core.handle(dx(0, 0, 2))
    assert core.handle(Tick(9.0)) == []


# --- The driver


def test_a_server_answers_a_ping_under_its_own_name() -> None:
    job = toy_job(2)
    core = ParameterServer("server.3", Momentum(), 2, job.state)
    assert core.handle(Ping()) == [(DRIVER, Pong("server.3"))]


def test_who_was_refused_is_told_to_the_driver() -> None:
    refused = Refused(3, "link: the peer does not hold this run's key; refused")
    assert server().handle(refused) == [(DRIVER, refused)]


def test_a_server_leaves_in_order_or_when_the_driver_is_down() -> None:
    assert server().handle(Stop()) == [(CLUSTER, Leave("left in order"))]
    left = Leave("left, because the driver is down: killed")
    assert server().handle(Down(DRIVER, "killed")) == [(CLUSTER, left)]
