"""The three cores, a message at a time: given a state, when this comes, then that goes out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.coordinator import Coordinator
from actors.errors import ProtocolError
from actors.messages import (
    DRIVER,
    SERVER,
    Assign,
    Assigned,
    Died,
    Down,
    Dx,
    Envelope,
    EpochDone,
    Failed,
    Joined,
    NotStarted,
    Progress,
    RunEpoch,
    Stall,
    Tick,
    Weights,
)
from actors.parameter_server import ParameterServer
from actors.worker import Worker
from tests.toys import Descent, hello, toy_job

SIZE = 33


def server(shard_count: int = 2) -> ParameterServer:
    job = toy_job(shard_count)
    return ParameterServer(Descent(), shard_count, job.parameters, job.optimizer_state)


def worker(shard_count: int = 2) -> Worker:
    job = toy_job(shard_count)
    return Worker(job.objective, shard_count, job.shards.__getitem__)


def dx(step: int, start: int, stop: int, value: float = 1.0) -> Dx:
    count = stop - start
    return Dx(step, start, stop, 3 * count, value, np.full(SIZE, value * count, "f4"))


def kinds(envelopes: list[Envelope]) -> list[tuple[str, str]]:
    return [(address, type(message).__name__) for address, message in envelopes]


def parameters_of(envelopes: list[Envelope]) -> bytes:
    (message,) = {id(m): m for _, m in envelopes if isinstance(m, Weights | EpochDone)}.values()
    return message.parameters.tobytes()


class TestParameterServer:
    def test_an_epoch_begins_with_weights_to_every_worker(self) -> None:
        core = server()
        core.handle(hello("worker-0"))
        core.handle(hello("worker-1"))
        assert kinds(core.handle(RunEpoch(0, 1))) == [
            ("worker-0", "Weights"),
            ("worker-1", "Weights"),
        ]

    def test_a_worker_that_joins_in_mid_step_gets_the_running_weights(self) -> None:
        core = server()
        core.handle(RunEpoch(0, 3))
        assert kinds(core.handle(hello("worker-7"))) == [("worker-7", "Weights")]

    def test_a_worker_that_joins_before_the_first_epoch_gets_nothing_yet(self) -> None:
        assert server().handle(hello("worker-0")) == []

    def test_the_step_ends_when_every_shard_is_in(self) -> None:
        core = server()
        core.handle(hello("worker-0"))
        core.handle(RunEpoch(0, 2))
        assert core.handle(dx(0, 0, 1)) == []
        assert kinds(core.handle(dx(0, 1, 2))) == [("worker-0", "Weights")]

    def test_the_last_step_tells_the_driver_sums_over_the_epoch(self) -> None:
        core = server()
        core.handle(RunEpoch(0, 2))
        core.handle(dx(0, 0, 2))
        ((address, done),) = core.handle(dx(1, 0, 2, value=0.5))
        assert address == DRIVER
        assert isinstance(done, EpochDone)
        assert (done.epoch, done.step, done.sample_count, done.loss_sum) == (0, 2, 12, 1.5)

    def test_the_same_gradient_twice_counts_once(self) -> None:
        once, twice = server(), server()
        for core, arrivals in ((once, [dx(0, 0, 1)]), (twice, [dx(0, 0, 1), dx(0, 0, 1, 99.0)])):
            core.handle(RunEpoch(0, 1))
            for message in arrivals:
                assert core.handle(message) == []
        assert parameters_of(once.handle(dx(0, 1, 2))) == parameters_of(twice.handle(dx(0, 1, 2)))

    @pytest.mark.parametrize("step", [0, 2, -1])
    def test_a_gradient_of_another_step_is_ignored(self, step: int) -> None:
        core = server()
        core.handle(RunEpoch(0, 3))
        core.handle(dx(0, 0, 2))
        assert core.handle(dx(step, 0, 2)) == []  # step 1 runs

    def test_a_gradient_after_the_epoch_is_ignored(self) -> None:
        core = server()
        core.handle(RunEpoch(0, 1))
        core.handle(dx(0, 0, 2))
        assert core.handle(dx(1, 0, 2)) == []

    def test_an_epoch_that_is_asked_for_twice_runs_once(self) -> None:
        core = server()
        core.handle(hello("worker-0"))
        core.handle(RunEpoch(0, 1))
        assert core.handle(RunEpoch(0, 1)) == []
        core.handle(dx(0, 0, 2))
        assert core.handle(RunEpoch(0, 1)) == []

    def test_weights_that_were_sent_are_never_written_again(self) -> None:
        core = server()
        core.handle(hello("worker-0"))
        ((_, first),) = core.handle(RunEpoch(0, 9))
        assert isinstance(first, Weights)
        before = first.parameters.tobytes()
        for step in range(8):
            core.handle(dx(step, 0, 2))
        assert first.parameters.tobytes() == before

    def test_a_gradient_of_another_size_or_type_is_refused(self) -> None:
        core = server()
        core.handle(RunEpoch(0, 1))
        for gradient in (np.ones(SIZE + 1, "f4"), np.ones(SIZE, "f8")):
            with pytest.raises(ProtocolError, match=r"step 0, shards 0\.\.1 has .* values of"):
                core.handle(Dx(0, 0, 2, 6, 1.0, gradient))

    def test_a_death_in_mid_step_is_reported_as_a_stall_when_the_step_ends(self) -> None:
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
        assert stalled == (DRIVER, Stall("worker-1", 2, 3.5))  # from 11.0 to 14.5

    def test_a_worker_that_only_the_server_lost_is_reported(self) -> None:
        core = server()
        core.handle(hello("worker-0"))
        down = Down("worker-0", "accepted nothing for 10 s")
        assert core.handle(down) == [(DRIVER, down)]

    def test_a_death_between_two_epochs_is_a_stall_too(self) -> None:
        core = server()
        core.handle(hello("worker-0"))
        core.handle(RunEpoch(0, 1))
        core.handle(dx(0, 0, 2))
        core.handle(Down("worker-0", "killed"))
        core.handle(RunEpoch(1, 2))
        assert kinds(core.handle(dx(1, 0, 2))) == [(DRIVER, "Stall"), (DRIVER, "EpochDone")]

    def test_the_dead_get_no_more_weights(self) -> None:
        core = server()
        core.handle(hello("worker-0"))
        core.handle(hello("worker-1"))
        core.handle(Down("worker-0", "killed"))
        assert kinds(core.handle(RunEpoch(0, 1))) == [("worker-1", "Weights")]

    def test_no_progress_is_told_of_an_epoch_that_is_over(self) -> None:
        core = server()
        core.handle(Tick(1.0))
        core.handle(RunEpoch(0, 1))
        core.handle(dx(0, 0, 2))
        assert core.handle(Tick(9.0)) == []

    def test_progress_is_told_a_few_times_a_second_and_only_when_there_is_some(self) -> None:
        core = server()
        core.handle(Tick(1.0))
        core.handle(RunEpoch(0, 9))
        assert core.handle(Tick(2.0)) == []
        core.handle(dx(0, 0, 2))
        assert core.handle(Tick(3.0)) == [(DRIVER, Progress(0, 1, 6, 1.0))]
        core.handle(dx(1, 0, 2))
        assert core.handle(Tick(3.01)) == []


class TestWorker:
    def test_weights_are_answered_with_one_gradient_for_a_whole_subtree(self) -> None:
        core = worker(4)
        core.handle(Assign((0, 1, 2)))
        answers = core.handle(Weights(5, np.zeros(SIZE, "f4")))
        assert [address for address, _ in answers] == [SERVER, SERVER]
        spans = [(m.step, m.start, m.stop) for _, m in answers if isinstance(m, Dx)]
        assert spans == [(5, 0, 2), (5, 2, 3)]

    def test_shards_taken_over_in_mid_step_are_computed_at_once_and_alone(self) -> None:
        core = worker(4)
        core.handle(Assign((0, 1)))
        core.handle(Weights(5, np.zeros(SIZE, "f4")))
        answers = core.handle(Assign((0, 1, 2, 3)))
        assert [(m.start, m.stop) for _, m in answers if isinstance(m, Dx)] == [(2, 4)]

    def test_without_weights_there_is_nothing_to_do(self) -> None:
        assert worker().handle(Assign((0, 1))) == []

    def test_without_shards_there_is_nothing_to_send(self) -> None:
        assert worker().handle(Weights(0, np.zeros(SIZE, "f4"))) == []

    def test_shards_that_were_taken_away_are_not_computed_any_more(self) -> None:
        core = worker(4)
        core.handle(Assign((0, 1, 2, 3)))
        core.handle(Assign((3,)))
        answers = core.handle(Weights(1, np.zeros(SIZE, "f4")))
        assert [(m.start, m.stop) for _, m in answers if isinstance(m, Dx)] == [(3, 4)]

    def test_a_gradient_in_a_queue_is_not_written_again(self) -> None:
        core = worker(4)
        core.handle(Assign((0, 1)))
        ((_, first),) = core.handle(Weights(1, np.zeros(SIZE, "f4")))
        assert isinstance(first, Dx)
        before = first.gradient.tobytes()
        core.handle(Assign((0, 1, 2, 3)))
        core.handle(Weights(2, np.ones(SIZE, "f4")))
        assert first.gradient.tobytes() == before


def coordinator(shard_count: int, *expected: str) -> Coordinator:
    return Coordinator(shard_count, expected)


class TestCoordinator:
    def test_the_first_worker_gets_all_shards(self) -> None:
        assert coordinator(3).handle(hello("worker-0")) == [
            (DRIVER, Joined("worker-0", "127.0.0.1", 1)),
            ("worker-0", Assign((0, 1, 2))),
            (DRIVER, Assigned("worker-0", (0, 1, 2))),
        ]

    def test_the_next_worker_takes_its_share(self) -> None:
        core = coordinator(4)
        core.handle(hello("worker-0"))
        envelopes = core.handle(hello("worker-1"))
        assert ("worker-0", Assign((0, 1))) in envelopes
        assert ("worker-1", Assign((2, 3))) in envelopes

    def test_the_shards_of_the_dead_go_to_the_living_who_keep_what_they_have(self) -> None:
        core = coordinator(8)
        for i in range(4):
            core.handle(hello(f"worker-{i}"))
        envelopes = core.handle(Down("worker-0", "killed"))  # it had 0 and 1
        assert envelopes == [
            (DRIVER, Died("worker-0", "killed")),
            ("worker-1", Assign((0, 2, 3))),
            (DRIVER, Assigned("worker-1", (0, 2, 3))),
            ("worker-2", Assign((1, 4, 5))),
            (DRIVER, Assigned("worker-2", (1, 4, 5))),
        ]

    def test_a_worker_that_is_not_known_can_not_die(self) -> None:
        assert coordinator(4).handle(Down("worker-9", "killed")) == []

    def test_the_death_of_the_last_worker_fails_the_training_and_says_why(self) -> None:
        core = coordinator(4)
        core.handle(hello("worker-0"))
        (_, (address, failed)) = core.handle(Down("worker-0", "out of memory"))
        assert address == DRIVER
        assert failed == Failed("no worker is left; the last, worker-0, died: out of memory")

    def test_nothing_has_failed_while_a_worker_is_still_to_come(self) -> None:
        core = coordinator(4, "worker-0", "worker-1")
        core.handle(hello("worker-0"))
        assert core.handle(Down("worker-0", "killed")) == [(DRIVER, Died("worker-0", "killed"))]
        assert ("worker-1", Assign((0, 1, 2, 3))) in core.handle(hello("worker-1"))

    def test_workers_that_never_came_fail_the_training_when_the_last_is_given_up(self) -> None:
        core = coordinator(4, "worker-0", "worker-1")
        assert kinds(core.handle(NotStarted("worker-1", "no memory"))) == [(DRIVER, "Died")]
        assert kinds(core.handle(NotStarted("worker-0", "no CPU")))[1:] == [(DRIVER, "Failed")]

    def test_who_has_said_hello_has_started_whatever_else_is_told(self) -> None:
        core = coordinator(4, "worker-0")
        core.handle(hello("worker-0"))
        assert core.handle(NotStarted("worker-0", "did not start within 60 s")) == []

    def test_a_second_hello_of_one_name_loses_no_shard(self) -> None:
        core = coordinator(8)
        core.handle(hello("worker-0"))
        core.handle(hello("worker-1"))
        envelopes = core.handle(hello("worker-0"))
        assert ("worker-0", Assign((0, 1, 2, 3))) in envelopes  # the new one has nothing yet

    def test_the_death_of_the_server_fails_the_training(self) -> None:
        ((address, failed),) = coordinator(4).handle(Down(SERVER, "killed"))
        assert (address, failed) == (DRIVER, Failed("the parameter server died: killed"))

    def test_worker_10_comes_after_worker_9(self) -> None:
        core = coordinator(11)
        for i in range(11):
            envelopes = core.handle(hello(f"worker-{i}"))
        assert ("worker-10", Assign((10,))) in envelopes


@given(st.integers(1, 40), st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_every_shard_has_exactly_one_owner_whoever_comes_and_goes(
    shard_count: int, comings_and_goings: list[int]
) -> None:
    core, held = coordinator(shard_count), dict[str, tuple[int, ...]]()
    for number in comings_and_goings:
        name = f"worker-{number}"
        leaving = name in held
        message = Down(name, "killed") if leaving else hello(name)
        if leaving:
            del held[name]
        for address, answer in core.handle(message):
            if isinstance(answer, Assign):
                held[address] = answer.shards
        if held:
            owned = sorted(shard for shards in held.values() for shard in shards)
            assert owned == list(range(shard_count))
            sizes = [len(shards) for shards in held.values()]
            assert max(sizes) - min(sizes) <= 1
