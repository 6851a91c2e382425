"""The coordinator core: who is alive, who holds which shards, what is done about a death.

It orders the first actors, links the workers to the server, hands a dead or late worker's
shards to the others at once, asks the supervisor whether to restart, and gives a new server
the newest snapshot. It lives in the driver's process and tells the driver what it did. It
knows no socket, no clock and no Ray. Next: `assignment.py`, `presence.py`, `supervisor.py`.
"""

from actors.assignment import Assignment, Shards
from actors.messages import (
    DRIVER,
    SERVER,
    Assign,
    EpochDone,
    Hello,
    Late,
    NotFinite,
    Ping,
    Pong,
    Progress,
    Refused,
    Repeated,
    RunEpoch,
    ServerAt,
    Snapshot,
    Stall,
    Stop,
    TakeSnapshot,
)
from actors.names import slot_of
from actors.orders import (
    CLUSTER,
    Assigned,
    Begin,
    Died,
    Down,
    Ended,
    Envelope,
    Failed,
    Joined,
    Kill,
    Message,
    Missing,
    Ready,
    Start,
    Suspected,
    Tick,
)
from actors.presence import Presence
from actors.supervisor import Crew, Supervisor


class Coordinator:
    """Answers `Begin`, `Hello`, `Down`, `Late` and `Tick` with orders."""

    def __init__(self, crew: Crew, shard_count: int, state: Snapshot) -> None:
        """`state`: what the first server starts from."""
        self._crew = crew
        self._newest = state
        self._assignment = Assignment(shard_count)
        self._presence = Presence(crew.link_timeout_s, crew.start_timeout_s)
        self._supervisor = Supervisor(crew.supervision)
        self._starting: set[str] = set()
        self._server: Hello | None = None
        self._run: RunEpoch | None = None  # asked of the server, and of each new one
        self._snapshot_wanted = False  # likewise
        self._done_step = state.step
        self._ready = False
        self._failed = False
        self._now_s = 0.0
        self._incomplete_since_s: float | None = 0.0  # without a server, or without workers
        self._last_death = ""
        self._progress_s = 0.0  # when the server was last heard to have done a step
        self._progress_step = state.step
        self._server_stalled_since_s: float | None = None

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
            case Pong(name) if self._is_linked(name):  # else it was killed meanwhile
                self._presence.heard(name, self._now_s)
                return self._assign(self._assignment.answered(name, self._now_s))
            case Late(step, shards):
                return self._late(step, shards)
            case RunEpoch():
                return self._run_epoch(message)
            case TakeSnapshot():
                self._snapshot_wanted = True
                return self._to_server(message)
            case Snapshot() | Progress() | Stall() | Repeated() | NotFinite() | Refused():
                return self._fact(message)
            case Tick(now_s):
                return self._tick(now_s)
            case _:
                return []

    # --- Coming

    def _start(self, name: str) -> Envelope:
        self._starting.add(name)
        state = self._newest if slot_of(name) == SERVER else None
        return CLUSTER, Start(name, state)

    def _hello(self, hello: Hello) -> list[Envelope]:
        if hello.name not in self._starting:  # it was given up, and another has its place
            return [] if self._is_linked(hello.name) else [(hello.name, Stop())]
        self._starting.discard(hello.name)
        self._presence.heard(hello.name, self._now_s)
        joined = (DRIVER, Joined(hello.name, hello.host, hello.process_id))
        up = self._server_up if slot_of(hello.name) == SERVER else self._worker_up
        return [joined, *up(hello), *self._complete()]

    def _server_up(self, hello: Hello) -> list[Envelope]:
        self._server, self._progress_s = hello, self._now_s
        at = ServerAt(hello.host, hello.port)
        links: list[Envelope] = [(name, at) for name in self._assignment.workers]
        if self._run:
            links.append((hello.name, self._run))
        if self._snapshot_wanted:
            links.append((hello.name, TakeSnapshot()))
        return links

    def _worker_up(self, hello: Hello) -> list[Envelope]:
        changes = self._assign(self._assignment.add(hello.name))
        if self._server is None:
            return changes
        return [*changes, (hello.name, ServerAt(self._server.host, self._server.port))]

    def _complete(self) -> list[Envelope]:
        """Training can begin, or go on, as soon as there is a server and a worker."""
        workers = len(self._assignment.workers)
        if self._server is None or not workers:
            return []
        if not self._ready and workers < self._crew.min_workers:
            return []
        self._incomplete_since_s = None
        before, self._ready = self._ready, True
        return [] if before else [(DRIVER, Ready())]

    def _is_linked(self, name: str) -> bool:
        is_server = self._server is not None and self._server.name == name
        return is_server or name in self._assignment

    # --- Going

    def _down(self, name: str, reason: str, linked: bool) -> list[Envelope]:
        """Its link broke, or its process ended before it ever had one."""
        if not (self._is_linked(name) if linked else name in self._starting):
            return []
        self._starting.discard(name)
        self._presence.forget(name)
        self._last_death = f"{name} died: {reason}"
        died: Envelope = (DRIVER, Died(name, reason))
        changes: list[Envelope] = []
        if slot_of(name) == SERVER:
            self._server = None
            if self._server_stalled_since_s is None:
                self._server_stalled_since_s = self._progress_s
        elif name in self._assignment:
            changes = self._assign(self._assignment.remove(name))
        if self._incomplete_since_s is None and not (self._server and self._assignment.workers):
            self._incomplete_since_s = self._now_s
        return [died, *changes, *self._restart(name, reason)]

    def _restart(self, name: str, reason: str) -> list[Envelope]:
        verdict = self._supervisor.died(name, reason, self._now_s)
        if isinstance(verdict, Failed):
            return self._fail(verdict.reason)
        return [(DRIVER, verdict), self._start(verdict.name)]

    def _fail(self, reason: str) -> list[Envelope]:
        self._failed = True
        return [(DRIVER, Failed(reason))]

    # --- Late and silent

    def _late(self, step: int, shards: Shards) -> list[Envelope]:
        suspects, changes = self._assignment.late(shards, self._now_s)
        told: list[Envelope] = [(DRIVER, Suspected(name, step)) for name in suspects]
        asked: list[Envelope] = [(name, Ping()) for name in suspects]  # it may be back at once
        return [*told, *self._assign(changes), *asked]

    def _tick(self, now_s: float) -> list[Envelope]:
        if self._now_s == 0.0:  # the first one: time begins
            self._progress_s = self._incomplete_since_s = now_s
        self._now_s = now_s
        ask, silent = self._presence.tick(now_s)
        envelopes: list[Envelope] = [(name, Ping()) for name in ask]
        for name in silent:
            limit_s = self._presence.limit_s
            envelopes.append((CLUSTER, Kill(name)))
            envelopes += self._down(name, f"silent for more than {limit_s:.3g} s", linked=True)
        return envelopes + self._overdue()

    def _overdue(self) -> list[Envelope]:
        """Nobody waits for ever for a server, or for the first worker."""
        since_s, limit_s = self._incomplete_since_s, self._crew.start_timeout_s
        if since_s is None or self._failed or self._now_s - since_s <= limit_s:
            return []
        why = f"did not start within {limit_s:g} s"
        if self._server is None:
            return self._fail(f"the parameter server {why}{self._after()}")
        if not self._assignment.workers:
            return self._fail(f"no worker is left, and a new one {why}{self._after()}")
        self._incomplete_since_s, self._ready = None, True
        return [
            *((DRIVER, Missing(name, why)) for name in sorted(self._starting)),
            (DRIVER, Ready()),
        ]

    def _after(self) -> str:
        return f"; {self._last_death}" if self._last_death else ""

    # --- The server's facts

    def _fact(
        self, fact: Snapshot | Progress | Stall | Repeated | NotFinite | Refused
    ) -> list[Envelope]:
        """What the server tells, the driver hears; and some of it matters here."""
        if self._server is None and not isinstance(fact, NotFinite | Refused):
            return []  # the last words of one that was killed: the next starts from before them
        if isinstance(fact, Snapshot):
            self._newest, self._snapshot_wanted = fact, False
        if isinstance(fact, EpochDone):
            if fact.step <= self._done_step:
                return []  # said twice
            self._done_step = fact.step
        ended = self._moved(fact.step) if isinstance(fact, Progress | EpochDone) else []
        return [*ended, (DRIVER, fact)]

    def _run_epoch(self, epoch: RunEpoch) -> list[Envelope]:
        """The time before it, when nothing was to be done, is neither a step nor a standstill."""
        self._run, self._progress_s = epoch, self._now_s
        if self._server_stalled_since_s is not None:
            self._server_stalled_since_s = self._now_s
        return self._to_server(epoch)

    def _moved(self, step: int) -> list[Envelope]:
        """Steps were done. The first ones after a server's death end the standstill."""
        steps, seconds = step - self._progress_step, self._now_s - self._progress_s
        if steps > 0:
            self._presence.steps_take(seconds / steps)
        self._progress_step, self._progress_s = step, self._now_s
        since_s, self._server_stalled_since_s = self._server_stalled_since_s, None
        return [] if since_s is None else [(DRIVER, Stall(step, self._now_s - since_s))]

    def _to_server(self, message: RunEpoch | TakeSnapshot) -> list[Envelope]:
        return [(self._server.name, message)] if self._server else []

    def _assign(self, changes: dict[str, Shards]) -> list[Envelope]:
        envelopes: list[Envelope] = []
        for name, shards in changes.items():
            envelopes += [(name, Assign(shards)), (DRIVER, Assigned(name, shards))]
        return envelopes
