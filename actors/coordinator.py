"""The coordinator core: which worker has which shards, and who is alive.

It reacts to `Hello` and `Down`: the shards are dealt out anew among those who are there.
It lives in the driver's process and tells the driver what it did. It knows no socket, no
clock and no Ray.
"""

from collections.abc import Sequence

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
)


def deal(shard_count: int, workers: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Contiguous runs of shards in the workers' order, sizes differing by at most one.

    Contiguous, because a run covers whole subtrees: fewer messages a step.
    """
    bounds = [i * shard_count // len(workers) for i in range(len(workers) + 1)]
    return {name: tuple(range(bounds[i], bounds[i + 1])) for i, name in enumerate(workers)}


class Coordinator:
    """Answers `Hello` and `Down` with `Assign`."""

    def __init__(self, shard_count: int) -> None:
        self._shard_count = shard_count
        self._assigned: dict[str, tuple[int, ...]] = {}

    def handle(self, message: Message) -> list[Envelope]:
        match message:
            case Hello(name, host, process_id) if name != SERVER:
                joined = (DRIVER, Joined(name, host, process_id))
                return [joined, *self._deal([*self._assigned, name])]
            case Down(name, reason) if name == SERVER:
                return [(DRIVER, Failed(f"the parameter server died: {reason}"))]
            case Down(name, reason) if name in self._assigned:
                return [(DRIVER, Died(name, reason)), *self._worker_down(name, reason)]
            case _:
                return []

    def _worker_down(self, name: str, reason: str) -> list[Envelope]:
        del self._assigned[name]
        if self._assigned:
            return self._deal([*self._assigned])
        return [(DRIVER, Failed(f"no worker is left; the last, {name}, died: {reason}"))]

    def _deal(self, workers: list[str]) -> list[Envelope]:
        before = self._assigned
        self._assigned = deal(self._shard_count, sorted(workers, key=_number))
        envelopes: list[Envelope] = []
        for name, shards in self._assigned.items():
            if before.get(name) != shards:
                envelopes += [(name, Assign(shards)), (DRIVER, Assigned(name, shards))]
        return envelopes


def _number(name: str) -> tuple[int, str]:
    """worker-10 comes after worker-9."""
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdecimal() else 0, name)
