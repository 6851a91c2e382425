"""What a person sees of a training: a live line, the events worth knowing, a summary.

In a terminal the line stays in place; elsewhere each epoch gets a line of its own.
"""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

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

_BAR_WIDTHS: Final = (4, 20)
_WORTH_TELLING_S: Final = 0.5


class Display:
    """A watcher that shows a training on a console, for as long as the `with` block lasts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epochs = 0
        self._started: Started | None = None
        self._last: EpochReport | None = None
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
            case EpochReport():
                self._last = report
                self._show(report)
                if not self._console.is_terminal:
                    self._console.print(_line(report, self._epochs, report), soft_wrap=True)
            case InEpoch():
                self._show(report)
            case Event():
                if text := _event_line(report):
                    self._say(f"step {report.step}: {text}")
            case CheckpointFailed(reason, _, again):
                if not again:
                    self._say(f"{reason}; training goes on")
            case Notice(text):
                self._say(text)
            case _:
                pass

    def _say(self, text: str) -> None:
        self._console.print(Text(text, style="yellow"), soft_wrap=True)

    def _show(self, report: EpochReport | InEpoch) -> None:
        if not self._console.is_terminal:
            return
        line = _line(report, self._epochs, self._last)
        room = self._console.width - len(line) - 2
        row = Table.grid(padding=(0, 1))
        if self._started and room >= _BAR_WIDTHS[0]:
            steps = self._epochs * self._started.steps_per_epoch
            row.add_row(ProgressBar(steps, report.step, min(room, _BAR_WIDTHS[1])), line)
        else:
            row.add_row(line)
        self._live.update(row)


def _line(report: EpochReport | InEpoch, epochs: int, last: EpochReport | None) -> Text:
    accuracy = f"accuracy {last.accuracy:.3f}  " if last else ""
    workers = _counted(report.workers, "worker")
    return Text(
        f"epoch {report.epoch:>{len(str(epochs))}}/{epochs}  loss {report.loss:.4f}  "
        f"{accuracy}{report.samples_per_second:,.0f} samples/s  {workers}",
        no_wrap=True,
        overflow="ellipsis",
    )


def _event_line(event: Event) -> str | None:
    """What a person should know at once of an event; None: it can wait for events.jsonl."""
    name, details = event.worker, event.details
    match event.event:
        case "died":
            return f"{name} died: {str(details['reason']).splitlines()[-1]}"
        case "missing":
            return f"{name} {details['reason']}; it may join later"
        case "restarting":
            count, limit, period_s = (
                details[key] for key in ("restart_count", "max_restarts", "period_s")
            )
            return f"{name} starts in its place: restart {count} of {limit} in {period_s:g} s"
        case "suspected":
            return f"{name} is late; others compute its part too"
        case "stalled" if details["seconds"] >= _WORTH_TELLING_S:
            return f"no step was finished for {details['seconds']:.1f} s"
        case "repeated":
            return f"{_counted(details['step_count'], 'step')} run again"
        case "refused":
            return f"{_counted(details['count'], 'connection')} refused: {details['reason']}"
        case "resumed":
            return f"going on from {details['file'] or 'the beginning'}"
        case _:
            return None


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def show_summary(console: Console, result: Result) -> None:
    """What came out, in a few lines that fit 80 columns."""
    summary = result.summary
    again = f", {summary.repeated_steps:,} run again" if summary.repeated_steps else ""
    resumed = f", resumed at step {summary.resumed_at_step:,}" if summary.resumes else ""
    for label, text in (
        ("accuracy", f"{summary.accuracy:.4f} on the test set"),
        ("loss", f"{summary.loss:.4f} in training, {summary.test_loss:.4f} on the test set"),
        ("steps", f"{summary.steps:,} in {_counted(summary.epochs, 'epoch')}{again}{resumed}"),
        ("samples", f"{summary.samples_applied:,}{_rate(summary)}"),
        ("workers", f"{summary.workers}, {_troubles(summary)}"),
        ("time", f"{summary.train_s:.1f} s of training, {summary.wall_s:.1f} s in all"),
        ("digest", summary.digest),
        ("run", str(result.directory) if result.directory else "not kept"),
    ):
        console.print(Text(f"{label:<10}", style="bold").append(text, style="not bold"))


def _rate(summary: Summary) -> str:
    """Of the steps that this process ran; every step has as many samples."""
    share = (summary.steps - summary.resumed_at_step) / summary.steps
    if summary.train_s <= 0:
        return ""
    return f", {summary.samples_applied * share / summary.train_s:,.0f} a second"


def _troubles(summary: Summary) -> str:
    if not summary.deaths:
        return "none died"
    restarts = f", {_counted(summary.restarts, 'restart')}" if summary.restarts else ""
    return f"{summary.deaths} died{restarts}"
