"""A plan's faults, numbered: the listed ones, and the random ones as a stream."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from actors.messages import DRIVER
from trainer.config import Config
from trainer.errors import ConfigError
from trainer.faults.plan import Kind, Plan, RandomFaults


class Planned(NamedTuple):
    """A fault with its number: a pause is `factor` infinity, a kill has neither."""

    number: str  # `1`: the plan's first; `random-1`: the first random one
    kind: Kind
    target: str
    at_s: float | None
    at_step: int | None
    for_s: float | None = None
    factor: float | None = None
    host: str | None = None
    draw: float = 0.0  # 0..1: which one of several workers

    @property
    def listed(self) -> bool:
        """Not a random one."""
        return self.number.isdecimal()

    def __str__(self) -> str:
        when = f"at step {self.at_step}" if self.at_s is None else f"at {self.at_s:g} s"
        return f"{self.label} {when}"

    @property
    def label(self) -> str:
        """What it does, without when."""
        factor = f" {self.factor:g} times" if self.factor else ""
        host = f" {self.host}" if self.host else ""
        long = f" for {self.for_s:g} s" if self.for_s else ""
        return f"{self.kind} {self.target}{host}{factor}{long}"


def planned_faults(plan: Plan) -> Iterator[Planned]:
    """The listed faults, numbered from 1."""
    for number, fault in enumerate(plan.faults, 1):
        times = (fault.at_s, fault.at_step, fault.for_s, fault.factor)
        yield Planned(str(number), fault.kind, fault.target, *times, fault.host)


def random_faults(faults: RandomFaults) -> Iterator[Planned]:
    """Without end, in time; exponential gaps, so that each moment is as likely as any other."""
    generator = random.Random(faults.seed)  # noqa: S311 - faults, not secrets
    number, at_s = 0, 0.0
    while True:
        number += 1
        at_s += generator.expovariate(faults.per_minute / 60)
        kind, target = generator.choice(faults.kinds), generator.choice(faults.targets)
        yield Planned(
            f"random-{number}",
            kind,
            target,
            round(at_s, 3),
            None,
            for_s=faults.for_s if kind == "pause" else None,
            draw=generator.random(),
        )


def check_plan(plan: Plan, config: Config, where: str = "--faults") -> None:
    """Refuse what the configured cluster can not suffer.

    Args:
        where: what the plan is called in a message.

    Raises:
        ConfigError: in one process there is only the driver to hit.
    """
    if config.cluster.kind != "local":
        return
    listed = [
        f"fault {planned.number} ({planned})"
        for planned in planned_faults(plan)
        if planned.target != DRIVER
    ]
    if plan.random is not None and set(plan.random.targets) != {DRIVER}:
        listed.append("random")
    if listed:
        raise ConfigError(
            f"{where}: {listed[0]}: with cluster.kind local no actor has a process of its own,"
            " only driver can be hit; set cluster.kind=ray"
        )
