"""What a training tells while it runs. Whoever wants to know passes a watcher to `train`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from trainer.faults.log import FaultRecord
from trainer.faults.plan import Plan
from trainer.profile import Profile
from trainer.storage.place import Place


@dataclass(frozen=True, slots=True)
class Started:
    """The actors are there, the first step begins."""

    epochs: int
    steps_per_epoch: int  # the server's: with `local_steps`, rounds
    start_s: float  # seconds since `train` was called


@dataclass(frozen=True, slots=True)
class InEpoch:
    """A running epoch, a few times a second."""

    epoch: int  # from 1
    step: int
    loss: float  # mean training loss of the epoch so far
    samples_per_second: float
    workers: int
    nodes: int = 1  # with a living actor


@dataclass(frozen=True, slots=True)
class EpochReport:
    """A finished epoch; a line of metrics.jsonl."""

    epoch: int  # from 1
    step: int
    loss: float  # mean training loss over the epoch
    test_loss: float
    accuracy: float  # on the test set
    seconds: float
    samples_per_second: float
    workers: int
    nodes: int = 1  # with a living actor


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to an actor, or in the driver; a line of events.jsonl."""

    at_s: float  # seconds since `train` was called
    step: int  # the last one that the driver has heard of
    event: str
    worker: str  # which actor: worker-1.2, server, driver
    details: dict[str, Any]
    unix_s: float = 0.0  # the same time by the wall clock


@dataclass(frozen=True, slots=True)
class CheckpointWritten:
    """A checkpoint is on the disk."""

    path: Place
    step: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CheckpointFailed:
    """A checkpoint could not be written; training goes on."""

    reason: str
    step: int
    again: bool  # its cause was told already, and lasts


@dataclass(frozen=True, slots=True)
class Notice:
    """A line that a person should see, and that stops nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class Profiled:
    """A training that was to be profiled has ended, in whatever way."""

    profile: Profile


@dataclass(frozen=True, slots=True)
class Faulted:
    """A training under a plan of faults has ended, in whatever way: what became of each."""

    plan: Plan
    records: tuple[FaultRecord, ...]  # of every listed fault, and of the random ones that came due


Report: TypeAlias = (
    Started | InEpoch | EpochReport | Event | CheckpointWritten | CheckpointFailed | Notice
    | Profiled | Faulted
)  # fmt: skip
Watcher: TypeAlias = Callable[[Report], None]
