"""One validated configuration: YAML in, YAML out, every default written down here.

Everything is checked once, here; the rest of the program trusts it. What can be checked
only with the data at hand (layer sizes, row counts) is checked in `datasets.py`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from trainer.config_errors import explain
from trainer.data_config import DataConfig, DigitsSource, Section
from trainer.errors import ConfigError
from trainer.running_config import CheckpointsConfig, ClusterConfig, SupervisionConfig
from trainer.words import counted


class NetworkConfig(Section):
    """What `network.Network` takes."""

    sizes: tuple[Annotated[int, Field(gt=0, le=1_000_000)], ...] = Field(
        default=(64, 30, 10), examples=["sizes: [64, 30, 10]"]
    )
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    output: Literal["sigmoid", "softmax", "identity"] = "sigmoid"
    loss: Literal["quadratic", "mean_squared", "cross_entropy"] = "quadratic"
    initial_weights: Literal["scaled", "gaussian"] = "scaled"

    @field_validator("sizes")
    @classmethod
    def _inputs_and_outputs(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        # A bound of the field would count only those sizes that are themselves allowed.
        if len(sizes) < 2:  # noqa: PLR2004
            raise ValueError(
                f"config network.sizes: {list(sizes)} is not allowed; at least 2 are needed,"
                " inputs and outputs"
            )
        return sizes


class TrainingConfig(Section):
    """What decides the final weights, together with data and network."""

    epochs: Annotated[PositiveInt, Field(le=1_000_000_000)] = 30  # its steps fit a message
    batch_size: PositiveInt = 32
    # The most whose assignment to workers fits one message.
    shards: Annotated[PositiveInt, Field(le=16_384)] = 8
    learning_rate: PositiveFloat = 3.0
    # Optimizer steps of each shard between two messages; more than an epoch has: all of them.
    local_steps: Annotated[PositiveInt, Field(le=1_000_000_000)] = 1
    dtype: Literal["float32", "float64"] = "float32"
    seed: NonNegativeInt = 0


class Config(Section):
    """The whole configuration of a run.

    Raises:
        ConfigError: a line for each problem: key, value, what is allowed.
    """

    data: DataConfig = DigitsSource()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    cluster: ClusterConfig = ClusterConfig()
    supervision: SupervisionConfig = SupervisionConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()

    def __init__(self, /, **sections: Any) -> None:
        try:
            super().__init__(**sections)
        except ValidationError as error:
            raise ConfigError(explain(error, Config)) from None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        training, workers = self.training, self.cluster.max_workers
        if workers > training.shards:
            is_of_shards = "workers" not in self.cluster.model_fields_set  # the other key is set
            raise ValueError(
                f"config {'training.shards' if is_of_shards else 'cluster.workers'}: {workers}"
                f" workers but only {counted(training.shards, 'shard')},"
                f" {workers - training.shards} would idle; set cluster.workers <="
                f" {training.shards} or training.shards >= {workers}"
            )
        if training.batch_size % training.shards:
            raise ValueError(
                f"config training.batch_size: {training.batch_size} is not divisible by the"
                f" {training.shards} shards; set it to"
                f" {_nearest_multiple(training.batch_size, training.shards)}, or change"
                " training.shards"
            )
        if (self.network.loss, self.network.output) == ("cross_entropy", "identity"):
            raise ValueError(
                "config network.loss: cross_entropy does not go with network.output identity;"
                " set network.output to sigmoid or softmax, or network.loss to quadratic"
            )
        return self

    def with_changes(self, **sections: dict[str, Any]) -> Self:
        """This configuration with some keys of some sections changed, validated anew.

        Raises:
            ConfigError: as for a new configuration.
        """
        mine = self.model_dump()
        return type(self)(**mine | {name: mine[name] | keys for name, keys in sections.items()})

    def as_yaml(self) -> str:
        """The whole configuration, defaults written out."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(
    path: Path | None = None, overrides: list[str] | None = None, where: str = "--set"
) -> Config:
    """Read a YAML file, if one is given, and lay `section.key=value` overrides over it.

    Args:
        where: what the overrides are called in a message.

    Raises:
        ConfigError: the file can not be read, or what it says is not allowed.
    """
    from trainer.config_file import apply_override, read_yaml

    sections = {} if path is None else read_yaml(path)
    for override in overrides or []:
        apply_override(sections, override, where)
    return Config(**sections)


def _nearest_multiple(number: int, of: int) -> int:
    return max(of, round(number / of) * of)
