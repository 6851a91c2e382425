"""Which worker holds which shards, and who is trusted to compute them in time.

Pure: time comes in, changes come out. A worker that is late is suspected: others hold its
shards until it answers again, and each time it is late anew it waits twice as long.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from actors.messages import DRIVER, Assign
from actors.names import by_number
from actors.orders import Assigned, Envelope

Shards = tuple[int, ...]

_FORGIVEN_AFTER_S: Final = 2.0
_LONGEST_BENCH_S: Final = 64.0


def deal(shard_count: int, workers: Sequence[str]) -> dict[str, Shards]:
    """Contiguous runs of shards in the workers' order, sizes differing by at most one.

    Contiguous, because a run covers whole subtrees: fewer messages a step.
    """
    bounds = [i * shard_count // len(workers) for i in range(len(workers) + 1)]
    return {name: tuple(range(bounds[i], bounds[i + 1])) for i, name in enumerate(workers)}


def take_over(held: dict[str, Shards], shards: Shards) -> dict[str, Shards]:
    """Hand `shards` out in runs: to those with the fewest, who keep what they have."""
    gains = dict.fromkeys(held, 0)
    for _ in shards:
        gains[min(held, key=lambda name: len(held[name]) + gains[name])] += 1
    rest = iter(shards)
    return {name: tuple(sorted((*mine, *islice(rest, gains[name])))) for name, mine in held.items()}


class Suspicion(NamedTuple):
    """A worker was late, so often in a row; not to be trusted before `until_s`.

    Who then does well until `forgiven_s`, twice as long as it had to wait, begins anew.
    """

    times: int
    until_s: float
    forgiven_s: float


class Assignment:
    """Each method returns whose shards change, and to what."""

    def __init__(self, shard_count: int) -> None:
        self._shard_count = shard_count
        self._held: dict[str, Shards] = {}
        self._suspicions: dict[str, Suspicion] = {}  # kept a while after they are lifted
        self._suspects: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._held

    @property
    def workers(self) -> list[str]:
        """All of them, also the suspected."""
        return list(self._held)

    @property
    def suspects(self) -> frozenset[str]:
        """Those whose shards others hold, because they were late."""
        return frozenset(self._suspects)

    def add(self, name: str) -> dict[str, Shards]:
        """A worker came: all shards are dealt out anew, in contiguous runs."""
        self._held[name] = ()
        return self._deal(unassigned=name)

    def remove(self, name: str) -> dict[str, Shards]:
        """A worker is gone: its shards go to the others, who keep what they have."""
        shards = self._held.pop(name)
        self._suspicions.pop(name, None)
        self._suspects.discard(name)
        if not self._trusted() and self._held:
            self._suspects.clear()  # there is nobody else
            return self._deal()
        return self._move(shards)

    def late(self, shards: Shards, now_s: float) -> tuple[list[str], dict[str, Shards]]:
        """These shards are late: their holders, now suspected, and who computes them instead."""
        late = [name for name in self._trusted() if not set(self._held[name]).isdisjoint(shards)]
        if not late or len(late) == len(self._trusted()):
            return [], {}  # nobody else could do it sooner
        for name in late:
            self._suspicions[name] = self._suspicion(name, now_s)
        self._suspects.update(late)
        moved = tuple(sorted(shard for name in late for shard in self._held[name]))
        return late, {**self._set(dict.fromkeys(late, ())), **self._move(moved)}

    def answered(self, name: str, now_s: float) -> dict[str, Shards]:
        """A worker is heard: if it was suspected, and long enough, it gets its share again."""
        if name not in self._suspects or now_s < self._suspicions[name].until_s:
            return {}
        self._suspects.discard(name)
        return self._deal()

    def _suspicion(self, name: str, now_s: float) -> Suspicion:
        before = self._suspicions.get(name)
        if before is None or now_s > before.forgiven_s:
            return _suspicion(1, now_s, 0.0)  # once is chance: it may answer at once
        bench_s = min(2.0 ** (before.times - 1), _LONGEST_BENCH_S)
        return _suspicion(before.times + 1, now_s, bench_s)

    def _trusted(self) -> list[str]:
        return [name for name in self._held if name not in self._suspects]

    def _deal(self, unassigned: str | None = None) -> dict[str, Shards]:
        dealt = deal(self._shard_count, sorted(self._trusted(), key=by_number))
        return self._set(dealt, unassigned)

    def _move(self, shards: Shards) -> dict[str, Shards]:
        if not self._trusted():
            return {}
        return self._set(take_over({name: self._held[name] for name in self._trusted()}, shards))

    def _set(self, held: dict[str, Shards], unassigned: str | None = None) -> dict[str, Shards]:
        changed = {
            name: shards
            for name, shards in held.items()
            if name == unassigned or self._held[name] != shards
        }
        self._held.update(changed)
        return changed


def _suspicion(times: int, now_s: float, bench_s: float) -> Suspicion:
    until_s = now_s + bench_s
    return Suspicion(times, until_s, until_s + max(_FORGIVEN_AFTER_S, 2 * bench_s))


def told(changes: dict[str, Shards]) -> list[Envelope]:
    """The workers are told their shards, and the driver who has which."""
    envelopes: list[Envelope] = []
    for name, shards in changes.items():
        envelopes += [(name, Assign(shards)), (DRIVER, Assigned(name, shards))]
    return envelopes
