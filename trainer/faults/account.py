"""What a person is told of a plan's faults after a run: which fired, and which did not."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from trainer.faults.log import FaultRecord
from trainer.faults.plan import Plan
from trainer.reports import Faulted


def tell_of_faults(console: Console, faulted: Faulted) -> None:
    """A line for each listed fault, one for the random ones."""
    records = faulted.records
    for record in records:
        if record.fired and record.is_listed:
            names = ", ".join(hit.name for hit in record.hits)
            _say(
                console,
                f"fault {record.number} ({record.fault}) fired after step {record.step}: {names}",
            )
    if counts := Counter(record.kind for record in records if not record.is_listed):
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        _say(console, f"random faults fired: {kinds}")
    warn(console, records, faulted.plan)


def warn(console: Console, records: Sequence[FaultRecord], plan: Plan, run: str = "") -> None:
    """A line for each fault that did not fire; `run` names the run, where there are several."""
    where = f"warning: {run}: " if run else "warning: "
    for record in records:
        if not record.fired:
            _say(
                console,
                f"{where}fault {record.number} ({record.fault}) did not fire: {record.why}",
                "yellow",
            )
    if plan.random is not None and all(record.is_listed for record in records):
        rate = f"{plan.random.per_minute:g} a minute"
        _say(
            console,
            f"{where}no random fault fired: {rate} are few for so short a training",
            "yellow",
        )


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
