"""Where a training runs, how it is supervised, when it is kept: nothing that decides a weight."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from trainer.data_config import Section

Seconds = Annotated[float, Field(gt=0, le=86400)]


class WorkerRange(Section):
    """Train with what there is of workers, between two bounds."""

    min: PositiveInt = 1
    max: PositiveInt

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(
                f"config cluster.workers: min {self.min} is more than max {self.max};"
                f" set min <= {self.max}"
            )
        return self


def _count_or_range(given: Any) -> str:
    return "range" if isinstance(given, dict | WorkerRange) else "count"


class ClusterConfig(Section):
    """Where it runs; nothing here changes the final weights."""

    kind: Literal["ray", "local"] = "ray"
    workers: Annotated[
        Annotated[PositiveInt, Tag("count")] | Annotated[WorkerRange, Tag("range")],
        Discriminator(_count_or_range),
    ] = 2
    address: str | None = None
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

    @field_validator("address")
    @classmethod
    def _no_client_address(cls, address: str | None) -> str | None:
        if address is not None and "://" in address:
            raise ValueError(
                f"config cluster.address: {address} is not allowed; give HOST:PORT from a node of"
                " the cluster, or use `ray job submit`"
            )
        return address


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

    # The most of the training time that snapshots may take; 0: the final state only.
    time_share: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    every_s: Seconds = 1.0  # the least time between two
    keep: PositiveInt = 3
