"""When training steps finished: a log that survives SIGKILL, and what it says about a kill.

Each training process appends one line per attempted step to a file of its own, in one `write`,
so that a kill leaves whole lines; `time.monotonic` is one clock for all processes of a Linux
host. The functions below the log are pure: attempts or times in, numbers out. Nothing here
starts, kills or waits for a process; that is `peers.kills`.
"""

import json
import math
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

_SUFFIX = ".steps"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One worker's part in one step, over.

    Attributes:
        time_s: `time.monotonic()` when it was over.
        worker: the rank, or replica, that made it; a restarted worker keeps its number.
        pid: of the process that made it.
        step: the training's step, the same number for all workers that share it.
        batch: which of the worker's batches it used; the step, where batches follow the step.
        applied: whether that batch went into the weights.
    """

    time_s: float
    worker: int
    pid: int
    step: int
    batch: int
    applied: bool = True


class StepLog:
    """The attempts of one process, appended to ``folder``."""

    def __init__(self, folder: Path, worker: int) -> None:
        self._worker, self._pid = worker, os.getpid()
        path = folder / f"{worker}-{self._pid}{_SUFFIX}"
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, step: int, batch: int, applied: bool = True) -> None:
        """Write down that an attempt is over, now."""
        attempt = Attempt(time.monotonic(), self._worker, self._pid, step, batch, applied)
        self._file.write(json.dumps(asdict(attempt)).encode() + b"\n")


def read_attempts(folder: Path) -> list[Attempt]:
    """All attempts that any process wrote to ``folder``, in the order of time."""
    attempts = []
    for path in folder.glob(f"*{_SUFFIX}"):
        whole_lines = path.read_bytes().split(b"\n")[:-1]
        attempts += [Attempt(**json.loads(line)) for line in whole_lines]
    return sorted(attempts, key=lambda attempt: attempt.time_s)


def finish_times(attempts: Iterable[Attempt]) -> list[float]:
    """When the training, by any worker, finished a step: ascending, in seconds."""
    return sorted(attempt.time_s for attempt in attempts if attempt.applied)


def longest_gap(times_s: Iterable[float], kill_s: float, within_s: float = 30.0) -> float:
    """The longest time without a finished step around a kill, in seconds.

    Of all gaps between consecutive finished steps, those count that end after the kill and
    start no later than ``within_s`` after it: the gap that contains the kill, and later ones
    that the recovery brings (a replacement that joins). To keep the next kill's gap out, pass
    only the times before the next kill.

    Args:
        times_s: when the whole training, by any worker, finished a step; in any order.
        kill_s: when the kill was sent, on the same clock.
        within_s: how long after the kill a gap may start and still be the kill's doing.

    Raises:
        ValueError: when no step was finished before the kill, or none after it: then the gap
            has no beginning or no end.
    """
    times = sorted(times_s)
    if not times or times[0] > kill_s or times[-1] <= kill_s:
        raise ValueError(
            f"kill at {kill_s:g} s: of {len(times)} finished steps none is before it, or none after"
        )
    return max(
        end - start for start, end in pairwise(times) if end > kill_s and start <= kill_s + within_s
    )


def repeated_steps(attempts: Collection[Attempt], kill_s: float, until_s: float = math.inf) -> int:
    """How many distinct steps a worker applied before the kill and again after it.

    Args:
        attempts: in any order.
        kill_s: when the kill was sent.
        until_s: the next kill; what is done again after it is that kill's doing.
    """
    done = {(a.worker, a.step) for a in attempts if a.applied and a.time_s <= kill_s}
    again = {(a.worker, a.step) for a in attempts if a.applied and kill_s < a.time_s <= until_s}
    return len({step for _, step in done & again})


def lost_batches(attempts: Iterable[Attempt]) -> frozenset[tuple[int, int]]:
    """The (worker, batch) that never reached the weights though the worker went on to later ones.

    A batch between a worker's first and last one that no attempt names counts as lost too.
    """
    applied: dict[int, set[int]] = {}
    used: dict[int, set[int]] = {}
    for attempt in attempts:
        used.setdefault(attempt.worker, set()).add(attempt.batch)
        if attempt.applied:
            applied.setdefault(attempt.worker, set()).add(attempt.batch)
    return frozenset(
        (worker, batch)
        for worker, batches in used.items()
        for batch in range(min(batches), max(batches))
        if batch not in applied.get(worker, set())
    )


def short_steps(
    attempts: Collection[Attempt], kill_s: float, worker_count: int, until_s: float = math.inf
) -> int:
    """How many steps finished after the kill without a batch of every worker.

    The last step that the attempts know may still be under way and does not count.
    """
    last = max((attempt.step for attempt in attempts), default=0)
    who: dict[int, set[int]] = {}
    for attempt in attempts:
        if attempt.applied and kill_s < attempt.time_s <= until_s and attempt.step < last:
            who.setdefault(attempt.step, set()).add(attempt.worker)
    return sum(len(workers) < worker_count for workers in who.values())
