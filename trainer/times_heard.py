"""What the actors told of their time: sums and spans, each life under its own name."""

from typing import Final

import numpy as np

from actors.messages import SERVER, Times, Vector
from actors.names import server_first, slot_of
from actors.stopwatch import ACTIVITIES, FIELDS, Activity, clock_offset
from trainer.profile import ActorTimes
from trainer.trace import Lane

_ONE_CLOCK_S: Final = 0.005  # offsets that differ by less are of one host, whose clock is one


class TimesHeard:
    """Takes every `Times`; later sums replace earlier ones, spans are kept."""

    def __init__(self) -> None:
        self.answered: set[str] = set()  # to a `TakeTimes`
        self._newest: dict[str, Times] = {}
        self._spans: dict[str, list[Vector]] = {}
        self._shifts_s: dict[str, float] = {}

    def hear(self, times: Times) -> None:
        """An actor tells how it spent its time; what no actor of ours tells is passed over."""
        if not _is_sound(times):
            return
        name = times.name
        if name not in self._shifts_s:
            shift_s = times.clock_offset_s - clock_offset()
            self._shifts_s[name] = shift_s if abs(shift_s) > _ONE_CLOCK_S else 0.0
        self._newest[name] = times
        self._spans.setdefault(name, []).append(times.spans)
        if times.is_answer:
            self.answered.add(name)

    @property
    def left_out(self) -> int:
        """Spans that the actors did not keep."""
        return sum(times.left_out for times in self._newest.values())

    def actors(self) -> tuple[ActorTimes, ...]:
        """Those that took part in a step: servers first, then the workers by their numbers."""
        told = [self._newest[name] for name in sorted(self._newest, key=server_first)]
        return tuple(
            ActorTimes(times.name, times.step_count, _by_activity(times))
            for times in told
            if times.step_count
        )

    def lanes(self) -> list[Lane]:
        """The spans of each, in the same order."""
        names = sorted(self._spans, key=server_first)
        return [Lane(name, self._spans[name], self._shifts_s[name]) for name in names]

    def worked_s(self) -> tuple[list[float], float]:
        """Seconds of computing: of each worker, and of the servers together."""
        workers_s, servers_s = [], 0.0
        for name, times in self._newest.items():
            if slot_of(name) == SERVER:
                spent = _by_activity(times)
                servers_s += spent["reduce"] + spent["update"]
            else:
                workers_s.append(_by_activity(times)["compute"])
        return workers_s, servers_s


def _is_sound(times: Times) -> bool:
    """Numbers that the rest can count on: they come over a link."""
    if times.seconds.size != len(ACTIVITIES) or times.spans.size % FIELDS:
        return False
    numbers = np.concatenate([times.seconds, times.spans, [times.clock_offset_s]])
    activities = times.spans.reshape(-1, FIELDS)[:, 1]
    known = np.isin(activities, range(len(ACTIVITIES)))
    return bool(np.isfinite(numbers).all() and known.all())


def _by_activity(times: Times) -> dict[Activity, float]:
    return dict(zip(ACTIVITIES, times.seconds.tolist(), strict=True))
