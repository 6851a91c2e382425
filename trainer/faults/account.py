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
    if counts := Counter(r.kind for r in records if r.fired and not r.is_listed):
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        _say(console, f"random faults fired: {kinds}")
    warn(console, records, faulted.plan)


def warn(console: Console, records: Sequence[FaultRecord], plan: Plan, run: str = "") -> None:
    """A line for each listed fault that did not fire, one for the random ones.

    Args:
        run: names it, where there are several.
    """
    where = f"warning: {run}: " if run else "warning: "
    for record in records:
        if record.is_listed and not record.fired:
            fault = f"fault {record.number} ({record.fault})"
            _say(console, f"{where}{fault} did not fire: {record.why}", "yellow")
    randoms = [record for record in records if not record.is_listed]
    if whys := Counter(record.why for record in randoms if not record.fired):
        told = ", ".join(f"{why} ({count:,})" for why, count in whys.most_common())
        count = f"{whys.total():,} of {len(randoms):,} random faults"
        _say(console, f"{where}{count} did not fire: {told}", "yellow")
    if plan.random is not None and not randoms:
        rate = f"{plan.random.per_minute:g} a minute"
        text = f"no random fault fired: {rate} are few for so short a training"
        _say(console, where + text, "yellow")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
