"""Processes and links as the simulation has them: no thread, no socket, no clock.

It does what `processes.py`, `endpoint.py` and `driver_mailbox.py` do for real processes: a
link keeps its order and ends with a `Down` on both sides; across links anything may come
first. What happens next is decided elsewhere: see `simulation.py`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import cast

from actors.cluster import Job
from actors.coordinator import Coordinator
from actors.cores import Core, Hanging, make_core
from actors.invariants import Invariants
from actors.likeness import Likeness
from actors.messages import DRIVER, SERVER, Hello, Snapshot
from actors.names import slot_of
from actors.orders import (
    CLUSTER,
    Begin,
    Connect,
    Down,
    DriverMessage,
    Ended,
    Kill,
    Leave,
    Look,
    Message,
    Placed,
    Start,
    Tick,
)
from actors.supervisor import Crew


@dataclass(eq=False)
class End:
    """One side of a link: what is on its way to `owner` from a peer that it calls `peer`."""

    owner: str
    peer: str
    queue: deque[Message] = field(default_factory=deque)
    other: "End | None" = None  # None: the peer is gone, or has closed the link
    named: bool = True  # False: whoever called has not yet been heard to say Hello


class World:
    """One driver's life: its coordinator, the processes that it started, their links."""

    def __init__(
        self,
        job: Job,
        crew: Crew,
        state: Snapshot,
        invariants: Invariants,
        hear: Callable[[DriverMessage], None],
        tell: Callable[[str], None],
    ) -> None:
        """`hear` gets what the driver is told, `tell` a line for each thing that happens."""
        self.now_s = 1.0
        self.starting: list[Start] = []
        self.paused: set[str] = set()
        self.cut_off: set[str] = set()  # those of them whom no order reaches
        self._job, self._link_timeout_s = job, crew.link_timeout_s
        self._invariants, self._hear, self._tell = invariants, hear, tell
        self.cores: dict[str, Core] = {
            DRIVER: Coordinator(crew, len(job.shards), state, Likeness())
        }
        self._ray = End(DRIVER, CLUSTER)  # on which Ray tells, some time later, who has ended
        self.ends = [self._ray]
        self.handle(DRIVER, Begin())

    @property
    def ready(self) -> list[End]:
        """Where a message can be delivered now."""
        return [end for end in self.ends if end.queue and end.owner not in self.paused]

    def actors(self, slot: str = "") -> list[str]:
        """The living processes but the driver's, of all slots or of those that begin so."""
        return [name for name in self.cores if name != DRIVER and name.startswith(slot)]

    def deliver(self, end: End) -> None:
        """The next message of a link is received."""
        message = end.queue.popleft()
        self._tell(f"{self.now_s:8.2f} s  {end.owner} <- {end.peer}: {shown(message)}")
        if isinstance(message, Down):
            self.ends.remove(end)
            if not end.named:
                return  # a stranger has gone
        elif not end.named:
            self._introduce(end)
        self.handle(end.owner, message)

    def tick(self, name: str) -> None:
        """A process wakes up and looks at the clock."""
        self.handle(name, Tick(self.now_s))

    def handle(self, name: str, message: Message) -> None:
        """A core answers a message; the clock is looked at first, as every shell does."""
        messages = [message] if isinstance(message, Tick) else [Tick(self.now_s), message]
        for received in messages:
            if (core := self.cores.get(name)) is None:
                return
            for address, reply in core.handle(received):
                self._do(name, address, reply)
            if name == DRIVER:
                self._invariants.settled()

    def wake(self, name: str) -> None:
        """A paused process goes on, and can be reached again."""
        self.paused.discard(name)
        self.cut_off.discard(name)

    def begin(self, start: Start) -> None:
        """A process that was ordered comes up and says Hello to the driver."""
        self.starting.remove(start)
        name = start.name
        self._tell(f"*** {name} starts")
        port = len(self.ends) + 1 if slot_of(name) == SERVER else 0
        hello = Hello(name, name, port + 1, port)  # its name serves as its address
        self.cores[name] = make_core(self._job, start, hello, self._link_timeout_s)
        self._ray.queue.append(Placed(name))
        self._link(name, DRIVER, DRIVER, hello)

    def hang_at_the_beginning(self, start: Start) -> None:
        """A process that was ordered comes up and hangs before its first word."""
        self.starting.remove(start)
        self._tell(f"*** {start.name} starts and hangs")
        self.cores[start.name] = Hanging()
        self._ray.queue.append(Placed(start.name))

    def fail_to_begin(self, start: Start) -> None:
        """A process that was ordered ends before it has a link."""
        self.starting.remove(start)
        self._tell(f"*** {start.name} dies while it starts")
        self._ray.queue.append(Ended(start.name, "died while it started"))

    def cut(self, end: End, lost: int, lost_back: int) -> None:
        """A link breaks: of what is on its way, the last so many each way are lost."""
        other = end.other
        self._close(end, lost, "cut")
        if other is not None:
            self._close(other, lost_back, "cut")

    def kill(self, name: str, lost: Callable[[int], int]) -> None:
        """A process dies: of what it has sent, some arrives, then its links end."""
        self._tell(f"*** {name} dies")
        self._end(name, lost, "killed")

    def _kill(self, name: str) -> None:
        """The driver closes its link; the process ends, or, cut off, hears of it when it wakes."""
        lives_on = name in self.cut_off
        if name in self.cores:
            what = "given up, and lives on" if lives_on else "killed by the coordinator"
            self._tell(f"*** {name} is {what}")
        for end in [end for end in self.ends if (end.owner, end.peer) == (DRIVER, name)]:
            end.queue.clear()
            if lives_on:
                self.ends.remove(end)
                if end.other is not None:
                    self._close(end.other, 0, "given up")
        if not lives_on:
            self._end(name, _nothing, "killed by the coordinator")

    def _end(self, name: str, lost: Callable[[int], int], reason: str) -> None:
        if self.cores.pop(name, None) is None:
            return
        self.wake(name)
        self._ray.queue.append(Ended(name, reason))
        for end in [end for end in self.ends if end.owner == name]:
            self.ends.remove(end)
            if end.other is not None:
                self._close(end.other, lost(len(end.other.queue)), reason)

    def _close(self, end: End, lost: int, reason: str) -> None:
        """This side will receive what is not lost, then `Down`."""
        for _ in range(min(lost, len(end.queue))):
            end.queue.pop()
        end.queue.append(Down(end.peer, reason))
        end.other = None

    def _link(self, caller: str, callee: str, label: str, hello: Hello) -> None:
        """`caller` links to `callee`, whom it calls `label`, and says Hello."""
        older = [end for end in self.ends if end.owner == caller and end.peer == label]
        for end in older:  # another link takes its place: the caller hears no Down
            self.ends.remove(end)
            if end.other is not None:
                self._close(end.other, 0, "linked anew")
        if callee not in self.cores:
            self.ends.append(End(caller, label, deque([Down(label, "nobody listens")])))
            return
        ours, theirs = End(caller, label), End(callee, caller, deque([hello]), named=False)
        ours.other, theirs.other = theirs, ours
        self.ends += [ours, theirs]

    def _introduce(self, end: End) -> None:
        """The caller has said who it is. An older link of that name is over."""
        end.named = True
        for older in [e for e in self.ends if (e.owner, e.peer) == (end.owner, end.peer)]:
            if older is not end and older.named:
                self.ends.remove(older)
                if older.other is not None:
                    self._close(older.other, 0, "linked anew")
                self.handle(end.owner, Down(end.peer, "the same name linked again"))

    def _do(self, sender: str, address: str, message: Message) -> None:
        match message:
            case Start() if address == CLUSTER:
                self.starting.append(message)
            case Kill(name) if address == CLUSTER:
                self._kill(name)
            case Look() if address == CLUSTER:
                pass  # there is always room
            case Connect(label, host, _, hello) if address == CLUSTER:
                self._link(sender, host, label, hello)
            case Leave(reason) if address == CLUSTER:
                self._tell(f"*** {sender} leaves")
                self._end(sender, _nothing, reason)
            case _ if sender == DRIVER and address == DRIVER:
                self._told(cast(DriverMessage, message))
            case _:
                self._send(sender, address, message)

    def _told(self, fact: DriverMessage) -> None:
        self._invariants.told(fact)
        self._hear(fact)

    def _send(self, sender: str, address: str, message: Message) -> None:
        """To a name that has no link: nothing happens."""
        self._invariants.sent(sender, message)
        for end in self.ends:
            if (end.owner, end.peer) == (sender, address) and end.named and end.other is not None:
                end.other.queue.append(message)


def _nothing(_: int) -> int:
    """Of so many messages on their way, none is lost."""
    return 0


def shown(message: Message) -> str:
    """A message in a few words: no vectors."""
    values = {field.name: getattr(message, field.name) for field in fields(message)}
    short = {name: value for name, value in values.items() if not hasattr(value, "dtype")}
    return f"{type(message).__name__}({', '.join(f'{n}={v}' for n, v in short.items())})"
