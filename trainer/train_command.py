"""`everstep train`: configuration, run directory and display around `driver.train`."""

import time
from itertools import chain, count
from pathlib import Path

from rich.console import Console

from trainer.config import load_config
from trainer.display import Display, show_summary
from trainer.driver import train
from trainer.faults.plan import load_plan
from trainer.faults.warnings import warn_of_unfired


def run_training(
    path: Path | None,
    overrides: list[str],
    out: Path | None,
    address: str | None,
    faults: Path | None = None,
) -> None:
    """Train as the command line says; progress on standard error, the summary on output."""
    config = load_config(path, overrides)
    if address:
        config = config.with_changes(cluster={"address": address})
    plan = load_plan(faults) if faults else None
    out = out or _new_directory()
    with Display(Console(stderr=True)) as display:
        result = train(config, out, [display], plan)
    warn_of_unfired(Console(stderr=True), out, plan)
    show_summary(Console(), result)


def _new_directory() -> Path:
    """runs/DATE-TIME, with a number behind it when there is one of this second already."""
    name = time.strftime("%Y-%m-%d-%H%M%S")
    tails = chain([""], (f"-{number}" for number in count(2)))
    candidates = (Path("runs") / f"{name}{tail}" for tail in tails)
    return next(path for path in candidates if not path.exists())
