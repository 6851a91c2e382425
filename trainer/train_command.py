"""`everstep train`: configuration, run directory and screen around `driver.train`."""

import time
from itertools import chain, count
from pathlib import Path

from trainer.cluster_address import check_option
from trainer.config import load_config
from trainer.driver import train
from trainer.faults.plan import load_plan
from trainer.screen import show_training
from trainer.storage.place import place_of


def run_training(
    path: Path | None,
    overrides: list[str],
    out: str | None,
    address: str | None,
    faults: Path | None = None,
    profile: bool = False,
) -> None:
    """Train as the command line says; progress on standard error, the summary on output."""
    check_option(address)
    config = load_config(path, overrides)
    if address is not None:
        config = config.with_changes(cluster={"address": address})
    plan = load_plan(faults) if faults else None
    place = place_of(out, "--out") if out is not None else _new_directory()
    show_training(lambda watchers: train(config, place, watchers, plan, profile))


def _new_directory() -> Path:
    """runs/DATE-TIME, with a number behind it when there is one of this second already."""
    name = time.strftime("%Y-%m-%d-%H%M%S")
    tails = chain([""], (f"-{number}" for number in count(2)))
    candidates = (Path("runs") / f"{name}{tail}" for tail in tails)
    return next(path for path in candidates if not path.exists())
