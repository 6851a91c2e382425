"""Every message that travels from process to process, and nothing else.

A message is a value: frozen, and its arrays are never written once it is sent, so it may
be delivered late, twice, or to several receivers. Fields hold integers, floats, strings,
tuples of integers and flat float vectors; `wire.py` derives the frame layout from them.

Names follow the notes where there is one: `Dx` is Erlang's `{dx, Dw, Db}`.
Next: `orders.py`, what is said inside one process; then `worker.py` and
`parameter_server.py`, which answer these messages.
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
    """Any actor -> whom it links to: the first message of every link.

    A name is never used again: the second life of `worker-1` is `worker-1.2`.
    """

    name: str
    host: str
    process_id: int
    port: int = 0  # where it listens; 0: nobody connects to it
    step: int = -1  # of the newest weights it holds; -1: none
    arithmetic: str = ""  # what decides how its process rounds: see `arithmetic.py`; "": unknown


@dataclass(frozen=True, slots=True)
class ServerAt:
    """Coordinator -> worker: the server listens there; link to it. Port 0: there is none now."""

    host: str
    port: int


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
class TakeSnapshot:
    """Driver -> server: send me a `Snapshot`."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """Driver -> server: send me a `Snapshot` and leave; the next server goes on from there."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Server -> driver: its whole state after `step` steps, a pure function of the step.

    A server that starts from it goes on as if it had never been another.
    """

    epoch: int  # the running one, or the last one
    step: int
    sample_count: int  # over the epoch's steps so far
    loss_sum: float  # over the same samples
    parameters: Vector
    optimizer_state: Vector


@dataclass(frozen=True, slots=True)
class EpochDone(Snapshot):
    """Server -> driver: the epoch's steps are done, and this is the state after them."""


@dataclass(frozen=True, slots=True)
class TakeTimes:
    """Driver -> any actor: tell how you spent your time."""


@dataclass(frozen=True, slots=True)
class Times:
    """Any actor -> driver: how it spent its time; once when asked, with --profile now and then.

    Times are seconds of the sender's own monotonic clock; `stopwatch.py` says more.
    """

    name: str
    is_answer: int  # 1: the last one after a `TakeTimes`
    clock_offset_s: float  # the time of day less that clock
    step_count: int  # 0 without --profile
    left_out: int  # spans that were not kept
    seconds: Vector  # of each of `stopwatch.ACTIVITIES`, since the actor's first step
    spans: Vector  # (4n,): step, number of the activity, start, end; none without --profile


@dataclass(frozen=True, slots=True)
class Progress:
    """Server -> driver, a few times a second and before a snapshot: where the epoch stands."""

    epoch: int
    step: int
    sample_count: int
    loss_sum: float


@dataclass(frozen=True, slots=True)
class Late:
    """Server -> coordinator: these shards of step `step` take longer than steps did before."""

    step: int
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stall:
    """Server -> driver: `seconds` passed before step `step` was done: someone died or was late."""

    step: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Repeated:
    """Server -> driver: a restored server has run so many steps again."""

    step_count: int


@dataclass(frozen=True, slots=True)
class NotFinite:
    """Worker or server -> driver: step `step` gave a number that is not finite; not applied."""

    step: int
    shard: int  # -1: every shard's gradient is finite, the updated parameters are not
    index: int  # of the first such value in the flat vector; -1: it is the loss


@dataclass(frozen=True, slots=True)
class Refused:
    """Server -> driver: so many connections were refused, the last one for that reason."""

    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Coordinator -> any actor: are you there?"""


@dataclass(frozen=True, slots=True)
class Pong:
    """Any actor -> coordinator: `name` is here."""

    name: str


@dataclass(frozen=True, slots=True)
class Returned:
    """From link to link: nobody here looks at that slot of yours any more (`lending.py`)."""

    slot: int


@dataclass(frozen=True, slots=True)
class Exit:
    """The last message of a link: the sender leaves, and why (Erlang's exit reason)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Driver -> everyone: leave in order."""


RemoteMessage: TypeAlias = (
    Hello | ServerAt | Assign | RunEpoch | Weights | Dx | TakeSnapshot | HandOver | Snapshot
    | EpochDone | TakeTimes | Times | Progress | Late | Stall | Repeated | NotFinite | Refused
    | Ping | Pong | Returned | Exit | Stop
)  # fmt: skip
