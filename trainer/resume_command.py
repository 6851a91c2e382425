"""`everstep resume`: display around `driver.resume`."""

import json
from pathlib import Path

from rich.console import Console

from trainer.display import Display, show_summary
from trainer.driver import resume


def run_resumption(directory: Path, overrides: list[str], address: str | None) -> None:
    """Go on as the command line says; progress on standard error, the summary on output."""
    if address:
        # JSON's quotes are YAML's: an address is text, whatever it looks like.
        overrides = [*overrides, f"cluster.address={json.dumps(address)}"]
    with Display(Console(stderr=True)) as display:
        result = resume(directory, overrides, [display])
    show_summary(Console(), result)
