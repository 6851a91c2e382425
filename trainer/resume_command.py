"""`everstep resume`: screen around `driver.resume`."""

import json
from pathlib import Path

from trainer.cluster_address import check_option
from trainer.driver import resume
from trainer.faults.plan import load_plan
from trainer.screen import show_training


def run_resumption(
    directory: str,
    overrides: list[str],
    address: str | None,
    faults: Path | None = None,
    profile: bool = False,
) -> None:
    """Go on as the command line says; progress on standard error, the summary on output."""
    check_option(address)
    if address is not None:
        # JSON's quotes are YAML's: an address is text, whatever it looks like.
        overrides = [*overrides, f"cluster.address={json.dumps(address)}"]
    plan = load_plan(faults) if faults else None
    show_training(lambda watchers: resume(directory, overrides, watchers, plan, profile))
