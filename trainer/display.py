"""What a person sees of a training: a live line, the events worth knowing, a summary.

In a terminal the line stays in place; elsewhere each epoch gets a line of its own, and so do the
nodes when they are others than before.
"""

import sys
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actors.names import slot_of
from trainer.reports import (
    CheckpointFailed,
    EpochReport,
    Event,
    InEpoch,
    Notice,
    Report,
    Started,
)
from trainer.result import Result, Summary
from trainer.roster import Roster
from trainer.words import counted, last_line, listed

_BAR_WIDTHS: Final = (4, 20)
_GAP: Final = 1  # between bar and line
_WORTH_TELLING_S: Final = 0.5
_LABEL_WIDTH: Final = 10


class Display:
    """A watcher that shows a training on a console, for as long as the `with` block lasts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epochs = 0
        self._started: Started | None = None
        self._last: EpochReport | None = None
        self._roster = Roster()
        self._nodes_told: set[str] = set()
        self._live = Live(Text("starting the actors ..."), console=console, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, report: Report) -> None:
        match report:
            case Started():
                self._started, self._epochs = report, report.epochs
                self._tell_nodes()
            case EpochReport():
                self._last = report
                self._show(report)
                if not self._console.is_terminal:
                    nodes = f", {counted(report.nodes, 'node')}" if report.nodes > 1 else ""
                    line = _line(report, self._epochs, report).append(nodes)
                    self._console.print(line, soft_wrap=True)
            case InEpoch():
                self._show(report)
            case Event():
                self._tell(report)
            case CheckpointFailed(reason, _, again):
                if not again:
                    self._say(f"{reason}; training goes on")
            case Notice(text):
                self._say(text)
            case _:
                pass

    def _tell(self, event: Event) -> None:
        where = self._where(event.worker)  # before it is known to be dead
        self._roster.read({"event": event.event, "worker": event.worker, **event.details})
        if text := _event_line(event, where or self._where(event.worker)):
            self._say(f"step {event.step}: {text}")

    def _where(self, name: str) -> str:
        """On one node nobody asks."""
        member = self._roster.living.get(name)
        return f" on {member.host}" if member and len(self._roster.nodes) > 1 else ""

    def _say(self, text: str) -> None:
        # A terminal's own wrapping breaks words; what goes elsewhere stays one line.
        whole = not self._console.is_terminal
        self._console.print(Text(text, style="yellow"), soft_wrap=whole)

    def _show(self, report: EpochReport | InEpoch) -> None:
        if not self._console.is_terminal:
            self._tell_nodes()
            return
        line = _line(report, self._epochs, self._last)
        room = self._console.width - len(line) - _GAP - len("^C")
        row = Table.grid(padding=(0, _GAP))
        if self._started and room >= _BAR_WIDTHS[0]:
            steps = self._epochs * self._started.steps_per_epoch
            row.add_row(ProgressBar(steps, report.step, min(room, _BAR_WIDTHS[1])), line)
        else:
            row.add_row(line)
        if len(self._roster.nodes) > 1:
            self._live.update(Group(row, self._nodes(self._console.width)))
        else:
            self._live.update(row)

    def _tell_nodes(self) -> None:
        """A line where there is no live one, when they have changed and are, or were, several."""
        there = {*self._roster.nodes}
        if self._console.is_terminal or max(len(there), len(self._nodes_told)) <= 1:
            return
        if there and there != self._nodes_told:
            self._nodes_told = there
            self._console.print(self._nodes(sys.maxsize), soft_wrap=True)

    def _nodes(self, width: int) -> Text:
        """Who is where."""
        there = self._roster.nodes.items()
        nodes = [f"{host} ({counted(len(names), 'actor')})" for host, names in there]
        return Text(f"on {listed(nodes, width - len('on '))}")


def _line(report: EpochReport | InEpoch, epochs: int, last: EpochReport | None) -> Text:
    accuracy = f"accuracy {last.accuracy:.3f}  " if last else ""
    line = (
        f"epoch {report.epoch:>{len(str(epochs))}}/{epochs}  loss {report.loss:.4f}  "
        f"{accuracy}{report.samples_per_second:,.0f} samples/s  {counted(report.workers, 'worker')}"
    )
    return Text(line, no_wrap=True, overflow="ellipsis")


def _event_line(event: Event, where: str = "") -> str | None:
    """What a person should know at once of an event; None: it can wait for events.jsonl.

    Args:
        where: the actor's node, if there are several.
    """
    name, details = event.worker, event.details
    match event.event:
        case "died":
            return f"{name}{where} died: {last_line(details['reason'])}"
        case "joined" if where and name != slot_of(name):
            return f"{name} takes its place{where}"
        case "missing":
            return f"{', '.join(details['workers'])} {details['reason']}; may join later"
        case "unplaced":
            return f"no place for {', '.join(details['workers'])}: {details['reason']}"
        case "unlike":
            return (
                f"{details['host']} rounds otherwise than {details['other_host']}, so the final"
                f" weights may be other bytes: {'; '.join(details['differences'])};"
                " see docs/determinism.md"
            )
        case "restarting":
            count, limit, period_s = (
                details[key] for key in ("restart_count", "max_restarts", "period_s")
            )
            restart = f"restart {count} of {limit} in {period_s:g} s"
            return f"{name} is asked for in its place: {restart}"
        case "suspected":
            return f"{name} is late; others compute its part too"
        case "stalled" if details["seconds"] >= _WORTH_TELLING_S:
            cause = f": {details['cause']}" if details.get("cause") else ""
            return f"no step was finished for {details['seconds']:.1f} s{cause}"
        case "repeated":
            return f"{counted(details['step_count'], 'step')} run again"
        case "refused":
            return f"{counted(details['count'], 'connection')} refused: {details['reason']}"
        case "resumed":
            if details["file"]:
                return "going on from its checkpoint"
            return "no checkpoint was kept, the training begins anew"
        case _:
            return None


def show_summary(console: Console, result: Result) -> None:
    """What came out, in a few lines that fit 80 columns."""
    summary = result.summary
    again = f", {summary.repeated_steps:,} run again" if summary.repeated_steps else ""
    resumed = f", resumed at step {summary.resumed_at_step:,}" if summary.resumes else ""
    rows = (
        ("accuracy", f"{summary.accuracy:.4f} on the test set"),
        ("loss", f"{summary.loss:.4f} in training, {summary.test_loss:.4f} on the test set"),
        ("steps", f"{summary.steps:,} in {counted(summary.epochs, 'epoch')}{again}{resumed}"),
        ("local", _local(summary)),
        ("samples", f"{summary.samples_applied:,}{_rate(summary)}"),
        ("workers", f"{summary.workers}, {_troubles(summary)}"),
        ("nodes", _nodes(summary, console.width - _LABEL_WIDTH)),
        ("start", f"{summary.start_s:.1f} s to the first step"),
        ("time", f"{summary.train_s:.1f} s of training, {summary.wall_s:.1f} s in all"),
        ("digest", summary.digest),
        ("run", str(result.directory) if result.directory else "not kept"),
    )
    for label, text in rows:
        if text:
            line = Text(f"{label:<{_LABEL_WIDTH}}", style="bold")
            console.print(line.append(text, style="not bold"))


def _local(summary: Summary) -> str:
    """What a step is, where it is more than one; else nothing."""
    if summary.local_steps == 1:
        return ""
    return f"up to {summary.local_steps:,} optimizer steps of each shard in a step"


def _rate(summary: Summary) -> str:
    """Of the samples that this process applied."""
    if summary.train_s <= 0:
        return ""
    sample_count = summary.samples_applied - summary.resumed_at_sample
    return f", {sample_count / summary.train_s:,.0f} a second"


def _nodes(summary: Summary, width: int) -> str:
    """Which ones, if they were several; as many as there is room for."""
    return listed(summary.nodes, width) if len(summary.nodes) > 1 else ""


def _troubles(summary: Summary) -> str:
    if not summary.deaths:
        return "none died"
    restarts = f", {counted(summary.restarts, 'restart')}" if summary.restarts else ""
    return f"{summary.deaths} died{restarts}"
