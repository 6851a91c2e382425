"""`everstep train`: configuration, run directory and display around `driver.train`."""

import os
import time
from pathlib import Path

from rich.console import Console

from trainer.config import Config, load_config
from trainer.display import Display, show_summary
from trainer.driver import train


def run_training(
    path: Path | None, overrides: list[str], out: Path | None, address: str | None
) -> None:
    """Train as the command line says; progress on standard error, the summary on output."""
    config = _with_address(load_config(path, overrides), address)
    directory = out or Path("runs") / time.strftime("%Y-%m-%d-%H%M%S")
    with Display(Console(stderr=True), config.training.epochs) as display:
        result = train(config, directory, [display])
    show_summary(Console(), result)


def _with_address(config: Config, address: str | None) -> Config:
    """Which Ray to join: the option, then the configuration, then RAY_ADDRESS."""
    chosen = address or config.cluster.address or os.environ.get("RAY_ADDRESS") or None
    return config.with_changes(cluster={"address": chosen})
