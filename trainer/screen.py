"""What the commands that train show a person, and where: `train` and `resume` look the same.

Progress goes to standard error, what came out to standard output. Next: `display.py`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from rich.console import Console

from trainer.display import Display, show_summary
from trainer.faults.account import tell_of_faults
from trainer.profile_table import show_profile
from trainer.reports import Faulted, Profiled, Report, Watcher
from trainer.result import Result

Kind = TypeVar("Kind", bound=Report)


class AtTheEnd(Generic[Kind]):
    """A watcher that shows a report of one kind when the `with` block is left, in whatever way."""

    def __init__(self, kind: type[Kind], show: Callable[[Kind], None]) -> None:
        """Of several reports the last one is shown."""
        self._kind, self._show = kind, show
        self._last: Kind | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._last is not None:
            self._show(self._last)

    def __call__(self, report: Report) -> None:
        if isinstance(report, self._kind):
            self._last = report


def show_training(run: Callable[[Sequence[Watcher]], Result]) -> None:
    """Run it, and show all of it: the live line, then faults, summary and profile."""
    output, errors = Console(), Console(stderr=True)
    with AtTheEnd(Profiled, lambda told: show_profile(output, told.profile)) as table:
        with AtTheEnd(Faulted, partial(tell_of_faults, errors)) as account, Display(errors) as live:
            result = run([live, table, account])
        show_summary(output, result)
