"""What stands around an actor's core, mailbox and optimizer to see how its time is spent.

The cores know no clock, so it is looked at here. `MeteredCore` is always there: it adds up
the seconds that the core computes, at two looks at the clock for each message of a step.
The others hold a `Stopwatch` and are there with `--profile` only. None of them changes a
message.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from actors.cluster import Job
from actors.cores import Core, make_core
from actors.messages import DRIVER, SERVER, Assign, Dx, Hello, TakeTimes, Times, Vector, Weights
from actors.names import slot_of
from actors.objectives import Optimizer
from actors.orders import Envelope, Message, Start, Tick
from actors.stopwatch import ACTIVITIES, Activity, Stopwatch, clock_offset

if TYPE_CHECKING:
    from actors.addresses import Address  # sockets are for those who use them

_STEP_MESSAGES: Final = frozenset({Weights, Assign, Dx})  # what a core computes at


class Mailbox(Protocol):
    """What an actor's loop needs of an `Endpoint`."""

    def connect(self, name: str, address: "Address", hello: Hello) -> None: ...

    def send(self, name: str, message: Message) -> None: ...

    def receive(self, timeout_s: float) -> list[Message]: ...

    def close(self, reason: str) -> None: ...


def observed(
    name: str, core: Core, mailbox: Mailbox, watch: Stopwatch | None
) -> tuple[Core, Mailbox]:
    """The core and the mailbox of an actor, with a look at the clock where it is needed."""
    if watch is None:
        return MeteredCore(name, core), mailbox
    return ProfiledCore(name, core, watch), ProfiledMailbox(mailbox, watch)


def profiled_core(
    job: Job, start: Start, hello: Hello, clock: Callable[[], float] = time.monotonic
) -> Core:
    """As `make_core`, in a shell that calls one core after the other: who is not called waits."""
    watch = Stopwatch(start.name, clock)
    job = replace(job, optimizer=profiled_optimizer(job.optimizer, watch))
    return ProfiledCore(start.name, make_core(job, start, hello), watch, waits_after=True)


def profiled_optimizer(optimizer: Optimizer, watch: Stopwatch | None) -> Optimizer:
    """The optimizer; with a watch its updates are told from the rest of the server's work."""
    return optimizer if watch is None else ProfiledOptimizer(optimizer, watch)


class MeteredCore:
    """A core, and how many seconds it computed."""

    def __init__(self, name: str, core: Core, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._handle, self._clock = name, core.handle, clock
        self._seconds = 0.0

    def handle(self, message: Message) -> list[Envelope]:
        if type(message) not in _STEP_MESSAGES:
            return [self._times()] if isinstance(message, TakeTimes) else self._handle(message)
        began_s = self._clock()
        replies = self._handle(message)
        self._seconds += self._clock() - began_s
        return replies

    def _times(self) -> Envelope:
        seconds = np.zeros(len(ACTIVITIES))
        seconds[ACTIVITIES.index(_work_of(self._name))] = self._seconds
        offset_s = clock_offset(self._clock)
        return DRIVER, Times(self._name, 1, offset_s, 0, 0, seconds, np.empty(0))


class ProfiledCore:
    """A core, and a watch that knows when it computes and at which step."""

    def __init__(self, name: str, core: Core, watch: Stopwatch, waits_after: bool = False) -> None:
        """`waits_after`: when the core has answered nothing else is done for this actor."""
        self._core, self._watch = core, watch
        self._work, self._waits_after = _work_of(name), waits_after

    def handle(self, message: Message) -> list[Envelope]:
        watch = self._watch
        match message:
            case Tick():
                return self._core.handle(message)
            case TakeTimes():
                return [(DRIVER, times) for times in watch.times(is_answer=True)]
            case Weights(step):
                watch.enter(step + 1)
            case Dx(step) if step >= watch.step:  # else it is late, and the next one runs
                watch.enter(step + 1)
        if type(message) in _STEP_MESSAGES:
            watch.switch(self._work)
        replies = self._core.handle(message)
        if self._waits_after:
            watch.switch("wait")
        if watch.is_full:
            replies = [*replies, *((DRIVER, times) for times in watch.times())]
        return replies


class ProfiledMailbox:
    """A mailbox, and a watch that knows when it waits and when it sends."""

    def __init__(self, mailbox: Mailbox, watch: Stopwatch) -> None:
        self._mailbox, self._watch = mailbox, watch

    def connect(self, name: str, address: "Address", hello: Hello) -> None:
        self._mailbox.connect(name, address, hello)

    def send(self, name: str, message: Message) -> None:
        self._watch.switch("send")
        self._mailbox.send(name, message)

    def receive(self, timeout_s: float) -> list[Message]:
        self._watch.switch("wait")
        return self._mailbox.receive(timeout_s)

    def close(self, reason: str) -> None:
        self._mailbox.close(reason)


class ProfiledOptimizer:
    """An optimizer, and a watch that knows when it updates."""

    def __init__(self, optimizer: Optimizer, watch: Stopwatch) -> None:
        self._optimizer, self._watch = optimizer, watch

    def init(self, parameters: Vector) -> Vector:
        return self._optimizer.init(parameters)

    def update(
        self,
        parameters: Vector,
        gradient_sum: Vector,
        sample_count: int,
        state: Vector,
        out: Vector,
        state_out: Vector,
    ) -> None:
        before = self._watch.switch("update")
        self._optimizer.update(
            parameters, gradient_sum, sample_count, state, out=out, state_out=state_out
        )
        self._watch.switch(before)


def _work_of(name: str) -> Activity:
    """What it is called when a core computes: the server adds gradients, a worker makes them."""
    return "reduce" if slot_of(name) == SERVER else "compute"
