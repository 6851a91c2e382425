"""The shell under a seeded adversary: the same cores, and everything that can go wrong.

One process, one thread, no clock. At each turn the adversary delivers the next message of
some link, or does harm: it kills a worker in the middle of what it sends, starts another,
stops one for a while, or sends a gradient twice. Each link keeps its order, as TCP does;
across links anything may come first. One seed is one schedule, so a seed that fails is a
bug that can be repeated. The parameter server does not die here yet.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random
from typing import Final

from actors.cluster import Job
from actors.coordinator import Coordinator
from actors.errors import ClusterError
from actors.messages import (
    DRIVER,
    SERVER,
    Down,
    Dx,
    Envelope,
    EpochDone,
    Failed,
    Hello,
    Message,
    RunEpoch,
    Tick,
    Weights,
)
from actors.parameter_server import ParameterServer
from actors.worker import Worker

_HARM_CHANCE: Final = 0.15
_TURNS_PER_STEP: Final = 2000  # far beyond what any schedule needs

Link = tuple[str, str]


@dataclass
class Outcome:
    """What a schedule led to."""

    done: EpochDone
    harm: Counter[str] = field(default_factory=Counter)  # how often each kind was done


def simulate(job: Job, steps: int, worker_count: int, seed: int) -> Outcome:
    """Train `steps` steps under the adversary of that seed.

    At most `worker_count` workers are ever started, some of them late; all but the last to
    live may be killed.

    Raises:
        ClusterError: no message is left and the steps are not done, or a core has failed;
            it names the seed and the last messages.
    """
    simulation = _Simulation(job, worker_count, seed)
    simulation.begin(RunEpoch(0, steps))
    for _ in range(_TURNS_PER_STEP * steps):
        simulation.turn()
        if simulation.done is not None:
            return Outcome(simulation.done, simulation.harm)
    raise simulation.error("does not come to an end")


class _Simulation:
    """All actors, all links, and the adversary's dice."""

    def __init__(self, job: Job, worker_count: int, seed: int) -> None:
        self.done: EpochDone | None = None
        self.harm: Counter[str] = Counter()
        self._job, self._seed, self._dice = job, seed, Random(seed)  # noqa: S311 - repeatable
        self._links: dict[Link, deque[Message]] = {}
        self._trace: deque[str] = deque(maxlen=40)
        self._waiting = [f"worker-{number}" for number in range(worker_count)]
        self._alive: list[str] = []
        self._stopped: set[str] = set()
        self._step = job.step
        shard_count = len(job.shards)
        state = (job.parameters, job.optimizer_state, job.step)
        self._coordinator = Coordinator(shard_count, self._waiting)
        self._cores: dict[str, ParameterServer | Worker] = {
            SERVER: ParameterServer(job.optimizer, shard_count, *state)
        }

    def begin(self, epoch: RunEpoch) -> None:
        """The driver asks for an epoch, and the first worker starts."""
        self._send(DRIVER, SERVER, epoch)
        self._start()

    def turn(self) -> None:
        """Harm, or the delivery of one message."""
        if self._dice.random() < _HARM_CHANCE:
            self._dice.choice((self._start, self._kill, self._stop, self._wake, self._repeat))()
            return
        ready = [link for link, queue in self._links.items() if queue and self._hears(link)]
        if not ready:
            if not (self._waiting or self._stopped):
                raise self.error("has no message left and the steps are not done")
            self._start()
            self._wake()
            return
        sender, receiver = self._dice.choice(ready)
        self._deliver(receiver, self._links[sender, receiver].popleft())

    def error(self, what: str) -> ClusterError:
        """What went wrong, with all that is needed to see it again."""
        last = "\n  ".join(self._trace)
        return ClusterError(f"simulation: seed {self._seed} {what}; last messages:\n  {last}")

    def _hears(self, link: Link) -> bool:
        return link[1] not in self._stopped

    def _deliver(self, receiver: str, message: Message) -> None:
        self._trace.append(f"{receiver} <- {_shown(message)}")
        match message:
            case EpochDone() if receiver == DRIVER:
                self.done = message
            case Hello() | Down() if receiver == DRIVER:
                self._post(DRIVER, self._coordinator.handle(message))
            case _ if receiver in self._cores:
                if receiver == SERVER:
                    self._post(SERVER, self._cores[SERVER].handle(Tick(0.0)))
                self._post(receiver, self._cores[receiver].handle(message))
            case _:
                pass  # for somebody who is gone, or a fact that only a person wants to know

    def _post(self, sender: str, envelopes: list[Envelope]) -> None:
        for receiver, message in envelopes:
            if isinstance(message, Failed):
                raise self.error(f"failed: {message.reason}")
            if isinstance(message, Weights):
                if message.step < self._step:
                    raise self.error(f"went back from step {self._step} to {message.step}")
                self._step = message.step
            self._send(sender, receiver, message)

    def _send(self, sender: str, receiver: str, message: Message) -> None:
        if sender != receiver:  # what the coordinator tells the driver stays in one process
            self._links.setdefault((sender, receiver), deque()).append(message)

    def _start(self) -> None:
        """A worker comes up and says Hello on both of its links."""
        if not self._waiting:
            return
        name = self._waiting.pop(0)
        job = self._job
        self._cores[name] = Worker(job.objective, len(job.shards), job.shards.__getitem__)
        self._alive.append(name)
        for receiver in (DRIVER, SERVER):
            self._send(name, receiver, Hello(name, "simulated", len(self._alive)))
        self.harm["start"] += 1

    def _kill(self) -> None:
        """A worker dies: what it has sent arrives up to some point, then its links end."""
        if len(self._alive) + len(self._waiting) < 2:  # noqa: PLR2004 - one must be left
            return
        if not self._alive:
            return
        name = self._dice.choice(self._alive)
        self._alive.remove(name)
        self._stopped.discard(name)
        del self._cores[name]
        for receiver in (DRIVER, SERVER):
            sent = self._links[name, receiver]
            for _ in range(self._dice.randint(0, len(sent))):
                sent.pop()
            sent.append(Down(name, "killed"))
            self._links.pop((receiver, name), None)
        self.harm["kill"] += 1

    def _stop(self) -> None:
        """A worker hears nothing for a while, as under SIGSTOP."""
        if self._alive:
            self._stopped.add(self._dice.choice(self._alive))
            self.harm["stop"] += 1

    def _wake(self) -> None:
        if self._stopped:
            self._stopped.remove(self._dice.choice(sorted(self._stopped)))

    def _repeat(self) -> None:
        """A gradient is sent twice, at another place in the queue."""
        sent = [queue for queue in self._links.values() if any(isinstance(m, Dx) for m in queue)]
        if sent:
            queue = self._dice.choice(sent)
            places = [place for place, message in enumerate(queue) if isinstance(message, Dx)]
            place = self._dice.choice(places)
            queue.insert(self._dice.randint(place, len(queue)), queue[place])
            self.harm["repeat"] += 1


def _shown(message: Message) -> str:
    match message:
        case Weights(step):
            return f"Weights(step={step})"
        case Dx(step, start, stop):
            return f"Dx(step={step}, shards {start}..{stop - 1})"
        case _:
            return str(message)
