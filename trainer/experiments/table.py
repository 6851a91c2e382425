"""An experiment's runs as a table of 80 columns."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from trainer.experiments.record import RunRecord

_COLUMNS = (
    "digest\nequal",
    "deaths",
    "restarts",
    "steps\nrepeated",
    "p50\ns",
    "max\ns",
    "training\ns",
    "times",
)
_CAPTION = (
    "p50, max: seconds without progress; training: first step's start to last step's end; times:"
    " against the undisturbed run"
)


def as_table(undisturbed: RunRecord, runs: Sequence[RunRecord]) -> Table:
    """A row for each run; the first one is what the others are compared with."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=_CAPTION,
        caption_justify="left",
    )
    table.add_column("run", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for run in (undisturbed, *runs):
        table.add_row(*_cells(run, undisturbed))
    return table


def _cells(run: RunRecord, undisturbed: RunRecord) -> list[Text | str]:
    return [
        run.name,
        Text("") if run is undisturbed else _equal(run, undisturbed),
        f"{run.deaths:,}",
        f"{run.restarts:,}",
        f"{run.repeated_steps:,}",
        _seconds(run.median_stall_s),
        _seconds(run.longest_stall_s),
        f"{run.training_s:.1f}",
        f"{run.times(undisturbed):.2f}x",
    ]


def _equal(run: RunRecord, undisturbed: RunRecord) -> Text:
    if run.failure:
        return Text("failed", style="bold red")
    equal = run.digest == undisturbed.digest
    return Text("yes", style="green") if equal else Text("NO", style="bold red")


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"
