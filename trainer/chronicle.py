"""What is told of a training: to its watchers, among them the run directory, and in its sums."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from actors.cluster import Heard
from actors.messages import SERVER, Progress, Snapshot, Stall
from actors.names import slot_of
from actors.orders import Died, Joined
from trainer.happenings import happening
from trainer.recoveries import Recoveries
from trainer.reports import CheckpointFailed, CheckpointWritten, Event, Notice, Report, Watcher
from trainer.run_directory import RunDirectory


class Chronicle:
    """Tells watchers, makes events of what is heard, and knows which workers live."""

    def __init__(
        self,
        directory: RunDirectory | None,
        watchers: Sequence[Watcher],
        began_s: float,
        step: int,
        earlier: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """`began_s`: when the training was called for, by `time.monotonic`; `step`: from where.

        `earlier`: the events of the processes that trained before this one.
        """
        self._directory = directory
        self._watchers: list[Watcher] = [*([directory] if directory else []), *watchers]
        self.began_s = began_s
        self.step = step  # the last one heard of
        self.workers: set[str] = set()
        self.most_workers = 0  # at once
        self.recoveries = Recoveries(step, earlier)

    def note(self, heard: Heard) -> None:
        """Write down what a message says of the actors."""
        at_s, message = heard
        self.recoveries.hear(at_s, message)
        match message:
            case Snapshot(step=step) | Progress(step=step) | Stall(step=step):
                self.step = step
            case Joined(name) if slot_of(name) != SERVER:
                self.workers.add(name)
                self.most_workers = max(self.most_workers, len(self.workers))
            case Died(name):
                self.workers.discard(name)
        if found := happening(message):
            event, worker, details = found
            self._event(at_s, event, worker, details)

    def event(self, event: str, worker: str, **details: Any) -> None:
        """Something happened now."""
        self._event(time.monotonic(), event, worker, details)

    def tell(self, report: Report) -> None:
        """Pass a report on to everybody."""
        for watcher in self._watchers:
            watcher(report)
        match report:
            case CheckpointWritten(path, step, seconds):
                file = {"file": path.name, "after_step": step, "seconds": round(seconds, 6)}
                self.event("snapshot_written", "driver", **file)
            case CheckpointFailed(reason, step):
                self.event("snapshot_failed", "driver", after_step=step, reason=reason)

    def tell_trouble(self) -> None:
        """Say once that the run directory does not take its lines any more."""
        if self._directory and (trouble := self._directory.take_trouble()):
            self.tell(Notice(trouble))

    def _event(self, at_s: float, event: str, worker: str, details: dict[str, Any]) -> None:
        self.tell(Event(round(at_s - self.began_s, 6), self.step, event, worker, details))
