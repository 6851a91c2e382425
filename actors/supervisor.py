"""Restart or give up: OTP's restart intensity, as a pure decision.

Each actor may be restarted `max_restarts` times within a sliding window of `period_s`, which
does not slide while no step is finished. One that dies more often has a cause that a restart does
not mend: then training stops. So it does when that many exceptions come in a row without a step
between, whoever raises them: a shard that can not be computed goes from worker to worker.
Whoever carries the decision out is elsewhere. Source: OTP, `supervisor`, restart intensity.
"""

from collections import Counter, defaultdict, deque
from typing import NamedTuple

from actors.last_words import are_last_words
from actors.messages import SERVER
from actors.names import next_life, slot_of
from actors.orders import Failed, Restarting
from actors.placement import Needs


class Intensity(NamedTuple):
    """How often one actor may be restarted, and within how many seconds."""

    max_restarts: int
    period_s: float


class Supervision(NamedTuple):
    """The intensity for each kind of actor."""

    worker: Intensity = Intensity(5, 60.0)
    server: Intensity = Intensity(3, 60.0)


class Crew(NamedTuple):
    """Whom to start, how often again, and how long to be patient."""

    min_workers: int  # training begins once so many are there
    max_workers: int  # so many are asked for
    supervision: Supervision = Supervision()
    link_timeout_s: float = 10.0  # who does not answer for so long is down
    start_timeout_s: float = 60.0  # without a server and a worker for so long, training fails
    needs: Needs = Needs()  # of each worker


class _Restart(NamedTuple):
    at_s: float
    step: int  # the newest finished one


class Supervisor:
    """Decides about each death; remembers the restarts that it granted."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._restarts: defaultdict[str, deque[_Restart]] = defaultdict(deque)
        self._raised: Counter[tuple[str, int]] = Counter()  # by kind and newest finished step

    def died(self, name: str, reason: str, now_s: float, step: int) -> Restarting | Failed:
        """`name` died after that step, now: its replacement, or why there is none."""
        slot = slot_of(name)
        kind = "server" if slot == SERVER else "worker"
        limit: Intensity = getattr(self._supervision, kind)
        allowed = (
            f"{limit.max_restarts} restarts are allowed"
            f" (supervision.{kind}.max_restarts); the last cause: {reason}"
        )
        recent = self._restarts[slot]
        while recent and now_s - recent[0].at_s > limit.period_s and step > recent[0].step:
            recent.popleft()
        if len(recent) >= limit.max_restarts:
            span_s = max(limit.period_s, now_s - recent[0].at_s if recent else 0.0)
            return Failed(f"{slot} died {_times(len(recent) + 1)} in {span_s:g} s; {allowed}")
        if are_last_words(reason):
            self._raised[kind, step] += 1
            if (count := self._raised[kind, step]) > limit.max_restarts:
                why = f"{count} exceptions in a row, no step between"
                return Failed(f"{slot} died: {why}; {allowed}")
        recent.append(_Restart(now_s, step))
        return Restarting(next_life(name), name, len(recent), *limit)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
