"""Whatever happens to the workers, one digest; and broken cores are caught."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest

from actors.cluster import Job
from actors.errors import ClusterError
from actors.messages import EpochDone
from actors.reduction import Node, Partial, Reduction, combine
from actors.simulation import simulate
from tests.toys import toy_job, undisturbed
from trainer.checkpoints import digest

STEPS = 6
SCHEDULES = 150  # for each of the cases below


def same(one: EpochDone, other: EpochDone) -> bool:
    return (
        digest(one.parameters) == digest(other.parameters)
        and one.sample_count == other.sample_count
        and one.loss_sum.hex() == other.loss_sum.hex()
    )


@pytest.mark.parametrize("shard_count", [1, 2, 5, 8])
@pytest.mark.parametrize("worker_count", [1, 3, 6])
def test_every_schedule_ends_with_the_undisturbed_bytes(
    shard_count: int, worker_count: int
) -> None:
    job = toy_job(shard_count, size=5, rows=1)
    expected = undisturbed(job, STEPS)
    harm: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        outcome = simulate(job, STEPS, worker_count, seed)
        assert same(outcome.done, expected), f"seed {seed}"
        harm += outcome.harm
    fired = {"start", "stop", "repeat"} | ({"kill"} if worker_count > 1 else set())
    assert set(harm) == fired  # the adversary did do its worst


def test_one_seed_is_one_schedule() -> None:
    job = toy_job(4, size=5, rows=1)
    once, again = (simulate(job, STEPS, 4, seed=7) for _ in range(2))
    assert once.harm == again.harm
    assert len({tuple(simulate(job, STEPS, 4, seed).harm.items()) for seed in range(9)}) > 1


def caught(seeds: Iterable[int]) -> int:
    """How many schedules show that something is wrong with the cores."""
    job = toy_job(8, size=5, rows=1)
    expected = undisturbed(job, STEPS)
    return sum(not ends_as(expected, job, seed) for seed in seeds)


def ends_as(expected: EpochDone, job: Job, seed: int) -> bool:
    try:
        return same(simulate(job, STEPS, 5, seed).done, expected)
    except ClusterError:
        return False


def test_sound_cores_are_never_suspected() -> None:
    assert caught(range(60)) == 0


def test_counting_a_gradient_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_offer = Reduction.offer

    def offer_twice(self: Reduction, node: Node, partial: Partial) -> bool:
        again = self._held.get(node)
        taken = plain_offer(self, node, partial)
        if not taken and again is not None:
            self._held[node] = combine(again, partial, out=np.empty_like(partial.gradient))
        return taken

    monkeypatch.setattr(Reduction, "offer", offer_twice)
    assert caught(range(60)) > 0


def test_adding_in_the_order_of_arrival_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class InArrivalOrder:
        """Sums leaves and nodes as they come; each shard still counts once."""

        def __init__(self, tree: object, take: object) -> None:
            self._shards: set[int] = set()
            self._shard_count = tree.root.stop  # type: ignore[attr-defined]
            self._sum: Partial | None = None

        def offer(self, node: Node, partial: Partial) -> bool:
            if not self._shards.isdisjoint(range(*node)):
                return False
            self._shards |= set(range(*node))
            out = np.empty_like(partial.gradient)
            self._sum = combine(self._sum, partial, out) if self._sum else partial
            return True

        @property
        def total(self) -> Partial | None:
            return self._sum if len(self._shards) == self._shard_count else None

    monkeypatch.setattr("actors.parameter_server.Reduction", InArrivalOrder)
    assert caught(range(60)) > 0


def test_a_failing_seed_is_named_with_the_last_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.coordinator.take_over", lambda assigned, shards: dict(assigned))
    job = toy_job(8, size=5, rows=1)
    failing = next(seed for seed in range(60) if not ends_as(undisturbed(job, STEPS), job, seed))
    with pytest.raises(ClusterError, match=rf"simulation: seed {failing} .*; last messages:\n  "):
        simulate(job, STEPS, 5, failing)


def test_forgetting_the_shards_of_the_dead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.coordinator.take_over", lambda assigned, shards: dict(assigned))
    assert caught(range(60)) > 0
