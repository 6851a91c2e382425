"""Local steps against the sync mode: what they cost in accuracy, what they gain in speed.

    python -m benchmarks.local_steps [--seeds 10] [--repetitions 7] [--out FILE] [PART ...]

Parts: convergence (the digits and the default configuration, in one process: only
`training.local_steps` differs, the samples and their order are the same) and speed
(784-30-10 on random rows in memory, two workers on Ray against one core in one process, in
turn). Prints a table for each; the JSON holds every single number.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trainer import Config, load_config, train
from trainer.reports import EpochReport, Report

_PARTS: Final = ("convergence", "speed")
_LOCAL_STEPS: Final = (4, 8, 32)
_ROWS: Final = 40_000
_TEST_ROWS: Final = 500
_EPOCHS: Final = 6  # the first is not counted: the actors fetch their rows in it


class Case(NamedTuple):
    """A way to train the same network on the same rows."""

    name: str
    kind: str
    shards: int  # one for each core
    batch_size: int
    local_steps: int


_BASE: Final = Case("1 core in one process", "local", 1, 10, 1)
_CASES: Final = (
    _BASE,
    Case("2 workers on Ray, sync, 10 rows each", "ray", 2, 20, 1),
    Case("2 workers on Ray, 32 local steps, 10 rows each", "ray", 2, 20, 32),
    Case("2 workers on Ray, 32 local steps, 10 rows in all", "ray", 2, 10, 32),
)


def main() -> None:
    """Measure the parts and show what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(_PARTS)}")
    parser.add_argument("--seeds", type=int, default=10, help="convergence: 0, 1, ...")
    for name, where in (("--set", "every"), ("--local-set", "the local steps', not sync's,")):
        help_ = f"convergence: laid over {where} configuration, as section.key=value"
        parser.add_argument(name, action="append", default=[], metavar="SETTING", help=help_)
    parser.add_argument("--repetitions", type=int, default=7, help="speed: of each case")
    parser.add_argument("--out", type=Path, default=Path("local_steps.json"))
    options = parser.parse_args()
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    parts, console = options.parts or _PARTS, Console()
    measured: dict[str, Any] = {"machine": _machine()}
    if "convergence" in parts:
        measured["convergence"] = convergence(options, console)
        console.print(_convergence_table(measured["convergence"]))
    if "speed" in parts:
        measured["speed"] = speed(options.repetitions, console)
        console.print(_speed_table(measured["speed"]))
    options.out.write_text(json.dumps(measured, indent=2) + "\n")
    console.print(f"every number: {options.out}", highlight=False)


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


# --- Convergence


def convergence(options: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """The test accuracy for each seed: sync first, then each number of local steps."""
    rows: list[dict[str, Any]] = []
    for local_steps in (1, *_LOCAL_STEPS):
        console.print(f"local_steps {local_steps} ...", highlight=False)
        laid = [*options.set, *([] if local_steps == 1 else options.local_set)]
        own = ["cluster.kind=local", f"training.local_steps={local_steps}"]
        results = [
            train(load_config(None, [*laid, *own, f"training.seed={seed}"])).summary
            for seed in range(options.seeds)
        ]
        rows.append(
            {
                "local_steps": local_steps,
                "set": laid,
                "steps": results[0].steps,
                "samples": results[0].samples_applied,
                "accuracy": [result.accuracy for result in results],
                "loss": [result.loss for result in results],
                "digest": [result.digest for result in results],
            }
        )
    return rows


def _convergence_table(rows: Sequence[dict[str, Any]]) -> Table:
    sync = rows[0]["accuracy"]
    table = _table(
        "local steps", "rounds", "accuracy %", "std", "min..max", "points to sync", "std"
    )
    for row in rows:
        percent = [100 * value for value in row["accuracy"]]
        points = [100 * (ours - its) for ours, its in zip(row["accuracy"], sync, strict=True)]
        table.add_row(
            str(row["local_steps"]),
            f"{row['steps']:,}",
            f"{statistics.mean(percent):.2f}",
            f"{_spread(percent):.2f}",
            f"{min(percent):.2f}..{max(percent):.2f}",
            f"{round(statistics.mean(points), 2) + 0.0:+.2f}",  # no -0.00
            f"{_spread(points):.2f}",
        )
    return table


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


# --- Speed


def speed(repetitions: int, console: Console) -> list[dict[str, Any]]:
    """Samples a second of each case, in turn, so that a busy moment meets all of them."""
    rates: dict[str, list[float]] = {case.name: [] for case in _CASES}
    digests: dict[str, set[str]] = {case.name: set() for case in _CASES}
    with tempfile.TemporaryDirectory() as folder:
        data = _random_rows(Path(folder) / "rows.npz")
        for case in _CASES:  # what the digest has to be
            digests[case.name].add(train(_configured(case._replace(kind="local"), data)).digest)
        for repetition in range(repetitions):
            console.print(f"repetition {repetition + 1} of {repetitions} ...", highlight=False)
            for case in _CASES:
                rate, digest = _one_run(_configured(case, data))
                rates[case.name].append(rate)
                digests[case.name].add(digest)
    return [
        {
            **case._asdict(),
            "samples_per_second": rates[case.name],
            "digest": sorted(digests[case.name]),
            "same_bytes": len(digests[case.name]) == 1,
        }
        for case in _CASES
    ]


def _random_rows(path: Path) -> dict[str, Any]:
    """Bytes, as MNIST's are, and labels; the configuration's `data` section for them."""
    generator = np.random.default_rng(0)
    np.savez(
        path,
        x=generator.integers(0, 256, (_ROWS, 784), np.uint8),
        y=np.arange(_ROWS) % 10,
        test_x=generator.integers(0, 256, (_TEST_ROWS, 784), np.uint8),
        test_y=np.arange(_TEST_ROWS) % 10,
    )
    keys = {"test_features": "test_x", "test_labels": "test_y", "statistics": "table"}
    return {"source": "npz", "path": str(path), **keys}


def _configured(case: Case, data: dict[str, Any]) -> Config:
    return Config(
        data=data,
        network={"sizes": (784, 30, 10)},
        training={
            "epochs": _EPOCHS,
            "shards": case.shards,
            "batch_size": case.batch_size,
            "local_steps": case.local_steps,
        },
        cluster={"kind": case.kind, "workers": case.shards},
    )


def _one_run(config: Config) -> tuple[float, str]:
    """The median rate of the epochs after the first, and the digest."""
    rates: list[float] = []

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport):
            rates.append(report.samples_per_second)

    digest = train(config, watchers=[watch]).digest
    return statistics.median(rates[1:]), digest


def _speed_table(rows: Sequence[dict[str, Any]]) -> Table:
    base = statistics.median(rows[0]["samples_per_second"])
    table = _table("", "samples/s", "min..max", "times 1 core", "bytes")
    for row in rows:
        rates = row["samples_per_second"]
        table.add_row(
            row["name"],
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f}..{max(rates):,.0f}",
            f"{statistics.median(rates) / base:.2f}",
            "same" if row["same_bytes"] else "OTHER",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column(columns[0])
    for name in columns[1:]:
        table.add_column(name, justify="right")
    return table


if __name__ == "__main__":
    main()
