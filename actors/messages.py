"""Every message that the actors exchange, and nothing else.

A message is a value: frozen, and its arrays are never written once it is sent, so it may
be delivered late, twice, or to several receivers. Fields hold integers, floats, strings,
tuples of integers and flat float vectors; `wire.py` derives the frame layout from them.

Names follow the notes where there is one: `Dx` is Erlang's `{dx, Dw, Db}`.
Next: `worker.py` and `parameter_server.py`, which answer these messages.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.floating[Any]]

SERVER = "server"
DRIVER = "driver"  # the driver's process; the coordinator lives there too


@dataclass(frozen=True, slots=True)
class Hello:
    """Any actor -> whom it links to: the first message of every link."""

    name: str
    host: str
    process_id: int


@dataclass(frozen=True, slots=True)
class Assign:
    """Coordinator -> worker: the whole set of shards that is yours from now on."""

    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RunEpoch:
    """Driver -> server: go on until `until_step` steps are done, then say `EpochDone`."""

    epoch: int
    until_step: int


@dataclass(frozen=True, slots=True)
class Weights:
    """Server -> workers: the parameters after `step` steps; compute your part of the next."""

    step: int
    parameters: Vector


@dataclass(frozen=True, slots=True)
class Dx:
    """Worker -> server: the gradient sum over the tree node that spans shards start..stop-1.

    (step, start, stop) names it completely: whoever computes it gets the same bits.
    """

    step: int
    start: int
    stop: int
    sample_count: int
    loss_sum: float
    gradient: Vector


@dataclass(frozen=True, slots=True)
class EpochDone:
    """Server -> driver: the epoch's steps are done; sums over its samples, state after it."""

    epoch: int
    step: int
    sample_count: int
    loss_sum: float
    parameters: Vector
    optimizer_state: Vector


@dataclass(frozen=True, slots=True)
class Progress:
    """Server -> driver, a few times a second: where the running epoch stands."""

    epoch: int
    step: int
    sample_count: int
    loss_sum: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Server -> driver: `seconds` passed without a finished step around `name`'s death."""

    name: str
    step: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Down:
    """Link -> core: `name` is gone, and why. Server -> driver: a worker is, to the server."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Exit:
    """The last message of a link: the sender leaves, and why (Erlang's exit reason)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Driver -> everyone: the work is done, leave in order."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Shell -> core: the time now, in seconds of a monotonic clock. Never travels."""

    now_s: float


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Shell -> coordinator: `name` died, or gave no sign, before its Hello. Never travels."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Joined:
    """Coordinator -> driver: a worker said Hello. Never travels."""

    name: str
    host: str
    process_id: int


@dataclass(frozen=True, slots=True)
class Died:
    """Coordinator -> driver: a worker's link broke. Never travels."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """Coordinator -> driver: what it told a worker to hold. Never travels."""

    name: str
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """Coordinator -> driver: training can not go on. Never travels."""

    reason: str


RemoteMessage: TypeAlias = (
    Hello | Assign | RunEpoch | Weights | Dx | EpochDone | Progress | Stall | Down | Exit | Stop
)
DriverMessage: TypeAlias = EpochDone | Progress | Stall | Joined | Died | Assigned | Failed
Message: TypeAlias = RemoteMessage | DriverMessage | Tick | NotStarted
Envelope: TypeAlias = tuple[str, Message]
