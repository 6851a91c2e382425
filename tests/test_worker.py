"""The worker core, a message at a time: given a state, when this comes, then that goes out."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from actors.buffers import ArrayPool
from actors.messages import (
    DRIVER,
    SERVER,
    Assign,
    Dx,
    Hello,
    NotFinite,
    Ping,
    Pong,
    ServerAt,
    Stop,
    Vector,
    Weights,
)
from actors.objectives import BatchLoss
from actors.orders import CLUSTER, Connect, Down, Envelope, Leave, Tick
from actors.processes import without_old_weights
from actors.worker import Worker
from tests.toys import Attraction, hello, toy_job

SIZE = 33


def worker(shard_count: int = 2, objective: Any = None, link_timeout_s: float = math.inf) -> Worker:
    job = toy_job(shard_count)
    data = (shard_count, job.shards.__getitem__)
    return Worker(hello("worker-0"), objective or job.objective, *data, link_timeout_s)


def weights(step: int, value: float = 0.0) -> Weights:
    return Weights(step, np.full(SIZE, value, "f4"))


def spans(envelopes: list[Envelope]) -> list[tuple[int, int, int]]:
    return [(m.step, m.start, m.stop) for _, m in envelopes if isinstance(m, Dx)]


def test_weights_are_answered_with_one_gradient_for_a_whole_subtree() -> None:
    core = worker(4)
    core.handle(Assign((0, 1, 2)))
    answers = core.handle(weights(5))
    assert [address for address, _ in answers] == [SERVER, SERVER]
    assert spans(answers) == [(5, 0, 2), (5, 2, 3)]


def test_shards_taken_over_in_mid_step_are_computed_at_once_and_alone() -> None:
    core = worker(4)
    core.handle(Assign((0, 1)))
    core.handle(weights(5))
    assert spans(core.handle(Assign((0, 1, 2, 3)))) == [(5, 2, 4)]


def test_without_weights_there_is_nothing_to_do() -> None:
    assert worker().handle(Assign((0, 1))) == []


def test_without_shards_there_is_nothing_to_send() -> None:
    assert worker().handle(weights(0)) == []


def test_shards_that_were_taken_away_are_not_computed_any_more() -> None:
    core = worker(4)
    core.handle(Assign((0, 1, 2, 3)))
    core.handle(Assign((3,)))
    assert spans(core.handle(weights(1))) == [(1, 3, 4)]


def test_a_gradient_in_a_queue_is_not_written_again() -> None:
    core = worker(4)
    core.handle(Assign((0, 1)))
    ((_, first),) = core.handle(weights(1))
    assert isinstance(first, Dx)
    before = first.gradient.tobytes()
    core.handle(Assign((0, 1, 2, 3)))
    core.handle(weights(2, 1.0))
    assert first.gradient.tobytes() == before


def test_older_weights_of_a_restored_server_are_computed_again_to_the_same_bits() -> None:
    core = worker(4)
    core.handle(Assign((0, 1)))
    ((_, first),) = core.handle(weights(1))
    core.handle(weights(2))
    ((_, again),) = core.handle(weights(1))
    assert isinstance(first, Dx)
    assert isinstance(again, Dx)
    assert again.step == 1
    assert again.gradient.tobytes() == first.gradient.tobytes()


class CountingPool(ArrayPool):
    """Counts what is leased of it."""

    leased = 0

    def take(self, count: int, dtype: Any) -> Vector:
        self.leased += 1
        return super().take(count, dtype)


def test_only_what_is_sent_is_leased_from_the_pool_of_the_links() -> None:
    job, pool = toy_job(8), CountingPool()
    core = Worker(hello("worker-0"), job.objective, 8, job.shards.__getitem__, pool=pool)
    core.handle(Assign((0, 1, 2, 3, 4, 5)))
    assert spans(core.handle(weights(1))) == [(1, 0, 4), (1, 4, 6)]
    assert pool.leased == 2


def test_who_has_fewer_shards_keeps_less_memory() -> None:
    size, shard_count = 1 << 16, 8
    large = Weights(1, np.zeros(size, "f4"))
    job = toy_job(shard_count, size=size)
    core = Worker(hello("worker-0"), job.objective, shard_count, job.shards.__getitem__)
    core.handle(Assign(tuple(range(shard_count))))
    core.handle(large)  # whatever else is needed once is there from now on
    core.handle(Assign(()))
    tracemalloc.start()
    try:
        core.handle(Assign(tuple(range(shard_count))))
        with_all = tracemalloc.get_traced_memory()[0]
        core.handle(Assign((0, 1)))
        with_two = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert with_all - with_two >= 2 * large.parameters.nbytes


# --- What is not finite


class Diverging(Attraction):
    """From shard 2 on, one of the numbers that it gives is spoiled."""

    def __init__(self, spoil: Any) -> None:
        self.spoil, self.calls = spoil, 0

    def gradient(self, parameters: Vector, batch: Any, out: Vector) -> BatchLoss:
        loss = super().gradient(parameters, batch, out)
        self.calls += 1
        return self.spoil(loss, out) if self.calls == 3 else loss


def bad_gradient(loss: BatchLoss, out: Vector) -> BatchLoss:
    out[[7, 9]] = np.nan, np.inf
    return loss


def bad_loss(loss: BatchLoss, out: Vector) -> BatchLoss:
    return loss._replace(loss_sum=math.inf)


@pytest.mark.parametrize(("spoil", "index"), [(bad_gradient, 7), (bad_loss, -1)])
def test_what_is_not_finite_is_told_with_shard_and_index_and_never_sent_to_the_server(
    spoil: Any, index: int
) -> None:
    core = worker(4, Diverging(spoil))  # the third call is for shard 2
    core.handle(Assign((0, 1, 2, 3)))
    assert core.handle(weights(6)) == [(DRIVER, NotFinite(6, 2, index))]


def test_the_sound_nodes_of_a_spoiled_step_may_be_sent() -> None:
    core = worker(4, Diverging(bad_gradient))
    core.handle(Assign((0, 1, 2)))  # two nodes: 0..1 and 2
    sound, spoiled = core.handle(weights(6))
    assert spans([sound]) == [(6, 0, 2)]
    assert spoiled == (DRIVER, NotFinite(6, 2, 7))


# --- The link to the server


def connect(step: int = -1, port: int = 5) -> list[Envelope]:
    said = Hello("worker-0", "127.0.0.1", 1, step=step)
    return [(CLUSTER, Connect(SERVER, "10.0.0.9", port, said))]


def test_a_worker_links_to_the_server_as_soon_as_it_is_told_where_that_is() -> None:
    assert worker().handle(ServerAt("10.0.0.9", 5)) == connect()


def test_a_worker_tells_a_new_server_which_weights_it_holds() -> None:
    core = worker()
    core.handle(ServerAt("10.0.0.9", 5))
    core.handle(weights(8))
    assert core.handle(ServerAt("10.0.0.9", 6)) == connect(step=8, port=6)


def test_a_worker_whose_link_to_the_server_breaks_tries_again_once_a_second() -> None:
    core = worker()
    assert core.handle(Tick(1.0)) == []  # it knows no server yet
    core.handle(ServerAt("10.0.0.9", 5))
    assert core.handle(Tick(2.0)) == []  # it is linked
    assert core.handle(Down(SERVER, "connection broken")) == []
    assert core.handle(Tick(3.0)) == connect()
    assert core.handle(Down(SERVER, "nobody listens")) == []
    assert core.handle(Tick(3.9)) == []
    assert core.handle(Tick(4.0)) == connect()
    assert core.handle(Tick(9.0)) == []  # it is linked again


def test_a_worker_that_knows_of_no_server_tries_none_until_it_is_told_of_the_next() -> None:
    core = worker(link_timeout_s=10.0)
    core.handle(Tick(100.0))
    core.handle(ServerAt("10.0.0.9", 5))
    assert core.handle(ServerAt("", 0)) == []
    assert core.handle(Down(SERVER, "connection broken")) == []
    for now_s in (101.0, 102.0, 200.0):
        assert core.handle(Tick(now_s)) == []
    assert core.handle(ServerAt("10.0.0.9", 6)) == connect(port=6)


def tries(core: Worker, since_s: int, until_s: int) -> dict[float, str]:
    """Nobody listens where the server should be: how often it tries, and why it leaves, when."""
    seen: dict[float, str] = {}
    for i in range(since_s * 4, until_s * 4 + 1):
        envelopes = core.handle(Tick(i / 4))
        if any(isinstance(message, Connect) for _, message in envelopes):
            seen[i / 4] = "tries"
            envelopes = core.handle(Down(SERVER, "nobody listens"))
        for _, message in envelopes:
            assert isinstance(message, Leave)
            seen[i / 4] = message.reason
            return seen
    return seen


def test_a_worker_that_can_not_reach_a_living_server_leaves_and_says_why() -> None:
    """First refused at 100 s, it tries until it has been without a link for more than 10 s."""
    core = worker(link_timeout_s=10.0)
    core.handle(Tick(100.0))
    assert core.handle(ServerAt("10.0.0.9", 5)) == connect()
    assert core.handle(Down(SERVER, "nobody listens")) == []
    assert tries(core, 100, 130) == {
        **{float(now_s): "tries" for now_s in range(101, 111)},
        111.0: "left, because it can not reach the server at 10.0.0.9:5: nobody listens",
    }


def test_the_time_without_a_server_does_not_count_against_who_can_not_reach_it() -> None:
    """9 s of a dead server, 20 s of none, then the next: the 10 s begin anew."""
    core = worker(link_timeout_s=10.0)
    core.handle(Tick(100.0))
    core.handle(ServerAt("10.0.0.9", 5))
    core.handle(Down(SERVER, "connection broken"))
    assert set(tries(core, 100, 109).values()) == {"tries"}
    core.handle(ServerAt("", 0))
    assert tries(core, 109, 129) == {}
    core.handle(ServerAt("10.0.0.9", 6))
    core.handle(Down(SERVER, "nobody listens"))
    seen = tries(core, 129, 160)
    assert max(seen) == 140.0
    assert "10.0.0.9:6: nobody listens" in seen[140.0]


def test_a_link_that_held_for_longer_than_the_timeout_was_one() -> None:
    core = worker(link_timeout_s=10.0)
    core.handle(Tick(100.0))
    core.handle(ServerAt("10.0.0.9", 5))
    core.handle(Down(SERVER, "connection broken"))
    assert core.handle(Tick(101.0)) == connect()  # this one holds
    for now_s in (105.0, 111.0, 112.0):
        assert core.handle(Tick(now_s)) == []
    assert core.handle(Down(SERVER, "connection broken")) == []
    assert core.handle(Tick(112.25)) == connect()


def test_links_that_break_at_once_each_time_are_none() -> None:
    """They can be opened, but whoever answers there is not the server of this run."""
    core = worker(link_timeout_s=10.0)
    core.handle(Tick(100.0))
    core.handle(ServerAt("10.0.0.9", 5))
    core.handle(Tick(100.25))
    leaves = core.handle(Down(SERVER, "the key is another"))
    for now_s in range(101, 116):
        assert core.handle(Tick(float(now_s))) == connect()
        assert core.handle(Tick(now_s + 0.25)) == []  # for a moment it is linked
        leaves += core.handle(Down(SERVER, "the key is another"))
        if leaves:
            break
    where = "left, because it can not reach the server at 10.0.0.9:5: the key is another"
    assert leaves == [(CLUSTER, Leave(where))]
    assert now_s == 111  # first refused at 100.25 s: at 110.25 s for 10 s, not for more


@pytest.mark.parametrize("slept_s", [5.5, 30.0, 3600.0])
def test_a_worker_that_was_stopped_without_a_link_tries_for_the_rest_of_the_time(
    slept_s: float,
) -> None:
    """Its link breaks, and it is stopped before it can try again, say by SIGSTOP.

    When it wakes up the first try is refused, for the server has died meanwhile and the mail
    that says so is not read yet: whoever took the sleep for tries would leave at once.
    """
    core = worker(link_timeout_s=10.0)
    core.handle(Tick(100.0))
    core.handle(ServerAt("10.0.0.9", 5))
    assert core.handle(Down(SERVER, "connection broken")) == []
    woken_s = 100.0 + slept_s
    assert core.handle(Tick(woken_s)) == connect()
    assert core.handle(Down(SERVER, "nobody listens")) == []
    core.handle(ServerAt("", 0))
    assert core.handle(ServerAt("10.0.0.9", 6)) == connect(port=6)


def test_a_worker_that_was_stopped_and_still_reaches_nobody_leaves_in_the_end() -> None:
    """4 s without a link, 30 s asleep: when it has tried for more than 6 s more it leaves."""
    core = worker(link_timeout_s=10.0)
    core.handle(Tick(100.0))
    core.handle(ServerAt("10.0.0.9", 5))
    core.handle(Down(SERVER, "connection broken"))
    assert max(tries(core, 100, 104)) == 104.0
    seen = tries(core, 134, 160)
    assert set(seen.values()) == {
        "tries",
        "left, because it can not reach the server at 10.0.0.9:5: nobody listens",
    }
    assert max(seen) == 141.0


def test_tries_that_take_their_time_are_no_sleep() -> None:
    """A host that answers nothing: each try takes a fourth of the timeout, and no longer."""
    core = worker(link_timeout_s=10.0)
    core.handle(Tick(100.0))
    core.handle(ServerAt("10.0.0.9", 5))
    core.handle(Down(SERVER, "timed out"))
    now_s = 101.0
    left: list[Envelope] = []
    while not left:
        assert core.handle(Tick(now_s)) == connect()
        now_s += 2.5
        assert core.handle(Tick(now_s)) == []  # its answer is not read yet
        left = core.handle(Down(SERVER, "timed out"))
        now_s += 0.25
    assert now_s == 112.0  # refused at 103.5, 106.25, 109.0 and 111.75 s
    assert isinstance(left[0][1], Leave)


def test_a_worker_leaves_when_the_driver_is_down_or_says_so() -> None:
    left = Leave("left, because the driver is down: killed")
    assert worker().handle(Down(DRIVER, "killed")) == [(CLUSTER, left)]
    assert worker().handle(Stop()) == [(CLUSTER, Leave("left in order"))]


def test_a_worker_answers_a_ping() -> None:
    assert worker().handle(Ping()) == [(DRIVER, Pong("worker-0"))]


# --- What it has slept through


def test_who_has_slept_computes_only_the_newest_weights() -> None:
    first, second, third = weights(1), weights(2), weights(3)
    others = [Assign((0,)), Ping()]
    received = [first, others[0], second, others[1], third]
    kept = without_old_weights(received)
    assert [type(message) for message in kept] == [Assign, Ping, Weights]
    assert kept[-1] is third


def test_newest_is_what_came_last_also_when_a_restored_server_is_at_an_older_step() -> None:
    ahead, restored = weights(8), weights(5)
    (kept,) = without_old_weights([ahead, restored])
    assert kept is restored


def test_messages_without_weights_are_kept_as_they_are() -> None:
    received = [Ping(), Assign((1,)), Stop()]
    assert [*without_old_weights(iter(received))] == received
    assert [*without_old_weights([])] == []
