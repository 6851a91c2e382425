"""`everstep resume`: display around `driver.resume`."""

import json
from pathlib import Path

from rich.console import Console

from trainer.display import Display, show_summary
from trainer.driver import resume
from trainer.faults.plan import load_plan
from trainer.faults.warnings import warn_of_unfired


def run_resumption(
    directory: Path, overrides: list[str], address: str | None, faults: Path | None = None
) -> None:
    """Go on as the command line says; progress on standard error, the summary on output."""
    if address:
        # JSON's quotes are YAML's: an address is text, whatever it looks like.
        overrides = [*overrides, f"cluster.address={json.dumps(address)}"]
    plan = load_plan(faults) if faults else None
    with Display(Console(stderr=True)) as display:
        result = resume(directory, overrides, [display], plan)
    warn_of_unfired(Console(stderr=True), directory, plan)
    show_summary(Console(), result)
