"""What a person is told of a plan's faults after a run: those that did not happen."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from trainer.faults.log import FaultRecord, read_faults
from trainer.faults.plan import Plan


def warn_of_unfired(console: Console, folder: Path, plan: Plan | None) -> None:
    """A line for each fault of the plan that did not fire; none without a plan."""
    if plan is not None:
        warn(console, [record for record in read_faults(folder) if not record.fired])


def warn(console: Console, unfired: list[FaultRecord], run: str = "") -> None:
    """A line for each; `run` names the run, where there are several."""
    where = f"{run}: " if run else ""
    for record in unfired:
        text = f"warning: {where}fault {record.number} ({record.fault}) did not fire: {record.why}"
        console.print(Text(text, style="yellow"), soft_wrap=True)
