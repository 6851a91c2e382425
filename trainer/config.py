"""One validated configuration: YAML in, YAML out, every default written down here.

Everything is checked once, here; the rest of the program trusts it. What can be checked
only with the data at hand (layer sizes, row counts) is checked in `datasets.py`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from trainer.config_errors import explain
from trainer.errors import ConfigError


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Source(Section):
    """What all data sources have in common."""

    source: Literal["digits", "idx", "npz", "csv"]
    scaling: Literal["minmax", "standard", "none"] = "minmax"
    # One range for each feature, or one for the whole table (images: all pixels alike).
    statistics: Literal["feature", "table"] = "feature"
    # The classes in the order of the outputs; null: those of the training rows, sorted.
    classes: tuple[int | str, ...] | None = None
    # Without a test set of its own, this share of the rows is held out.
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_seed: NonNegativeInt = 0

    @field_validator("classes")
    @classmethod
    def _all_different(cls, classes: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        for name in classes or ():
            if (classes or ()).count(name) > 1:
                raise ValueError(f"config data.classes: {name!r} stands twice")
        return classes


class DigitsSource(_Source):
    """scikit-learn's handwritten digits: 1,797 images of 8x8."""

    source: Literal["digits"] = "digits"
    statistics: Literal["feature", "table"] = "table"


class IdxSource(_Source):
    """Images and labels as IDX files, MNIST's format, plain or gzipped."""

    source: Literal["idx"]
    train_images: Path
    train_labels: Path
    test_images: Path | None = None
    test_labels: Path | None = None
    statistics: Literal["feature", "table"] = "table"


class NpzSource(_Source):
    """Arrays of one NumPy .npz file, by name."""

    source: Literal["npz"]
    path: Path
    features: str = "x"
    labels: str = "y"
    test_features: str | None = None
    test_labels: str | None = None


class CsvSource(_Source):
    """Tables with a header line; one column holds the label, all others are numbers."""

    source: Literal["csv"]
    train: Path
    test: Path | None = None
    label: str


def _source(given: Any) -> str | None:
    if isinstance(given, dict):
        return str(given.get("source", "digits"))
    return getattr(given, "source", None)


DataConfig = Annotated[
    Annotated[DigitsSource, Tag("digits")]
    | Annotated[IdxSource, Tag("idx")]
    | Annotated[NpzSource, Tag("npz")]
    | Annotated[CsvSource, Tag("csv")],
    Discriminator(_source),
]


class NetworkConfig(Section):
    """What `network.Network` takes."""

    sizes: tuple[PositiveInt, ...] = (64, 30, 10)
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

    epochs: PositiveInt = 30
    batch_size: PositiveInt = 32
    # The most whose assignment to workers fits one message.
    shards: Annotated[PositiveInt, Field(le=16_384)] = 8
    learning_rate: PositiveFloat = 3.0
    dtype: Literal["float32", "float64"] = "float32"
    seed: NonNegativeInt = 0


class ClusterConfig(Section):
    """Where it runs; nothing here changes the final weights."""

    kind: Literal["ray", "local"] = "ray"
    workers: PositiveInt = 2
    address: str | None = None
    link_timeout_s: PositiveFloat = 10.0
    start_timeout_s: PositiveFloat = 60.0


class CheckpointsConfig(Section):
    """When the state is written, and how many files are kept."""

    every_epochs: PositiveInt = 10
    keep: PositiveInt = 3


class Config(Section):
    """The whole configuration of a run.

    Raises:
        ConfigError: a line for each problem: key, value, what is allowed.
    """

    data: DataConfig = DigitsSource()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    cluster: ClusterConfig = ClusterConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()

    def __init__(self, **sections: Any) -> None:
        try:
            super().__init__(**sections)
        except ValidationError as error:
            raise ConfigError(explain(error, Config)) from None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        training, cluster = self.training, self.cluster
        if cluster.workers > training.shards:
            idle = cluster.workers - training.shards
            raise ValueError(
                f"config training.shards: {cluster.workers} workers but only {training.shards}"
                f" shards, {idle} would idle; set cluster.workers <= {training.shards} or"
                f" training.shards >= {cluster.workers}"
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

    @model_validator(mode="after")
    def _test_sets_are_whole(self) -> Self:
        pairs = {"idx": ("test_images", "test_labels"), "npz": ("test_features", "test_labels")}
        for one, other in (names := pairs.get(self.data.source, ())) and (names, names[::-1]):
            if getattr(self.data, one) is not None and getattr(self.data, other) is None:
                raise ValueError(f"config data.{other}: missing, while data.{one} is given")
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


def load_config(path: Path | None = None, overrides: list[str] | None = None) -> Config:
    """Read a YAML file, if one is given, and lay `section.key=value` overrides over it.

    Raises:
        ConfigError: the file can not be read, or what it says is not allowed.
    """
    from trainer.config_file import apply_override, read_yaml

    sections = {} if path is None else read_yaml(path)
    for override in overrides or []:
        apply_override(sections, override)
    return Config(**sections)


def _nearest_multiple(number: int, of: int) -> int:
    return max(of, round(number / of) * of)
