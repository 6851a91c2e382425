"""What is told of a training: to its watchers, among them the run directory, and in its sums."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from actors.cluster import Heard
from actors.messages import DRIVER, Progress, Snapshot, Stall, Times
from actors.orders import Died, Joined, Unlike
from trainer.happenings import happening
from trainer.past import Before, read_past
from trainer.recoveries import Recoveries
from trainer.reports import CheckpointFailed, CheckpointWritten, Event, Notice, Report, Watcher
from trainer.roster import Roster
from trainer.run_directory import RunDirectory
from trainer.times_heard import TimesHeard


class Chronicle:
    """Tells watchers, makes events of what is heard, and knows which actors live."""

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
        self._offset_s = time.time() - time.monotonic()
        self._watchers: list[Watcher] = [*([directory] if directory else []), *watchers]
        self.began_s = began_s
        self.step = step  # the last one heard of
        self.roster = Roster(e["host"] for e in earlier if e.get("event") == "joined")
        past = read_past(earlier)
        self.rounding = past.rounding  # of the run's first host, as far as earlier processes knew
        self.recoveries = Recoveries(step, past)
        self.times = TimesHeard()
        self.unlike_hosts = [_unlike(e) for e in earlier if e.get("event") == "unlike"]

    def resume(self, before: Before, file: str | None, count: int) -> None:
        """Another process left off here; tell what of, and which steps are to be done again.

        Args:
            before: how it ended; file: the checkpoint to go on from, if there is one.
            count: how often the run was resumed, with this time.
        """
        seen_s = before.unix_s - self._offset_s if before.unix_s else self.began_s
        if before.cause is not None:
            died = {"reason": before.cause, "reached_step": before.step}
            self._event(seen_s, "died", DRIVER, died)
        self.event("resumed", DRIVER, file=file, count=count)
        if before.step > self.step:
            self.event("repeated", DRIVER, step_count=before.step - self.step)
        self.recoveries.resume(before, seen_s, self.began_s)

    def note(self, heard: Heard) -> None:
        """Write down what a message says of the actors."""
        at_s, message = heard
        self.recoveries.hear(at_s, message)
        match message:
            case Snapshot(step=step) | Progress(step=step) | Stall(step=step):
                self.step = step
            case Joined(name, host, process_id):
                self.roster.joined(name, host, process_id)
            case Died(name):
                self.roster.died(name)
            case Times():
                self.times.hear(message)
        if found := happening(message):
            event, worker, details = found
            if isinstance(message, Stall) and (cause := self.recoveries.stall_cause):
                details["cause"] = cause
            if isinstance(message, Unlike):
                self.unlike_hosts.append(_unlike(details))
            self._event(at_s, event, worker, details)
        self._tell_recoveries(at_s)

    def end(self, reason: str) -> None:
        """Training ends in order: tell also what was not got over, or not yet."""
        now_s = time.monotonic()
        try:
            self._tell_recoveries(now_s, at_the_end=True)
        finally:
            if self._directory is not None:  # for the next process; no watcher can be in the way
                self._directory(self._made(now_s, "ended", DRIVER, {"reason": reason}))

    def all_recoveries(self) -> list[dict[str, Any]]:
        """Over all processes of the run, as result.json has them."""
        return self.recoveries.since_the_beginning(self.began_s, self._offset_s)

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
                self.event("snapshot_written", DRIVER, **file)
            case CheckpointFailed(reason, step):
                self.event("snapshot_failed", DRIVER, after_step=step, reason=reason)

    def tell_trouble(self) -> None:
        """Say once that the run directory does not take its lines any more."""
        if self._directory and (trouble := self._directory.take_trouble()):
            self.tell(Notice(trouble))

    def _tell_recoveries(self, at_s: float, at_the_end: bool = False) -> None:
        for recovery in self.recoveries.take(at_the_end):
            details = asdict(recovery)
            name, what = details.pop("name"), details.pop("event")
            del details["at_s"]  # that of its own event, which stands above
            self._event(at_s, "recovered", name, {"from": what, **details})

    def _event(self, at_s: float, event: str, worker: str, details: dict[str, Any]) -> None:
        self.tell(self._made(at_s, event, worker, details))

    def _made(self, at_s: float, event: str, worker: str, details: dict[str, Any]) -> Event:
        in_run_s, unix_s = round(at_s - self.began_s, 6), round(at_s + self._offset_s, 3)
        return Event(in_run_s, self.step, event, worker, details, unix_s)


def _unlike(details: Mapping[str, Any]) -> dict[str, Any]:
    """What result.json says of a host that rounds otherwise."""
    return {key: details[key] for key in ("host", "other_host", "differences")}
