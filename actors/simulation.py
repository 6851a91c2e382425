"""The shell under a seeded adversary: the same cores, and everything that can go wrong.

At each turn the dice choose: the next message of some link is delivered, somebody looks at
the clock, an actor comes up, the driver wants a snapshot or dies, or the adversary does
other harm (`adversary.py`). What must hold is checked at every message (`invariants.py`).
One seed is one schedule, so a seed that fails is a bug that can be repeated, message by
message.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from actors.adversary import Adversary
from actors.cluster import Job
from actors.errors import ClusterError, EverstepError
from actors.invariants import Invariants, Trajectory, undisturbed_trajectory
from actors.messages import DRIVER, EpochDone, RunEpoch, Snapshot, TakeSnapshot
from actors.orders import DriverMessage, Failed
from actors.simulated_world import World
from actors.supervisor import Crew, Intensity, Supervision

_SNAPSHOT_CHANCE: Final = 0.02
_MENDED_CHANCE: Final = 0.2
_DRIVER_DIES_CHANCE: Final = 0.003
_HARM_CHANCE: Final = 0.1
_TICK_CHANCE: Final = 0.1
_MOST_HARM: Final = 60
_TURNS: Final = 50_000  # far beyond what any schedule needs
_SILENCE_S: Final = 0.5  # so short that it happens
_FOREVER_S: Final = 1e9
# The adversary may kill as often as it likes: what supervision does about it is another test.
_RESTLESS: Final = Supervision(Intensity(10**6, 1.0), Intensity(10**6, 1.0))


@dataclass
class Outcome:
    """What a schedule led to."""

    done: EpochDone
    harm: Counter[str]  # how often each kind of fault fired
    facts: Counter[str]  # how often the driver was told each kind of thing


def _in_silence(line: str) -> None:
    """Nobody wants to see it."""


class Simulation:
    """One job, and what it comes to undisturbed; `run` it under any seed."""

    def __init__(self, job: Job, epochs: int, steps_per_epoch: int, worker_count: int) -> None:
        self.job, self.epochs, self.steps_per_epoch = job, epochs, steps_per_epoch
        self.worker_count = worker_count
        steps = epochs * steps_per_epoch
        self.trajectory: Trajectory = undisturbed_trajectory(job, steps, steps_per_epoch)

    def run(self, seed: int, tell: Callable[[str], None] | None = None) -> Outcome:
        """Train under the adversary of that seed; `tell` gets a line for each thing it does.

        Raises:
            ClusterError: something that must hold did not, a core failed, or training does
                not come to its end; it names the seed and the last messages.
        """
        return _Schedule(self, seed, tell or _in_silence).run()


class _Schedule:
    """The adversary's dice, the world, and the driver's part in it."""

    def __init__(self, simulation: Simulation, seed: int, tell: Callable[[str], None]) -> None:
        self._simulation, self._seed = simulation, seed
        self._dice = Random(seed)  # noqa: S311 - repeatable
        self._trace: deque[str] = deque(maxlen=40)
        self._tell_on = tell
        self._facts: Counter[str] = Counter()
        self._driver_deaths = 0
        self._adversary = Adversary(self._dice, self._dice.randint(0, _MOST_HARM), self._tell)
        self._checkpoints = [simulation.job.state]
        self._done: EpochDone | None = None
        self._world = self._new_world()

    def run(self) -> Outcome:
        try:
            for _ in range(_TURNS):
                self._turn()
                if self._done is not None and self._done.epoch == self._simulation.epochs - 1:
                    harm = self._adversary.harm + Counter({"kill driver": self._driver_deaths})
                    return Outcome(self._done, harm, self._facts)
        except EverstepError as error:
            raise self._error(str(error)) from error
        except Exception as error:
            raise self._error(f"a core raised {error!r}") from error
        raise self._error("training does not come to its end")

    def _error(self, what: str) -> ClusterError:
        last = "\n  ".join(self._trace)
        return ClusterError(f"simulation: seed {self._seed}: {what}; last messages:\n  {last}")

    def _tell(self, line: str) -> None:
        self._trace.append(line)
        self._tell_on(line)

    # --- The driver

    def _new_world(self) -> World:
        """A driver starts from a checkpoint, and asks for the epoch in which that lies."""
        state = self._dice.choice(self._checkpoints[-3:])
        crew = Crew(1, self._simulation.worker_count, _RESTLESS, _SILENCE_S, _FOREVER_S)
        invariants = Invariants(self._simulation.trajectory, len(self._simulation.job.shards))
        world = World(self._simulation.job, crew, state, invariants, self._hear, self._tell)
        self._asked = state.step // self._simulation.steps_per_epoch
        world.handle(DRIVER, self._epoch(self._asked))
        return world

    def _epoch(self, number: int) -> RunEpoch:
        return RunEpoch(number, (number + 1) * self._simulation.steps_per_epoch)

    def _hear(self, fact: DriverMessage) -> None:
        self._facts[type(fact).__name__] += 1
        if isinstance(fact, Snapshot):
            self._checkpoints.append(fact)
        if isinstance(fact, EpochDone):
            if fact.epoch != self._asked:
                raise ClusterError(f"epoch {fact.epoch} is done, {self._asked} was asked for")
            self._done, self._asked = fact, self._asked + 1
        elif isinstance(fact, Failed):
            raise ClusterError(fact.reason)

    def _ask_for_the_next_epoch(self) -> None:
        if self._done is not None:
            self._done = None
            self._world.handle(DRIVER, self._epoch(self._asked))

    def _die(self) -> None:
        """Everything that the driver knew is lost; another one starts from a checkpoint."""
        self._tell("*** the driver dies")
        self._driver_deaths += 1
        self._done = None
        self._world = self._new_world()

    # --- The dice

    def _turn(self) -> None:
        self._ask_for_the_next_epoch()
        world, dice, adversary = self._world, self._dice, self._adversary
        world.now_s += dice.expovariate(100)
        if adversary.harm_left and dice.random() < _DRIVER_DIES_CHANCE:
            self._die()
        elif dice.random() < _SNAPSHOT_CHANCE and DRIVER not in world.paused:
            world.handle(DRIVER, TakeSnapshot())
        elif adversary.harm_left and dice.random() < _HARM_CHANCE:
            adversary.do_harm(world)
        elif world.starting and dice.random() < _HARM_CHANCE:
            world.begin(dice.choice(world.starting))
        elif dice.random() < _TICK_CHANCE:
            self._look_at_the_clock()
        elif not adversary.deliver(world):
            self._nothing_moves()

    def _look_at_the_clock(self) -> None:
        if awake := [name for name in self._world.cores if name not in self._world.paused]:
            self._world.tick(self._dice.choice(awake))

    def _nothing_moves(self) -> None:
        """Only time, a start, or the end of a pause can help; each of them comes.

        The cable of who is cut off is rarely mended before that one is given up.
        """
        world = self._world
        world.now_s += 0.5
        if world.paused:
            name = self._dice.choice(sorted(world.paused))
            if name not in world.cut_off or self._dice.random() < _MENDED_CHANCE:
                world.wake(name)
        if world.starting:
            world.begin(self._dice.choice(world.starting))
        for name in [*world.cores]:
            if name not in world.paused:
                world.tick(name)
