"""Where a training runs, how it is supervised, when it is kept: nothing that decides a weight."""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from actors.addresses import ANY_PORT, Ports
from actors.ray_address import problem_of
from trainer.config_errors import shown
from trainer.data_config import Section

_MOST_PORT: Final = 65535
_ELSEWHERE: Final = {
    "CPU": "cluster.worker_cpus says how many CPUs a worker has",
    "num_cpus": "cluster.worker_cpus says how many CPUs a worker has",
    "num_gpus": "call it GPU",
    "object_store_memory": "no actor can ask for it",
}
_WHOLE: Final = ("GPU", "TPU", "memory")

Seconds = Annotated[float, Field(gt=0, le=86400)]


class WorkerRange(Section):
    """Train with what there is of workers, between two bounds."""

    min: PositiveInt = 1
    max: Annotated[PositiveInt, Field(examples=["{min: 1, max: 8}"])]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(
                f"config cluster.workers: min {self.min} is more than max {self.max};"
                f" set min <= {self.max}"
            )
        return self


def _no_truth_value(amount: object) -> object:
    """Python would take `yes` for 1."""
    if isinstance(amount, bool):
        raise PydanticCustomError("truth_value", "")
    return amount


# Ray counts in ten-thousandths.
Amount = Annotated[
    float, BeforeValidator(_no_truth_value), Field(ge=0.0001, le=1_000_000_000_000_000)
]


def _count_or_range(given: Any) -> str:
    return "range" if isinstance(given, dict | WorkerRange) else "count"


class ClusterConfig(Section):
    """Where it runs; nothing here changes the final weights."""

    kind: Literal["ray", "local"] = "ray"
    workers: Annotated[
        Annotated[PositiveInt, Tag("count")]
        | Annotated[WorkerRange, Tag("range"), Field(examples=["{min: 1, max: 8}"])],
        Discriminator(_count_or_range),
    ] = 2
    address: str | None = None
    worker_cpus: Annotated[float, Field(ge=0.0001, le=10_000)] = 1.0
    worker_resources: dict[str, Amount] = Field(
        default_factory=dict, examples=["worker_resources: {GPU: 1, fast_disk: 0.5}"]
    )
    link_ports: str | None = None
    link_timeout_s: Seconds = 10.0
    start_timeout_s: Seconds = 60.0

    @property
    def min_workers(self) -> int:
        """Training begins once so many are there."""
        return self.workers if isinstance(self.workers, int) else self.workers.min

    @property
    def max_workers(self) -> int:
        """So many are asked for."""
        return self.workers if isinstance(self.workers, int) else self.workers.max

    @property
    def ports(self) -> Ports:
        """The first and the last one on which actors listen."""
        if self.link_ports is None:
            return ANY_PORT
        first, last = self.link_ports.split("-")
        return int(first), int(last)

    @field_validator("worker_resources")
    @classmethod
    def _as_ray_has_them(cls, resources: dict[str, float]) -> dict[str, float]:
        for name, amount in resources.items():
            if problem := _problem_of_resource(name, amount):
                raise ValueError(f"config cluster.worker_resources: {shown(name)} {problem}")
        return resources

    @field_validator("link_ports", mode="before")  # one port is a number to YAML, and no range
    @classmethod
    def _a_range(cls, ports: object) -> object:
        if ports is None:
            return None
        match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", str(ports))
        if match is None or not 1 <= int(match[1]) < int(match[2]) <= _MOST_PORT:
            raise ValueError(
                f"config cluster.link_ports: {shown(ports)} is not allowed; must be the first and"
                f" the last of at least 2 ports from 1 to {_MOST_PORT}, like 20000-20100"
            )
        return ports

    @field_validator("address")
    @classmethod
    def _of_a_cluster(cls, address: str | None) -> str | None:
        if address is not None and (problem := problem_of(address)):
            raise ValueError(f"config cluster.address: {shown(address)} {problem}")
        return address


def _problem_of_resource(name: str, amount: float) -> str | None:
    """Why no worker can ask for so much of it; None: one can."""
    if name in _ELSEWHERE:
        return f"is not allowed; {_ELSEWHERE[name]}"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.:-]*", name):
        return "is not allowed; a name begins with a letter and has letters, digits and _ . : -"
    if name in _WHOLE and amount != int(amount) and (amount > 1 or name == "memory"):
        whole = "whole bytes" if name == "memory" else "below 1 or whole"
        return f"{amount:g} is not allowed; Ray wants it {whole}"
    return None


class WorkerIntensity(Section):
    """How often one worker may be restarted within a sliding window."""

    max_restarts: NonNegativeInt = 5
    period_s: Seconds = 60.0


class ServerIntensity(Section):
    """The same for the server, whose return takes longer."""

    max_restarts: NonNegativeInt = 3
    period_s: Seconds = 60.0


class SupervisionConfig(Section):
    """When a death is one too many; counted for each actor."""

    worker: WorkerIntensity = WorkerIntensity()
    server: ServerIntensity = ServerIntensity()


class CheckpointsConfig(Section):
    """When snapshots are taken and written, and how many files are kept."""

    # The most of the training time that snapshots may take, and files beside it; 0: the final
    # state only.
    time_share: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    every_s: Seconds = 1.0  # the least time between two
    keep: PositiveInt = 3
