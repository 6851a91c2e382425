"""What can go wrong, done on purpose: the adversary of the simulation.

Each misfortune happens to a world of `simulated_world.py`, chosen by seeded dice, and is
counted when it really happened. The driver's death is `simulation.py`'s.
"""

from collections import Counter
from collections.abc import Callable
from random import Random

from actors.messages import SERVER, Dx
from actors.simulated_world import End, World

Misfortune = Callable[[World], str | None]


class Adversary:
    """Does harm, so many times at most, and delivers messages in the order that it likes."""

    def __init__(self, dice: Random, harm_left: int, tell: Callable[[str], None]) -> None:
        self.harm: Counter[str] = Counter()  # how often each kind was done
        self.harm_left = harm_left
        self._dice, self._tell = dice, tell
        self._delayed: set[End] = set()
        self._misfortunes: tuple[Misfortune, ...] = (
            *3 * [self._kill_worker],
            self._kill_server,
            *2 * [self._cut],
            *2 * [self._pause],
            self._cut_off,
            self._wake,
            *3 * [self._repeat],
            self._delay,
            self._jump,
            self._die_at_start,
            self._hang_at_start,
        )

    def deliver(self, world: World) -> bool:
        """The next message of any link, but of one that is delayed. False: there is none."""
        ready = [end for end in world.ready if end not in self._delayed]
        if not ready:
            self._delayed.clear()
            return False
        end = self._dice.choice(ready)
        if end is not ready[0]:
            self.harm["reorder"] += 1
        world.deliver(end)
        return True

    def do_harm(self, world: World) -> None:
        """One misfortune; one that can not happen now does not count."""
        if kind := self._dice.choice(self._misfortunes)(world):
            self.harm[kind] += 1
            self.harm_left -= 1

    def _some(self, count: int) -> int:
        return self._dice.randint(0, count)

    def _kill_worker(self, world: World) -> str | None:
        return self._kill(world, "worker")

    def _kill_server(self, world: World) -> str | None:
        return self._kill(world, SERVER)

    def _kill(self, world: World, kind: str) -> str | None:
        if not (names := world.actors(kind)):
            return None
        world.kill(self._dice.choice(names), self._some)
        return f"kill {kind}"

    def _cut(self, world: World) -> str | None:
        """A link breaks; some of what is on its way is lost."""
        linked = [end for end in world.ends if end.other is not None]
        if not linked:
            return None
        end = self._dice.choice(linked)
        back = end.other.queue if end.other else ()
        self._tell(f"*** the link {end.owner} - {end.peer} is cut")
        world.cut(end, self._some(len(end.queue)), self._some(len(back)))
        return "cut link"

    def _pause(self, world: World) -> str | None:
        """SIGSTOP: its links stay, it hears nothing."""
        awake = [name for name in world.cores if name not in world.paused]
        if not awake:
            return None
        name = self._dice.choice(awake)
        self._tell(f"*** {name} is stopped")
        world.paused.add(name)
        return "pause"

    def _cut_off(self, world: World) -> str | None:
        """The cable of its host: nothing reaches it, not even an order to end it."""
        reached = [name for name in world.actors() if name not in world.paused]
        if not reached:
            return None
        name = self._dice.choice(reached)
        self._tell(f"*** the host of {name} is cut off")
        world.paused.add(name)
        world.cut_off.add(name)
        return "cut off"

    def _wake(self, world: World) -> str | None:
        if not world.paused:
            return None
        name = self._dice.choice(sorted(world.paused))
        self._tell(f"*** {name} goes on")
        world.wake(name)
        return "wake"

    def _repeat(self, world: World) -> str | None:
        """A message arrives twice in a row; a gradient also later."""
        queues = [end.queue for end in world.ends if end.queue and end.other and end.named]
        if not queues:
            return None
        queue = self._dice.choice(queues)
        place = self._dice.randrange(len(queue))
        message = queue[place]
        last = len(queue) if isinstance(message, Dx) else place + 1
        queue.insert(self._dice.randint(place + 1, last), message)
        return "repeat message"

    def _delay(self, world: World) -> str | None:
        """One link gives nothing until nothing else moves."""
        if not (ready := world.ready):
            return None
        self._delayed.add(self._dice.choice(ready))
        return "delay link"

    def _jump(self, world: World) -> str:
        """Time passes while nobody does anything."""
        world.now_s += self._dice.choice((0.3, 2.0, 15.0))
        return "jump in time"

    def _die_at_start(self, world: World) -> str | None:
        if not world.starting:
            return None
        world.fail_to_begin(self._dice.choice(world.starting))
        return "die at start"

    def _hang_at_start(self, world: World) -> str | None:
        if not world.starting:
            return None
        world.hang_at_the_beginning(self._dice.choice(world.starting))
        return "hang at start"
