"""The coordinator core: who is alive, who holds which shards, what is done about a death.

It orders the first actors, links the workers to the server, hands a dead or late worker's
shards to the others at once, asks the supervisor whether to restart, and gives a new server
the newest snapshot. It lives in the driver's process and tells the driver what it did. It
knows no socket, no clock and no Ray. Next: `assignment.py`, `presence.py`, `supervisor.py`.
"""

from actors.assignment import Assignment, Shards, told
from actors.likeness import Likeness
from actors.messages import (
    DRIVER,
    SERVER,
    EpochDone,
    Hello,
    Late,
    NotFinite,
    Ping,
    Pong,
    Progress,
    Refused,
    RunEpoch,
    ServerAt,
    Snapshot,
    Stall,
    Stop,
    TakeSnapshot,
    Times,
)
from actors.muster import Muster
from actors.names import slot_of
from actors.orders import (
    CLUSTER,
    Begin,
    Died,
    Down,
    Ended,
    Envelope,
    Fact,
    Failed,
    Joined,
    Kill,
    Message,
    Placed,
    Ready,
    Start,
    Suspected,
    Tick,
    Unplaced,
)
from actors.presence import Presence
from actors.standstill import Standstill
from actors.supervisor import Crew, Supervisor


class Coordinator:
    """Answers `Begin`, `Hello`, `Down`, `Late` and `Tick` with orders."""

    def __init__(self, crew: Crew, shard_count: int, state: Snapshot, likeness: Likeness) -> None:
        """`state`: what the first server starts from; `likeness`: knows the hosts before."""
        self._crew = crew
        self._newest = state
        self._assignment = Assignment(shard_count)
        self._presence = Presence(crew.link_timeout_s)
        self._supervisor = Supervisor(crew.supervision)
        self._muster = Muster(crew.min_workers, crew.start_timeout_s)
        self._likeness = likeness
        self._server: Hello | None = None
        self._run: RunEpoch | None = None  # asked of the server, and of each new one
        self._snapshot_wanted = False  # likewise
        self._done_step = state.step
        self._failed = False
        self._now_s = 0.0
        self._last_death = ""
        self._standstill = Standstill(state.step)

    def handle(self, message: Message) -> list[Envelope]:
        if self._failed:
            return []
        match message:
            case Begin():
                names = [SERVER, *(f"worker-{i}" for i in range(self._crew.max_workers))]
                return [self._start(name) for name in names]
            case Hello(name):
                return self._hello(message)
            case Down(name, reason) | Ended(name, reason):
                return self._down(name, reason, linked=isinstance(message, Down))
            case Placed(name) if self._muster.placed(name):
                self._presence.heard(name, self._now_s)  # from now on its Hello is due
                return []
            case Unplaced():
                return self._muster.unplaced(message)
            case Pong(name) if self._is_linked(name):  # else it was killed meanwhile
                self._presence.heard(name, self._now_s)
                return told(self._assignment.answered(name, self._now_s))
            case Late(step, shards):
                return self._late(step, shards)
            case RunEpoch():
                return self._run_epoch(message)
            case TakeSnapshot():
                self._snapshot_wanted = True
                return self._to_server(message)
            case Tick(now_s):
                return self._tick(now_s)
            case _ if isinstance(message, Fact):
                return self._fact(message)
            case _:
                return []

    # --- Coming

    def _start(self, name: str) -> Envelope:
        self._muster.ordered(name, self._now_s)
        server = Start(name, self._newest, self._standstill.step)
        return CLUSTER, server if slot_of(name) == SERVER else Start(name)

    def _hello(self, hello: Hello) -> list[Envelope]:
        if not self._muster.awaits(hello.name):  # it was given up, and another has its place
            return [] if self._is_linked(hello.name) else [(hello.name, Stop())]
        self._muster.settled(hello.name)
        self._presence.heard(hello.name, self._now_s)
        joined = (DRIVER, Joined(hello.name, hello.host, hello.process_id))
        up = self._server_up if slot_of(hello.name) == SERVER else self._worker_up
        envelopes = [joined, *self._likeness.compare(hello), *up(hello)]
        if self._count():
            envelopes += [(DRIVER, Ready()), *self._to_server(self._run)]
        return envelopes

    def _server_up(self, hello: Hello) -> list[Envelope]:
        self._server = hello
        self._standstill.begin(self._now_s)
        at = ServerAt(hello.host, hello.port)
        links: list[Envelope] = [(name, at) for name in self._assignment.workers]
        if self._run and self._muster.is_ready:
            links.append((hello.name, self._run))
        if self._snapshot_wanted:
            links.append((hello.name, TakeSnapshot()))
        return links

    def _worker_up(self, hello: Hello) -> list[Envelope]:
        changes = told(self._assignment.add(hello.name))
        if self._server is None:
            return changes
        return [*changes, (hello.name, ServerAt(self._server.host, self._server.port))]

    def _count(self) -> bool:
        """True once: training can begin."""
        workers = len(self._assignment.workers)
        return self._muster.count(self._server is not None, workers, self._now_s)

    def _is_linked(self, name: str) -> bool:
        is_server = self._server is not None and self._server.name == name
        return is_server or name in self._assignment

    # --- Going

    def _down(self, name: str, reason: str, linked: bool) -> list[Envelope]:
        """Its link broke, or its process ended before it ever had one."""
        if self._failed or not (self._is_linked(name) if linked else self._muster.awaits(name)):
            return []
        self._muster.settled(name)
        self._presence.forget(name)
        self._last_death = f"; {name} died: {reason}"
        # Whatever is left of it goes: an actor that left would keep its place in the cluster.
        gone: list[Envelope] = [(CLUSTER, Kill(name)), (DRIVER, Died(name, reason))]
        changes: list[Envelope] = []
        if slot_of(name) == SERVER:
            self._server = None
            self._standstill.server_died()
            changes = [(worker, ServerAt("", 0)) for worker in self._assignment.workers]
        elif name in self._assignment:
            changes = told(self._assignment.remove(name))
        self._count()
        return [*gone, *changes, *self._restart(name, reason)]

    def _restart(self, name: str, reason: str) -> list[Envelope]:
        verdict = self._supervisor.died(name, reason, self._now_s, self._standstill.step)
        if isinstance(verdict, Failed):
            return self._fail(verdict.reason)
        return [(DRIVER, verdict), self._start(verdict.name)]

    def _fail(self, reason: str, is_overdue: bool = False) -> list[Envelope]:
        self._failed = True
        return [(DRIVER, Failed(reason, is_overdue))]

    # --- Late and silent

    def _late(self, step: int, shards: Shards) -> list[Envelope]:
        suspects, changes = self._assignment.late(shards, self._now_s)
        facts: list[Envelope] = [(DRIVER, Suspected(name, step)) for name in suspects]
        asked: list[Envelope] = [(name, Ping()) for name in suspects]  # it may be back at once
        return [*facts, *told(changes), *asked]

    def _tick(self, now_s: float) -> list[Envelope]:
        if self._now_s == 0.0:  # the first one: time begins
            self._standstill.begin(now_s)
            self._muster.begin(now_s)
        self._now_s = now_s
        why = f"silent for more than {self._presence.limit_s:.3g} s"
        ask, silent = self._presence.tick(now_s)
        envelopes: list[Envelope] = [(name, Ping()) for name in ask]
        for name in silent:
            envelopes += self._down(name, why, linked=self._is_linked(name))
        return [*envelopes, *self._muster.look(now_s), *self._overdue()]

    def _overdue(self) -> list[Envelope]:
        """Nobody waits for ever for a server, or for the first worker."""
        if self._failed or not self._muster.is_overdue(self._now_s):
            return []
        why = f"did not start within {self._crew.start_timeout_s:g} s"
        if self._server is None or not self._assignment.workers:
            who = "no worker is there, and a new one" if self._server else "the parameter server"
            return self._fail(f"{who} {why}{self._last_death}", is_overdue=True)
        return [*self._muster.begin_with_less(why), (DRIVER, Ready()), *self._to_server(self._run)]

    # --- The server's facts

    def _fact(self, fact: Fact) -> list[Envelope]:
        """What the server tells, the driver hears; and some of it matters here."""
        if self._server is None and not isinstance(fact, NotFinite | Refused | Times):
            return []  # the last words of one that was killed: the next starts from before them
        if isinstance(fact, Snapshot):
            self._newest = fact
            self._snapshot_wanted &= isinstance(fact, EpochDone)  # which answers no request
        if isinstance(fact, EpochDone):
            if fact.step <= self._done_step:
                return []  # said twice
            self._done_step = fact.step
        if isinstance(fact, Stall):
            untold = self._standstill.heard(fact, self._now_s)
            return self._presence.explained(untold, self._now_s)
        ended = self._moved(fact.step) if isinstance(fact, Progress | EpochDone) else []
        return [*ended, (DRIVER, fact)]

    def _run_epoch(self, epoch: RunEpoch) -> list[Envelope]:
        """The time before it, when nothing was to be done, is neither a step nor a standstill."""
        self._run = epoch
        self._standstill.end_pause(self._now_s)
        return self._to_server(epoch) if self._muster.is_ready else []

    def _moved(self, step: int) -> list[Envelope]:
        stalls = self._presence.explained(self._standstill.moved(step, self._now_s), self._now_s)
        # Whoever is left alone computes all of it.
        self._presence.steps_take(self._standstill.step_s * max(1, len(self._assignment.workers)))
        return stalls

    def _to_server(self, message: RunEpoch | TakeSnapshot | None) -> list[Envelope]:
        return [(self._server.name, message)] if self._server and message else []
