"""What the promise costs: the step against the number of shards, at a fixed batch.

More shards are smaller matrix products and more additions of gradients. The real network,
on generated rows; in one process, and on Ray with two workers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from actors.cluster import Cluster, Job
from actors.local_cluster import LocalCluster
from benchmarks.private_ray import private_ray
from benchmarks.scaling.line_chart import Axis, draw_lines
from benchmarks.scaling.tables import Shown, milliseconds, table
from benchmarks.scaling.training import measure, ray_cluster
from trainer.config import Config
from trainer.datasets import Dataset, Scaler
from trainer.job import build_job, build_network

SHARDS: Final = (1, 2, 4, 8, 16, 32, 64)
_ROWS: Final = 8192
_CLASSES: Final = 10
_ROUNDS: Final = 3  # in one process, in turn
_WORKERS: Final = 2


class Case(NamedTuple):
    """A network and its batch."""

    sizes: tuple[int, ...]
    batch_size: int

    @property
    def name(self) -> str:
        """As the docs write it."""
        return f"{'-'.join(map(str, self.sizes))}, batch {self.batch_size}"


CASES: Final = (Case((784, 100, 10), 128), Case((784, 30, 10), 64))


def run(say: Callable[[str], None]) -> dict[str, Any]:
    """Each case with each number of shards; in one process several times, in turn."""
    seconds: dict[tuple[str, Case, int], list[float]] = {}
    for number in range(_ROUNDS):
        say(f"shards: in one process, round {number + 1} of {_ROUNDS}")
        for case, shards, job in _jobs(SHARDS):
            training = measure(job, 1, _local)
            seconds.setdefault(("local", case, shards), []).append(training.median_s)
    with private_ray(_WORKERS):
        for case, shards, job in _jobs(SHARDS[1:]):  # each worker wants a shard
            say(f"shards: {case.name}, {shards} shards, Ray with {_WORKERS} workers")
            training = measure(job, _WORKERS, ray_cluster(_WORKERS))
            seconds.setdefault(("ray", case, shards), []).append(training.median_s)
    return {
        "rows": [
            {"cluster": cluster, "case": case.name, "shards": shards, "steps_s": measured}
            for (cluster, case, shards), measured in seconds.items()
        ]
    }


def show(measured: dict[str, Any]) -> Sequence[Shown | str]:
    """A table for each case."""
    return [_table(case.name, measured["rows"]) for case in CASES]


def draw(measured: dict[str, Any]) -> str:
    """An SVG document: a line for each case and cluster."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in measured["rows"]:
        where = "one process" if row["cluster"] == "local" else "Ray"
        point = float(row["shards"]), float(np.median(row["steps_s"])) * 1e3
        lines.setdefault(f"{row['case'].partition(',')[0]}, {where}", []).append(point)
    every = [point for points in lines.values() for point in points]
    x = Axis.over("shards", 2, [shards for shards, _ in every])
    y = Axis.over("milliseconds a step", 10, [ms for _, ms in every])
    return draw_lines("A step against the number of shards, at a fixed batch", x, y, lines)


def _table(case: str, rows: Sequence[dict[str, Any]]) -> Shown:
    step_s = {
        (row["cluster"], row["shards"]): float(np.median(row["steps_s"]))
        for row in rows
        if row["case"] == case
    }
    best_s = {
        cluster: min(seconds for (where, _), seconds in step_s.items() if where == cluster)
        for cluster in ("local", "ray")
    }

    def cells(cluster: str, shards: int) -> tuple[str, str]:
        if (seconds := step_s.get((cluster, shards))) is None:
            return "-", "-"
        return milliseconds(seconds), f"{seconds / best_s[cluster]:.2f}x"

    return table(
        f"Shards: {case}",
        ("shards", "one process ms", "of best", f"Ray, {_WORKERS} workers ms", "of best"),
        ((str(n), *cells("local", n), *cells("ray", n)) for n in SHARDS),
        "the step's median; the final weights depend on the number of shards",
    )


def _local(job: Job) -> Cluster:
    return LocalCluster(job, 1)


def _jobs(shard_counts: Sequence[int]) -> Iterator[tuple[Case, int, Job]]:
    for case in CASES:
        for shards in shard_counts:
            config = Config(
                network={
                    "sizes": case.sizes,
                    "activation": "sigmoid",
                    "output": "softmax",
                    "loss": "cross_entropy",
                },
                training={"batch_size": case.batch_size, "shards": shards, "learning_rate": 0.1},
                cluster={"kind": "local", "workers": 1},
            )
            yield case, shards, build_job(config, build_network(config), _dataset(case.sizes[0]))


def _dataset(features: int) -> Dataset:
    """Rows of noise: what they are does not change what a step costs."""
    dice = np.random.default_rng(0)
    inputs = dice.random((_ROWS, features), np.float32)
    targets = np.eye(_CLASSES, dtype=np.float32)[dice.integers(0, _CLASSES, _ROWS)]
    scaler = Scaler(np.zeros(features), np.ones(features))
    names = tuple(range(_CLASSES))
    return Dataset(inputs, targets, inputs[:1], targets[:1], names, scaler, None)
