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

from trainer.reports import EpochReport, Event, InEpoch, Report, Started
from trainer.result import Result

_BAR_WIDTHS: Final = (4, 20)


class Display:
    """A watcher that shows a training on a console, for as long as the `with` block lasts."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._console = console
        self._epochs = epochs
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
                self._started = report
            case EpochReport():
                self._last = report
                self._show(report)
                if not self._console.is_terminal:
                    self._console.print(_line(report, self._epochs, report), soft_wrap=True)
            case InEpoch():
                self._show(report)
            case Event(event="died"):
                reason = str(report.details["reason"]).splitlines()[-1]
                self._console.print(
                    Text(f"step {report.step}: {report.worker} died: {reason}", style="yellow"),
                    soft_wrap=True,
                )
            case _:
                pass

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


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def show_summary(console: Console, result: Result) -> None:
    """What came out, in a few lines that fit 80 columns."""
    summary = result.summary
    deaths = f"{summary.deaths} died" if summary.deaths else "none died"
    rate = summary.samples_applied / summary.train_s
    for label, text in (
        ("accuracy", f"{summary.accuracy:.4f} on the test set"),
        ("loss", f"{summary.loss:.4f} in training, {summary.test_loss:.4f} on the test set"),
        ("steps", f"{summary.steps:,} in {_counted(summary.epochs, 'epoch')}"),
        ("samples", f"{summary.samples_applied:,}, {rate:,.0f} a second"),
        ("workers", f"{summary.workers}, {deaths}"),
        ("time", f"{summary.train_s:.1f} s of training, {summary.wall_s:.1f} s in all"),
        ("digest", summary.digest),
        ("run", str(result.directory) if result.directory else "not kept"),
    ):
        console.print(Text(f"{label:<10}", style="bold").append(text, style="not bold"))
