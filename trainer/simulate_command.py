"""`everstep simulate`: a configuration's first steps under thousands of seeded adversaries."""

import shlex
import time
from collections import Counter
from pathlib import Path
from textwrap import wrap
from typing import Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from actors.cluster import one_blas_thread
from actors.errors import ClusterError
from actors.simulation import Simulation
from trainer.config import Config, load_config
from trainer.datasets import load_dataset
from trainer.job import build_job, build_network

_EPOCHS: Final = 3
_STEPS_PER_EPOCH: Final = 3
_SHOWN: Final = 5
_WIDTH: Final = 80 - len("everstep: ")


class Tally(NamedTuple):
    """What many schedules came to."""

    schedules: int
    harm: Counter[str]
    failures: dict[int, str]  # why, by seed
    seconds: float


def run_simulation(
    path: Path | None,
    overrides: list[str],
    schedules: int,
    seed: int,
    workers: int,
    replay: bool,
) -> None:
    """Run the schedules `seed`, `seed` + 1, ...; or show every message of one.

    Raises:
        ClusterError: some schedule did not end with the undisturbed bytes.
    """
    config = load_config(path, overrides)
    console = Console()
    with one_blas_thread:
        simulation = _simulation(config, min(workers, config.training.shards))
        if replay:
            _replay(console, simulation, seed)
            return
        tally = _run(simulation, range(seed, seed + schedules))
    _show(console, tally, simulation, config.training.local_steps)
    if tally.failures:
        raise _failed(tally, path, overrides, workers)


def _simulation(config: Config, workers: int) -> Simulation:
    dataset = load_dataset(config)
    job = build_job(config, build_network(config), dataset)
    return Simulation(job, _EPOCHS, _STEPS_PER_EPOCH, workers)


def _replay(console: Console, simulation: Simulation, seed: int) -> None:
    def show(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False, markup=False)

    outcome = simulation.run(seed, show)
    show(f"seed {seed}: the undisturbed bytes after {outcome.done.step} steps")


def _run(simulation: Simulation, seeds: range) -> Tally:
    harm: Counter[str] = Counter()
    failures: dict[int, str] = {}
    began_s = time.monotonic()
    columns = (TextColumn("schedules"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for seed in progress.track(seeds):
            try:
                harm += simulation.run(seed).harm
            except ClusterError as error:
                failures[seed] = str(error)
    return Tally(len(seeds), harm, failures, time.monotonic() - began_s)


def _show(console: Console, tally: Tally, simulation: Simulation, local_steps: int) -> None:
    good = tally.schedules - len(tally.failures)
    steps = simulation.epochs * simulation.steps_per_epoch
    each = f" of up to {local_steps:,} optimizer steps of each shard" if local_steps > 1 else ""
    console.print(
        f"{good:,} of {tally.schedules:,} schedules ended with the undisturbed bytes"
        f" ({steps} steps{each}, {len(simulation.job.shards)} shards, up to"
        f" {simulation.worker_count} workers, {tally.seconds:.1f} s)",
        soft_wrap=True,
        highlight=False,
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("fault")
    table.add_column("fired", justify="right")
    for kind, count in sorted(tally.harm.items()):
        table.add_row(kind, f"{count:,}")
    console.print(table)


def _failed(tally: Tally, path: Path | None, overrides: list[str], workers: int) -> ClusterError:
    """All seeds that failed, the first ones with the command that shows it message by message."""
    settings = [part for override in overrides for part in ("--set", override)]
    config = [str(path)] if path else []
    lines = []
    for seed, why in [*tally.failures.items()][:_SHOWN]:
        command = ["everstep", "simulate", *config, *settings, "--workers", str(workers)]
        replay = shlex.join([*command, "--seed", str(seed), "--replay"])
        lines += [why.splitlines()[0], f"  see it again: {replay}"]
    lines += wrap(f"failing seeds: {', '.join(map(str, tally.failures))}", _WIDTH)
    count = len(tally.failures)
    return ClusterError("\n".join([f"{count:,} of {tally.schedules:,} schedules failed", *lines]))
