"""Whom a fault hits: a plan's target against the actors that live now."""

from collections.abc import Mapping
from typing import NamedTuple

from actors.messages import DRIVER
from actors.names import slot_of
from trainer.faults.planned import Planned


class Living(NamedTuple):
    """Where an actor's process is."""

    host: str
    process_id: int


def targets(planned: Planned, living: Mapping[str, Living]) -> list[str]:
    """The names of the processes to hit; empty: there is none now.

    `worker-1` means the newest life of that worker, `node` all actors of one host, the
    driver is always there.
    """
    workers = sorted((name for name in living if name.startswith("worker-")), key=_place)
    match planned.target:
        case "driver":
            return [DRIVER]
        case "worker" if workers:
            return [workers[int(planned.draw * len(workers))]]
        case "node":
            first = living[(workers or sorted(living))[0]].host if living else ""
            host = planned.host or first
            return [name for name, at in living.items() if at.host == host]
        case target:
            lives = [name for name in living if slot_of(name) == target]
            return [max(lives, key=_place)] if lives else []


def _place(name: str) -> tuple[int, int]:
    """By number, then by life: worker-2.3 is (2, 3)."""
    slot, _, life = name.partition(".")
    number = slot.rpartition("-")[2]
    return (int(number) if number.isdecimal() else -1, int(life or 1))
