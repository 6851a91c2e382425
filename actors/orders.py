"""What is said inside one process, and never travels: shells, cores and the driver.

A shell tells its core the time, a broken link, the end of a process; a core gives orders
to the shell around it, whose address is `CLUSTER`; the coordinator tells the driver what
happened. What travels is in `messages.py`.
"""

from dataclasses import dataclass
from typing import TypeAlias

from actors.messages import (
    EpochDone,
    Hello,
    NotFinite,
    Progress,
    Refused,
    RemoteMessage,
    Repeated,
    Snapshot,
    Stall,
    Times,
)

CLUSTER = "cluster"  # the shell around a core: it starts, ends and links processes

# --- Inside one process: shell to core ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """The time now, in seconds of a monotonic clock."""

    now_s: float


@dataclass(frozen=True, slots=True)
class Begin:
    """To the coordinator: order the first actors."""


@dataclass(frozen=True, slots=True)
class Down:
    """The link to `name` has ended, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Placed:
    """To the coordinator: the process of `name` runs, and will say Hello."""

    name: str


@dataclass(frozen=True, slots=True)
class Unplaced:
    """To the coordinator, and on to the driver: for these there is no place in the cluster now."""

    names: tuple[str, ...]
    reason: str  # what they ask for, and what there is


@dataclass(frozen=True, slots=True)
class Ended:
    """To the coordinator: `name` works no more, whether or not it ever said Hello."""

    name: str
    reason: str


# --- Inside one process: core to shell ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Coordinator's order: start the process of `name`; the server gets the last two."""

    name: str
    state: Snapshot | None = None
    seen_step: int = 0  # the newest that anybody is known to have heard of


@dataclass(frozen=True, slots=True)
class Kill:
    """Coordinator's order: close the link to `name`, end its process, free its place."""

    name: str


@dataclass(frozen=True, slots=True)
class Look:
    """Coordinator's order: these take long to start; say so if it is for want of a place."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Connect:
    """An actor's wish: link me to `name`, who listens there, and say `hello`."""

    name: str
    host: str
    port: int
    hello: Hello


@dataclass(frozen=True, slots=True)
class Leave:
    """An actor's wish: end my process in order, and say why."""

    reason: str


# --- Inside one process: coordinator to driver ----------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """Enough actors are there: training can begin."""


@dataclass(frozen=True, slots=True)
class Joined:
    """An actor said Hello."""

    name: str
    host: str
    process_id: int


@dataclass(frozen=True, slots=True)
class Missing:
    """These actors have not come up in time: training begins without them, they may join later."""

    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Rounding:
    """What decides how the run's first host rounds: every other one is compared with it."""

    host: str
    arithmetic: str  # as `Hello` says it


@dataclass(frozen=True, slots=True)
class Unlike:
    """`name`'s host rounds otherwise than another: the final weights may be other bytes."""

    name: str
    host: str
    other_host: str
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Died:
    """An actor is down."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Restarting:
    """`name` is started in the place of one that died, within what supervision allows."""

    name: str
    replaces: str
    restart_count: int  # with this one, in the last `period_s`
    max_restarts: int
    period_s: float


@dataclass(frozen=True, slots=True)
class Suspected:
    """A worker was late with step `step`: others compute its shards until it is heard again."""

    name: str
    step: int


@dataclass(frozen=True, slots=True)
class Silent:
    """No step was finished for a while, as the next `Stall` says, and `name` did not answer."""

    name: str
    seconds: float  # it lives: now it has answered, or is still waited for


@dataclass(frozen=True, slots=True)
class Assigned:
    """What a worker was told to hold."""

    name: str
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """Training can not go on."""

    reason: str
    is_overdue: bool = False  # because somebody did not start in time
    step: int = 0  # so many are known to be done; the driver may have heard of more
    cluster_is_lost: bool = False  # in another one it can


DriverMessage: TypeAlias = (
    Snapshot | EpochDone | Progress | Stall | Repeated | NotFinite | Refused | Times
    | Ready | Joined | Unplaced | Missing | Rounding | Unlike | Died | Restarting | Suspected
    | Silent | Assigned | Failed
)  # fmt: skip
Order: TypeAlias = Start | Look | Kill  # the coordinator's
Fact: TypeAlias = Snapshot | Progress | Stall | Repeated | NotFinite | Refused | Times
Message: TypeAlias = (
    RemoteMessage | DriverMessage | Tick | Begin | Down | Placed | Ended
    | Start | Look | Kill | Connect | Leave
)  # fmt: skip
Envelope: TypeAlias = tuple[str, Message]
