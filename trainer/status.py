"""What the files of a run directory tell of a training, whether it runs or has ended.

It reads events.jsonl, metrics.jsonl, faults.jsonl, config.yaml, result.json and run.lock, writes
nothing and asks no process: whoever can read the directory can know.
Next: `status_command.py`, which shows it.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from actors.messages import DRIVER
from trainer.config_file import read_yaml
from trainer.errors import RunDirectoryError
from trainer.faults.log import last_kill_of
from trainer.files import FOLDER, checkpoints_in
from trainer.lock_holder import Sign
from trainer.lock_look import Look, Told, ignored, look
from trainer.past import UNKNOWN_CAUSE, Past, how_it_ended, read_past
from trainer.roster import Roster
from trainer.run_lines import Line, epochs_in, events_in
from trainer.run_place import CONFIG, EVENTS, RESULT, refuse_no_run
from trainer.storage.courier import EVERY_S
from trainer.storage.place import Place
from trainer.storage.stored_path import StoredPath

State = Literal["running", "finished", "stopped", "failed", "died"]

_SHORTEST_S: Final = 1.0  # a rate is taken over no less
_FRESH_S: Final = 2.0  # without a step for longer, that time counts too
_STOPPED: Final = "stopped by "
_DONE: Final = "done"


@dataclass(frozen=True, slots=True)
class Status:
    """A training, as its files have it."""

    directory: Place
    state: State
    now_s: float  # Unix time
    lock: Look
    roster: Roster  # who lives, if it runs
    past: Past  # deaths and the like, over all processes so far
    step: int = 0  # of the server; with `local_steps`, rounds
    epochs: int | None = None  # to be done; None: the configuration does not say
    reason: str | None = None  # why it ended early
    seen_s: float = 0.0  # Unix time of the last sign of life
    rate: float | None = None  # steps a second, now
    rate_over_s: float = 0.0
    metrics: Sequence[Line] = ()  # a line for each epoch that is done
    last_death: Line | None = None
    result: Line = field(default_factory=dict)  # once it is finished
    checkpoint: Place | None = None  # the newest
    behind_s: float = 0.0  # what is told of one that runs may be so old: a store hears it late

    @property
    def epochs_done(self) -> int:
        """Those with a line in metrics.jsonl."""
        return int(self.metrics[-1]["epoch"]) if self.metrics else 0

    @property
    def steps(self) -> int | None:
        """All there are to do; None until an epoch was done."""
        if not self.metrics or self.epochs is None:
            return None
        return int(self.metrics[-1]["step"]) // self.epochs_done * self.epochs


def read_status(path: Place, now_s: float | None = None, told: Told = ignored) -> Status:
    """Look at a run directory.

    Args:
        now_s: Unix time; None: now.
        told: called with a line when it takes long, as it may in a store: see `look`.

    Raises:
        RunDirectoryError: it is none, or its files can not be read or are not a run's.
        ConfigError: config.yaml is none.
    """
    try:
        refuse_no_run(path)
        # The lock first: of who lets go meanwhile, the rest is there.
        lock = look(path, told)
        events, metrics = events_in(path), epochs_in(path)
        return _status(path, time.time() if now_s is None else now_s, lock, events, metrics)
    except OSError as error:
        file = "" if error.filename in (None, str(path)) else f"{error.filename}: "
        raise RunDirectoryError(f"DIR {path}: {file}{error.strerror}") from None


def _status(
    path: Place, now_s: float, lock: Look, events: Sequence[Line], metrics: Sequence[Line]
) -> Status:
    before = how_it_ended(events, metrics, lock.sign, last_kill_of(DRIVER, path))
    cause = lock.silence if lock.silence and before.cause == UNKNOWN_CAUSE else before.cause
    result = {} if lock.is_held else _result(path)
    state, reason = ("running", None) if lock.is_held else _end(events, result, cause)
    behind_s = EVERY_S if lock.is_held and isinstance(path, StoredPath) else 0.0
    mine = _since(lock.holder.began_unix_s, events) if lock.holder else events
    roster = Roster()
    for event in mine:
        roster.read(event)
    if not lock.is_held:
        roster.clear()
    moments = _moments(mine, lock)
    rate, rate_over_s = _rate(moments, now_s, behind_s) if lock.is_held else (None, 0.0)
    return Status(
        directory=path,
        state=state,
        now_s=now_s,
        lock=lock,
        roster=roster,
        past=read_past(events),
        step=moments[-1].step if lock.is_held and moments else before.step,
        epochs=_epochs(path),
        reason=reason,
        seen_s=before.unix_s,
        rate=rate,
        rate_over_s=rate_over_s,
        metrics=metrics,
        last_death=next((e for e in reversed(events) if e.get("event") == "died"), None),
        result=result,
        checkpoint=next(reversed(checkpoints_in(path / FOLDER)), None),
        behind_s=behind_s,
    )


def _end(events: Sequence[Line], result: Line, cause: str | None) -> tuple[State, str | None]:
    """How a training that runs no more has ended, and why."""
    if result:
        return "finished", None
    if cause is not None:
        return "died", cause
    if not events or events[-1].get("event") != "ended":
        return "failed", f"it ended in order, but {EVENTS} could not be written, and lacks why"
    reason = str(events[-1].get("reason", ""))
    if reason == _DONE:
        return "failed", f"it trained to the end, but {RESULT} could not be written"
    if reason.startswith(_STOPPED):
        return "stopped", reason
    return "failed", reason


def _since(unix_s: float, events: Sequence[Line]) -> Sequence[Line]:
    """Those of the process that began then; an earlier one's actors are nobody's any more."""
    return [event for event in events if float(event.get("unix_s", 0.0)) >= unix_s]


def _moments(events: Sequence[Line], lock: Look) -> list[Sign]:
    """When which step was done, as far as this process told."""
    timed = (e for e in events if "unix_s" in e and "step" in e)
    told = [Sign(float(e["unix_s"]), int(e["step"])) for e in timed]
    began_s = lock.holder.began_unix_s if lock.holder else 0.0
    if lock.sign and lock.sign.unix_s >= max(began_s, told[-1].unix_s if told else 0.0):
        told.append(lock.sign)  # a few times a second
    return told


def _rate(moments: Sequence[Sign], now_s: float, behind_s: float) -> tuple[float | None, float]:
    """Steps a second since the newest moment that is not too near, and over how many seconds."""
    if not moments:
        return None, 0.0
    last = moments[-1]
    until_s = now_s if now_s - last.unix_s > _FRESH_S + behind_s else last.unix_s
    for moment in reversed(moments):
        if (seconds := until_s - moment.unix_s) >= _SHORTEST_S:
            # A server that was restored repeats steps: for a moment it goes backwards.
            return max(0, last.step - moment.step) / seconds, seconds
    return None, 0.0


def _epochs(path: Place) -> int | None:
    training = read_yaml(path / CONFIG).get("training")
    epochs = training.get("epochs") if isinstance(training, dict) else None
    return epochs if isinstance(epochs, int) else None


def _result(path: Place) -> dict[str, Any]:
    """result.json; empty: there is none, or it is half there."""
    try:
        result = json.loads((path / RESULT).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return result if isinstance(result, dict) else {}
