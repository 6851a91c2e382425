"""Where the time of a training's steps went: what the actors told, in numbers.

`timekeeping.py` collects it; `advice.py` says which knob to turn, `profile_table.py` shows
it, `trace.py` writes it down.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from actors.messages import SERVER
from actors.names import slot_of
from actors.stopwatch import Activity
from trainer.storage.place import Place


@dataclass(frozen=True, slots=True)
class ActorTimes:
    """How one life of an actor spent its time, from its first step to its last."""

    name: str
    step_count: int
    seconds: Mapping[Activity, float]

    @property
    def step_ms(self) -> float:
        """What a step takes it, with all its waiting."""
        return 1e3 * sum(self.seconds.values()) / max(1, self.step_count)

    def ms(self, *activities: Activity) -> float:
        """Milliseconds a step that went into these."""
        return 1e3 * sum(self.seconds[each] for each in activities) / max(1, self.step_count)

    def share(self, activity: Activity) -> float:
        """Of all its time, 0 to 1."""
        return self.seconds[activity] / (sum(self.seconds.values()) or 1.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """What could be set otherwise."""

    in_one_process: bool
    workers: int
    shards: int
    batch_size: int
    cores: int  # of the driver's machine


@dataclass(frozen=True, slots=True)
class Profile:
    """What `--profile` shows: the actors that took part in a step, servers first."""

    actors: tuple[ActorTimes, ...]
    setting: Setting
    trace: Place | None = None
    left_out: int = 0  # spans that the trace lacks

    @property
    def server(self) -> ActorTimes | None:
        """The server that did the most steps; its steps are the training's."""
        servers = [actor for actor in self.actors if slot_of(actor.name) == SERVER]
        return max(servers, key=lambda actor: actor.step_count, default=None)

    @property
    def workers(self) -> list[ActorTimes]:
        """All that took part in a step."""
        return [actor for actor in self.actors if slot_of(actor.name) != SERVER]
