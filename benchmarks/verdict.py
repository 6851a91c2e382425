"""What the turns of a comparison come to: medians, ratios, targets, and whether all did the same.

Pure functions of the runs, which are plain values out of compare.json. Next: `compare_table.py`
and `compare_picture.py`, which show them.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from benchmarks.contestants import LIMIT, LOCAL, OURS

Run: TypeAlias = dict[str, Any]  # a `turn.Row` as JSON, with contestant and repetition

_SAME_LOSS: Final = 1e-3  # relative; float32 in another order differs by less than 1e-5


@dataclass(frozen=True, slots=True)
class Median:
    """What one contestant came to in one case, over its repetitions."""

    step_s: float
    least_s: float
    most_s: float
    start_s: float
    repetitions: int
    steps: int
    digest: str | None


Medians: TypeAlias = dict[tuple[str, str], Median]  # by (contestant, case)


class Target(NamedTuple):
    """`ours` has to be so many times faster than `theirs`."""

    case: str
    ours: str
    theirs: str
    least: float


# The last of large is the share of the limit: the limit's time by ours.
TARGETS: Final = (
    Target("small", OURS, "torch-ddp", 4.0),
    Target("small", OURS, "ray-calls", 6.0),
    Target("middle", OURS, "torch-ddp", 3.0),
    Target("large", OURS, "torch-ddp", 1.15),
    Target("large", OURS, LIMIT, 0.75),
    Target("small", LOCAL, "per-sample", 10.0),
    Target("small", LOCAL, "torch-1", 6.0),
    Target("middle", LOCAL, "torch-1", 1.0),
    Target("large", LOCAL, "torch-1", 1.0),
)


class Judged(NamedTuple):
    """A target and what was reached."""

    target: Target
    ratio: float

    @property
    def reached(self) -> bool:
        """Whether it is enough."""
        return self.ratio >= self.target.least


def medians(runs: Iterable[Run]) -> Medians:
    """The median over the repetitions, for each contestant and case, in the order of the runs."""
    grouped: defaultdict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        grouped[run["contestant"], run["case"]].append(run)
    return {key: _median(group) for key, group in grouped.items()}


def _median(runs: Sequence[Run]) -> Median:
    steps_s = [run["step_s"] for run in runs]
    return Median(
        statistics.median(steps_s),
        min(steps_s),
        max(steps_s),
        statistics.median(run["start_s"] for run in runs),
        len(runs),
        runs[0]["steps"],
        runs[0]["more"].get("digest"),
    )


def ratio(found: Medians, case: str, ours: str, theirs: str) -> float | None:
    """How many times their step takes as long as ours; None: one of both is missing."""
    if (ours, case) not in found or (theirs, case) not in found:
        return None
    return found[theirs, case].step_s / found[ours, case].step_s


def judged(found: Medians) -> list[Judged]:
    """The targets that the runs can be held against."""
    ratios = [(target, ratio(found, *target[:3])) for target in TARGETS]
    return [Judged(target, value) for target, value in ratios if value is not None]


def square_rate(runs: Iterable[Run], case: str) -> tuple[float, float] | None:
    """The second limit: both cores' GFLOP/s in large square products, and a step's time at it.

    Returns:
        The medians (gflops, step_s); None: not measured.
    """
    limits = [run["more"] for run in runs if (run["contestant"], run["case"]) == (LIMIT, case)]
    if not limits:
        return None
    return (
        statistics.median(more["square_gflops"] for more in limits),
        statistics.median(more["step_s_at_square_rate"] for more in limits),
    )


def complaints(runs: Sequence[Run]) -> list[str]:
    """What must not be: weights that depend on the workers, or somebody who did other work."""
    found = []
    for case in dict.fromkeys(run["case"] for run in runs):
        own = [run for run in runs if run["case"] == case]
        found += [*_other_digests(case, own), *_other_losses(case, own)]
    return found


def _other_digests(case: str, runs: Sequence[Run]) -> Iterable[str]:
    """Of the same shards, whatever the workers, the cluster and the repetition."""
    by_shards: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for run in runs:
        if digest := run["more"].get("digest"):
            by_shards[run["more"]["shards"]].setdefault(digest, run["contestant"])
    for shards, digests in by_shards.items():
        if len(digests) > 1:
            who = ", ".join(f"{name} {digest[:16]}" for digest, name in digests.items())
            yield f"{case}: the final weights of {shards} shards are not one value: {who}"


def _other_losses(case: str, runs: Sequence[Run]) -> Iterable[str]:
    """Same rows, same order, same steps: the same test loss, but for rounding."""
    same_rows = [run for run in runs if run["loss"] is not None and run["more"].get("shards") != 1]
    first: dict[int, Run] = {}
    told = set()
    for run in same_rows:
        one = first.setdefault(run["steps"], run)
        off = abs(run["loss"] - one["loss"]) > _SAME_LOSS * abs(one["loss"])
        if off and run["contestant"] not in told:
            told.add(run["contestant"])
            yield (
                f"{case}: {run['contestant']} ends with a test loss of {run['loss']:.6g},"
                f" {one['contestant']} with {one['loss']:.6g}: not the same work"
            )
