"""The coordinator core: which worker has which shards, and who is alive.

It reacts to `Hello` by dealing all shards out anew, and to `Down` by handing the dead
worker's shards to the others, who keep what they have: they may be in the middle of it.
It lives in the driver's process and tells the driver what it did. It knows no socket, no
clock and no Ray.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from actors.messages import (
    DRIVER,
    SERVER,
    Assign,
    Assigned,
    Died,
    Down,
    Envelope,
    Failed,
    Hello,
    Joined,
    Message,
    NotStarted,
)


def deal(shard_count: int, workers: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Contiguous runs of shards in the workers' order, sizes differing by at most one.

    Contiguous, because a run covers whole subtrees: fewer messages a step.
    """
    bounds = [i * shard_count // len(workers) for i in range(len(workers) + 1)]
    return {name: tuple(range(bounds[i], bounds[i + 1])) for i, name in enumerate(workers)}


def take_over(
    assigned: dict[str, tuple[int, ...]], shards: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Hand the shards of a dead worker out in runs: to those with the fewest, moving no other."""
    gains = dict.fromkeys(assigned, 0)
    for _ in shards:
        gains[min(assigned, key=lambda name: len(assigned[name]) + gains[name])] += 1
    rest = iter(shards)
    return {
        name: tuple(sorted((*held, *islice(rest, gains[name])))) for name, held in assigned.items()
    }


class Coordinator:
    """Answers `Hello` and `Down` with `Assign`."""

    def __init__(self, shard_count: int, expected: Iterable[str]) -> None:
        """`expected`: the workers that are being started; without them nothing is lost yet."""
        self._shard_count = shard_count
        self._expected = set(expected)
        self._assigned: dict[str, tuple[int, ...]] = {}

    def handle(self, message: Message) -> list[Envelope]:
        match message:
            case Hello(name, host, process_id):
                joined = (DRIVER, Joined(name, host, process_id))
                return [joined, *self._worker_up(name)]
            case Down(name, reason) if name == SERVER:
                return [(DRIVER, Failed(f"the parameter server died: {reason}"))]
            case NotStarted(name, reason) if name in self._expected:
                return [(DRIVER, Died(name, reason)), *self._worker_down(name, reason)]
            case Down(name, reason) if name in self._assigned:
                return [(DRIVER, Died(name, reason)), *self._worker_down(name, reason)]
            case _:
                return []

    def _worker_up(self, name: str) -> list[Envelope]:
        """Deal all shards out anew: contiguous runs cost the fewest messages."""
        self._expected.discard(name)
        self._assigned.pop(name, None)  # whoever says Hello holds nothing
        workers = sorted([*self._assigned, name], key=_number)
        return self._assign(deal(self._shard_count, workers))

    def _worker_down(self, name: str, reason: str) -> list[Envelope]:
        self._expected.discard(name)
        shards = self._assigned.pop(name, ())
        if self._assigned:
            return self._assign(take_over(self._assigned, shards))
        if self._expected:
            return []  # the next one to come gets all shards
        return [(DRIVER, Failed(f"no worker is left; the last, {name}, died: {reason}"))]

    def _assign(self, assigned: dict[str, tuple[int, ...]]) -> list[Envelope]:
        before, self._assigned = self._assigned, assigned
        envelopes: list[Envelope] = []
        for name, shards in assigned.items():
            if before.get(name) != shards:
                envelopes += [(name, Assign(shards)), (DRIVER, Assigned(name, shards))]
        return envelopes


def _number(name: str) -> tuple[int, str]:
    """worker-10 comes after worker-9."""
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdecimal() else 0, name)
