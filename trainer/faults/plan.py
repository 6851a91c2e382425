"""A plan of faults: what is killed, paused or slowed, and when. A YAML file, checked here.

It only says what shall happen. `faults/planned.py` numbers it, `faults/schedule.py` decides
when which signal is due, `faults/injection.py` sends it.
"""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    ValidationError,
    field_validator,
    model_validator,
)

from trainer.allowed import KeyPath
from trainer.config_errors import dotted, explain, shown
from trainer.config_file import read_mapping
from trainer.data_config import FilePath, Section
from trainer.errors import ConfigError
from trainer.running_config import Seconds

NODE: Final = "node"  # every actor's process on one host
ANY_WORKER: Final = "worker"

Kind: TypeAlias = Literal["kill", "pause", "slow"]
_KINDS: Final[tuple[Kind, ...]] = ("kill", "pause", "slow")
# What goes with which kind, and whether it must be there.
_NEEDS: Final = {"pause": ("for_s",), "slow": ("factor",)}
_ALLOWS: Final = {
    "kill": ("host",),
    "pause": ("for_s", "host"),
    "slow": ("factor", "for_s", "host"),
}


_NAMES: Final = re.compile(r"worker-\d{1,6}|server|node|driver")


def _known(target: object, also: str = "") -> str:
    if not isinstance(target, str) or not _NAMES.fullmatch(target):
        allowed = f"{also}worker-N, server, node, driver"
        raise ValueError(f"{shown(target)} is not allowed; allowed: {allowed}")
    return target


def _known_one(target: object) -> str:
    return _known(target)


def _known_or_any(target: object) -> str:
    return ANY_WORKER if target == ANY_WORKER else _known(target, "worker (any), ")


# Before anything else is checked: whatever it is that is wrong, the names are what is allowed.
Target = Annotated[str, BeforeValidator(_known_one)]
RandomTarget = Annotated[str, BeforeValidator(_known_or_any)]


class Fault(Section):
    """One fault: `{kill: worker-1, at_step: 100}`."""

    kill: Target | None = None
    pause: Target | None = None
    slow: Target | None = None
    at_step: NonNegativeInt | None = None  # as soon as the driver has heard of that step
    at_s: Annotated[float, Field(ge=0, le=1e6)] | None = None  # since training began
    for_s: Seconds | None = None  # of a pause; of slow: None, till the end
    factor: Annotated[float, Field(gt=1, le=1000)] | None = None  # so many times slower
    host: str | None = None  # of node; None: the first worker's

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        kinds = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            given = f"both {' and '.join(kinds)} in one" if kinds else "says not what to do"
            raise ValueError(f"{given}; a fault has one of kill, pause, slow: `kill: worker-1`")
        if (self.at_step is None) == (self.at_s is None):
            given = "says not when" if self.at_s is None else "both at_step and at_s"
            raise ValueError(f"{given}; set one of at_step, at_s: `at_step: 100`")
        for key in _NEEDS.get(self.kind, ()):
            if getattr(self, key) is None:
                raise ValueError(f"a {self.kind} needs {key}: `{key}: {_LIKE[key]}`")
        for key in ("for_s", "factor", "host"):
            if getattr(self, key) is not None and key not in _ALLOWS[self.kind]:
                raise ValueError(f"{key} does not go with {self.kind}; remove it")
        if self.host is not None and self.target != NODE:
            raise ValueError(f"host goes with node only, not with {self.target}; remove it")
        return self

    @property
    def kind(self) -> Kind:
        """What is done."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @property
    def target(self) -> str:
        """Whom it hits."""
        return str(getattr(self, self.kind))


_LIKE: Final = {"for_s": "2.0", "factor": "4"}


class RandomFaults(Section):
    """Faults at random times, the same for the same seed."""

    per_minute: Annotated[float, Field(gt=0, le=6000)]
    seed: NonNegativeInt = 0
    targets: tuple[RandomTarget, ...] = Field(
        default=(ANY_WORKER, "server"), examples=["targets: [worker, server]"]
    )
    kinds: tuple[Literal["kill", "pause"], ...] = Field(
        default=("kill",), examples=["kinds: [kill]"]
    )
    for_s: Seconds = 1.0  # of a pause

    @field_validator("targets", "kinds")
    @classmethod
    def _some(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # A bound of the field would count only those names that are themselves allowed.
        if not names:
            raise ValueError("[] is not allowed; name at least one, or leave the key out")
        return names


_FAULT: Final = "{kill: worker-1, at_step: 100}"


class Plan(Section):
    """A whole plan; `config` and `set` say what `everstep experiment` trains."""

    config: FilePath | None = None
    overrides: tuple[str, ...] = Field(
        default=(), alias="set", examples=["set: [training.epochs=100]"]
    )
    faults: tuple[Annotated[Fault, Field(examples=[_FAULT])], ...] = Field(
        default=(), examples=[f"faults: [{_FAULT}]"]
    )
    random: RandomFaults | None = Field(default=None, examples=["random: {per_minute: 6}"])

    @field_validator("faults", mode="before")
    @classmethod
    def _empty_list(cls, faults: object) -> object:
        return () if faults is None else faults  # `faults:` without a line below it


def load_plan(path: Path) -> Plan:
    """Read a plan; its `config` is found from where the plan is.

    Raises:
        ConfigError: the file can not be read, or what it says is not allowed.
    """
    where = f"plan {path}"

    def name(key: KeyPath) -> str:
        if len(key) > 1 and key[0] == "faults":
            key = [f"fault {int(key[1]) + 1}", *key[2:]]
        return ": ".join([where, dotted(key)] if key else [where])

    try:
        plan = Plan(**read_mapping(path, where, "keys, like `faults: ...`"))
    except ValidationError as error:
        raise ConfigError(explain(error, Plan, name)) from None
    if plan.config is None:
        return plan
    return plan.model_copy(update={"config": path.parent / plan.config})
